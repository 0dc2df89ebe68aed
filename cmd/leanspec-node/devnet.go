package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// defaultDevnetTimeout limits how long --until-finalized waits, counted from genesis.
const defaultDevnetTimeout = 5 * time.Minute

// devnetCmd runs a network of nodes on this machine.
type devnetCmd struct {
	Nodes          int            `default:"4" placeholder:"N" help:"Number of nodes, named lean_spec_0, lean_spec_1 and so on."`
	Validators     int            `default:"8" placeholder:"V" help:"Number of validators, assigned to the nodes in turn."`
	Scheme         string         `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test."`
	ActiveSlots    *uint64        `placeholder:"SLOTS" help:"Number of slots from genesis that the keys can sign (default 4096, or the scheme's lifetime if that is less)."`
	UntilFinalized *uint64        `placeholder:"SLOT" help:"Exit with 0 once every node has finalized this slot."`
	Timeout        *time.Duration `placeholder:"TIME" help:"With --until-finalized: exit with 1 if the slot is not finalized this long after genesis (default 5m)."`
	Dir            string         `placeholder:"DIR" help:"Folder for the files, logs and data of the network. Without it they are in a temporary folder, which is removed unless something failed."`
	JSON           bool           `name:"json" help:"Write JSON: one object for the network, one for each slot, and one for the result."`
	LogLevel       string         `default:"info" placeholder:"LEVEL" help:"Level of the nodes' logs: debug, info, warn or error."`
}

// Help returns the text before the flags.
func (*devnetCmd) Help() string {
	return "Makes a new network and runs its nodes on this machine, each in its own process, until Ctrl-C. " +
		"It prints one line for each slot, which groups the nodes by their view of the chain and marks disagreements with \"!!\". " +
		"DIR/NAME/log.jsonl is the log of a node. The nodes use the ports that the genesis command assigns if all of them are free, and other free ports otherwise; " +
		"nodes.yaml, validator-config.yaml and prometheus.yml have the ports in use. Prometheus scrapes the nodes with --config.file=DIR/prometheus.yml."
}

// options checks the flags and returns the options of the network.
func (c *devnetCmd) options() (*devnet.Options, error) {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return nil, err
	}
	if _, err := logging.ParseLevel(c.LogLevel); err != nil {
		return nil, badInput(fmt.Errorf("--log-level: %.64q: want debug, info, warn or error", c.LogLevel))
	}
	options := &devnet.Options{
		Dir:   cmp.Or(c.Dir, os.TempDir()), // Run makes a temporary folder there once all flags are valid
		Nodes: c.Nodes, Validators: c.Validators, Scheme: scheme, ActiveSlots: activeSlots(c.ActiveSlots, scheme.Lifetime()),
		StandardPorts: true, LogLevel: c.LogLevel,
	}
	if err := options.Validate(); err != nil {
		return nil, badInput(err)
	}
	switch {
	case c.UntilFinalized != nil && *c.UntilFinalized >= options.ActiveSlots:
		return nil, badInput(fmt.Errorf("--until-finalized: %d: want less than %d, the number of slots that the keys can sign", *c.UntilFinalized, options.ActiveSlots))
	case c.Timeout != nil && c.UntilFinalized == nil:
		return nil, badInput(errors.New("--timeout: needs --until-finalized"))
	case c.Timeout != nil && *c.Timeout <= 0:
		return nil, badInput(fmt.Errorf("--timeout: %s: want more than 0s", *c.Timeout))
	}
	return options, nil
}

// Run makes the network, runs it until it is interrupted or has reached its goal, and reports the result.
func (c *devnetCmd) Run(ctx context.Context, console *console) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	// A slow reader of stdout must not delay the network.
	out := logging.NewSink(console.out)
	defer out.Flush(flushTimeout)
	buffered := *console
	buffered.out, console = out, &buffered
	out.OnDrop(func(dropped uint64) {
		fmt.Fprintf(console.err, "leanspec-node: stdout was blocked: dropped %s\n", count(int(dropped), "write"))
	})
	temporary := c.Dir == ""
	if temporary {
		if options.Dir, err = os.MkdirTemp("", "leanspec-devnet-"); err != nil {
			return err
		}
	}
	progress := newKeyProgress(console)
	options.Progress = progress.report
	network, err := devnet.Start(ctx, *options)
	progress.finish()
	if err != nil {
		if temporary {
			_ = os.RemoveAll(options.Dir)
		}
		return explainWrite(err, "want a folder without a network for --dir")
	}

	var show devnetDisplay = devnetText{console}
	if c.JSON {
		show = devnetJSON{json.NewEncoder(console.out)}
	}
	show.begin(network)
	result, err := c.follow(ctx, network, show)
	if stopped := network.Stop(); err == nil {
		err = stopped
	}
	result.OK = err == nil
	if err != nil {
		result.Problem = err.Error()
	}
	for _, node := range network.Nodes {
		count, first, err := node.LogErrors()
		if err != nil {
			count, first = 1, []string{err.Error()}
		}
		if count > 0 {
			result.LogErrors = append(result.LogErrors, logErrors{node.Name, count, first})
		}
	}
	if temporary && result.OK && len(result.LogErrors) == 0 {
		err = os.RemoveAll(network.Dir)
	} else {
		result.Dir = network.Dir
	}
	show.end(result)
	return err
}

var errDevnetTimeout = errors.New("timeout")

// follow shows the network until it has finalized the slot of --until-finalized, cannot finalize it
// any more, or ctx is canceled. The error says why the network has failed.
func (c *devnetCmd) follow(ctx context.Context, network *devnet.Network, show devnetDisplay) (*devnetResult, error) {
	result := &devnetResult{Type: "result", Slot: c.UntilFinalized}
	timeout := defaultDevnetTimeout
	if c.Timeout != nil {
		timeout = *c.Timeout
	}
	following := ctx
	if c.UntilFinalized != nil {
		var cancel context.CancelFunc
		following, cancel = context.WithDeadlineCause(ctx, network.Clock.StartOf(0).Add(timeout), errDevnetTimeout)
		defer cancel()
	}
	reached := func(s *devnet.Status) bool {
		result.Last = s
		if c.UntilFinalized == nil {
			return false
		}
		root, ok := s.Finalized(*c.UntilFinalized)
		if ok {
			result.Root = root
		}
		return ok
	}
	err := network.Follow(following, func(s *devnet.Status) bool {
		show.slot(s)
		return reached(s) || c.UntilFinalized != nil && len(result.Died) > 0 && livingFinalized(s, *c.UntilFinalized)
	}, func(d devnet.Death) {
		result.Died = append(result.Died, d.Node)
		show.death(d)
	})
	switch {
	case errors.Is(err, errDevnetTimeout):
		if reached(network.Observe(ctx)) { // finalized since the last slot
			return result, nil
		}
		return result, fmt.Errorf("not every node finalized slot %d within %s of genesis", *c.UntilFinalized, timeout)
	case errors.Is(err, context.Canceled) && c.UntilFinalized != nil:
		return result, fmt.Errorf("interrupted before every node finalized slot %d", *c.UntilFinalized)
	case errors.Is(err, context.Canceled) && len(result.Died) == 0:
		return result, nil
	case errors.Is(err, devnet.ErrAllGone):
		return result, err
	case result.Root == "":
		return result, fmt.Errorf("died: %s", strings.Join(result.Died, ", "))
	default:
		return result, err
	}
}

// livingFinalized reports whether every node that is not dead has finalized a slot.
func livingFinalized(s *devnet.Status, slot uint64) bool {
	living := *s
	living.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(v devnet.View) bool { return v.State == devnet.Dead })
	_, ok := living.Finalized(slot)
	return ok
}

// devnetResult is the outcome of a devnet.
type devnetResult struct {
	Type      string         `json:"type"`
	OK        bool           `json:"ok"`
	Problem   string         `json:"problem,omitempty"`
	Slot      *uint64        `json:"slot,omitempty"` // the slot of --until-finalized
	Root      string         `json:"root,omitempty"` // the block that all nodes have finalized there
	Died      []string       `json:"died,omitempty"` // names of nodes
	LogErrors []logErrors    `json:"log_errors,omitempty"`
	Dir       string         `json:"dir,omitempty"` // the folder of the network, if it was kept
	Last      *devnet.Status `json:"last"`          // the latest status of the nodes
}

// logErrors summarizes the error lines in the log of a node.
type logErrors struct {
	Node  string   `json:"node"`
	Count int      `json:"count"`
	First []string `json:"first"`
}

// devnetDisplay writes the progress of a network to stdout.
type devnetDisplay interface {
	begin(*devnet.Network)
	slot(*devnet.Status)
	death(devnet.Death)
	end(*devnetResult)
}

// devnetText writes text for people.
type devnetText struct{ console *console }

func (t devnetText) begin(network *devnet.Network) {
	nodes, validators := network.Nodes, 0
	for _, node := range nodes {
		validators += len(node.Validators)
	}
	begin, end := slotStart(network.Clock.GenesisTime, 0), slotStart(network.Clock.GenesisTime, network.ActiveSlots)
	table := t.console.table()
	fmt.Fprintf(table, "network\t%s, %s, in %s\n", count(len(nodes), "node"), count(validators, "validator"), network.Dir)
	fmt.Fprintf(table, "genesis\t%s, %s\n", begin.Format(time.RFC3339), howSoon(begin, t.console.now()))
	fmt.Fprintf(table, "keys\t%s scheme, slots 0 to %d (until %s)\n", network.Scheme, network.ActiveSlots-1, end.Format(time.RFC3339))
	table.Flush()
	fmt.Fprintln(t.console.out)

	const shown = 16
	fmt.Fprintln(table, "node\tvalidators\tapi\tmetrics\thealth\tpeer id")
	for _, node := range nodes[:min(shown, len(nodes))] {
		duties := ranges(node.Validators)
		if node.IsAggregator {
			duties += " (aggregator)"
		}
		fmt.Fprint(table, node.Name, "\t", duties)
		for _, url := range []string{node.APIURL(), node.MetricsURL(), node.HealthURL()} {
			fmt.Fprint(table, "\t", strings.TrimPrefix(url, "http://"))
		}
		fmt.Fprintf(table, "\t%s\n", node.PeerID)
	}
	table.Flush()
	if more := len(nodes) - shown; more > 0 {
		fmt.Fprintf(t.console.out, "and %d more\n", more)
	}
	fmt.Fprintln(t.console.out)
}

// count formats a number of things, with the plural of a regular noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (t devnetText) slot(s *devnet.Status) { fmt.Fprintln(t.console.out, statusLine(s)) }

func (t devnetText) death(d devnet.Death) { fmt.Fprintln(t.console.out, d) }

func (t devnetText) end(r *devnetResult) {
	out := t.console.out
	switch {
	case r.OK && r.Slot != nil:
		fmt.Fprintf(out, "\nEvery node has finalized slot %d: %s\n", *r.Slot, r.Root)
	case !r.OK && r.Last != nil:
		fmt.Fprintf(out, "\nLatest status of the nodes, at slot %d:\n%s", r.Last.Slot, r.Last.Details())
	default:
		fmt.Fprintln(out, "\nStopped.")
	}
	for _, logged := range r.LogErrors {
		fmt.Fprintf(out, "%s logged errors (%s):\n  %s\n", logged.Node, count(logged.Count, "line"), strings.Join(logged.First, "\n  "))
	}
	if r.Dir != "" {
		fmt.Fprintf(out, "Files and logs are in %s.\n", r.Dir)
	}
}

// statusLine formats the status of a slot as one line. It groups nodes with the same view of the chain.
func statusLine(s *devnet.Status) string {
	type group struct {
		nodes []uint64
		peers []string
		text  string // the view without its peers
		mark  string
	}
	var groups []group
	for i, v := range s.Nodes {
		text := v.Condition()
		if v.State == devnet.Up {
			text = v.Checkpoints()
		}
		at := slices.IndexFunc(groups, func(g group) bool { return g.text == text && g.mark == v.Mark() })
		if at < 0 {
			at = len(groups)
			groups = append(groups, group{text: text, mark: v.Mark()})
		}
		g := &groups[at]
		g.nodes = append(g.nodes, uint64(i))
		if v.State == devnet.Up {
			g.peers = append(g.peers, strconv.Itoa(v.Peers))
		}
	}
	parts := make([]string, len(groups))
	for i, g := range groups {
		name := "node"
		if len(g.nodes) > 1 {
			name = "nodes"
		}
		parts[i] = fmt.Sprintf("%s %s: %s", name, ranges(g.nodes), g.text)
		if len(g.peers) > 0 {
			if len(slices.Compact(slices.Clone(g.peers))) == 1 {
				g.peers = g.peers[:1]
			}
			parts[i] += ", peers " + strings.Join(g.peers, "/")
		}
		parts[i] += g.mark
	}
	line := fmt.Sprintf("slot %3d  %s", s.Slot, strings.Join(parts, " | "))
	for _, d := range s.Disagreements {
		line += "  !! " + d.String()
	}
	return line
}

// devnetJSON writes JSON for programs: one object per line, with a field "type".
type devnetJSON struct{ out *json.Encoder }

func (j devnetJSON) write(object any) { _ = j.out.Encode(object) } // without a reader, only the exit code matters

func (j devnetJSON) begin(network *devnet.Network) {
	type node struct {
		Name         string   `json:"name"`
		Validators   []uint64 `json:"validators"`
		IsAggregator bool     `json:"is_aggregator"`
		API          string   `json:"api"`
		Metrics      string   `json:"metrics"`
		Health       string   `json:"health"`
		Multiaddr    string   `json:"multiaddr"`
		ENR          string   `json:"enr"`
		PeerID       string   `json:"peer_id"`
		PID          int      `json:"pid"`
		Log          string   `json:"log"`
	}
	object := struct {
		Type        string `json:"type"`
		Dir         string `json:"dir"`
		GenesisTime uint64 `json:"genesis_time"`
		ActiveSlots uint64 `json:"active_slots"`
		Nodes       []node `json:"nodes"`
	}{Type: "network", Dir: network.Dir, GenesisTime: network.Clock.GenesisTime, ActiveSlots: network.ActiveSlots}
	for _, n := range network.Nodes {
		object.Nodes = append(object.Nodes, node{
			n.Name, append([]uint64{}, n.Validators...), n.IsAggregator,
			n.APIURL(), n.MetricsURL(), n.HealthURL(), n.Multiaddr(), n.ENR, n.PeerID, n.PID(), n.LogPath(),
		})
	}
	j.write(object)
}

func (j devnetJSON) slot(s *devnet.Status) {
	j.write(struct {
		Type string `json:"type"`
		*devnet.Status
	}{"slot", s})
}

func (j devnetJSON) death(d devnet.Death) {
	j.write(struct {
		Type string `json:"type"`
		devnet.Death
	}{"death", d})
}

func (j devnetJSON) end(r *devnetResult) { j.write(r) }
