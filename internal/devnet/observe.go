package devnet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// answerTimeout is how long the nodes may take to answer, all together.
	answerTimeout = 3 * time.Second
	// maxAnswer bounds an answer in bytes: a tree of more than 100,000 blocks.
	maxAnswer = 64 << 20
)

// State says how a node does.
type State string

// The states of a node.
const (
	Up      State = "up"      // it runs, and answers
	Silent  State = "silent"  // it runs, and does not answer
	Paused  State = "paused"  // by Node.Pause
	Stopped State = "stopped" // on purpose, or not started yet
	Dead    State = "dead"    // ended although nobody asked for it
)

// Checkpoint is a block as the API shows it.
type Checkpoint struct {
	Slot uint64 `json:"slot"`
	Root string `json:"root"` // 0x and 64 hex digits
}

// View is what a node shows. A node that is not up shows what it did when it last was; roots are empty if it
// never was.
type View struct {
	Name      string     `json:"name"`
	State     State      `json:"state"`
	Problem   string     `json:"problem,omitempty"` // why it is silent or dead
	Head      Checkpoint `json:"head"`
	Justified Checkpoint `json:"justified"`
	Finalized Checkpoint `json:"finalized"`
	Peers     int        `json:"peers"`
	Synced    bool       `json:"synced"`
}

// String is the view in a line, without the node's name.
func (v View) String() string {
	seen := v.Checkpoints()
	switch {
	case v.State == Up:
		return fmt.Sprintf("%s, peers %d%s", seen, v.Peers, v.Mark())
	case v.Head.Root == "":
		return v.Condition()
	default:
		return v.Condition() + "; before: " + seen
	}
}

// Checkpoints shows the head and the two checkpoints.
func (v View) Checkpoints() string {
	return fmt.Sprintf("head %d %s, justified %d, finalized %d", v.Head.Slot, ShortRoot(v.Head.Root), v.Justified.Slot, v.Finalized.Slot)
}

// Condition is the state with its reason.
func (v View) Condition() string {
	if v.Problem == "" {
		return string(v.State)
	}
	return string(v.State) + " (" + v.Problem + ")"
}

// Mark tells of a node that is up and not synced.
func (v View) Mark() string {
	if v.State == Up && !v.Synced {
		return ", not synced"
	}
	return ""
}

// ShortRoot is the beginning of a root, enough to tell it from another.
func ShortRoot(root string) string {
	root = strings.TrimPrefix(root, "0x")
	return root[:min(8, len(root))]
}

// Status is what all nodes show at one moment.
type Status struct {
	Slot          uint64         `json:"slot"` // of the wall clock
	Nodes         []View         `json:"nodes"`
	Disagreements []Disagreement `json:"disagreements"`

	tree tree
}

// Details has a line for each node.
func (s *Status) Details() string {
	width := 0
	for _, v := range s.Nodes {
		width = max(width, len(v.Name))
	}
	var b strings.Builder
	for _, v := range s.Nodes {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, v.Name, v)
	}
	return b.String()
}

// Finalized reports whether every node has finalized a slot, and all of them the same block: root is that of the
// slot, or of the latest block before it. Nodes that were stopped on purpose do not count.
func (s *Status) Finalized(slot uint64) (root string, ok bool) {
	for _, v := range s.Nodes {
		if v.State == Stopped {
			continue
		}
		if v.State != Up || v.Finalized.Slot < slot {
			return "", false
		}
		at := s.tree.ancestor(v.Finalized, slot)
		if root != "" && at.Root != root {
			return "", false
		}
		root = at.Root
	}
	return root, root != ""
}

// Disagreement says that nodes contradict each other.
type Disagreement struct {
	About string `json:"about"` // head or finalized
	Slot  uint64 `json:"slot"`  // the lowest at which they differ
}

// String is a short sentence.
func (d Disagreement) String() string {
	if d.About == "finalized" {
		return fmt.Sprintf("finalized blocks differ at slot %d", d.Slot)
	}
	return fmt.Sprintf("heads differ at slot %d", d.Slot)
}

// disagreements compares the nodes that are up: heads that are at the same slot, and what is final at a slot that
// several nodes have finalized. Heads at different slots may just be on their way.
func disagreements(views []View, t tree) []Disagreement {
	var up []View
	for _, v := range views {
		if v.State == Up {
			up = append(up, v)
		}
	}
	all := []Disagreement{} // in JSON none is a list too
	heads := func(slot uint64, v View) string {
		if v.Head.Slot == slot {
			return v.Head.Root
		}
		return ""
	}
	final := func(slot uint64, v View) string {
		if v.Finalized.Slot < slot {
			return ""
		}
		if at := t.ancestor(v.Finalized, slot); at.Slot <= slot {
			return at.Root
		}
		return "" // too far back to know
	}
	for _, kind := range []struct {
		about string
		slot  func(View) uint64
		root  func(uint64, View) string
	}{
		{"head", func(v View) uint64 { return v.Head.Slot }, heads},
		{"finalized", func(v View) uint64 { return v.Finalized.Slot }, final},
	} {
		slots := make([]uint64, len(up))
		for i, v := range up {
			slots[i] = kind.slot(v)
		}
		slices.Sort(slots)
		for _, slot := range slices.Compact(slots) {
			if differ(slot, up, kind.root) {
				all = append(all, Disagreement{kind.about, slot})
				break
			}
		}
	}
	return all
}

func differ(slot uint64, views []View, root func(uint64, View) string) bool {
	first := ""
	for _, v := range views {
		switch r := root(slot, v); {
		case r == "" || r == first:
		case first == "":
			first = r
		default:
			return true
		}
	}
	return false
}

// block is what is known of a block: its place in the tree.
type block struct {
	Root   string `json:"root"`
	Slot   uint64 `json:"slot"`
	Parent string `json:"parent_root"`
}

// tree has all blocks that any node has shown and that may still matter, by root. Blocks are named by their
// content, so that the trees of all nodes can be one.
type tree map[string]block

func (t tree) add(blocks []block) {
	for _, b := range blocks {
		t[b.Root] = b
	}
}

// prune forgets the blocks before the lowest finalized slot.
func (t tree) prune(views []View) {
	var lowest *uint64
	for _, v := range views {
		if v.State != Stopped && v.State != Dead && (lowest == nil || v.Finalized.Slot < *lowest) {
			lowest = &v.Finalized.Slot
		}
	}
	for root, b := range t {
		if lowest != nil && b.Slot < *lowest {
			delete(t, root)
		}
	}
}

// ancestor goes back from a block to the latest one that is not after slot, or as far as is known.
func (t tree) ancestor(from Checkpoint, slot uint64) Checkpoint {
	for from.Slot > slot {
		parent, known := t[t[from.Root].Parent]
		if !known || parent.Slot >= from.Slot {
			break
		}
		from = Checkpoint{parent.Slot, parent.Root}
	}
	return from
}

// look asks the node what it sees, where it runs.
func (n *Node) look(ctx context.Context, client *http.Client) (View, []block) {
	v := View{Name: n.Name}
	if v.State, v.Problem = n.state(); v.State != Up {
		return v, nil
	}
	blocks, err := v.read(ctx, client, n)
	if err != nil {
		// It may have ended in the meantime.
		if v.State, v.Problem = n.state(); v.State == Up {
			v.State, v.Problem = Silent, briefly(err)
		}
		return v, nil
	}
	return v, blocks
}

// read fills a view from the node's three servers.
func (v *View) read(ctx context.Context, client *http.Client, n *Node) ([]block, error) {
	var choice struct {
		Nodes     []block    `json:"nodes"`
		Head      string     `json:"head"`
		Justified Checkpoint `json:"justified"`
		Finalized Checkpoint `json:"finalized"`
	}
	err := get(ctx, client, n.APIURL()+"/lean/v0/fork_choice", func(status int, body io.Reader) error {
		if status != http.StatusOK {
			return fmt.Errorf("status %d", status)
		}
		return json.NewDecoder(body).Decode(&choice)
	})
	if err != nil {
		return nil, fmt.Errorf("fork choice: %w", err)
	}
	var health struct {
		Synced bool `json:"synced"`
	}
	err = get(ctx, client, n.HealthURL(), func(_ int, body io.Reader) error { return json.NewDecoder(body).Decode(&health) })
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	err = get(ctx, client, n.MetricsURL(), func(_ int, body io.Reader) (err error) {
		v.Peers, err = readPeers(body)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	i := slices.IndexFunc(choice.Nodes, func(b block) bool { return b.Root == choice.Head })
	if i < 0 {
		return nil, errors.New("fork choice: the head is not one of the blocks")
	}
	v.Head = Checkpoint{choice.Nodes[i].Slot, choice.Head}
	v.Justified, v.Finalized, v.Synced = choice.Justified, choice.Finalized, health.Synced
	return choice.Nodes, nil
}

// get reads a page. The whole body is read, so that the connection can be used again.
func get(ctx context.Context, client *http.Client, url string, read func(status int, body io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxAnswer)
	if err := read(response.StatusCode, body); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return err
}

// readPeers finds the number of peers in a page of metrics.
func readPeers(page io.Reader) (int, error) {
	lines := bufio.NewScanner(page)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "leanspec_peers_connected "); ok {
			peers, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(peers), err
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("no leanspec_peers_connected")
}

// briefly says why there was no answer, without the address, which the table has.
func briefly(err error) string {
	var failed *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within " + answerTimeout.String()
	case errors.As(err, &failed):
		var root error = failed
		for next := root; next != nil; next = errors.Unwrap(next) {
			root = next
		}
		return root.Error()
	default:
		return err.Error()
	}
}
