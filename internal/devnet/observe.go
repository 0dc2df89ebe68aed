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
	// answerTimeout is the time that all nodes together have to answer.
	answerTimeout = 3 * time.Second
	// maxAnswer is the largest answer in bytes, enough for a tree of 100,000 blocks.
	maxAnswer = 64 << 20
)

// State is the state of a node.
type State string

// The states of a node.
const (
	Up      State = "up"      // runs and answers
	Silent  State = "silent"  // runs and does not answer
	Paused  State = "paused"  // suspended by Node.Pause
	Stopped State = "stopped" // ended by a method of Node, or not started yet
	Dead    State = "dead"    // ended unexpectedly
)

// Checkpoint is a block in an answer of the API.
type Checkpoint struct {
	Slot uint64 `json:"slot"`
	Root string `json:"root"` // 0x and 64 hex digits
}

// View is the status of a node. The view of a node that is not up has the checkpoints of its latest answer, with empty roots if it
// has never answered.
type View struct {
	Name      string     `json:"name"`
	State     State      `json:"state"`
	Problem   string     `json:"problem,omitempty"` // reason for Silent or Dead
	Head      Checkpoint `json:"head"`
	Justified Checkpoint `json:"justified"`
	Finalized Checkpoint `json:"finalized"`
	Peers     int        `json:"peers"`
	Synced    bool       `json:"synced"`
}

// String returns the view as one line, without the node's name.
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

// Checkpoints returns the head and the two checkpoints as text.
func (v View) Checkpoints() string {
	return fmt.Sprintf("head %d %s, justified %d, finalized %d", v.Head.Slot, ShortRoot(v.Head.Root), v.Justified.Slot, v.Finalized.Slot)
}

// Condition returns the state and its reason.
func (v View) Condition() string {
	if v.Problem == "" {
		return string(v.State)
	}
	return string(v.State) + " (" + v.Problem + ")"
}

// Mark returns ", not synced" for a node that is up and not synced, and "" for any other.
func (v View) Mark() string {
	if v.State == Up && !v.Synced {
		return ", not synced"
	}
	return ""
}

// ShortRoot returns the first 8 digits of a root.
func ShortRoot(root string) string {
	root = strings.TrimPrefix(root, "0x")
	return root[:min(8, len(root))]
}

// Status is the status of all nodes at one moment.
type Status struct {
	Slot          uint64         `json:"slot"` // current slot of the wall clock
	Nodes         []View         `json:"nodes"`
	Disagreements []Disagreement `json:"disagreements"`

	tree tree
}

// Details returns one line for each node.
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

// Finalized reports whether all nodes have finalized a slot with the same block. root is the root of that block, which is the latest
// one up to the slot. Stopped nodes do not count.
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

// Disagreement is a slot for which nodes have different blocks.
type Disagreement struct {
	About string `json:"about"` // head or finalized
	Slot  uint64 `json:"slot"`  // lowest slot with a difference
}

// String returns a short sentence.
func (d Disagreement) String() string {
	if d.About == "finalized" {
		return fmt.Sprintf("finalized blocks differ at slot %d", d.Slot)
	}
	return fmt.Sprintf("heads differ at slot %d", d.Slot)
}

// disagreements compares the nodes that are up: heads of the same slot, and finalized blocks at each slot that several nodes have
// finalized. It does not compare heads of different slots, because a block needs time to reach all nodes.
func disagreements(views []View, t tree) []Disagreement {
	var up []View
	for _, v := range views {
		if v.State == Up {
			up = append(up, v)
		}
	}
	all := []Disagreement{} // an empty list in JSON, not null
	// compare adds the lowest of the nodes' slots for which rootAt returns different roots. It ignores empty roots.
	compare := func(about string, slotOf func(View) uint64, rootAt func(View, uint64) string) {
		var slots []uint64
		for _, v := range up {
			slots = append(slots, slotOf(v))
		}
		slices.Sort(slots)
		for _, slot := range slices.Compact(slots) {
			roots := make(map[string]bool)
			for _, v := range up {
				if root := rootAt(v, slot); root != "" {
					roots[root] = true
				}
			}
			if len(roots) > 1 {
				all = append(all, Disagreement{about, slot})
				return
			}
		}
	}
	compare("head", func(v View) uint64 { return v.Head.Slot }, func(v View, slot uint64) string {
		if v.Head.Slot == slot {
			return v.Head.Root
		}
		return ""
	})
	compare("finalized", func(v View) uint64 { return v.Finalized.Slot }, func(v View, slot uint64) string {
		// Without the blocks in between, ancestor returns a block after the slot.
		if at := t.ancestor(v.Finalized, slot); v.Finalized.Slot >= slot && at.Slot <= slot {
			return at.Root
		}
		return ""
	})
	return all
}

// block is the place of a block in the tree.
type block struct {
	Root   string `json:"root"`
	Slot   uint64 `json:"slot"`
	Parent string `json:"parent_root"`
}

// tree has the blocks of all nodes from the lowest finalized slot on, by root.
type tree map[string]block

func (t tree) add(blocks []block) {
	for _, b := range blocks {
		t[b.Root] = b
	}
}

// prune removes the blocks before the lowest finalized slot.
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

// ancestor returns the latest ancestor of a block that is not after slot, or the earliest known ancestor.
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

// look requests the status of the node, if it runs.
func (n *Node) look(ctx context.Context, client *http.Client) (View, []block) {
	v := View{Name: n.Name}
	if v.State, v.Problem = n.state(); v.State != Up {
		return v, nil
	}
	blocks, err := v.read(ctx, client, n)
	if err != nil {
		// The node may have ended meanwhile.
		if v.State, v.Problem = n.state(); v.State == Up {
			v.State, v.Problem = Silent, briefly(err)
		}
		return v, nil
	}
	return v, blocks
}

// read fills a view with the answers of the API, the health check and the metrics.
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

// get requests a URL. It reads the whole body, so that the connection can be reused.
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

// readPeers returns the number of peers in the text of the metrics.
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
	return 0, errors.New("leanspec_peers_connected is missing")
}

// briefly returns the reason for a missing answer, without the address.
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
