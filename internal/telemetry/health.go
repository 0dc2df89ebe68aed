package telemetry

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
)

// maxHeadAge is the number of slots by which a head may be behind the clock and still count as recent.
const maxHeadAge = 8

// HealthInput is what the sync rule looks at.
type HealthInput struct {
	HeadSlot uint64
	// ClockSlot is the slot of the wall clock, 0 before genesis.
	ClockSlot uint64
	// BeforeGenesis says that the genesis time has not come.
	BeforeGenesis bool
	// Ready says that the node has a store and runs.
	Ready bool
	// KnownGap says that blocks are known to exist which the node has yet to import.
	KnownGap bool
	// Isolated says that there are peers, but none with a gossip topic in common.
	Isolated bool
	// MissingAncestor says that blocks with a valid signature of their proposer wait for one that no peer has. It implies
	// KnownGap.
	MissingAncestor bool
	// Peers counts open connections, PeersAgreeNothingNewer those peers among them whose own head is not newer
	// than ours.
	Peers, PeersAgreeNothingNewer int
}

// What Evaluate says about a node that is not synced.
const (
	UnsyncedNotReady  = "not_ready"
	UnsyncedGap       = "known_gap"
	UnsyncedAncestor  = "missing_ancestor"
	UnsyncedNoPeers   = "stale_head_no_peers"
	UnsyncedStaleHead = "stale_head"
	UnsyncedIsolated  = "no_common_topic"
)

// Evaluate applies the sync rule. The reason is empty where the node is synced.
//
// A node whose head is stale cannot tell a silent network from its own deafness, unless a peer confirms that
// there is nothing newer.
func Evaluate(in HealthInput) (synced bool, reason string) {
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

// Health answers whether the node is synced, live and ready. It is safe for concurrent use; the zero value is a node
// that is not ready.
type Health struct {
	input atomic.Pointer[HealthInput]
	clock atomic.Pointer[func() uint64]
	// isolated is nil for a node without a network.
	isolated func() bool
	// live and ready are the checks of /livez, and those that /readyz has besides.
	live, ready []Check
}

// Update replaces what is known of the node.
func (h *Health) Update(in HealthInput) { h.input.Store(&in) }

// SetClock gives the slot of the wall clock, 0 before genesis. With it the age of the head is that of the
// moment of the question, so that a node which hangs and updates nothing stops being healthy.
func (h *Health) SetClock(slot func() uint64) { h.clock.Store(&slot) }

// SetIsolated gives what reports whether there are peers, but none with a gossip topic in common. It must be called before
// the first question.
func (h *Health) SetIsolated(isolated func() bool) { h.isolated = isolated }

// Input returns what the rule is applied to now.
func (h *Health) Input() HealthInput {
	var in HealthInput
	if latest := h.input.Load(); latest != nil {
		in = *latest
	}
	if slot := h.clock.Load(); slot != nil && *slot != nil {
		in.ClockSlot = (*slot)()
		in.BeforeGenesis = in.BeforeGenesis && in.ClockSlot == 0
	}
	if h.isolated != nil {
		in.Isolated = h.isolated()
	}
	return in
}

// Synced applies the rule to what is known now.
func (h *Health) Synced() (synced bool, reason string) { return Evaluate(h.Input()) }

// ServeHTTP answers {"status":"ok","slot":12345,"synced":true} with 200 where the node is synced, otherwise the
// status is "syncing" and the code 503. The slot is the head's.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	in := h.Input()
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
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
