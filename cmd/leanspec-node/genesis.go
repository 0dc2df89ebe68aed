package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// defaultActiveSlots is about four and a half hours. A key with this window is made in seconds.
const defaultActiveSlots = 4096

// genesisCmd writes the files of a new network.
type genesisCmd struct {
	Nodes       int     `required:"" placeholder:"N" help:"Number of nodes, named lean_spec_0, lean_spec_1 and so on."`
	Validators  int     `required:"" placeholder:"V" help:"Number of validators."`
	Scheme      string  `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test."`
	ActiveSlots *uint64 `placeholder:"SLOTS" help:"Number of slots from genesis that the keys can sign (default 4096, or the scheme's lifetime if that is less)."`
	Full        bool    `help:"Make keys with the standard window: at least two whole bottom trees. This takes much longer. Other clients can read shorter keys too. When a key ends, this node stops signing, and ethlambda panics."`
	GenesisTime string  `default:"+20s" placeholder:"TIME" help:"Start of slot 0: a delay from the moment when the keys are ready, such as +20s, or a time in Unix seconds or RFC 3339."`
	Dialect     string  `default:"leanspec" placeholder:"NAME" help:"Dialect of the files: leanspec or quickstart."`
	Shuffle     string  `default:"roundrobin" placeholder:"ORDER" help:"Assignment of validators to nodes: roundrobin, or none for consecutive blocks."`
	IP          string  `default:"127.0.0.1" placeholder:"IP" help:"IPv4 address in the node records."`
	Force       bool    `xor:"older" help:"Replace an existing network in the folder."`
	Keep        bool    `xor:"older" help:"For scripts that start containers: if the folder already holds a network, write nothing and exit with 0. The output has no ports and commands."`
	Out         string  `required:"" placeholder:"DIR" help:"Folder to write to."`
}

// Help returns the text before the flags.
func (*genesisCmd) Help() string {
	return "Makes the keys of a new network and writes its files in the layout of lean-quickstart: config.yaml, validators.yaml, " +
		"annotated_validators.yaml, nodes.yaml, validator-config.yaml, <node>.key and hash-sig-keys; and prometheus.yml with alert rules for Prometheus. " +
		"Use them for a devnet only: the keys can sign few slots, and one folder holds all secrets of the network."
}

// Run makes the network and prints how to run its nodes.
func (c *genesisCmd) Run(ctx context.Context, console *console) error {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return err
	}
	begin, err := parseGenesisTime(c.GenesisTime)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(c.IP)
	if err != nil || !ip.Is4() {
		return badInput(fmt.Errorf("--ip: %.64q: want an IPv4 address", c.IP))
	}
	if c.Keep {
		switch there, err := devnet.HasNetwork(c.Out); {
		case err != nil:
			return badInput(err)
		case there:
			fmt.Fprintf(console.out, "%s already holds a network; nothing was written.\n", c.Out)
			return nil
		}
	}
	progress := newKeyProgress(console)
	options := devnet.FilesOptions{
		Dir:         c.Out,
		Nodes:       c.Nodes,
		Validators:  c.Validators,
		Scheme:      scheme,
		ActiveSlots: activeSlots(c.ActiveSlots, scheme.Lifetime()),
		Full:        c.Full,
		GenesisTime: func() uint64 { return begin(console.now()) },
		Dialect:     devnet.Dialect(c.Dialect),
		Shuffle:     devnet.Shuffle(c.Shuffle),
		IP:          ip,
		Force:       c.Force,
		Progress:    progress.report,
	}
	if err := options.Validate(); err != nil {
		return badInput(err)
	}
	if err := checkGenesisTime(begin(console.now()), &options, console.now()); err != nil {
		return err
	}
	files, err := devnet.WriteFiles(ctx, options)
	progress.finish()
	if err != nil {
		return explainWrite(err, "--force replaces it")
	}
	printFiles(console, files, scheme)
	if !c.Keep { // containers have ports and commands of their own
		printCommands(console, files, scheme)
	}
	return nil
}

// checkGenesisTime rejects a time that is too late, and one after which the keys have already expired.
func checkGenesisTime(begin uint64, options *devnet.FilesOptions, now time.Time) error {
	if begin > config.LatestGenesisTime {
		return badInput(fmt.Errorf("--genesis-time: %d: want Unix seconds before the year 10000", begin))
	}
	window := options.ActiveSlots
	if options.Full { // whole bottom trees, at least two
		tree := options.Scheme.LeavesPerBottomTree()
		window = max((window+tree-1)/tree, 2) * tree
	}
	end := slotStart(begin, window)
	if end.After(now) {
		return nil
	}
	advice := "want a later time"
	if slotStart(begin, options.Scheme.Lifetime()).After(now) {
		advice += " or more --active-slots"
	}
	return badInput(fmt.Errorf("--genesis-time: %d (%s): keys for %d slots expired at %s; %s",
		begin, slotStart(begin, 0).Format(time.RFC3339), window, end.Format(time.RFC3339), advice))
}

// slotStart returns the start of a slot. It avoids [time.Duration], which overflows for distant slots.
func slotStart(genesisTime, slot uint64) time.Time {
	return time.Unix(int64(genesisTime+slot*lstar.SecondsPerSlot), 0).UTC()
}

// howSoon describes the time from now until at.
func howSoon(at, now time.Time) string {
	const day = 24 * 60 * 60
	switch seconds := at.Unix() - now.Unix(); {
	case seconds < 0:
		return "in the past"
	case seconds >= 2*365*day:
		return fmt.Sprintf("in about %d years", seconds/(365.2425*day))
	case seconds >= 2*day:
		return fmt.Sprintf("in %d days", seconds/day)
	default:
		return "in " + at.Sub(now).Round(time.Second).String()
	}
}

// printFiles prints a summary of the written files.
func printFiles(console *console, files *devnet.Files, scheme *xmss.Scheme) {
	begin, end := slotStart(files.GenesisTime, 0), slotStart(files.GenesisTime, files.ActiveSlots)
	validators := 0
	for _, node := range files.Nodes {
		validators += len(node.Validators)
	}
	fmt.Fprintf(console.out, "Wrote %d files to %s.\n\n", len(files.Paths), files.Dir)
	table := console.table()
	fmt.Fprintf(table, "genesis\t%s, %s (%d)\n", begin.Format(time.RFC3339), howSoon(begin, console.now()), files.GenesisTime)
	fmt.Fprintf(table, "keys\t%s, %s scheme, slots 0 to %d (until %s)\n", count(validators, "validator"), scheme, files.ActiveSlots-1, end.Format(time.RFC3339))
	table.Flush()
}

// printCommands prints the ports of the nodes and how to run and watch them.
func printCommands(console *console, files *devnet.Files, scheme *xmss.Scheme) {
	fmt.Fprintln(console.out)
	const shown = 16
	table := console.table()
	fmt.Fprintln(table, "node\tvalidators\tquic\tapi\tmetrics\tpeer id")
	for _, node := range files.Nodes[:min(shown, len(files.Nodes))] {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\n", node.Name, ranges(node.Validators), node.QUIC, node.API, node.Metrics, node.PeerID)
	}
	table.Flush()
	if more := len(files.Nodes) - shown; more > 0 {
		fmt.Fprintf(console.out, "and %d more\n", more)
	}

	fmt.Fprintf(console.out, "\nRun the first node:\n\n  %s\n", runCommand(files, scheme))
	if len(files.Nodes) > 1 {
		fmt.Fprintf(console.out, "\nRun each other node with its own name, files and ports, with the first record of\n%s as --bootnode, and without --is-aggregator.\n",
			filepath.Join(files.Dir, "nodes.yaml"))
	}
	fmt.Fprintf(console.out, "\nWatch the nodes:\n\n  prometheus --config.file=%s --storage.tsdb.path=%s\n",
		shellWord(filepath.Join(files.Dir, devnet.PrometheusFile)), shellWord(filepath.Join(files.Dir, "prometheus")))
}

// runCommand returns the command line of the first node, which is the aggregator.
func runCommand(files *devnet.Files, scheme *xmss.Scheme) string {
	node := files.Nodes[0]
	words := []string{
		"leanspec-node",
		"--genesis", filepath.Join(files.Dir, "config.yaml"),
		"--validator-keys", files.Dir,
		"--node-id", node.Name,
		"--node-key", node.KeyPath,
		"--scheme", scheme.String(),
		"--data-dir", filepath.Join(files.Dir, "data", node.Name),
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", node.QUIC),
		"--api-port", strconv.Itoa(int(node.API)),
		"--metrics-port", strconv.Itoa(int(node.Metrics)),
		"--is-aggregator",
	}
	for i, word := range words {
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}

// plainWord matches words that a POSIX shell does not change.
var plainWord = regexp.MustCompile(`^[\w./:=,@+-]+$`)

// shellWord quotes a word for a POSIX shell if necessary.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// ranges formats ascending indices, such as 0-3,7. It shortens long lists.
func ranges(indices []uint64) string {
	const shown = 6
	if len(indices) == 0 {
		return "none"
	}
	var parts []string
	for i := 0; i < len(indices); {
		j := i
		for j+1 < len(indices) && indices[j+1] == indices[j]+1 {
			j++
		}
		if len(parts) == shown {
			parts = append(parts, fmt.Sprintf("… (%d)", len(indices)))
			break
		}
		part := strconv.FormatUint(indices[i], 10)
		if j > i {
			part += "-" + strconv.FormatUint(indices[j], 10)
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// parseGenesisTime parses --genesis-time. The returned function takes the time at which the keys
// are ready, and returns the genesis time in Unix seconds.
func parseGenesisTime(text string) (func(now time.Time) uint64, error) {
	failure := badInput(fmt.Errorf("--genesis-time: %.64q: want a delay such as +20s, Unix seconds, or RFC 3339", text))
	if delay, relative := strings.CutPrefix(text, "+"); relative {
		d, err := time.ParseDuration(delay)
		if err != nil || d < 0 {
			return nil, failure
		}
		return func(now time.Time) uint64 {
			at := now.Add(d)
			if at.Nanosecond() > 0 { // round up: genesis is at least d from now
				at = at.Add(time.Second)
			}
			return uint64(max(at.Unix(), 0))
		}, nil
	}
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return func(time.Time) uint64 { return seconds }, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.Unix() >= 0 {
		return func(time.Time) uint64 { return uint64(at.Unix()) }, nil
	}
	return nil, failure
}

// activeSlots returns the value of --active-slots, or its default, which is at most limit.
func activeSlots(flag *uint64, limit uint64) uint64 {
	if flag != nil {
		return *flag
	}
	return min(defaultActiveSlots, limit)
}

// parseScheme parses --scheme. Its error names LEAN_ENV if the value comes from there.
func parseScheme(name string) (*xmss.Scheme, error) {
	scheme, err := xmss.ParseScheme(name)
	if err != nil {
		var names []string
		for _, scheme := range config.Schemes() {
			names = append(names, scheme.String())
		}
		from := "--scheme"
		if name != "" && strings.EqualFold(name, os.Getenv("LEAN_ENV")) {
			from = "LEAN_ENV"
		}
		return nil, badInput(fmt.Errorf("%s: %.64q: want %s", from, name, strings.Join(names, " or ")))
	}
	return scheme, nil
}

// explainWrite explains an error of writing files. Unusable folders and existing files are mistakes
// in the input, and advice is added for existing files; an interrupt is not a mistake.
func explainWrite(err error, advice string) error {
	var existing *config.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted, nothing was written: %w", context.Canceled)
	case errors.As(err, &existing) && existing.Err == fs.ErrExist: // found before anything was written
		return badInput(fmt.Errorf("%w; %s", err, advice))
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return badInput(err)
	default:
		return err
	}
}
