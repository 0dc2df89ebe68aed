package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// keySet holds the public keys of the validators in the vectors.
type keySet struct {
	validators []lstar.Validator
	digest     string
}

// loadKeys reads the key files 0.json, 1.json and so on.
//
// leanSpec: keys.py, XmssKeyManager and compute_key_set_digest
var loadKeys = sync.OnceValues(func() (*keySet, error) {
	folder := beside("../../keys/test_scheme", defaultKeys)
	set, sum := new(keySet), sha256.New()
	for i := 0; ; i++ {
		b, err := os.ReadFile(filepath.Join(folder, strconv.Itoa(i)+".json"))
		if os.IsNotExist(err) && i > 0 {
			set.digest = "0x" + hex.EncodeToString(sum.Sum(nil))
			return set, nil
		}
		if err != nil {
			return nil, err
		}
		type keyPair struct {
			PublicKey string `json:"public_key"`
		}
		var file struct {
			Attestation keyPair `json:"attestation_keypair"`
			Proposal    keyPair `json:"proposal_keypair"`
		}
		if err := json.Unmarshal(b, &file); err != nil {
			return nil, fmt.Errorf("key file %d: %w", i, err)
		}
		sum.Write([]byte(strconv.Itoa(i)))
		v := lstar.Validator{Index: lstar.ValidatorIndex(i)}
		for field, digits := range map[*[xmss.PublicKeySize]byte]string{
			&v.AttestationPublicKey: file.Attestation.PublicKey,
			&v.ProposalPublicKey:    file.Proposal.PublicKey,
		} {
			key, err := hex.DecodeString(digits)
			if err != nil || len(key) != len(field) {
				return nil, fmt.Errorf("key file %d: invalid public key %q", i, digits)
			}
			copy(field[:], key)
		}
		sum.Write(v.AttestationPublicKey[:])
		sum.Write(v.ProposalPublicKey[:])
		set.validators = append(set.validators, v)
	}
})

// buildAnchor returns the state and the block at a slot of a chain that has an empty block
// at every slot.
//
// leanSpec: genesis.py, build_anchor
func buildAnchor(t *testing.T, vector *envelope, validators int, slot lstar.Slot, genesisTime uint64) (*lstar.State, *lstar.Block) {
	t.Helper()
	keys, err := loadKeys()
	switch {
	case err != nil:
		t.Fatal(err)
	case keys.digest != vector.Info.KeySetDigest:
		t.Fatalf("digest of the validator keys = %s, want %s", keys.digest, vector.Info.KeySetDigest)
	case validators > len(keys.validators):
		t.Fatalf("keys of %d validators, want %d", len(keys.validators), validators)
	}
	registry := append([]lstar.Validator(nil), keys.validators[:validators]...)
	current := lstar.GenesisState(genesisTime, lstar.NewValidators(registry))
	block := lstar.GenesisBlock(current)
	for next := lstar.Slot(1); next <= slot; next++ {
		proposer, err := lstar.ProposerForSlot(next, validators)
		if err != nil {
			t.Fatal(err)
		}
		block = &lstar.Block{Slot: next, ProposerIndex: proposer, ParentRoot: block.Root()}
		advanced, err := current.ProcessSlots(next)
		if err != nil {
			t.Fatal(err)
		}
		if current, err = advanced.ProcessBlock(block); err != nil {
			t.Fatal(err)
		}
		block.StateRoot = current.Root()
	}
	return current, block
}
