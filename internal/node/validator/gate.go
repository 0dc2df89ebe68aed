package validator

import "github.com/leanEthereum/leanspec-node/internal/core/lstar"

// Thresholds of the duty gate, in slots. leanSpec: node/validator/constants.py
const (
	syncLagThreshold      = 4
	hysteresisBand        = 2
	networkStallThreshold = 8
)

// gate decides whether duties may run: not while our view is stale and the
// network goes on, because such votes are for an old head. When the whole network
// has been silent for long, they run whatever our lag is, or nobody would ever
// start it again.
//
// leanSpec: node/validator/service.py, _is_synced_for_duties
type gate struct{ closed bool }

// gateState is what the gate looks at, and what comes out.
type gateState struct {
	lag        lstar.Slot // of our head behind the slot
	networkLag lstar.Slot // of the newest block that we know behind the slot
	open       bool
	changed    bool
	reason     string // of the change
}

func (g *gate) check(slot, head, highest lstar.Slot) gateState {
	s := gateState{lag: behind(head, slot), networkLag: behind(highest, slot)}
	switch {
	case s.networkLag > networkStallThreshold:
		s.open, s.reason = true, "network_stalled"
	case g.closed:
		s.open, s.reason = s.lag <= syncLagThreshold-hysteresisBand, "caught_up"
	default:
		s.open, s.reason = s.lag <= syncLagThreshold, "stale_head"
	}
	s.changed = s.open == g.closed
	g.closed = !s.open
	return s
}

// behind returns how far a slot is behind another one; clocks may differ, so it
// may be ahead, which is no lag.
func behind(slot, other lstar.Slot) lstar.Slot {
	if slot >= other {
		return 0
	}
	return other - slot
}
