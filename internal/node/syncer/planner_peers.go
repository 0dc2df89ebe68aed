package syncer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// The score of a peer determines its share of the requests. leanSpec: node/sync/peer_manager.py
const (
	initialScore   = 100
	maxScore       = 200
	successBonus   = 10
	failurePenalty = 20
	// maxRequestsPerPeer is the number of requests in flight to one peer.
	// leanSpec: node/sync/config.py, MAX_CONCURRENT_REQUESTS
	maxRequestsPerPeer = 2
)

const (
	// A status is requested again after quietTime, or after staleTime if this node's head is older
	// than staleSlots. A status is fresh for freshTime.
	quietTime  = 3 * slotTime
	staleTime  = 2 * slotTime
	staleSlots = 2
	freshTime  = 6 * slotTime
	// A peer on another chain, which is disconnected at once, counts as a conflict for
	// conflictTime. At most maxConflicts peers count.
	conflictTime = 5 * time.Minute
	maxConflicts = 64
)

// syncPeer is a connected peer.
//
// leanSpec: node/sync/peer_manager.py, SyncPeer
type syncPeer struct {
	id       peer.ID
	known    bool // its status has been received
	status   p2p.Status
	statusAt time.Time
	headSlot lstar.Slot // of its status or of the newest block that it sent
	asking   bool       // its status is being requested
	askAfter time.Time

	score    int
	inFlight int // requests of all kinds
	roots    int // requests by root
	failures [methods]int
	after    [methods]time.Time // when the peer may get the next request
	unserved int                // blocks that it sent and whose parents no peer has
	denied   int                // requests for its own head or finalized block that it could not serve

	// The relations of its checkpoints to those of this node when it reported them.
	head, finalized string
}

// available reports whether the peer may be sent a request now.
func (s *syncPeer) available(m method, now time.Time) bool {
	return s.known && s.inFlight < maxRequestsPerPeer && (m != byRoot || s.roots == 0) && !now.Before(s.after[m])
}

func (s *syncPeer) succeed(m method) {
	s.score = min(s.score+successBonus, maxScore)
	s.failures[m] = 0
	s.after[m] = time.Time{}
}

// claims reports whether the latest status of the peer names the block.
func (s *syncPeer) claims(root lstar.Root) bool {
	return s.status.Head.Root == root || s.status.Finalized.Root == root
}

// trusted reports whether the claims of the peer count: it has served the blocks that it claimed,
// or has not been asked for them yet.
func (s *syncPeer) trusted() bool {
	return s.unserved == 0 && s.denied < maxRefusals && (s.failures[byRoot] < maxRefusals || s.failures[byRange] < maxRefusals)
}

// fail delays the next request after one that failed. It lowers the score of the peer, unless the
// cause is this node.
func (s *syncPeer) fail(m method, now time.Time, c cause) {
	if c != causeOurs {
		s.score = max(s.score-failurePenalty, 0)
	}
	s.failures[m]++
	s.after[m] = now.Add(backoff(s.failures[m]))
}

// backoff returns the pause after a number of failures in a row.
func backoff(failures int) time.Duration {
	const limit = time.Minute
	if failures > 6 {
		return limit
	}
	return min(time.Second<<(failures-1), limit)
}

// find returns the index of a peer, or the index at which to insert it and false.
func (p *planner) find(id peer.ID) (int, bool) {
	return slices.BinarySearchFunc(p.peers, id, func(s *syncPeer, id peer.ID) int { return cmp.Compare(s.id, id) })
}

// peer returns a connected peer, or nil.
func (p *planner) peer(id peer.ID) *syncPeer {
	if i, ok := p.find(id); ok {
		return p.peers[i]
	}
	return nil
}

// any reports whether ok returns true for a peer with a known status.
func (p *planner) any(ok func(*syncPeer) bool) bool {
	return slices.ContainsFunc(p.peers, func(s *syncPeer) bool { return s.known && ok(s) })
}

// pick returns one of the peers with a known status for which ok returns true, at random and
// weighted by their scores, or nil if there is no such peer.
//
// leanSpec: node/sync/peer_manager.py, PeerManager.select_peer_for_request
func (p *planner) pick(ok func(*syncPeer) bool) (chosen *syncPeer) {
	total := 0
	for _, s := range p.peers {
		if !s.known || !ok(s) {
			continue
		}
		weight := max(s.score, 1)
		if total += weight; p.random.IntN(total) < weight {
			chosen = s
		}
	}
	return chosen
}

type (
	// peerConnected comes with the first connection to a peer. dialed is true if this node opened it.
	peerConnected struct {
		id     peer.ID
		dialed bool
	}
	// peerGone comes with the end of the last connection to a peer.
	peerGone struct{ id peer.ID }
	// statusReceived comes when a peer reports its status, on request or by itself. A statusJudged
	// follows.
	statusReceived struct{ *statusMessage }
)

// statusMessage is the status that a peer reports.
type statusMessage struct {
	from   peer.ID
	status p2p.Status
}

// The side that dialed requests the status first. The other side requests it if it has not received one.
//
// leanSpec: node/networking/client/event_source/live.py, dial
func (e peerConnected) apply(p *planner) {
	i, ok := p.find(e.id)
	if ok {
		return
	}
	s := &syncPeer{id: e.id, score: initialScore}
	if !e.dialed {
		s.askAfter = p.now.Add(staleTime)
	}
	p.peers = slices.Insert(p.peers, i, s)
	p.changed = true
}

func (e peerGone) apply(p *planner) {
	i, ok := p.find(e.id)
	if !ok {
		return
	}
	for _, r := range slices.Clone(p.requests) {
		if r.peer == e.id && !r.answered {
			p.end(r)
		}
	}
	p.peers = slices.Delete(p.peers, i, i+1)
	p.changed = true
}

// leanSpec: node/sync/service.py, SyncService.on_peer_status
func (e statusReceived) apply(p *planner) {
	err := compatible(p.snap, e.status.Finalized)
	p.emit(statusJudged{e.statusMessage, err})
	p.changed = true
	if err != nil {
		if len(p.conflicts) < maxConflicts {
			p.conflicts[e.from] = p.now
		}
		return
	}
	s := p.peer(e.from)
	if s == nil {
		return
	}
	if !s.known {
		s.known = true
		for _, m := range p.missing { // the peer may have it, also if it did not before it connected again
			if invalid := m.asked[e.from]; !invalid {
				delete(m.asked, e.from)
				m.resume(p.now)
			}
		}
		p.rangeAfter = time.Time{}
	}
	s.status, s.statusAt = e.status, p.now
	s.headSlot = e.status.Head.Slot
	s.head, s.finalized = headRelation(p.snap, e.status.Head), finalizedRelation(p.snap, e.status.Finalized)
	delete(p.conflicts, e.from)
}

// planStatuses requests the statuses that are too old.
func (p *planner) planStatuses() {
	maxAge := quietTime
	if p.snap.Head.Slot+staleSlots < p.slot() {
		maxAge = staleTime
	}
	for _, s := range p.peers {
		if !s.asking && s.inFlight < maxRequestsPerPeer && p.now.Sub(s.statusAt) >= maxAge && !p.now.Before(s.askAfter) {
			s.asking = true
			p.request(s, &request{kind: statusRequest})
		}
	}
}

// compatible returns an error if a peer's finalized checkpoint cannot be part of this node's chain.
func compatible(snap *lstar.Snapshot, finalized lstar.Checkpoint) error {
	if finalized == (lstar.Checkpoint{}) {
		return nil // leanSpec's node reports this before it has a store
	}
	ours := snap.LatestFinalized
	switch {
	case finalized.Slot > ours.Slot:
		return nil // unknown until this node finalizes that slot
	case finalized.Slot < ours.Slot:
		ours = lstar.Checkpoint{Root: snap.HeadState.HistoricalBlockHash(finalized.Slot), Slot: finalized.Slot}
	}
	if finalized.Root != ours.Root {
		return fmt.Errorf("the peer is on another chain: it finalized %s at slot %d, where we have %s",
			finalized.Root, finalized.Slot, ours.Root)
	}
	return nil
}

// headRelation returns the relation of a peer's head to that of this node.
func headRelation(snap *lstar.Snapshot, theirs lstar.Checkpoint) string {
	ours := snap.Head
	switch {
	case theirs.Root == ours.Root:
		return events.RelationSame
	case theirs == (lstar.Checkpoint{}): // leanSpec's node reports this before it has a store
		return events.RelationBehind
	case theirs.Slot < ours.Slot && snap.HeadState.HistoricalBlockHash(theirs.Slot) == theirs.Root:
		return events.RelationBehind
	case theirs.Slot > ours.Slot && snap.Block(theirs.Root) == nil:
		return events.RelationAhead
	}
	return events.RelationFork
}

// finalizedRelation returns the relation of a peer's compatible finalized checkpoint to that of
// this node.
func finalizedRelation(snap *lstar.Snapshot, theirs lstar.Checkpoint) string {
	switch cmp.Compare(theirs.Slot, snap.LatestFinalized.Slot) {
	case -1:
		return events.RelationBehind
	case 1:
		return events.RelationAhead
	}
	return events.RelationSame
}

// reportAgreement counts the peers by their relations to this node.
func (p *planner) reportAgreement() {
	a := events.Agreement{Heads: make(map[string]int), Finalized: make(map[string]int)}
	for _, s := range p.peers {
		if s.known {
			a.Heads[s.head]++
			a.Finalized[s.finalized]++
		}
	}
	maps.DeleteFunc(p.conflicts, func(_ peer.ID, at time.Time) bool { return p.now.Sub(at) > conflictTime })
	a.Finalized[events.RelationConflict] = len(p.conflicts)
	if !maps.Equal(a.Heads, p.agreement.Heads) || !maps.Equal(a.Finalized, p.agreement.Finalized) {
		p.agreement = a
		p.emit(report{a})
	}
}
