package syncer

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// Scores decide who is asked. leanSpec: node/sync/peer_manager.py
const (
	initialScore   = 100
	maxScore       = 200
	successBonus   = 10
	failurePenalty = 20
	// maxRequestsPerPeer is the number of requests in flight to one peer.
	// leanSpec: node/sync/config.py, MAX_CONCURRENT_REQUESTS
	maxRequestsPerPeer = 2
)

// method is a way to ask for blocks. A peer that fails at one may well do the
// other, so that each has its own backoff.
type method int

const (
	byRoot method = iota
	byRange
	methods
)

// syncPeer is what we know of a peer.
//
// leanSpec: node/sync/peer_manager.py, SyncPeer
type syncPeer struct {
	id       peer.ID
	status   p2p.Status
	statusAt time.Time
	headSlot lstar.Slot // of its status or of the newest block it sent
	asking   bool       // for its status
	askAfter time.Time

	score    int
	inFlight [methods]int
	failures [methods]int
	after    [methods]time.Time // it may be asked again
	unserved int                // blocks it sent whose parents nobody has
	denied   int                // requests for a head or finalized block of its own that it did not have

	head, finalized string // what its checkpoints were to ours when it told them
}

func newSyncPeer(id peer.ID) *syncPeer { return &syncPeer{id: id, score: initialScore} }

func (p *syncPeer) available(m method, now time.Time) bool {
	return p.inFlight[byRoot]+p.inFlight[byRange] < maxRequestsPerPeer && (m != byRoot || p.inFlight[m] == 0) && !now.Before(p.after[m])
}

func (p *syncPeer) succeed(m method) {
	p.score = min(p.score+successBonus, maxScore)
	p.failures[m] = 0
	p.after[m] = time.Time{}
}

// claims reports whether the latest status of the peer names the block.
func (p *syncPeer) claims(root lstar.Root) bool {
	return p.status.Head.Root == root || p.status.Finalized.Root == root
}

// trusted reports whether the peer's claims count: it showed what it claimed, or
// was not asked for it yet.
func (p *syncPeer) trusted() bool {
	return p.unserved == 0 && p.denied < maxRefusals && (p.failures[byRoot] < maxRefusals || p.failures[byRange] < maxRefusals)
}

// fail delays the next request after one that failed. It costs the peer score,
// unless the cause is this node.
func (p *syncPeer) fail(m method, now time.Time, c cause) {
	if c != causeOurs {
		p.score = max(p.score-failurePenalty, 0)
	}
	p.failures[m]++
	p.after[m] = now.Add(backoff(p.failures[m]))
}

// backoff returns how long to wait after a number of failures in a row.
func backoff(failures int) time.Duration {
	const limit = time.Minute
	if failures > 6 {
		return limit
	}
	return min(time.Second<<(failures-1), limit)
}

// pick draws one of the peers, more likely one with a better score, or returns
// nil where there is none.
//
// leanSpec: node/sync/peer_manager.py, PeerManager.select_peer_for_request
func (s *Service) pick(ok func(*syncPeer) bool) *syncPeer {
	var chosen *syncPeer
	total := 0
	for _, p := range s.peers {
		if !ok(p) {
			continue
		}
		weight := max(p.score, 1)
		if total += weight; rand.IntN(total) < weight {
			chosen = p
		}
	}
	return chosen
}

// networkFinalized returns the finalized slot that most peers report, of several
// the highest, and whether any does.
//
// leanSpec: node/sync/peer_manager.py, PeerManager.get_network_finalized_slot
func (s *Service) networkFinalized() (slot lstar.Slot, ok bool) {
	counts := make(map[lstar.Slot]int)
	for _, p := range s.peers {
		counts[p.status.Finalized.Slot]++
	}
	for candidate, n := range counts {
		if !ok || n > counts[slot] || n == counts[slot] && candidate > slot {
			slot, ok = candidate, true
		}
	}
	return slot, ok
}

// Status returns what we tell peers about our chain.
func (s *Service) Status() p2p.Status {
	snap := s.cfg.Chain.Snapshot()
	return p2p.Status{Finalized: snap.LatestFinalized, Head: snap.Head}
}

// OnStatus takes note of a peer's chain. The error says that it is another chain
// than ours.
//
// leanSpec: node/sync/service.py, SyncService.on_peer_status
func (s *Service) OnStatus(from peer.ID, status p2p.Status) error {
	snap := s.cfg.Chain.Snapshot()
	err := compatible(snap, status.Finalized)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if len(s.conflicts) < maxConflicts {
			s.conflicts[from] = s.cfg.Clock.Now()
		}
		s.reportAgreement()
		return err
	}
	p := s.peers[from]
	if p == nil {
		p = newSyncPeer(from)
		s.peers[from] = p
		for _, w := range s.wants { // it may have what the others do not have
			if invalid := w.asked[from]; !invalid { // what it did not have before it came back, it may have now
				delete(w.asked, from)
				w.resume(s.cfg.Clock.Now())
			}
		}
		s.rangeAfter = time.Time{}
	}
	p.status, p.statusAt = status, s.cfg.Clock.Now()
	p.headSlot = status.Head.Slot
	p.head, p.finalized = headRelation(snap, status.Head), finalizedRelation(snap, status.Finalized)
	delete(s.conflicts, from)
	s.reportAgreement()
	s.wake()
	return nil
}

// headRelation says what a peer's head is to ours.
func headRelation(snap *lstar.Snapshot, theirs lstar.Checkpoint) string {
	ours := snap.Head
	switch {
	case theirs.Root == ours.Root:
		return events.RelationSame
	case theirs == (lstar.Checkpoint{}): // leanSpec's node says so before it has a store
		return events.RelationBehind
	case theirs.Slot < ours.Slot && snap.HeadState.HistoricalBlockHash(theirs.Slot) == theirs.Root:
		return events.RelationBehind
	case theirs.Slot > ours.Slot && snap.Block(theirs.Root) == nil:
		return events.RelationAhead
	}
	return events.RelationFork
}

// finalizedRelation says what a peer's finalized checkpoint, which can be of our
// chain, is to ours.
func finalizedRelation(snap *lstar.Snapshot, theirs lstar.Checkpoint) string {
	ours := snap.LatestFinalized
	switch {
	case theirs.Slot < ours.Slot:
		return events.RelationBehind
	case theirs.Slot > ours.Slot:
		return events.RelationAhead
	}
	return events.RelationSame
}

const (
	// conflictTime is for how long a peer of another chain, which is sent away at
	// once, is counted, and maxConflicts how many are.
	conflictTime = 5 * time.Minute
	maxConflicts = 64
)

// reportAgreement counts how the peers stand to us. The caller holds the lock.
func (s *Service) reportAgreement() {
	heads, finalized := make(map[string]int), make(map[string]int)
	for _, p := range s.peers {
		heads[p.head]++
		finalized[p.finalized]++
	}
	for id, at := range s.conflicts {
		if s.cfg.Clock.Now().Sub(at) > conflictTime {
			delete(s.conflicts, id)
		}
	}
	finalized[events.RelationConflict] = len(s.conflicts)
	s.cfg.Bus.Report(events.Agreement{Heads: heads, Finalized: finalized})
}

// compatible reports whether a finalized checkpoint can be of our chain.
func compatible(snap *lstar.Snapshot, finalized lstar.Checkpoint) error {
	if finalized == (lstar.Checkpoint{}) {
		return nil // leanSpec's node says so before it has a store
	}
	ours := snap.LatestFinalized
	switch {
	case finalized.Slot > ours.Slot:
		return nil // we cannot know yet
	case finalized.Slot < ours.Slot:
		ours = lstar.Checkpoint{Root: snap.HeadState.HistoricalBlockHash(finalized.Slot), Slot: finalized.Slot}
	}
	if finalized.Root != ours.Root {
		return fmt.Errorf("the peer is on another chain: it finalized %s at slot %d, where we have %s",
			finalized.Root, finalized.Slot, ours.Root)
	}
	return nil
}

// OnDisconnect forgets a peer. What it has in flight fails by itself.
func (s *Service) OnDisconnect(id peer.ID) {
	s.mu.Lock()
	delete(s.peers, id)
	s.reportAgreement()
	s.mu.Unlock()
	s.wake()
}
