package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// defaultDevnetTimeout is how long --until-finalized waits.
const defaultDevnetTimeout = 5 * time.Minute

// devnetCmd runs a network of nodes on this machine.
type devnetCmd struct {
	Nodes          int            `default:"4" placeholder:"N" help:"Number of nodes, called lean_spec_0 and so on (${default})."`
	Validators     int            `default:"8" placeholder:"V" help:"Number of validators, dealt to the nodes in turn (${default})."`
	Scheme         string         `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test (${default})."`
	ActiveSlots    *uint64        `placeholder:"SLOTS" help:"Number of slots from genesis for which the keys can sign (4096, or the scheme's lifetime where that is less)."`
	UntilFinalized *uint64        `placeholder:"SLOT" help:"Stop, with exit code 0, once every node has finalized this slot."`
	Timeout        *time.Duration `placeholder:"TIME" help:"Give up on --until-finalized, with exit code 1, this long after genesis (5m)."`
	Dir            string         `placeholder:"DIR" help:"Folder for the network's files, the logs and the data, which stay. Without it they are in a temporary folder, which is removed if nothing failed."`
	JSON           bool           `name:"json" help:"Write JSON: an object for the network, one for each slot, and one for the result."`
	LogLevel       string         `default:"info" placeholder:"LEVEL" help:"Level of the nodes' logs: debug, info, warn or error (${default})."`
}

// Help is shown below the flags.
func (*devnetCmd) Help() string {
	return "Makes a new network and runs its nodes on this machine, each as a process of its own, until Ctrl-C. " +
		"Once a slot it shows what the nodes see, those that see the same together, and says where they disagree: \"!!\". " +
		"The log of a node is DIR/NAME/log.jsonl. The ports are those of the genesis command where all of them are free, otherwise others; " +
		"nodes.yaml and validator-config.yaml name those that were taken."
}

// options checks the flags.
func (c *devnetCmd) options() (*devnet.Options, error) {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return nil, err
	}
	if _, err := telemetry.ParseLevel(c.LogLevel); err != nil {
		return nil, badInput(fmt.Errorf("--log-level: %.64q: want debug, info, warn or error", c.LogLevel))
	}
	options := &devnet.Options{
		Dir: c.Dir, Nodes: c.Nodes, Validators: c.Validators,
		Scheme: scheme, ActiveSlots: min(defaultActiveSlots, scheme.Lifetime()),
		StandardPorts: true, LogLevel: c.LogLevel,
	}
	if c.ActiveSlots != nil {
		options.ActiveSlots = *c.ActiveSlots
	}
	checked := *options
	if checked.Dir == "" {
		checked.Dir = os.TempDir() // the folder itself is made once all flags are known to be good
	}
	if err := checked.Validate(); err != nil {
		return nil, asUsage(err)
	}
	switch {
	case c.UntilFinalized != nil && *c.UntilFinalized >= options.ActiveSlots:
		return nil, badInput(fmt.Errorf("--until-finalized: %d: want less than %d, the number of slots for which the keys can sign", *c.UntilFinalized, options.ActiveSlots))
	case c.Timeout != nil && c.UntilFinalized == nil:
		return nil, badInput(errors.New("--timeout: needs --until-finalized"))
	case c.Timeout != nil && *c.Timeout <= 0:
		return nil, badInput(fmt.Errorf("--timeout: %s: want more than nothing", *c.Timeout))
	}
	return options, nil
}

// Run makes the network and runs it to its end.
func (c *devnetCmd) Run(ctx context.Context, console *console) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	// The network must not wait for whoever reads the table.
	out := telemetry.NewSink(console.out)
	defer out.Flush(flushTimeout)
	console = console.withOut(out)
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
		return explainDevnet(err)
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

var errDevnetTimeout = errors.New("the time is up")

// follow watches the network until there is nothing more to wait for. The error says why it is no success.
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
	died := func() error { return fmt.Errorf("died: %s", strings.Join(result.Died, ", ")) }
	switch {
	case errors.Is(err, errDevnetTimeout):
		if reached(network.Observe(ctx)) { // what has come to pass since the last look
			return result, nil
		}
		return result, fmt.Errorf("slot %d was not finalized by every node within %s of genesis", *c.UntilFinalized, timeout)
	case errors.Is(err, context.Canceled) && c.UntilFinalized != nil:
		return result, fmt.Errorf("interrupted before every node had finalized slot %d", *c.UntilFinalized)
	case errors.Is(err, context.Canceled) && len(result.Died) == 0:
		return result, nil
	case errors.Is(err, devnet.ErrAllGone):
		return result, err
	case result.Root == "":
		return result, died()
	default:
		return result, err
	}
}

// livingFinalized reports whether all nodes that are not dead have finalized a slot: then nothing more will come.
func livingFinalized(s *devnet.Status, slot uint64) bool {
	living := *s
	living.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(v devnet.View) bool { return v.State == devnet.Dead })
	_, ok := living.Finalized(slot)
	return ok
}

// explainDevnet is explain for a command that replaces nothing.
func explainDevnet(err error) error {
	var refused *config.Error
	if errors.Is(err, fs.ErrExist) && errors.As(err, &refused) && refused.File != "" {
		return badInput(fmt.Errorf("%s: already there; a devnet wants a folder without a network", refused.File))
	}
	return explain(err)
}

// devnetResult is how a devnet ended.
type devnetResult struct {
	Type      string         `json:"type"`
	OK        bool           `json:"ok"`
	Problem   string         `json:"problem,omitempty"`
	Slot      *uint64        `json:"slot,omitempty"` // that of --until-finalized
	Root      string         `json:"root,omitempty"` // of the block that all nodes have finalized there
	Died      []string       `json:"died,omitempty"`
	LogErrors []logErrors    `json:"log_errors,omitempty"`
	Dir       string         `json:"dir,omitempty"` // where the files are, if they stay
	Last      *devnet.Status `json:"last"`          // what the nodes showed last
}

// logErrors are the error lines of a node's log.
type logErrors struct {
	Node  string   `json:"node"`
	Count int      `json:"count"`
	First []string `json:"first"`
}

// devnetDisplay shows a network, to people or to programs.
type devnetDisplay interface {
	begin(*devnet.Network)
	slot(*devnet.Status)
	death(devnet.Death)
	end(*devnetResult)
}

// devnetText is for people.
type devnetText struct{ console *console }

func (t devnetText) begin(network *devnet.Network) {
	nodes, validators := network.Nodes, 0
	for _, node := range nodes {
		validators += len(node.Validators)
	}
	begin, end := slotStart(network.Clock.GenesisTime, 0), slotStart(network.Clock.GenesisTime, network.ActiveSlots)
	table := tabwriter.NewWriter(t.console.out, 0, 0, 2, ' ', 0)
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

// count says how many there are of something.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (t devnetText) slot(s *devnet.Status) { fmt.Fprintln(t.console.out, statusLine(s)) }

func (t devnetText) death(d devnet.Death) { fmt.Fprintln(t.console.out, d) }

func (t devnetText) end(r *devnetResult) {
	out := t.console.out
	switch {
	case r.OK && r.Slot != nil:
		fmt.Fprintf(out, "\nEvery node has finalized slot %d: %s\n", *r.Slot, r.Root)
	case !r.OK && r.Last != nil:
		fmt.Fprintf(out, "\nWhat the nodes saw last, at slot %d:\n%s", r.Last.Slot, r.Last.Details())
	default:
		fmt.Fprintln(out, "\nStopped.")
	}
	for _, logged := range r.LogErrors {
		fmt.Fprintf(out, "%s logged errors (%s):\n  %s\n", logged.Node, count(logged.Count, "line"), strings.Join(logged.First, "\n  "))
	}
	if r.Dir != "" {
		fmt.Fprintf(out, "The files and logs are in %s.\n", r.Dir)
	}
}

// statusLine shows a slot in a line. Nodes that see the same stand together.
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

// devnetJSON is for programs: an object a line, told apart by "type".
type devnetJSON struct{ out *json.Encoder }

func (j devnetJSON) write(object any) { _ = j.out.Encode(object) } // who reads has gone: the exit code is left

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
