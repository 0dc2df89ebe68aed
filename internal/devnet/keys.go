package devnet

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// KeyProgress is the progress of the key generation.
type KeyProgress struct {
	// Keys is the number of complete keys, of TotalKeys.
	Keys, TotalKeys int
	// Name and Role identify the current key.
	Name string
	Role config.Role
	// Complete is set once for each key, when it is complete.
	Complete bool
	// Done is the number of completed steps of the current key, of Total.
	Done, Total uint64
}

// KeyFileName returns the file name of a validator's key, such as validator_0_attester_key_sk.ssz for the name validator_0.
// The names are those of lean-quickstart's key generator. Other clients read the role from them.
func KeyFileName(name string, role config.Role, secret bool) string {
	s := name + "_attester_key"
	if role == config.Proposal {
		s = name + "_proposer_key"
	}
	if secret {
		return s + "_sk.ssz"
	}
	return s + "_pk.ssz"
}

func validatorName(index uint64) string { return "validator_" + strconv.FormatUint(index, 10) }

// KeyPairOptions describe the keys of one validator.
type KeyPairOptions struct {
	// Dir is the folder to write. WriteKeyPair creates it if it does not exist. Name is the start of the file names.
	Dir, Name string
	// Scheme is the XMSS scheme of the keys.
	Scheme *xmss.Scheme
	// ActivationSlot is the first slot for which the keys can sign, ActiveSlots the number of slots.
	ActivationSlot, ActiveSlots uint64
	// Full, Force and Progress are as in [FilesOptions].
	Full, Force bool
	Progress    func(KeyProgress)
}

// Validate checks the options without accessing the file system. Scheme must be set. Errors are of type [*config.Error].
func (o *KeyPairOptions) Validate() error {
	switch {
	case o.Dir == "":
		return refuse(setting.Out, "", "want a folder")
	case o.Name == "" || o.Name != filepath.Base(o.Name) || strings.HasPrefix(o.Name, ".") || strings.ContainsRune(o.Name, 0):
		return refuse(setting.KeyName, config.Quote(o.Name), "want a prefix for file names, without a folder")
	case o.ActivationSlot >= o.Scheme.Lifetime():
		return refuse(setting.ActivationSlot, strconv.FormatUint(o.ActivationSlot, 10), "want less than %d, the lifetime of the %s scheme", o.Scheme.Lifetime(), o.Scheme)
	case o.ActiveSlots < 1 || o.ActiveSlots > o.Scheme.Lifetime()-o.ActivationSlot:
		return refuse(setting.ActiveSlots, strconv.FormatUint(o.ActiveSlots, 10), "want 1 to %d, the lifetime of the %s scheme from slot %d on",
			o.Scheme.Lifetime()-o.ActivationSlot, o.Scheme, o.ActivationSlot)
	}
	return nil
}

// KeyPair describes the keys of one validator that were written.
type KeyPair struct {
	config.GenesisValidator
	// FirstSlot and LastSlot bound the slots for which both keys can sign, inclusive.
	FirstSlot, LastSlot uint64
	// Paths are the paths of the four files: secret and public key, for attestations and for proposals.
	Paths []string
}

// WriteKeyPair makes the two keys of one validator and writes them as SSZ, all four files or none, under the names of
// [KeyFileName]. Without Force, an existing file is an error that is [fs.ErrExist].
func WriteKeyPair(ctx context.Context, options KeyPairOptions) (*KeyPair, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	checkFree := func() error {
		if options.Force {
			return nil
		}
		var names []string
		for _, role := range config.Roles {
			names = append(names, KeyFileName(options.Name, role, true), KeyFileName(options.Name, role, false))
		}
		return refuseExisting(options.Dir, names...)
	}
	if err := checkFree(); err != nil {
		return nil, err
	}
	s, err := newStage(options.Dir)
	if err != nil {
		return nil, err
	}
	defer s.discard()

	maker := keyMaker{
		scheme: options.Scheme,
		keys: xmss.KeyGenOptions{
			ActivationSlot: options.ActivationSlot, NumActiveSlots: options.ActiveSlots, Short: !options.Full,
		},
		total:    len(config.Roles),
		progress: options.Progress,
	}
	validator, err := maker.writePair(ctx, s, "", options.Name)
	if err != nil {
		return nil, err
	}
	paths, err := s.commit(ctx, checkFree)
	if err != nil {
		return nil, err
	}
	return &KeyPair{validator, maker.start, maker.end - 1, paths}, nil
}

// keyMaker makes keys one after the other and writes them to a stage.
type keyMaker struct {
	scheme     *xmss.Scheme
	keys       xmss.KeyGenOptions
	made       int
	total      int
	progress   func(KeyProgress)
	start, end uint64 // window of the latest key, without end
}

// writePair makes the keys of one validator and writes them to a folder of the stage.
func (m *keyMaker) writePair(ctx context.Context, s *stage, folder, name string) (config.GenesisValidator, error) {
	var public [len(config.Roles)][config.PublicKeySize]byte
	for _, role := range config.Roles {
		options := m.keys
		report := func(done, total uint64, complete bool) {
			if m.progress != nil {
				m.progress(KeyProgress{Keys: m.made, TotalKeys: m.total, Name: name, Role: role, Complete: complete, Done: done, Total: total})
			}
		}
		options.Progress = func(done, total uint64) { report(done, total, false) }
		key, err := m.scheme.GenerateKey(ctx, options)
		if err != nil {
			return config.GenesisValidator{}, fmt.Errorf("make the %s key of %s: %w", role, name, err)
		}
		m.start, m.end = key.ActivationInterval()
		public[role] = key.PublicKey().Bytes()
		secret := key.Bytes()
		err = s.write(filepath.Join(folder, KeyFileName(name, role, true)), secret, 0o600)
		clear(secret)
		if err != nil {
			return config.GenesisValidator{}, err
		}
		if err := s.write(filepath.Join(folder, KeyFileName(name, role, false)), public[role][:], 0o644); err != nil {
			return config.GenesisValidator{}, err
		}
		m.made++
		report(0, 0, true)
	}
	return config.GenesisValidator{AttestationPublicKey: public[config.Attestation], ProposalPublicKey: public[config.Proposal]}, nil
}
