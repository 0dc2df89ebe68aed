package syncer

import (
	"maps"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// checkInvariants fails the test if a property does not hold that must hold after every event,
// whatever the peers do.
func (w *world) checkInvariants() {
	w.t.Helper()
	p := w.planner
	atMost := func(what string, n, most int) {
		if n < 0 || n > most {
			w.t.Fatalf("%s = %d, want 0 to %d", what, n, most)
		}
	}

	// Requests go to connected peers, a bounded number at a time, and no block is requested twice
	// at once.
	inFlight, byRoots := make(map[*syncPeer]int), make(map[*syncPeer]int)
	requested := make(map[lstar.Root]bool)
	for _, r := range p.requests {
		inFlight[r.to]++
		if !r.answered && p.peer(r.peer) != r.to {
			w.t.Fatalf("a request to %s is in flight, and the peer is gone", r.peer)
		}
		if r.kind == byRoot {
			byRoots[r.to]++
		}
		atMost("roots in a request", len(r.roots), maxRoots)
		for i, m := range r.missing {
			if requested[m.root] {
				w.t.Fatalf("block %s is requested twice at once", m.root)
			}
			requested[m.root] = true
			if m.request != r || p.missing[m.root] != m || r.roots[i] != m.root {
				w.t.Fatalf("missing block %s does not belong to its request", m.root)
			}
		}
		for _, o := range p.requests {
			if b, c := r.batch, o.batch; b != nil && c != nil && b != c && b.first <= c.last && c.first <= b.last {
				w.t.Fatalf("slots %d to %d and %d to %d are requested at once", b.first, b.last, c.first, c.last)
			}
		}
	}
	for i, s := range p.peers {
		if i > 0 && p.peers[i-1].id >= s.id {
			w.t.Fatal("peers are not in order")
		}
		if s.inFlight != inFlight[s] || s.roots != byRoots[s] {
			w.t.Fatalf("%s: %d requests in flight, %d by root, want %d and %d", s.id, s.inFlight, s.roots, inFlight[s], byRoots[s])
		}
		atMost("requests to one peer", s.inFlight, maxRequestsPerPeer)
		atMost("requests by root to one peer", s.roots, 1)
		atMost("score", s.score, maxScore)
		atMost("unserved", s.unserved, 1<<30)
		atMost("denied", s.denied, 1<<30)
	}

	// All collections are bounded.
	atMost("missing blocks", len(p.missing), maxMissing+maxParked+2*len(p.peers))
	for _, m := range p.missing {
		atMost("peers that were asked for a block", len(m.asked), maxAsked)
		atMost("sources of a block", len(m.sources), maxParked+2*len(p.peers))
	}
	atMost("peers of another chain", len(p.conflicts), maxConflicts)
	atMost("unlocked votes", len(p.unlocked), maxUnlocked)
	atMost("votes that are being replayed", p.replaying, maxReplaying)

	// The planner has an exact account of the work in progress.
	if p.replaying != w.replays {
		w.t.Fatalf("%d votes are being replayed, want %d", p.replaying, w.replays)
	}
	if !maps.Equal(p.importing, w.imports) || p.serial != nil && !w.imports[p.serial.root] {
		w.t.Fatalf("%d imports in progress, want %d", len(p.importing), len(w.imports))
	}
	for _, k := range []*pendingVotes{p.pendingAttestations, p.pendingAggregates} {
		atMost(k.name, k.queue.Len(), maxPendingVotes)
		n := 0
		for _, votes := range k.byMissing {
			n += len(votes)
		}
		if n != k.queue.Len() {
			w.t.Fatalf("%s: %d votes by block, %d in the queue", k.name, n, k.queue.Len())
		}
	}
	if p.run != nil {
		atMost("batches", len(p.run.batches), 4*window)
		atMost("excluded peers", len(p.run.excluded), maxRestarts)
	}

	// Every parked block is going to be imported, or waits for a block that is missing.
	atMost("parked blocks", p.parked.queue.Len(), maxParked)
	now := make(map[copyKey]*candidate, len(w.were))
	byParent := 0
	for parent, children := range p.parked.byParent {
		byParent += len(children)
		if m := p.missing[parent]; !p.parked.has(parent) && !p.known(parent) && !p.importing[parent] && (m == nil || !m.referenced) {
			w.t.Fatalf("parked block %s waits for %s, which is not requested", children[0].root, parent)
		}
	}
	for _, copies := range p.parked.copies {
		for _, c := range copies {
			now[c.key()] = c
		}
	}
	if len(now) != p.parked.queue.Len() || byParent != len(now) {
		w.t.Fatalf("%d parked blocks by root, %d by parent, %d in the queue", len(now), byParent, p.parked.queue.Len())
	}
	// A parked block leaves only for a reason.
	evicted := 0
	for ; w.seenReports < len(w.reports); w.seenReports++ {
		if w.reports[w.seenReports] == (any)(events.QueueDropped{Queue: events.QueueOrphanBlocks}) {
			evicted++
		}
	}
	for key, c := range w.were {
		if now[key] == c || p.known(key.root) || p.bad.Has(key.root) || p.conflicting.Has(key.root) || w.refuted[c] {
			continue
		}
		if evicted--; evicted < 0 {
			w.t.Fatalf("block %s of %s is not parked any more, without a reason", key.root, key.from)
		}
	}
	w.were = now
}
