package syncer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

const (
	// maxRoots is the number of blocks in one request by root.
	maxRoots = 32
	// maxRefusals is the number of requests without success after which requests for a missing
	// block are suspended for suspendTime, which doubles up to maxSuspendTime.
	maxRefusals    = 3
	suspendTime    = 8 * slotTime
	maxSuspendTime = 128 * slotTime
	// maxMissing bounds the missing blocks that are kept while no block and no peer refers to them,
	// and maxAsked the peers that are recorded for each.
	maxMissing = 4096
	maxAsked   = 256
	// maxUnserved is the number of blocks that a peer may refer to although no peer has them.
	maxUnserved = 16
	// gapSlots and gapTime are the distance and the time that the head may be behind before the
	// planner reports a gap, because blocks need time to arrive.
	gapSlots = 2
	gapTime  = slotTime
)

// missingBlock is a block that this node does not have. It exists because the proposer of a
// descendant has signed for that, or a peer claims that it exists. It is requested from one peer at
// a time, however many peers and blocks refer to it.
type missingBlock struct {
	root    lstar.Root
	slot    lstar.Slot // of the block or, if it is not known, the last one possible
	depth   int        // as in candidate
	since   time.Time
	sources []peer.ID // that refer to it

	request     *request         // in flight, or nil
	refusals    int              // since the latest suspension
	asked       map[peer.ID]bool // peers that did not have it since then; true for a peer that sent an invalid copy
	suspended   bool             // until after, unless another peer or block refers to it
	suspensions int
	after       time.Time // it may be requested again

	referenced bool // by a block or a peer, according to the latest plan
	waitedFor  bool // by a block with a valid proposer signature
	trusted    bool // claimed by a peer whose claims were true so far
}

// resume allows one more request for a suspended block.
func (m *missingBlock) resume(now time.Time) {
	if m.suspended {
		m.suspended, m.after, m.refusals = false, now, maxRefusals-1
	}
}

// gap describes the blocks that keep the node from being synced.
type gap struct {
	known   bool       // there are such blocks
	waiting bool       // signed blocks wait for one of them that no peer serves
	highest lstar.Slot // of the blocks that are known to exist
}

// collectMissing updates the missing blocks, and returns the gap that they make.
//
// A block whose proposer signed it proves that its ancestors exist, so it counts for as long as it
// waits for one of them, also while requests are suspended. It no longer counts once finality has
// passed it. A checkpoint that a peer merely claims counts until that peer has failed to serve it.
func (p *planner) collectMissing() (g gap) {
	for _, m := range p.missing {
		m.referenced, m.waitedFor, m.trusted, m.sources = false, false, false, m.sources[:0]
		if m.suspended && !p.now.Before(m.after) {
			m.suspended, m.refusals, m.asked = false, 0, nil
		}
	}
	limit := p.slot() + 1
	for _, s := range p.peers {
		for _, c := range [...]lstar.Checkpoint{s.status.Head, s.status.Finalized} {
			if !s.known || c.Root.IsZero() || c.Slot <= p.snap.LatestFinalized.Slot || c.Slot > limit ||
				p.bad.Has(c.Root) || p.conflicting.Has(c.Root) || p.importing[c.Root] || p.known(c.Root) {
				continue
			}
			m := p.refer(c.Root, c.Slot, 0, s.id)
			m.trusted = m.trusted || s.trusted()
		}
	}
	g.highest = p.collectParked()
	for _, m := range p.missing {
		if !m.referenced || !m.waitedFor && (!m.trusted || m.suspended) {
			continue
		}
		g.highest = max(g.highest, m.slot)
		if m.slot > p.snap.Head.Slot+gapSlots || p.now.Sub(m.since) >= gapTime {
			g.known = true
			g.waiting = g.waiting || m.waitedFor && m.suspensions > 0
		}
	}
	// The state of a block to which nothing refers any more is kept for a while: if it is claimed
	// again, its backoff counts.
	maps.DeleteFunc(p.missing, func(_ lstar.Root, m *missingBlock) bool { return p.unneeded(m) && !p.now.Before(m.after) })
	if len(p.missing) > maxMissing {
		for _, root := range sortedRoots(p.missing) {
			if len(p.missing) > maxMissing && p.unneeded(p.missing[root]) {
				delete(p.missing, root)
			}
		}
	}
	return g
}

// unneeded reports whether nothing refers to a missing block and nothing brings it.
func (p *planner) unneeded(m *missingBlock) bool {
	return !m.referenced && m.request == nil && !p.importing[m.root]
}

// collectParked finds the missing parents of the parked blocks, and the oldest parked block whose
// parent is part of the chain, which is imported next. It drops blocks that can never be imported,
// because they wait for a block that would be at or before the finalized slot and is not part of
// the chain. It returns the highest slot of the blocks that wait.
func (p *planner) collectParked() (highest lstar.Slot) {
	parents := sortedRoots(p.parked.byParent)
	for _, parent := range parents {
		children := p.parked.byParent[parent]
		if !p.known(parent) && !p.importing[parent] &&
			slices.ContainsFunc(children, func(c *candidate) bool { return c.slot() <= p.snap.LatestFinalized.Slot+1 }) {
			p.conflict(parent)
		}
	}
	p.next = nil
	for _, parent := range parents {
		known := p.known(parent)
		for _, c := range p.parked.byParent[parent] {
			switch {
			case known:
				if !p.importing[c.root] && c.due(p.interval) && (p.next == nil || c.slot() < p.next.slot()) {
					p.next = c
				}
			case !p.importing[parent]:
				highest = max(highest, c.slot())
				if !p.parked.has(parent) {
					p.refer(parent, max(c.slot(), 1)-1, c.depth+1, c.from).waitedFor = true
				}
			}
		}
	}
	return highest
}

// refer records that a peer refers to a missing block.
func (p *planner) refer(root lstar.Root, slot lstar.Slot, depth int, source peer.ID) *missingBlock {
	m := p.missing[root]
	switch {
	case m == nil:
		m = &missingBlock{root: root, slot: slot, depth: depth, since: p.now}
		p.missing[root] = m
	case !m.referenced:
		m.slot, m.depth = slot, depth
	default: // the nearest of several children decides, so that a long fake chain does not hide it
		m.slot, m.depth = max(m.slot, slot), min(m.depth, depth)
	}
	m.referenced = true
	m.sources = append(m.sources, source)
	return m
}

// planRoots requests missing blocks by their roots.
//
// leanSpec: node/sync/backfill_sync.py, BackfillSync.fill_missing
func (p *planner) planRoots() {
	var due []*missingBlock
	for _, m := range p.missing {
		// The run fetches the blocks in its range, and parked blocks have been fetched.
		if m.request == nil && m.referenced && !p.now.Before(m.after) && !p.parked.has(m.root) &&
			(p.run == nil || m.slot <= p.snap.Head.Slot+rangeThreshold) {
			due = append(due, m)
		}
	}
	slices.SortFunc(due, func(a, b *missingBlock) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), compareRoots(a.root, b.root))
	})
	requests := make(map[*syncPeer]*request)
	for _, m := range due {
		able := func(s *syncPeer) bool {
			invalid, asked := m.asked[s.id]
			return !invalid && (!asked || m.suspensions == 0)
		}
		open := func(s *syncPeer) bool {
			r := requests[s]
			return able(s) && s.available(byRoot, p.now) && (r == nil || len(r.missing) < maxRoots)
		}
		source := func(s *syncPeer) bool {
			return able(s) && s.failures[byRoot] < 2 && slices.Contains(m.sources, s.id)
		}
		fresh := func(s *syncPeer) bool { _, asked := m.asked[s.id]; return !asked && open(s) }
		var s *syncPeer
		if m.refusals == 0 { // the first request goes to a peer that refers to the block
			s = p.pick(func(s *syncPeer) bool { return open(s) && source(s) })
		}
		if s == nil && (m.refusals > 0 || !p.any(source)) {
			if s = p.pick(fresh); s == nil {
				s = p.pick(open)
			}
		}
		switch {
		case s != nil && requests[s] == nil:
			requests[s] = &request{kind: byRoot}
			fallthrough
		case s != nil:
			r := requests[s]
			r.missing, r.roots = append(r.missing, m), append(r.roots, m.root)
		case m.refusals > 0 && !p.any(able): // every peer has been tried
			p.suspend(m)
		}
	}
	for _, s := range p.peers {
		if r := requests[s]; r != nil {
			p.request(s, r)
		}
	}
}

// rootsAnswered handles the response to a request by root. Blocks whose parents are unknown are
// first checked like those that come by gossip; the import checks the others.
func (p *planner) rootsAnswered(r *request, blocks []*candidate, err error) {
	if err != nil {
		p.release(r) // the peer's backoff delays the next request, and the blocks stay missing
		return
	}
	r.answered = true
	r.blocks = slices.DeleteFunc(blocks, (*candidate).unproven)
	var unchecked []*candidate
	for _, c := range r.blocks {
		if !p.known(c.parentRoot()) {
			unchecked = append(unchecked, c)
		}
	}
	if len(unchecked) == 0 {
		p.takeBlocks(r, nil)
		return
	}
	p.emit(checkProposers{unchecked, r})
}

func (p *planner) rootsChecked(e proposersChecked) {
	errs := make(map[*candidate]error, len(e.blocks))
	for i, c := range e.blocks {
		errs[c] = e.errs[i]
	}
	p.takeBlocks(e.request, errs)
}

// takeBlocks handles the blocks of a response, with the errors of their checks.
func (p *planner) takeBlocks(r *request, errs map[*candidate]error) {
	p.release(r)
	got := make(map[lstar.Root]*candidate, len(r.blocks))
	for _, c := range r.blocks {
		got[c.root] = c
	}
	last := -1
	for i, root := range r.roots {
		if got[root] != nil {
			last = i
		}
	}
	for i, m := range r.missing {
		c := got[m.root]
		if c == nil {
			// A response may end early: the rest is requested again.
			if last >= 0 && i > last {
				continue
			}
			if s := p.peer(r.peer); s != nil && s.claims(m.root) {
				s.denied++
			}
			p.refused(m, r.peer, false)
			continue
		}
		err := errs[c]
		switch k := causeOf(err); {
		case k.invalid():
			p.penalizeCopy(c, "invalid block: "+err.Error())
			if k == causeBadMessage {
				p.invalid(m.root)
			}
			p.refused(m, r.peer, true)
		case err == nil:
			p.takeBlock(m, c)
		default: // this node could not check the block
			m.after = p.now.Add(backoff(1))
		}
	}
}

// takeBlock parks a block that was fetched. If its parent is part of the chain, the next plan
// imports it; otherwise it requests the parent.
func (p *planner) takeBlock(m *missingBlock, c *candidate) {
	switch {
	case p.known(m.root):
		return
	case p.bad.Has(m.root) || p.bad.Has(c.parentRoot()):
		p.invalid(m.root)
		return
	case c.slot() <= p.snap.LatestFinalized.Slot || p.conflicting.Has(c.parentRoot()):
		p.conflict(m.root)
		return
	case m.depth > maxDepth || c.slot() > p.slot()+1: // too far
		p.suspend(m)
		return
	}
	if s := p.peer(c.from); s != nil {
		s.succeed(byRoot)
		s.unserved, s.denied = max(s.unserved-1, 0), max(s.denied-1, 0)
	}
	// A block that is evicted for others is not requested again at once.
	m.after = p.now.Add(backoff(1))
	c.depth = m.depth
	p.park(c)
	if !p.known(c.parentRoot()) {
		p.resume(m.root)
	}
}

// refused records that a peer does not have a block, or sent an invalid copy. After a pause, the
// block is requested from another peer, if there is one.
func (p *planner) refused(m *missingBlock, from peer.ID, invalid bool) {
	if m.asked == nil || len(m.asked) >= maxAsked {
		m.asked = make(map[peer.ID]bool)
	}
	m.asked[from] = m.asked[from] || invalid
	m.refusals++
	m.after = p.now.Add(backoff(m.refusals))
	if m.refusals >= maxRefusals {
		p.suspend(m)
	}
}

// suspend pauses the requests for a block. The blocks that wait for it stay parked. The first pause
// counts against the peers that refer to the block: a peer that sends a block has its parent, and a
// peer that claims a head has the head, unless the peer has just restarted.
func (p *planner) suspend(m *missingBlock) {
	m.suspended = true
	m.after = p.now.Add(min(suspendTime<<min(m.suspensions, 16), maxSuspendTime))
	m.suspensions++
	if m.suspensions > 1 {
		return
	}
	for _, id := range m.sources {
		if s := p.peer(id); s != nil {
			if s.unserved++; s.unserved%maxUnserved == 0 {
				p.penalize(id, "blocks without parents")
			}
		}
	}
}

// resume allows requests for the missing ancestor of a new block.
func (p *planner) resume(root lstar.Root) {
	if m := p.missing[p.parked.missingAncestor(root)]; m != nil && m.suspended {
		m.resume(p.now)
		maps.DeleteFunc(m.asked, func(_ peer.ID, invalid bool) bool { return !invalid })
	}
}
