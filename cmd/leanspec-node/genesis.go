package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// defaultActiveSlots is four and a half hours of slots, enough for a devnet and made in seconds.
const defaultActiveSlots = 4096

// genesisCmd writes all files of a new network.
type genesisCmd struct {
	Nodes       int     `required:"" placeholder:"N" help:"Number of nodes, called lean_spec_0 and so on."`
	Validators  int     `required:"" placeholder:"V" help:"Number of validators."`
	Scheme      string  `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test (${default})."`
	ActiveSlots *uint64 `placeholder:"SLOTS" help:"Number of slots from genesis for which the keys can sign (4096, or the scheme's lifetime where that is less)."`
	Full        bool    `help:"Make keys with the standard window, whole trees and at least two of them, which takes much longer. Other clients read short keys too; where a key ends, this node signs nothing more and goes on, and ethlambda panics."`
	GenesisTime string  `default:"+20s" placeholder:"TIME" help:"When slot 0 begins: a time after the keys are ready such as +20s, Unix seconds, or RFC 3339 (${default})."`
	Dialect     string  `default:"leanspec" placeholder:"NAME" help:"Form of the files: leanspec or quickstart (${default})."`
	Shuffle     string  `default:"roundrobin" placeholder:"ORDER" help:"How validators are dealt to nodes: roundrobin, or none for a block each (${default})."`
	IP          string  `default:"127.0.0.1" placeholder:"IP" help:"IPv4 address in the nodes' records (${default})."`
	Force       bool    `xor:"older" help:"Replace the files of an older network in the folder."`
	Keep        bool    `xor:"older" help:"Leave an older network in the folder as it is, and be done."`
	Out         string  `required:"" placeholder:"DIR" help:"Folder to write."`
}

// Help is shown below the flags.
func (*genesisCmd) Help() string {
	return "Makes the keys of a new network and writes its files in lean-quickstart's layout: config.yaml, validators.yaml, " +
		"annotated_validators.yaml, nodes.yaml, validator-config.yaml, <node>.key and hash-sig-keys. " +
		"The keys are for a devnet: their window is short and the network's secrets are all in one folder."
}

// Run makes the network.
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
		switch there, err := config.HasNetwork(c.Out); {
		case err != nil:
			return badInput(err)
		case there:
			fmt.Fprintf(console.out, "There is a network in %s, nothing was written.\n", c.Out)
			return nil
		}
	}
	progress := newKeyProgress(console)
	options := config.DevnetOptions{
		Dir:         c.Out,
		Nodes:       c.Nodes,
		Validators:  c.Validators,
		Scheme:      scheme,
		ActiveSlots: min(defaultActiveSlots, scheme.Lifetime()),
		Full:        c.Full,
		GenesisTime: func() uint64 { return begin(console.now()) },
		Dialect:     config.Dialect(c.Dialect),
		Shuffle:     config.Shuffle(c.Shuffle),
		IP:          ip,
		Force:       c.Force,
		Progress:    progress.report,
	}
	if c.ActiveSlots != nil {
		options.ActiveSlots = *c.ActiveSlots
	}
	if err := options.Validate(); err != nil {
		return asUsage(err)
	}
	if err := checkGenesisTime(begin(console.now()), &options, console.now()); err != nil {
		return err
	}
	devnet, err := config.WriteDevnet(ctx, options)
	progress.finish()
	if err != nil {
		return explain(err)
	}
	printDevnet(console, devnet, scheme)
	return nil
}

// checkGenesisTime refuses a genesis that is too late, and one so long ago that no key could sign any more.
func checkGenesisTime(begin uint64, options *config.DevnetOptions, now time.Time) error {
	if begin > config.LatestGenesisTime {
		return badInput(fmt.Errorf("--genesis-time: %d: want Unix seconds before the year 10000", begin))
	}
	window := options.ActiveSlots
	if options.Full { // whole trees, two at least
		tree := options.Scheme.LeavesPerBottomTree()
		window = max((window+tree-1)/tree, 2) * tree
	}
	end := slotStart(begin, window)
	if end.After(now) {
		return nil
	}
	return badInput(fmt.Errorf("--genesis-time: %d (%s): the keys sign for %d slots and would have expired at %s; want a later time, or more --active-slots",
		begin, time.Unix(int64(begin), 0).UTC().Format(time.RFC3339), window, end.Format(time.RFC3339)))
}

// slotStart returns when a slot begins. A time.Duration is too short for the genesis times and the slots that there are.
func slotStart(genesisTime, slot uint64) time.Time {
	return time.Unix(int64(genesisTime+slot*lstar.SecondsPerSlot), 0).UTC()
}

// howSoon says how long it is until a time, in a form for reading.
func howSoon(at, now time.Time) string {
	const day = 24 * 60 * 60
	switch seconds := at.Unix() - now.Unix(); {
	case seconds < 0:
		return "already past"
	case seconds >= 2*365*day:
		return fmt.Sprintf("in about %d years", seconds/(365.2425*day))
	case seconds >= 2*day:
		return fmt.Sprintf("in %d days", seconds/day)
	default:
		return "in " + at.Sub(now).Round(time.Second).String()
	}
}

// printDevnet tells a person what was written and what to do next.
func printDevnet(console *console, devnet *config.Devnet, scheme *xmss.Scheme) {
	begin, end := slotStart(devnet.GenesisTime, 0), slotStart(devnet.GenesisTime, devnet.ActiveSlots)
	validators := 0
	for _, node := range devnet.Nodes {
		validators += len(node.Validators)
	}
	fmt.Fprintf(console.out, "Wrote %d files to %s.\n\n", len(devnet.Files), devnet.Dir)
	table := tabwriter.NewWriter(console.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "genesis\t%s, %s (%d)\n", begin.Format(time.RFC3339), howSoon(begin, console.now()), devnet.GenesisTime)
	fmt.Fprintf(table, "keys\t%d validators, %s scheme, slots 0 to %d (until %s)\n", validators, scheme, devnet.ActiveSlots-1, end.Format(time.RFC3339))
	table.Flush()
	fmt.Fprintln(console.out)

	const shown = 16
	table = tabwriter.NewWriter(console.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "node\tvalidators\tquic\tapi\tmetrics\tpeer id")
	for _, node := range devnet.Nodes[:min(shown, len(devnet.Nodes))] {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\n", node.Name, ranges(node.Validators), node.QUICPort, node.APIPort, node.MetricsPort, node.PeerID)
	}
	table.Flush()
	if more := len(devnet.Nodes) - shown; more > 0 {
		fmt.Fprintf(console.out, "and %d more\n", more)
	}

	fmt.Fprintf(console.out, "\nRun the first node:\n\n  %s\n", runCommand(devnet, scheme))
	if len(devnet.Nodes) > 1 {
		fmt.Fprintf(console.out, "\nThe others take their own names, files and ports, --bootnode with the first line of\n%s, and no --is-aggregator.\n",
			filepath.Join(devnet.Dir, "nodes.yaml"))
	}
}

// runCommand is the command line of the first node, the aggregator.
func runCommand(devnet *config.Devnet, scheme *xmss.Scheme) string {
	node := devnet.Nodes[0]
	words := []string{
		"leanspec-node",
		"--genesis", filepath.Join(devnet.Dir, "config.yaml"),
		"--validator-keys", devnet.Dir,
		"--node-id", node.Name,
		"--node-key", node.KeyPath,
		"--scheme", scheme.String(),
		"--data-dir", filepath.Join(devnet.Dir, "data", node.Name),
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", node.QUICPort),
		"--api-port", strconv.Itoa(int(node.APIPort)),
		"--metrics-port", strconv.Itoa(int(node.MetricsPort)),
		"--is-aggregator",
	}
	for i, word := range words {
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}

// shellWord quotes a word for a POSIX shell where it needs it.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// ranges shows ascending indices: neighbours as 0-3, the first few of many.
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

// parseGenesisTime reads the time of --genesis-time. The result turns the time at which the keys are ready into
// Unix seconds.
func parseGenesisTime(text string) (func(now time.Time) uint64, error) {
	failure := badInput(fmt.Errorf("--genesis-time: %.64q: want a time from now such as +20s, Unix seconds, or RFC 3339", text))
	if delay, relative := strings.CutPrefix(text, "+"); relative {
		d, err := time.ParseDuration(delay)
		if err != nil || d < 0 {
			return nil, failure
		}
		return func(now time.Time) uint64 {
			at := now.Add(d)
			if at.Nanosecond() > 0 { // never sooner than asked for
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

// parseScheme reads the name of --scheme.
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

// asUsage names the flag of an option that config refuses.
func asUsage(err error) error {
	var refused *config.Error
	if errors.As(err, &refused) && refused.File == "" && refused.Field != "" {
		return badInput(fmt.Errorf("--%w", err))
	}
	return badInput(err)
}

// explain tells apart the failures of writing files: an interrupt, files that are in the way, a place that cannot be
// written, and the rest.
func explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted, nothing was written: %w", context.Canceled)
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return badInput(err)
	default:
		return err
	}
}
