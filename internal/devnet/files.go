package devnet

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/leanEthereum/leanspec-node/deploy"
	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Dialect is the form in which the files of a network are written.
type Dialect string

// The dialects differ in the names of the key fields in config.yaml and in the manifest, and in whether hexadecimal keys in
// config.yaml begin with 0x.
const (
	LeanSpec   Dialect = "leanspec"
	Quickstart Dialect = "quickstart" // lean-quickstart and the other clients
)

// Shuffle is the order in which validators are assigned to nodes, by its name in lean-quickstart's validator-config.yaml.
type Shuffle string

// The orders: one validator to each node in turn, or a range of indices to each node.
const (
	RoundRobin Shuffle = "roundrobin"
	Contiguous Shuffle = "none"
)

// maxNodes keeps the standard port ranges of the nodes apart.
const maxNodes = 1000

// PrometheusFile is the name of the file in the folder of a network with which Prometheus scrapes its nodes, and rulesFile that of
// the alert rules beside it.
const (
	PrometheusFile = "prometheus.yml"
	rulesFile      = "prometheus-rules.yml"
)

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// FilesOptions describe the files of a network.
type FilesOptions struct {
	// Dir is the folder to write. WriteFiles creates it if it does not exist.
	Dir string
	// Nodes is the number of nodes. Their names are lean_spec_0, lean_spec_1 and so on. A node without a validator only
	// follows the chain.
	Nodes int
	// Validators is the size of the registry.
	Validators int
	// Scheme is the XMSS scheme of the keys.
	Scheme *xmss.Scheme
	// ActiveSlots is the number of slots, from slot 0, for which the keys can sign.
	ActiveSlots uint64
	// Full extends the window of the keys to leanSpec's standard window: whole bottom trees, and at least two of them.
	// leanSpec's own signer needs it. A window of exactly ActiveSlots takes a fraction of the time to make.
	Full bool
	// GenesisTime returns the start of slot 0 in Unix seconds. WriteFiles calls it once, after all keys are made.
	GenesisTime func() uint64
	// Dialect and Shuffle default to LeanSpec and RoundRobin.
	Dialect Dialect
	Shuffle Shuffle
	// IP is the IPv4 address in the records of the nodes. The default is 127.0.0.1.
	IP netip.Addr
	// Places returns the places of the nodes, in order. The default is [StandardPlace] of each, at IP. WriteFiles calls
	// it once, after all keys are made, so that ports that it finds free are likely to be free when the nodes start.
	Places func() ([]Place, error)
	// Force replaces the files of an older network. Without it, WriteFiles does not touch existing files.
	Force bool
	// Progress, if set, receives the progress of the key generation. Calls do not overlap.
	Progress func(KeyProgress)
}

// Files describes the files of a network that was written.
type Files struct {
	Dir         string
	GenesisTime uint64
	// ActiveSlots is the number of slots, from slot 0, for which the keys can sign.
	ActiveSlots uint64
	Nodes       []NodeFiles
	// Paths are the paths of all files, in the order of writing.
	Paths []string
}

// Place is the address, the ports and the role of a node.
type Place struct {
	IP netip.Addr // IPv4
	Ports
	IsAggregator bool
}

// StandardPlace returns the default place of the node with index i. Each node has the ports after those of the previous one,
// and the first node is the aggregator.
func StandardPlace(i int, ip netip.Addr) Place {
	n := uint16(i)
	return Place{IP: ip, Ports: Ports{QUIC: 9001 + n, API: 5052 + n, Metrics: 8008 + n}, IsAggregator: i == 0}
}

// NodeFiles describes a node in the files of a network.
type NodeFiles struct {
	Place
	Name       string
	Validators []uint64
	PeerID     string
	ENR        string
	// KeyPath is the file of the node's identity.
	KeyPath string

	key *config.NodeKey
}

// Validate checks the options without accessing the file system. Scheme and GenesisTime must be set. Errors are of type [*config.Error].
func (o *FilesOptions) Validate() error {
	switch {
	case o.Dir == "":
		return refuse(setting.Out, "", "want a folder")
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return refuse(setting.Nodes, strconv.Itoa(o.Nodes), "want 1 to %d", maxNodes)
	case o.Validators < 1 || o.Validators > config.RegistryLimit:
		return refuse(setting.Validators, strconv.Itoa(o.Validators), "want 1 to %d", config.RegistryLimit)
	case o.ActiveSlots < 1 || o.ActiveSlots > o.Scheme.Lifetime():
		return refuse(setting.ActiveSlots, strconv.FormatUint(o.ActiveSlots, 10), "want 1 to %d, the lifetime of the %s scheme", o.Scheme.Lifetime(), o.Scheme)
	case o.Dialect != "" && o.Dialect != LeanSpec && o.Dialect != Quickstart:
		return refuse(setting.Dialect, config.Quote(string(o.Dialect)), "want %s or %s", LeanSpec, Quickstart)
	case o.Shuffle != "" && o.Shuffle != RoundRobin && o.Shuffle != Contiguous:
		return refuse(setting.Shuffle, config.Quote(string(o.Shuffle)), "want %s or %s", RoundRobin, Contiguous)
	case o.IP.IsValid() && !o.IP.Is4():
		return refuse(setting.IP, config.Quote(o.IP.String()), "want an IPv4 address")
	}
	return nil
}

// refuse returns the error for an invalid option.
func refuse(option setting.Name, value, format string, args ...any) error {
	return &config.Error{Setting: option, Value: value, Problem: fmt.Sprintf(format, args...)}
}

// WriteFiles makes the keys of a network and writes all of its files, in the layout of lean-quickstart:
//
//	config.yaml                                genesis
//	validators.yaml, annotated_validators.yaml assignment of validators to nodes
//	nodes.yaml                                 ENRs of the nodes
//	validator-config.yaml                      names, identities and ports of the nodes
//	prometheus.yml, prometheus-rules.yml       scrape configuration and alert rules for Prometheus
//	<node>.key                                 identity of a node
//	hash-sig-keys/                             keys of the validators, and their manifest
//
// Only the owner can read files with secrets and new folders. The first node is the aggregator.
//
// WriteFiles moves the files to their final names after all keys are made, config.yaml last: a folder without config.yaml is
// not a network. If ctx is canceled, it removes everything that it made. Without Force, an existing file is an error that is
// [fs.ErrExist].
func WriteFiles(ctx context.Context, options FilesOptions) (*Files, error) {
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
		options.IP = localhost
	}
	nodes, err := planNodes(&options)
	if err != nil {
		return nil, err
	}
	checkFree := func() error { return checkFree(&options, nodes) }
	if err := checkFree(); err != nil {
		return nil, err
	}
	s, err := newStage(options.Dir)
	if err != nil {
		return nil, err
	}
	defer s.discard()

	maker := keyMaker{
		scheme:   options.Scheme,
		keys:     xmss.KeyGenOptions{NumActiveSlots: options.ActiveSlots, Short: !options.Full},
		total:    len(config.Roles) * options.Validators,
		progress: options.Progress,
	}
	validators := make([]config.GenesisValidator, options.Validators)
	for index := range validators {
		if validators[index], err = maker.writePair(ctx, s, config.KeysDir, validatorName(uint64(index))); err != nil {
			return nil, err
		}
	}
	options.ActiveSlots = maker.end // with Full, the window is longer than requested

	if err := placeNodes(&options, nodes); err != nil {
		return nil, err
	}
	files := &Files{Dir: options.Dir, GenesisTime: options.GenesisTime(), ActiveSlots: options.ActiveSlots, Nodes: nodes}
	if files.GenesisTime > config.LatestGenesisTime {
		return nil, refuse(setting.GenesisTime, strconv.FormatUint(files.GenesisTime, 10), "want Unix seconds before the year 10000")
	}
	for _, file := range []struct {
		name string
		text string
		perm fs.FileMode
	}{
		{filepath.Join(config.KeysDir, config.ManifestFile), renderManifest(&options, validators), 0o644},
		{config.AssignmentFile, renderAssignment(nodes), 0o644},
		{config.AnnotatedFile, renderAnnotated(nodes, validators), 0o644},
		{config.NodesFile, renderNodes(nodes), 0o644},
		{config.SetupFile, renderSetup(&options, nodes), 0o600},
		{PrometheusFile, renderPrometheus(nodes), 0o644},
		{rulesFile, deploy.AlertRules, 0o644},
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
	if err := s.write(config.GenesisFile, []byte(renderGenesis(&options, files.GenesisTime, validators)), 0o644); err != nil {
		return nil, err
	}
	files.Paths, err = s.commit(ctx, checkFree)
	if err != nil {
		return nil, err
	}
	return files, nil
}

// HasNetwork reports whether a folder holds a network that [WriteFiles] has written.
func HasNetwork(dir string) (bool, error) {
	return exists(filepath.Join(dir, config.GenesisFile))
}

// planNodes gives every node its name, identity and validators.
func planNodes(options *FilesOptions) ([]NodeFiles, error) {
	nodes := make([]NodeFiles, options.Nodes)
	for i := range nodes {
		key, err := config.GenerateNodeKey()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("lean_spec_%d", i)
		nodes[i] = NodeFiles{Name: name, PeerID: key.PeerID().String(), KeyPath: filepath.Join(options.Dir, name+".key"), key: key}
	}
	for index := range options.Validators {
		// In both orders, the first nodes get one validator more if the numbers do not divide evenly.
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

// placeNodes gives every node its place and the record that publishes it.
func placeNodes(options *FilesOptions, nodes []NodeFiles) error {
	places := make([]Place, len(nodes))
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
		node.Place = places[i]
		record, err := enr.Sign(node.key.ECDSA(), enr.Content{
			Seq: 1, Addr: netip.AddrPortFrom(node.IP, node.QUIC), ForkDigest: enr.DefaultForkDigest, IsAggregator: node.IsAggregator,
		})
		if err != nil {
			return err
		}
		node.ENR = record.String()
	}
	return nil
}

// checkFree returns an error if one of the files of the network exists.
func checkFree(options *FilesOptions, nodes []NodeFiles) error {
	if options.Force {
		return nil
	}
	names := []string{config.GenesisFile, config.AssignmentFile, config.AnnotatedFile, config.NodesFile, config.SetupFile, PrometheusFile, rulesFile}
	for _, node := range nodes {
		names = append(names, node.Name+".key")
	}
	// Any file in the folder of keys is refused: keys of an older network would stay among the new ones.
	folder := filepath.Join(options.Dir, config.KeysDir)
	entries, err := os.ReadDir(folder)
	if err != nil {
		if there, _ := exists(folder); there {
			return config.OSError(folder, err)
		}
	}
	if len(entries) > 0 {
		names = append(names, filepath.Join(config.KeysDir, entries[0].Name()))
	}
	return refuseExisting(options.Dir, names...)
}

// refuseExisting returns an error that is [fs.ErrExist] if one of the files in dir exists.
func refuseExisting(dir string, names ...string) error {
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch there, err := exists(path); {
		case err != nil:
			return err
		case there:
			return &config.Error{File: path, Problem: "already exists", Err: fs.ErrExist}
		}
	}
	return nil
}
