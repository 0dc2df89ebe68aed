// Package health decides whether the node is live, ready and synced, and serves the answers: /livez, /readyz and
// /health.
package health

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
)

// maxHeadAge is the number of slots by which a head may be behind the clock and still count as recent.
const maxHeadAge = 8

// Input has the facts that Evaluate uses.
type Input struct {
	HeadSlot uint64
	// ClockSlot is the slot of the wall clock, 0 before genesis.
	ClockSlot uint64
	// BeforeGenesis is true until the genesis time.
	BeforeGenesis bool
	// Ready is true once the node has a store and runs.
	Ready bool
	// KnownGap is true if blocks are known to exist that the node has not imported.
	KnownGap bool
	// Isolated is true if peers are connected, but all of them use the gossip topics of other networks.
	Isolated bool
	// MissingAncestor is true if blocks with a valid signature of their proposer wait for a block that no peer has. It
	// implies KnownGap.
	MissingAncestor bool
	// Peers is the number of connected peers. PeersAgreeNothingNewer is the number of those whose own head is not newer
	// than the head of this node.
	Peers, PeersAgreeNothingNewer int
}

// The reasons why a node is not synced.
const (
	UnsyncedNotReady  = "not_ready"
	UnsyncedGap       = "known_gap"
	UnsyncedAncestor  = "missing_ancestor"
	UnsyncedNoPeers   = "stale_head_no_peers"
	UnsyncedStaleHead = "stale_head"
	UnsyncedIsolated  = "no_common_topic"
)

// Evaluate decides whether a node is synced. The reason is empty if it is.
//
// A node with a stale head cannot distinguish a network that produces no blocks from a node that does not receive them,
// unless a peer confirms that nothing is newer.
func Evaluate(in Input) (synced bool, reason string) {
	switch {
	case !in.Ready:
		return false, UnsyncedNotReady
	case in.Isolated:
		return false, UnsyncedIsolated
	case in.BeforeGenesis:
		return true, ""
	case in.MissingAncestor:
		return false, UnsyncedAncestor
	case in.KnownGap:
		return false, UnsyncedGap
	case in.HeadSlot >= in.ClockSlot || in.ClockSlot-in.HeadSlot <= maxHeadAge:
		return true, ""
	case in.Peers <= 0:
		return false, UnsyncedNoPeers
	case in.PeersAgreeNothingNewer <= 0:
		return false, UnsyncedStaleHead
	default:
		return true, ""
	}
}

// Monitor reports whether the node is live, ready and synced. The zero value is a node that is not ready. Its methods
// are safe for concurrent use, except for SetIsolated, AddLive and AddReady, which must be called before all others.
type Monitor struct {
	input       atomic.Pointer[Input]
	clock       atomic.Pointer[func() uint64]
	isolated    func() bool // nil for a node without a network
	live, ready []Check
}

// A Check is a condition of /livez or /readyz. Run returns nil if the condition holds, and an error with numbers if it
// does not. Run must not block.
type Check struct {
	Name string
	Run  func() error
}

// Update replaces the input of the decision.
func (m *Monitor) Update(in Input) { m.input.Store(&in) }

// SetClock sets the function that returns the slot of the wall clock, 0 before genesis. The age of the head is then
// measured at each request, so a node that hangs and does not call Update stops being synced.
func (m *Monitor) SetClock(slot func() uint64) { m.clock.Store(&slot) }

// SetIsolated sets the function that Input.Isolated is taken from.
func (m *Monitor) SetIsolated(isolated func() bool) { m.isolated = isolated }

// AddLive adds a check that a live node passes. A ready node passes it too.
func (m *Monitor) AddLive(c Check) { m.live = append(m.live, c) }

// AddReady adds a check that a ready node passes.
func (m *Monitor) AddReady(c Check) { m.ready = append(m.ready, c) }

// Input returns the present input of the decision.
func (m *Monitor) Input() Input {
	var in Input
	if latest := m.input.Load(); latest != nil {
		in = *latest
	}
	if slot := m.clock.Load(); slot != nil && *slot != nil {
		in.ClockSlot = (*slot)()
		in.BeforeGenesis = in.BeforeGenesis && in.ClockSlot == 0
	}
	if m.isolated != nil {
		in.Isolated = m.isolated()
	}
	return in
}

// Synced reports whether the node is synced now, and if not, why.
func (m *Monitor) Synced() (synced bool, reason string) { return Evaluate(m.Input()) }

// Live returns the error of the first failing check of AddLive, or nil.
func (m *Monitor) Live() error {
	for _, c := range m.live {
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// syncedCheck is the check of /readyz that the node is synced.
func (m *Monitor) syncedCheck() error {
	in := m.Input()
	if synced, reason := Evaluate(in); !synced {
		return fmt.Errorf("%s: head slot %d, clock slot %d, %d peers, %d of them agree that there is nothing newer",
			reason, in.HeadSlot, in.ClockSlot, in.Peers, in.PeersAgreeNothingNewer)
	}
	return nil
}

// ServeHTTP serves /health: {"status":"ok","slot":12345,"synced":true} with status 200 if the node is synced, otherwise
// "syncing" with status 503. The slot is the head's.
func (m *Monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := m.Input()
	answer := struct {
		Status string `json:"status"`
		Slot   uint64 `json:"slot"`
		Synced bool   `json:"synced"`
	}{Status: "ok", Slot: in.HeadSlot}
	code := http.StatusOK
	if answer.Synced, _ = Evaluate(in); !answer.Synced {
		answer.Status = "syncing"
		code = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(answer) // cannot fail: a struct of plain fields
	write(w, r, code, "application/json", body)
}
