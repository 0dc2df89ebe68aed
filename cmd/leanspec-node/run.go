package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// processStart approximates the start of the process.
var processStart = time.Now()

// runCmd runs a node. The flags that leanSpec's node has too have the same names, defaults and meanings.
//
// leanSpec: cli/args.py, cli/bootstrap.py
type runCmd struct {
	Genesis           string   `required:"" placeholder:"FILE" group:"Chain" help:"Genesis file of the network, config.yaml."`
	ValidatorKeys     string   `placeholder:"DIR" group:"Chain" help:"Folder that holds validators.yaml and the keys. Without it the node follows the chain and performs no duties."`
	NodeID            string   `name:"node-id" default:"lean_spec_0" placeholder:"NAME" group:"Chain" help:"Name of this node in validators.yaml, which assigns its validators."`
	IsAggregator      bool     `group:"Chain" help:"Aggregate votes. Needs --validator-keys."`
	AggregateSubnets  string   `name:"aggregate-subnet-ids" placeholder:"IDS" group:"Chain" help:"Additional subnets to aggregate, such as 0,1,2. Needs --is-aggregator."`
	Scheme            string   `default:"prod" placeholder:"NAME" group:"Chain" help:"XMSS signature scheme, prod or test; LEAN_ENV=test also selects test."`
	ProofScheme       string   `default:"siglist" placeholder:"NAME" group:"Chain" help:"Scheme of the aggregation proofs; only siglist exists."`
	APIPort           int      `name:"api-port" default:"5052" placeholder:"PORT" group:"Ports" help:"Port of the HTTP API, which also serves /metrics; 0 disables it."`
	MetricsPort       int      `default:"8008" placeholder:"PORT" group:"Ports" help:"Port of /metrics, /health, /livez and /readyz; 0 disables it. If the flag is not set and the default port is in use, the node takes the next free port."`
	HTTPAddress       string   `name:"http-address" default:"127.0.0.1" placeholder:"IP" group:"Ports" help:"IP address on which the node serves the API, the metrics and the health checks; 0.0.0.0 serves them on all interfaces."`
	RPCPort           int      `name:"rpc-port" placeholder:"PORT" group:"Ports" help:"Additional port of /health, /livez and /readyz. Disabled unless set."`
	AdminTokenFile    string   `placeholder:"FILE" group:"Ports" help:"File with the bearer token that the admin routes require, /lean/v0/admin/ and /debug/pprof/. Without it they are open to programs on this machine only."`
	AdminOpen         bool     `group:"Ports" help:"Open the admin routes to everyone who can reach the ports. Anyone who uses them can change the node and read its memory."`
	CORSOrigin        []string `name:"cors-origin" sep:"none" placeholder:"ORIGIN" group:"Ports" help:"Origin of web pages that may read the API in a browser, such as http://localhost:3000, or * for all. Repeat the flag, or separate origins with commas or spaces, to give several."`
	LogLevel          string   `default:"info" placeholder:"LEVEL" group:"Logs" help:"Level of the log: debug, info, warn or error. Components can have levels of their own: info,p2p=debug,libp2p=error. The API can change the levels at run time."`
	LogFormat         string   `default:"text" placeholder:"FORMAT" group:"Logs" help:"Format of the log: text or json."`
	Verbose           bool     `short:"v" group:"Logs" help:"The same as --log-level debug,libp2p=info."`
	NoColor           bool     `group:"Logs" help:"Do not color text logs."`
	Bootnode          []string `sep:"none" placeholder:"ADDR" aliases:"bootnodes" group:"Network" help:"Multiaddr or ENR of a node to connect to. Repeat the flag, or separate addresses with commas or spaces, to give several."`
	Listen            string   `default:"/ip4/0.0.0.0/udp/9001/quic-v1" placeholder:"ADDR" group:"Network" help:"Multiaddr to listen on. If it is empty, the node only dials."`
	AdvertiseAddress  string   `placeholder:"IP[:PORT]" group:"Network" help:"IPv4 address in the ENR of the node, for a container or a node behind a NAT. Without the port, the ENR has the port of --listen; without the flag, it has an address of this machine."`
	NodeKey           string   `placeholder:"FILE" group:"Network" help:"File with the identity of the node, a secp256k1 key in hex. Without it the node uses the key in --data-dir, or makes a new one."`
	NetworkName       string   `default:"12345678" placeholder:"NAME" group:"Network" help:"Name of the network in gossip topics."`
	CheckpointSyncURL string   `name:"checkpoint-sync-url" placeholder:"URL" group:"Network" help:"Start from the finalized state that the API at this URL serves, such as http://192.0.2.1:5052. Set a URL that holds a password in the environment: other users of the machine can read flags."`
	CommitteeCount    *uint64  `name:"attestation-committee-count" placeholder:"N" group:"Network" help:"Number of attestation subnets. Without it the value in config.yaml applies, or 1."`
	DataDir           string   `placeholder:"DIR" group:"Network" help:"Folder for the identity of the node, the chain, and a copy of the signing records. Without it the node keeps the chain in memory and loses it when it stops."`
}

// Help returns the text before the flags.
func (*runCmd) Help() string {
	return `The command name can be omitted: leanspec-node --genesis FILE runs a node.

Other commands, each with its own --help:
  leanspec-node devnet      run a network of nodes on this machine
  leanspec-node genesis     make the files of a new network
  leanspec-node keygen      make the keys of one validator
  leanspec-node keys        show what keys have signed, and move validators
  leanspec-node db          show and check the database of a stopped node
  leanspec-node health      check the health of the node on this machine
  leanspec-node version     show the version of this program
  leanspec-node completion  print the completion script of a shell
  leanspec-node man         print the manual page

To run a network of one node:
  leanspec-node genesis --nodes 1 --validators 4 --out net
  leanspec-node --genesis net/config.yaml --validator-keys net \
      --is-aggregator --data-dir data

http://localhost:8008/health then reports whether the node is synced, http://localhost:8008/metrics serves its metrics,
and http://localhost:5052/lean/v0/fork_choice shows its block tree.`
}

// Run validates all flags and files before it starts the node.
func (c *runCmd) Run(ctx context.Context, console *console, flags *flags, command *kong.Context) error {
	log, levels, err := c.logger(console)
	if err != nil {
		return err
	}
	if unknown := flags.unknownVariables(os.Environ(), command.Selected()); len(unknown) > 0 {
		log.Warn("unknown environment variables", "unknown", unknown,
			logging.Advice("These variables have no effect. Correct the names of those that are meant to set flags, and remove the others."))
	}
	cfg, err := c.resolve()
	if err != nil {
		return badInput(err)
	}
	cfg.Log, cfg.LogLevels = log, levels
	if unknown := cfg.Genesis.UnknownKeys; len(unknown) > 0 {
		log.Warn("unknown keys in the genesis file", "file", c.Genesis, "unknown", unknown,
			logging.Advice("These keys have no effect. Correct a misspelled key; ignore the keys of other clients."))
	}
	if c.ValidatorKeys != "" && len(cfg.Keys) == 0 {
		log.Warn("no validators are assigned to this node", "node", c.NodeID, "folder", c.ValidatorKeys,
			logging.Advice("If this node has duties, correct its entry in validators.yaml, then restart it; otherwise remove --validator-keys."))
	}
	if cfg.PeerNames, err = config.LoadPeerNames(filepath.Dir(c.Genesis)); err != nil { // the file belongs to other tools
		log.Warn("peers have no names in metrics", logging.Err(err))
	}
	for _, exposed := range config.FindExposed(c.secretFiles(cfg)) {
		log.Warn("secret keys can be read by other users", "file", exposed.File, "mode", fmt.Sprintf("%04o", exposed.Mode), "files", exposed.Count,
			logging.Advice("Anyone who can read a secret key can sign with it. Run chmod 600 on the files of this folder; for Kubernetes see docs/keys.md."))
	}
	for _, exposed := range config.FindExposed([]string{c.AdminTokenFile}) {
		log.Warn("admin token can be read by other users", "file", exposed.File, "mode", fmt.Sprintf("%04o", exposed.Mode),
			logging.Advice("Anyone who can read the token can change this node. Run chmod 600 on the file."))
	}
	cfg.AnyMetricsPort = !isSet(command, "metrics-port")
	n, err := node.New(ctx, *cfg)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // stopped while it started
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO) || errors.Is(err, syncer.ErrUnavailable):
		return err // the fault is in this machine or in another node
	case err != nil:
		return badInput(err)
	}
	return n.Run(ctx)
}

func (c *runCmd) logger(console *console) (*slog.Logger, *logging.Control, error) {
	levels, err := logging.ParseLevels(c.LogLevel)
	if err != nil {
		return nil, nil, badInput(&config.Error{Setting: "--log-level", Problem: err.Error()})
	}
	if c.Verbose {
		levels = logging.LevelSpec{Level: slog.LevelDebug, Components: map[string]slog.Level{"libp2p": slog.LevelInfo}}
	}
	if c.LogFormat != logging.FormatText && c.LogFormat != logging.FormatJSON {
		return nil, nil, badInput(&config.Error{Setting: "--log-format", Value: strconv.Quote(c.LogFormat), Problem: "want text or json"})
	}
	log, control := logging.New(logging.Options{
		Format: c.LogFormat, Level: levels.Level, Components: levels.Components, NoColor: c.NoColor, Writer: console.err,
	})
	logging.RouteStandardLog(log)
	return log, control, nil
}

// resolve checks the flags, alone and together, reads the files that they name and returns the
// configuration.
//
// leanSpec: cli/bootstrap.py, NodeBootstrap.from_cli_args
func (c *runCmd) resolve() (*node.Config, error) {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return nil, err
	}
	if c.ProofScheme != "siglist" {
		return nil, &config.Error{Setting: "--proof-scheme", Value: strconv.Quote(c.ProofScheme), Problem: "want siglist"}
	}
	if err := c.checkPorts(); err != nil {
		return nil, err
	}
	address, err := parseHTTPAddress(c.HTTPAddress)
	if err != nil {
		return nil, err
	}
	admin, err := c.admin()
	if err != nil {
		return nil, err
	}
	origins, err := c.origins()
	if err != nil {
		return nil, err
	}
	advertise, err := c.advertise()
	if err != nil {
		return nil, err
	}
	if c.IsAggregator && c.ValidatorKeys == "" {
		return nil, &config.Error{Setting: "--is-aggregator", Problem: "needs --validator-keys: a node without validators cannot aggregate"}
	}
	subnets, err := c.subnets()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(c.NetworkName) == "" {
		return nil, &config.Error{Setting: "--network-name", Value: strconv.Quote(c.NetworkName), Problem: "want a name"}
	}
	if n := c.CommitteeCount; n != nil && (*n < 1 || *n > config.RegistryLimit) {
		return nil, &config.Error{Setting: "--attestation-committee-count", Value: strconv.FormatUint(*n, 10), Problem: fmt.Sprintf("want 1 to %d", config.RegistryLimit)}
	}
	bootnodes := splitValues(c.Bootnode)
	for _, b := range bootnodes {
		if _, err := p2p.ParseBootnode(b); err != nil && !errors.Is(err, p2p.ErrNotQUIC) {
			return nil, err
		}
	}
	if c.CheckpointSyncURL != "" {
		if _, err := syncer.ParseCheckpointURL(c.CheckpointSyncURL); err != nil {
			return nil, &config.Error{Setting: "--checkpoint-sync-url", Value: strconv.Quote(logging.RedactURL(c.CheckpointSyncURL)), Problem: err.Error()}
		}
	}
	if c.Genesis == "" {
		return nil, &config.Error{Setting: "--genesis", Value: `""`, Problem: "want a file"}
	}
	genesis, err := config.LoadGenesis(c.Genesis)
	if err != nil {
		return nil, err
	}
	var keys []config.ValidatorKeys
	if c.ValidatorKeys != "" {
		if keys, err = config.LoadValidatorKeys(c.ValidatorKeys, c.NodeID, genesis, scheme); err != nil {
			return nil, err
		}
		slots := clock.SlotClock{GenesisTime: genesis.GenesisTime}
		if err := config.CheckWindows(keys, uint64(slots.CurrentSlot(time.Now().UnixMilli()))); err != nil {
			return nil, err
		}
	}
	if c.IsAggregator && len(keys) == 0 {
		return nil, &config.Error{Setting: "--is-aggregator", Problem: fmt.Sprintf(
			"no validators are assigned to node %q in %s; check validators.yaml and --node-id", c.NodeID, c.ValidatorKeys)}
	}
	nodeKey, err := c.identity()
	if err != nil {
		return nil, err
	}
	committees := genesis.AttestationCommitteeCount
	if c.CommitteeCount != nil {
		committees = *c.CommitteeCount
	}
	build, _ := debug.ReadBuildInfo()
	version, _ := buildVersion(build)
	return &node.Config{
		NodeKey: nodeKey, Listen: c.Listen, Advertise: advertise, Bootnodes: bootnodes, NetworkName: c.NetworkName,
		Committees: committees, AggregateSubnetIDs: subnets, CheckpointSyncURL: c.CheckpointSyncURL,
		Version: version, NodeID: c.NodeID, Genesis: genesis, Keys: keys, Scheme: scheme, IsAggregator: c.IsAggregator,
		HTTPAddress: address, Admin: admin, CORSOrigins: origins, APIPort: c.APIPort, MetricsPort: c.MetricsPort, RPCPort: c.RPCPort,
		DataDir: c.DataDir,
		Time:    clock.System{}, StartTime: processStart,
	}, nil
}

// splitValues returns the values of a flag that can be repeated. One of them may hold several,
// separated by commas or spaces, because an environment variable is a single value.
func splitValues(values []string) (all []string) {
	for _, value := range values {
		parts := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if len(parts) == 0 {
			parts = []string{value} // resolve rejects it
		}
		all = append(all, parts...)
	}
	return all
}

// origins returns the origins of all --cors-origin flags, in the form in which browsers send them.
func (c *runCmd) origins() ([]string, error) {
	all := splitValues(c.CORSOrigin)
	for _, origin := range all {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || origin != strings.ToLower(u.Scheme+"://"+u.Host)) {
			return nil, &config.Error{Setting: "--cors-origin", Value: fmt.Sprintf("%.64q", origin), Problem: "want an origin such as http://localhost:3000, in lower case and without a path, or *"}
		}
	}
	return all, nil
}

// admin returns who may use the admin routes. It reads --admin-token-file.
func (c *runCmd) admin() (api.Access, error) {
	switch {
	case c.AdminOpen && c.AdminTokenFile != "":
		return api.Access{}, &config.Error{Setting: "--admin-open", Problem: "cannot be used together with --admin-token-file"}
	case c.AdminOpen:
		return api.Access{Open: true}, nil
	case c.AdminTokenFile == "":
		return api.Access{Advice: "Admin routes are open to programs on this machine only; start the node with --admin-token-file or --admin-open to use them from elsewhere"}, nil
	}
	text, err := config.ReadText(c.AdminTokenFile, 4096)
	if err != nil {
		return api.Access{}, err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return api.Access{}, &config.Error{File: c.AdminTokenFile, Problem: "want one line with a token of visible ASCII characters, without spaces"}
	}
	return api.Access{Token: token, Advice: "Admin routes need the token in --admin-token-file; send the header Authorization: Bearer TOKEN"}, nil
}

// parseHTTPAddress parses --http-address.
func parseHTTPAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return address, &config.Error{Setting: setting.HTTPAddress, Value: fmt.Sprintf("%.64q", text),
			Problem: "want an IP address such as 127.0.0.1, or 0.0.0.0 for all interfaces"}
	}
	return address, nil
}

// advertise parses --advertise-address. The result has port 0 if the flag has no port, and is
// invalid without the flag.
func (c *runCmd) advertise() (address netip.AddrPort, err error) {
	text := c.AdvertiseAddress
	if text == "" {
		return address, nil
	}
	failure := &config.Error{Setting: "--advertise-address", Value: fmt.Sprintf("%.64q", text)}
	if ip, parseErr := netip.ParseAddr(text); parseErr == nil {
		address = netip.AddrPortFrom(ip, 0)
	} else if address, err = netip.ParseAddrPort(text); err != nil || address.Port() == 0 {
		failure.Problem = "want an IPv4 address, with or without a port, such as 192.0.2.1:9001"
		return address, failure
	}
	switch {
	case !address.Addr().Is4() || address.Addr().IsUnspecified():
		failure.Problem = "want the IPv4 address at which other nodes reach this one"
		return address, failure
	case c.Listen == "":
		failure.Problem = "needs --listen: other nodes cannot reach a node that only dials"
		return address, failure
	}
	return address, nil
}

// checkPorts rejects invalid ports, and two flags with the same port.
func (c *runCmd) checkPorts() error {
	taken := make(map[int]string)
	for _, p := range []portFlag{{"--api-port", c.APIPort}, {"--metrics-port", c.MetricsPort}, {"--rpc-port", c.RPCPort}} {
		if err := p.check(); err != nil {
			return err
		}
		if other, ok := taken[p.port]; ok && p.port != 0 {
			return &config.Error{Setting: setting.Name(p.flag), Value: strconv.Itoa(p.port), Problem: "the same port as " + other}
		}
		taken[p.port] = p.flag
	}
	return nil
}

// portFlag is a flag that sets a TCP port.
type portFlag struct {
	flag string
	port int
}

func (p portFlag) check() error {
	if p.port < 0 || p.port > 65535 {
		return &config.Error{Setting: setting.Name(p.flag), Value: strconv.Itoa(p.port), Problem: "want a port from 1 to 65535, or 0 for no port"}
	}
	return nil
}

// subnets parses --aggregate-subnet-ids.
func (c *runCmd) subnets() (ids []uint64, err error) {
	if c.AggregateSubnets == "" {
		return nil, nil
	}
	if !c.IsAggregator {
		return nil, &config.Error{Setting: "--aggregate-subnet-ids", Problem: "needs --is-aggregator"}
	}
	for text := range strings.SplitSeq(c.AggregateSubnets, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, &config.Error{Setting: "--aggregate-subnet-ids", Value: strconv.Quote(c.AggregateSubnets), Problem: "want whole numbers, separated by commas"}
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// nodeKeyFile returns the file that holds the identity of the node, or "" if the identity is not stored.
func (c *runCmd) nodeKeyFile() string {
	if c.NodeKey == "" && c.DataDir != "" {
		return filepath.Join(c.DataDir, "node.key")
	}
	return c.NodeKey
}

// secretFiles lists the files that only the user of the node should be able to read.
func (c *runCmd) secretFiles(cfg *node.Config) []string {
	var files []string
	for _, k := range cfg.Keys {
		files = append(files, k.AttestationPath, k.ProposalPath)
	}
	if file := c.nodeKeyFile(); file != "" {
		files = append(files, file)
	}
	return files
}

// identity returns the node key: that of --node-key, that of the data folder, or a new one.
func (c *runCmd) identity() (*config.NodeKey, error) {
	if c.NodeKey != "" {
		return config.LoadNodeKey(c.NodeKey)
	}
	if c.DataDir == "" {
		return config.GenerateNodeKey()
	}
	return node.LoadOrMakeKey(c.nodeKeyFile())
}

// inputError is a mistake in the flags, the environment or the files of the operator.
type inputError struct{ error }

func badInput(err error) error { return inputError{err} }

func (e inputError) Unwrap() error { return e.error }

// ExitCode returns the exit code of the process.
func (inputError) ExitCode() int { return 2 }
