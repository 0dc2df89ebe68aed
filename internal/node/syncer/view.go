package syncer

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// View describes how far the node has synced. Health, duties, metrics and the API read it; no other
// code decides whether the node is synced.
type View struct {
	// Ready is true once the planner runs.
	Ready bool
	// HeadSlot is the slot of the node's head.
	HeadSlot lstar.Slot
	// Distance is the number of slots from the head to the highest block that is known to exist, 0
	// if there is no gap.
	Distance uint64
	// Gap is true if blocks exist that this node has not imported: a proposer signed a descendant, or a
	// peer that has not failed to serve them claims so. Blocks that are only a little late do not count.
	Gap bool
	// MissingAncestor is true if blocks with a valid proposer signature wait for a block that no
	// peer has served after several requests.
	MissingAncestor bool
	// Isolated is true if peers are connected, but all of them use the gossip topics of other networks.
	Isolated bool
	// Peers is the number of peers whose status is known. Agree is the number of those that
	// reported recently that their head is not newer than that of this node.
	Peers, Agree int

	interval lstar.Interval // of the latest tick
	highest  lstar.Slot     // of all blocks that are known to exist
	started  lstar.Slot     // the slot in which the node started
	paused   bool           // duties are paused, on which the duty gate depends
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

// maxHeadAge is the number of slots by which a head may be behind the clock and still count as recent.
const maxHeadAge = 8

// Synced reports whether the node is synced and, if it is not, one of the reasons. slot is the slot of
// the wall clock at the call, so a node that hangs, and does not update its view, does not stay synced.
//
// A node with a stale head cannot distinguish a network that produces no blocks from a node that
// does not receive them, unless a peer confirms that nothing is newer.
func (v *View) Synced(slot lstar.Slot) (synced bool, reason string) {
	switch {
	case !v.Ready:
		return false, UnsyncedNotReady
	case v.Isolated:
		return false, UnsyncedIsolated
	case v.MissingAncestor:
		return false, UnsyncedAncestor
	case v.Gap:
		return false, UnsyncedGap
	case behind(v.HeadSlot, slot) <= maxHeadAge:
		return true, ""
	case v.Peers == 0:
		return false, UnsyncedNoPeers
	case v.Agree == 0:
		return false, UnsyncedStaleHead
	}
	return true, ""
}

// Thresholds of the duty gate, in slots. leanSpec: node/validator/constants.py
const (
	syncLagThreshold      = 4
	hysteresisBand        = 2
	networkStallThreshold = 8
)

// Duties returns the state of the duty gate at a slot of the wall clock. Duties are paused while
// the head is stale and the network produces blocks, because votes for an old head do harm. If the
// whole network produces no blocks, duties continue, because otherwise it would never recover.
//
// leanSpec: node/validator/service.py, _is_synced_for_duties
func (v *View) Duties(slot lstar.Slot) events.DutyGate {
	highest := max(v.highest, v.HeadSlot)
	// A node that has just started has not received any block yet; that does not count as a silent
	// network.
	if slot <= v.started {
		highest = max(highest, behind(networkStallThreshold, slot))
	}
	lag := behind(v.HeadSlot, slot)
	gate := events.DutyGate{Slot: slot, HeadSlot: v.HeadSlot, Lag: lag}
	switch {
	case behind(highest, slot) > networkStallThreshold:
		gate.Open, gate.Reason = true, "network_stalled"
	case v.paused:
		gate.Open, gate.Reason = lag <= syncLagThreshold-hysteresisBand, "caught_up"
	default:
		gate.Open, gate.Reason = lag <= syncLagThreshold, "stale_head"
	}
	return gate
}

// behind returns by how many slots slot is behind other, or 0 if it is ahead, which happens because
// clocks differ.
func behind(slot, other lstar.Slot) lstar.Slot {
	if slot >= other {
		return 0
	}
	return other - slot
}

// currentView returns the view at the present state.
func (p *planner) currentView(g gap) View {
	if p.now.Before(p.clock.StartOf(0)) { // there are no blocks before genesis
		g = gap{}
	}
	head := p.snap.Head.Slot
	v := View{
		Ready: p.ticked, HeadSlot: head, Gap: g.known, MissingAncestor: g.waiting, Isolated: p.isolated,
		interval: p.interval, highest: p.snap.HighestSlot, started: p.started, paused: p.view.paused,
	}
	if g.known {
		v.Distance = uint64(behind(head, g.highest))
		v.highest = max(v.highest, g.highest)
	}
	for _, s := range p.peers {
		if !s.known {
			continue
		}
		v.Peers++
		// A peer behind this node's finalized slot does not confirm anything.
		theirs := s.status.Head
		if p.now.Sub(s.statusAt) <= freshTime && theirs.Slot >= p.snap.LatestFinalized.Slot && p.known(theirs.Root) {
			v.Agree++
		}
	}
	v.paused = !v.Duties(p.slot()).Open
	return v
}

// show updates the view, and reports when the node becomes synced or unsynced.
func (p *planner) show(g gap) {
	if v := p.currentView(g); v != p.view {
		p.view = v
		p.emit(show{v})
	}
	if !p.ticked {
		return
	}
	state := events.SyncState{Distance: p.view.Distance}
	if state.Synced, state.Reason = p.view.Synced(p.slot()); state != p.syncState {
		p.syncState = state
		p.emit(report{state})
	}
}
