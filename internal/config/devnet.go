package config

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Dialect is the form in which the files of a network are written.
type Dialect string

// The two dialects. They differ in the names of the key fields in config.yaml and in the manifest, and in
// whether hex has 0x in front.
const (
	LeanSpec   Dialect = "leanspec"
	Quickstart Dialect = "quickstart"
)

// Shuffle is the order in which validators are dealt to the nodes, in the words of lean-quickstart's
// validator-config.yaml.
type Shuffle string

// The two orders: one validator to each node in turn, or a block of neighbours to each node.
const (
	RoundRobin Shuffle = "roundrobin"
	Contiguous Shuffle = "none"
)

const (
	// maxNodes keeps the port ranges of the nodes apart.
	maxNodes = 1000

	firstQUICPort    = 9001
	firstAPIPort     = 5052
	firstMetricsPort = 8008
)

// DevnetOptions describe a network to be written by [WriteDevnet].
type DevnetOptions struct {
	// Dir is the folder to write, made if it is not there.
	Dir string
	// Nodes is the number of nodes, called lean_spec_0 and so on. Those that get no validator only follow.
	Nodes int
	// Validators is the size of the registry.
	Validators int
	// Scheme is the XMSS scheme of the keys.
	Scheme *xmss.Scheme
	// ActiveSlots is the number of slots, from slot 0, for which the keys can sign. With Full they have
	// leanSpec's standard window, which is whole trees and at least two of them long; leanSpec's own signer
	// needs that. Otherwise the window is just what is asked for, which takes a fraction of the time.
	ActiveSlots uint64
	Full        bool
	// GenesisTime returns when slot 0 begins, in Unix seconds. It is called once, when all keys are made, so
	// that a network can begin a while after that.
	GenesisTime func() uint64
	// Dialect and Shuffle are LeanSpec and RoundRobin where empty.
	Dialect Dialect
	Shuffle Shuffle
	// IP is the IPv4 address in the records of the nodes, 127.0.0.1 where not set.
	IP netip.Addr
	// Places returns where the nodes are, in their order: StandardPlace of each, at IP, where not set. It is called
	// once, when all keys are made, so that ports which are free then are still free when the nodes start.
	Places func() ([]NodePlace, error)
	// Force replaces the files of an older network. Without it nothing that is there is touched.
	Force bool
	// Workers bounds the threads that make keys, as in xmss.KeyGenOptions.
	Workers int
	// Progress, if set, is told how far the keys are. It can be called from several goroutines at once.
	Progress func(KeyProgress)
}

// KeyProgress says how far the making of keys is.
type KeyProgress struct {
	// Keys is the number of keys that are complete, TotalKeys the number of all.
	Keys, TotalKeys int
	// Name and Role tell the key that is being made, or has just been completed.
	Name string
	Role Role
	// Complete is set once for each key, when it is complete.
	Complete bool
	// Done and Total are the steps of that key.
	Done, Total uint64
}

// Devnet is a network that was written.
type Devnet struct {
	Dir         string
	GenesisTime uint64
	// ActiveSlots is the number of slots, from slot 0, for which the keys can sign.
	ActiveSlots uint64
	Nodes       []DevnetNode
	// Files are the paths of everything that was written, in the order of writing.
	Files []string
}

// NodePlace is where a node is reached, and its role.
type NodePlace struct {
	// IP is an IPv4 address.
	IP netip.Addr
	// QUICPort is a UDP port, the other two are TCP ports.
	QUICPort, APIPort, MetricsPort uint16
	IsAggregator                   bool
}

// StandardPlace is where the node at a place in the list is unless something else is said: each has the ports after
// those of the one before, and the first one is the aggregator.
func StandardPlace(i int, ip netip.Addr) NodePlace {
	return NodePlace{
		IP: ip, QUICPort: firstQUICPort + uint16(i), APIPort: firstAPIPort + uint16(i), MetricsPort: firstMetricsPort + uint16(i),
		IsAggregator: i == 0,
	}
}

// DevnetNode is a node of a network that was written.
type DevnetNode struct {
	NodePlace
	Name       string
	Validators []uint64
	PeerID     string
	ENR        string
	// KeyPath is the file of the node's identity.
	KeyPath string

	key *NodeKey
}

// Validate checks the options, without looking at the file system. Errors are of type [*Error].
func (o *DevnetOptions) Validate() error {
	refuse := func(option, value, format string, args ...any) error {
		return &Error{Field: option, Value: value, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case o.Dir == "":
		return refuse("out", "", "want a folder")
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return refuse("nodes", strconv.Itoa(o.Nodes), "want 1 to %d", maxNodes)
	case o.Validators < 1 || o.Validators > RegistryLimit:
		return refuse("validators", strconv.Itoa(o.Validators), "want 1 to %d", RegistryLimit)
	case o.Scheme == nil:
		return refuse("scheme", "", "want one")
	case o.ActiveSlots < 1 || o.ActiveSlots > o.Scheme.Lifetime():
		return refuse("active-slots", strconv.FormatUint(o.ActiveSlots, 10), "want 1 to %d, the lifetime of the %s scheme", o.Scheme.Lifetime(), o.Scheme)
	case o.GenesisTime == nil:
		return refuse("genesis-time", "", "want a time")
	case o.Dialect != "" && o.Dialect != LeanSpec && o.Dialect != Quickstart:
		return refuse("dialect", quote(string(o.Dialect)), "want %s or %s", LeanSpec, Quickstart)
	case o.Shuffle != "" && o.Shuffle != RoundRobin && o.Shuffle != Contiguous:
		return refuse("shuffle", quote(string(o.Shuffle)), "want %s or %s", RoundRobin, Contiguous)
	case o.IP.IsValid() && !o.IP.Is4():
		return refuse("ip", quote(o.IP.String()), "want an IPv4 address")
	}
	return nil
}

// WriteDevnet makes the keys of a network and writes all of its files, in lean-quickstart's layout:
//
//	config.yaml                               the genesis
//	validators.yaml, annotated_validators.yaml which node runs which validators
//	nodes.yaml                                the ENRs of the nodes
//	validator-config.yaml                     names, identities and ports of the nodes
//	<node>.key                                identity of a node
//	hash-sig-keys/                            the validators' keys and their manifest
//
// Files that hold a secret can be read by their owner only, and so can the folders made for them. The first
// node is the aggregator.
//
// Nothing appears under its final name before all keys are made, and config.yaml appears last: a folder
// without it is not a network. If ctx is cancelled everything made so far is removed again. A file that is
// there already is refused, with an error that is [fs.ErrExist], unless Force is set.
func WriteDevnet(ctx context.Context, options DevnetOptions) (*Devnet, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if options.Dialect == "" {
		options.Dialect = LeanSpec
	}
	if options.Shuffle == "" {
		options.Shuffle = RoundRobin
	}
	if !options.IP.IsValid() {
		options.IP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	nodes, err := planNodes(&options)
	if err != nil {
		return nil, err
	}
	if err := checkFree(&options, nodes); err != nil {
		return nil, err
	}

	s, err := newStage(options.Dir)
	if err != nil {
		return nil, err
	}
	defer s.discard()

	maker := keyMaker{
		scheme:   options.Scheme,
		keys:     xmss.KeyGenOptions{NumActiveSlots: options.ActiveSlots, Short: !options.Full, Workers: options.Workers},
		total:    len(roles) * options.Validators,
		progress: options.Progress,
	}
	validators := make([]GenesisValidator, options.Validators)
	for index := range validators {
		if validators[index], err = maker.writePair(ctx, s, keysDir, validatorName(index)); err != nil {
			return nil, err
		}
	}

	if err := placeNodes(&options, nodes); err != nil {
		return nil, err
	}
	// The window is as long as asked for, or longer.
	options.ActiveSlots = maker.end
	devnet := &Devnet{Dir: options.Dir, GenesisTime: options.GenesisTime(), ActiveSlots: options.ActiveSlots, Nodes: nodes}
	if devnet.GenesisTime > LatestGenesisTime {
		return nil, &Error{Field: "genesis-time", Value: strconv.FormatUint(devnet.GenesisTime, 10), Problem: "want Unix seconds before the year 10000"}
	}
	for _, file := range []struct {
		name string
		text string
		perm fs.FileMode
	}{
		{filepath.Join(keysDir, manifestFile), renderManifest(&options, validators), 0o644},
		{assignedFile, renderAssignment(nodes), 0o644},
		{annotatedFile, renderAnnotation(nodes, validators), 0o644},
		{nodesFile, renderNodes(nodes), 0o644},
		{setupFile, renderSetup(&options, nodes), 0o600},
	} {
		if err := s.write(file.name, []byte(file.text), file.perm); err != nil {
			return nil, err
		}
	}
	for _, node := range nodes {
		if err := s.write(node.Name+".key", []byte(node.key.Hex()+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.write(genesisFile, []byte(renderGenesis(&options, devnet.GenesisTime, validators)), 0o644); err != nil {
		return nil, err
	}

	// The last moment to turn back, and to find what somebody else has written in the meantime.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkFree(&options, nodes); err != nil {
		return nil, err
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	for _, name := range s.names {
		devnet.Files = append(devnet.Files, filepath.Join(options.Dir, name))
	}
	return devnet, nil
}

// HasNetwork reports whether [WriteDevnet] has written a network to a folder.
func HasNetwork(dir string) (bool, error) {
	return exists(filepath.Join(dir, genesisFile))
}

// placeNodes gives every node its address, its ports and the record that names them.
func placeNodes(options *DevnetOptions, nodes []DevnetNode) error {
	places := make([]NodePlace, len(nodes))
	for i := range places {
		places[i] = StandardPlace(i, options.IP)
	}
	if options.Places != nil {
		var err error
		if places, err = options.Places(); err != nil {
			return err
		}
	}
	for i := range nodes {
		node := &nodes[i]
		node.NodePlace = places[i]
		record, err := enr.Sign(node.key.ECDSA(), enr.Content{
			Seq: 1, Addr: netip.AddrPortFrom(node.IP, node.QUICPort), ForkDigest: enr.DefaultForkDigest, IsAggregator: node.IsAggregator,
		})
		if err != nil {
			return err
		}
		node.ENR = record.String()
	}
	return nil
}

// planNodes gives every node its name, identity and validators.
func planNodes(options *DevnetOptions) ([]DevnetNode, error) {
	nodes := make([]DevnetNode, options.Nodes)
	for i := range nodes {
		key, err := GenerateNodeKey()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("lean_spec_%d", i)
		nodes[i] = DevnetNode{Name: name, PeerID: key.PeerID().String(), KeyPath: filepath.Join(options.Dir, name+".key"), key: key}
	}
	for index := range options.Validators {
		// The first nodes get one validator more where they do not come out even, in both orders.
		i := index % options.Nodes
		if options.Shuffle == Contiguous {
			share, more := options.Validators/options.Nodes, options.Validators%options.Nodes
			if i = index / (share + 1); i >= more {
				i = more + (index-more*(share+1))/share
			}
		}
		nodes[i].Validators = append(nodes[i].Validators, uint64(index))
	}
	return nodes, nil
}

// checkFree makes sure that nothing is where the files will go.
func checkFree(options *DevnetOptions, nodes []DevnetNode) error {
	if options.Force {
		return nil
	}
	names := []string{genesisFile, assignedFile, annotatedFile, nodesFile, setupFile}
	for _, node := range nodes {
		names = append(names, node.Name+".key")
	}
	for _, name := range names {
		if err := refuseExisting(filepath.Join(options.Dir, name)); err != nil {
			return err
		}
	}
	// A folder of keys is refused whatever it holds: keys of an older network would stay among the new ones.
	folder := filepath.Join(options.Dir, keysDir)
	switch entries, err := os.ReadDir(folder); {
	case err == nil && len(entries) > 0:
		return refuseExisting(filepath.Join(folder, entries[0].Name()))
	case err == nil:
		return nil
	default:
		if there, _ := exists(folder); !there {
			return nil
		}
		return osError(folder, err)
	}
}

func refuseExisting(path string) error {
	switch there, err := exists(path); {
	case err != nil:
		return err
	case there:
		return &Error{File: path, Problem: "already there; --force replaces it", Err: fs.ErrExist}
	}
	return nil
}

// KeyPairOptions describe the keys of one validator to be written by [WriteKeyPair].
type KeyPairOptions struct {
	// Dir is the folder to write, made if it is not there. Name is the start of the file names.
	Dir, Name string
	// Scheme is the XMSS scheme of the keys.
	Scheme *xmss.Scheme
	// ActivationSlot is the first slot for which the keys can sign, ActiveSlots the number of slots.
	ActivationSlot, ActiveSlots uint64
	// Full makes keys with the standard window, as in [DevnetOptions].
	Full bool
	// Force, Workers and Progress are as in [DevnetOptions].
	Force    bool
	Workers  int
	Progress func(KeyProgress)
}

// Validate checks the options, without looking at the file system. Errors are of type [*Error].
func (o *KeyPairOptions) Validate() error {
	refuse := func(option, value, format string, args ...any) error {
		return &Error{Field: option, Value: value, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case o.Dir == "":
		return refuse("out", "", "want a folder")
	case o.Name == "" || o.Name != filepath.Base(o.Name) || strings.HasPrefix(o.Name, ".") || strings.ContainsRune(o.Name, 0):
		return refuse("name", quote(o.Name), "want the start of a file name")
	case o.Scheme == nil:
		return refuse("scheme", "", "want one")
	case o.ActivationSlot >= o.Scheme.Lifetime():
		return refuse("activation-slot", strconv.FormatUint(o.ActivationSlot, 10), "want less than %d, the lifetime of the %s scheme", o.Scheme.Lifetime(), o.Scheme)
	case o.ActiveSlots < 1 || o.ActiveSlots > o.Scheme.Lifetime()-o.ActivationSlot:
		return refuse("active-slots", strconv.FormatUint(o.ActiveSlots, 10), "want 1 to %d, what the %s scheme has from slot %d on",
			o.Scheme.Lifetime()-o.ActivationSlot, o.Scheme, o.ActivationSlot)
	}
	return nil
}

// KeyPair is a validator's pair of keys that was written.
type KeyPair struct {
	GenesisValidator
	// FirstSlot and LastSlot are the slots for which both keys can sign, both included.
	FirstSlot, LastSlot uint64
	// Files are the paths of the four files: secret and public key, for attestations and for proposals.
	Files []string
}

// WriteKeyPair makes the two keys of one validator and writes them as SSZ, all four files or none. The names
// are those of [KeyFileName]. A file that is there already is refused, with an error that is [fs.ErrExist],
// unless Force is set.
func WriteKeyPair(ctx context.Context, options KeyPairOptions) (*KeyPair, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	checkFree := func() error {
		if options.Force {
			return nil
		}
		for _, role := range roles {
			for _, secret := range []bool{true, false} {
				if err := refuseExisting(filepath.Join(options.Dir, KeyFileName(options.Name, role, secret))); err != nil {
					return err
				}
			}
		}
		return nil
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
			ActivationSlot: options.ActivationSlot,
			NumActiveSlots: options.ActiveSlots,
			Short:          !options.Full,
			Workers:        options.Workers,
		},
		total:    len(roles),
		progress: options.Progress,
	}
	pair := &KeyPair{}
	if pair.GenesisValidator, err = maker.writePair(ctx, s, "", options.Name); err != nil {
		return nil, err
	}
	pair.FirstSlot, pair.LastSlot = maker.start, maker.end-1
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkFree(); err != nil {
		return nil, err
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	for _, name := range s.names {
		pair.Files = append(pair.Files, filepath.Join(options.Dir, name))
	}
	return pair, nil
}

// keyMaker makes keys, one after the other, and writes them into a stage.
type keyMaker struct {
	scheme     *xmss.Scheme
	keys       xmss.KeyGenOptions
	made       int
	total      int
	progress   func(KeyProgress)
	start, end uint64 // the window of the key made last
}

// writePair makes and writes the keys of one validator, in a folder of the stage.
func (m *keyMaker) writePair(ctx context.Context, s *stage, folder, name string) (GenesisValidator, error) {
	var public [len(roles)][PublicKeySize]byte
	for _, role := range roles {
		options := m.keys
		report := func(done, total uint64, complete bool) {
			if m.progress != nil {
				m.progress(KeyProgress{Keys: m.made, TotalKeys: m.total, Name: name, Role: role, Complete: complete, Done: done, Total: total})
			}
		}
		options.Progress = func(done, total uint64) { report(done, total, false) }
		key, err := m.scheme.GenerateKey(ctx, options)
		if err != nil {
			return GenesisValidator{}, fmt.Errorf("make the %s key of %s: %w", role, name, err)
		}
		m.start, m.end = key.ActivationInterval()
		public[role] = key.PublicKey().Bytes()
		secret := key.Bytes()
		err = s.write(filepath.Join(folder, KeyFileName(name, role, true)), secret, 0o600)
		clear(secret)
		if err != nil {
			return GenesisValidator{}, err
		}
		if err := s.write(filepath.Join(folder, KeyFileName(name, role, false)), public[role][:], 0o644); err != nil {
			return GenesisValidator{}, err
		}
		m.made++
		report(0, 0, true)
	}
	return GenesisValidator{AttestationPublicKey: public[Attestation], ProposalPublicKey: public[Proposal]}, nil
}

func validatorName(index int) string { return "validator_" + strconv.Itoa(index) }

// logCeil is the base-2 logarithm, rounded up.
func logCeil(n uint64) int { return bits.Len64(n - 1) }

func renderGenesis(options *DevnetOptions, genesisTime uint64, validators []GenesisValidator) string {
	prefix, names := "0x", [len(roles)]string{"attestation_public_key", "proposal_public_key"}
	if options.Dialect == Quickstart {
		prefix, names = "", [len(roles)]string{"attestation_pubkey", "proposal_pubkey"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Unix time, in seconds, at which slot 0 begins.\nGENESIS_TIME: %d\n\n", genesisTime)
	b.WriteString("ATTESTATION_COMMITTEE_COUNT: 1\n")
	if options.Dialect == Quickstart {
		fmt.Fprintf(&b, "ACTIVE_EPOCH: %d\nVALIDATOR_COUNT: %d\n", logCeil(options.ActiveSlots), len(validators))
	}
	b.WriteString("\n# The public keys of the validators, in the order of their indices.\nGENESIS_VALIDATORS:\n")
	for i := range validators {
		for _, role := range roles {
			key := validators[i].PublicKey(role)
			fmt.Fprintf(&b, "  %s %s: %q\n", [...]string{"-", " "}[role], names[role], prefix+hex.EncodeToString(key[:]))
		}
	}
	return b.String()
}

func renderAssignment(nodes []DevnetNode) string {
	var b strings.Builder
	for _, node := range nodes {
		if len(node.Validators) == 0 {
			fmt.Fprintf(&b, "%s: []\n", node.Name)
			continue
		}
		fmt.Fprintf(&b, "%s:\n", node.Name)
		for _, index := range node.Validators {
			fmt.Fprintf(&b, "  - %d\n", index)
		}
	}
	return b.String()
}

func renderAnnotation(nodes []DevnetNode, validators []GenesisValidator) string {
	var b strings.Builder
	for _, node := range nodes {
		if len(node.Validators) == 0 {
			fmt.Fprintf(&b, "%s: []\n", node.Name)
			continue
		}
		fmt.Fprintf(&b, "%s:\n", node.Name)
		for _, index := range node.Validators {
			for _, role := range roles {
				key := validators[index].PublicKey(role)
				// Quoted, as a key of decimal digits only would be a number to YAML.
				fmt.Fprintf(&b, "  - index: %d\n    pubkey_hex: \"%x\"\n    privkey_file: %s\n",
					index, key, KeyFileName(validatorName(int(index)), role, true))
			}
		}
	}
	return b.String()
}

func renderNodes(nodes []DevnetNode) string {
	var b strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&b, "- %s\n", node.ENR)
	}
	return b.String()
}

// renderSetup writes what lean-quickstart starts from, so that its scripts can run the network too.
func renderSetup(options *DevnetOptions, nodes []DevnetNode) string {
	var b strings.Builder
	fmt.Fprintf(&b, "shuffle: %s\ndeployment_mode: local\nconfig:\n", options.Shuffle)
	fmt.Fprintf(&b, "  activeEpoch: %d\n  keyType: \"hash-sig\"\n  attestation_committee_count: 1\nvalidators:\n", logCeil(options.ActiveSlots))
	for _, node := range nodes {
		fmt.Fprintf(&b, "  - name: %q\n    # /ip4/%s/udp/%d/quic-v1/p2p/%s\n", node.Name, node.IP, node.QUICPort, node.PeerID)
		fmt.Fprintf(&b, "    privkey: %q\n    enrFields:\n      ip: %q\n      quic: %d\n", node.key.Hex(), node.IP, node.QUICPort)
		fmt.Fprintf(&b, "    metricsPort: %d\n    apiPort: %d\n    isAggregator: %t\n    count: %d\n",
			node.MetricsPort, node.APIPort, node.IsAggregator, len(node.Validators))
	}
	return b.String()
}

func renderManifest(options *DevnetOptions, validators []GenesisValidator) string {
	dialect := 0
	if options.Dialect == Quickstart {
		dialect = 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "key_scheme: %s\nhash_function: Poseidon\nencoding: TargetSum\n", options.Scheme.KeyScheme())
	fmt.Fprintf(&b, "lifetime: %d\nlog_num_active_epochs: %d\nnum_active_epochs: %d\nnum_validators: %d\nvalidators:\n",
		options.Scheme.Lifetime(), logCeil(options.ActiveSlots), options.ActiveSlots, len(validators))
	for i := range validators {
		fmt.Fprintf(&b, "  - index: %d\n", i)
		for _, role := range roles {
			key := validators[i].PublicKey(role)
			fmt.Fprintf(&b, "    %s: \"0x%x\"\n    %s: %s\n",
				publicKeyFields[role][dialect], key, keyFileFields[role][dialect], KeyFileName(validatorName(i), role, true))
		}
	}
	return b.String()
}
