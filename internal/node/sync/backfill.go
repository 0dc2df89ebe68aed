package sync

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

const (
	slotTime = lstar.SecondsPerSlot * time.Second
	// rangeThreshold is the distance in slots from which on blocks are fetched by
	// their slots, and the depth from which on a fork is.
	rangeThreshold = 8
	deepFork       = 32
	// maxRoots bounds a request by root.
	maxRoots = 32
	// maxRefusals is how many peers may not have a block that others speak of
	// before it is shelved, and shelfTime for how long.
	maxRefusals = 3
	shelfTime   = 8 * slotTime
	maxShelved  = 4096
	// maxUnserved is how many blocks a peer may speak of that nobody has.
	maxUnserved = 16
	// gapSlots and gapTime are by how much and for how long our head must be
	// behind before it is called a gap: blocks travel.
	gapSlots = 2
	gapTime  = slotTime
	// Peers are asked for their status after quietTime, and after staleTime where
	// our head is older than staleSlots. A status is fresh for freshTime.
	quietTime  = 16 * slotTime
	staleTime  = 2 * slotTime
	staleSlots = 2
	freshTime  = 6 * slotTime
)

// want is a block that is known to exist, or said to, and that we do not have.
type want struct {
	root    lstar.Root
	slot    lstar.Slot // of the block, or where it is not known, the last one possible
	depth   int        // of the block, as an orphan
	since   time.Time
	sources []peer.ID // that should have it

	refusals int
	after    time.Time // it may be asked for again
	busy     bool
	seen     bool // by the current plan
	trusted  bool // somebody speaks of it whose blocks led somewhere so far
}

// blockRequest is a request for blocks in flight.
type blockRequest struct {
	peer     peer.ID
	deadline time.Time
	cancel   context.CancelFunc
	late     bool
}

// plan looks at what is missing, and returns the requests to start.
func (s *Service) plan(ctx context.Context) (start []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, snap := s.cfg.Clock.Now(), s.cfg.Chain.Snapshot()
	gap, highest := s.collectWants(now, snap)
	s.show(now, snap, gap, highest)
	start = s.askStatuses(ctx, now, snap)
	start = append(start, s.planRange(ctx, now, snap)...)
	return append(start, s.planRoots(ctx, now, snap)...)
}

// collectWants brings s.wants up to date. It returns whether there is a gap, and
// the best head known.
func (s *Service) collectWants(now time.Time, snap *lstar.Snapshot) (gap bool, highest lstar.Slot) {
	for _, w := range s.wants {
		w.seen, w.trusted, w.sources = false, false, w.sources[:0]
	}
	limit := s.cfg.Clock.Slot() + 1
	for id, p := range s.peers {
		trusted := p.unserved == 0
		for _, c := range [...]lstar.Checkpoint{p.status.Head, p.status.Finalized} {
			if c.Root.IsZero() || c.Slot <= snap.LatestFinalized.Slot || c.Slot > limit {
				continue
			}
			if _, ok := s.shelved[c.Root]; ok || s.bad.has(c.Root) || s.importing[c.Root] > 0 || snap.Block(c.Root) != nil {
				continue
			}
			w := s.want(c.Root, c.Slot, 0, now)
			w.sources, w.trusted = append(w.sources, id), w.trusted || trusted
		}
	}
	for parent, children := range s.orphans.missing {
		if s.importing[parent] > 0 || snap.Block(parent) != nil {
			continue
		}
		for _, o := range children {
			w := s.want(parent, max(o.block.Block.Slot, 1)-1, o.depth+1, now)
			w.sources = append(w.sources, o.from)
			if p := s.peers[o.from]; p != nil && p.unserved == 0 {
				w.trusted = true
				highest = max(highest, o.block.Block.Slot)
			}
		}
	}
	for root, w := range s.wants {
		if !w.seen {
			if !w.busy {
				delete(s.wants, root)
			}
			continue
		}
		if !w.trusted {
			continue
		}
		highest = max(highest, w.slot)
		gap = gap || w.slot > snap.Head.Slot+gapSlots || now.Sub(w.since) >= gapTime
	}
	return gap, highest
}

// want returns the want of a block, new or known.
func (s *Service) want(root lstar.Root, slot lstar.Slot, depth int, now time.Time) *want {
	w := s.wants[root]
	switch {
	case w == nil:
		w = &want{root: root, slot: slot, depth: depth, since: now}
		s.wants[root] = w
	case !w.seen:
		w.slot, w.depth = slot, depth
	default: // of several children the nearest decides, lest a long fake chain hides it
		w.slot, w.depth = max(w.slot, slot), min(w.depth, depth)
	}
	w.seen = true
	return w
}

// show updates the view and the state.
//
// leanSpec: node/sync/service.py, SyncService.on_peer_status and _check_sync_complete
func (s *Service) show(now time.Time, snap *lstar.Snapshot, gap bool, highest lstar.Slot) {
	before := s.state
	finalized, any := s.networkFinalized()
	if !any {
		s.state = Idle
	} else {
		if s.state == Idle || finalized > snap.Head.Slot {
			s.state = Syncing
		}
		if s.state == Syncing && finalized <= snap.Head.Slot && !gap {
			s.state = Synced
		}
	}
	if s.state != before {
		s.cfg.Log.Info("sync state", "from", before.String(), "to", s.state.String(), telemetry.Slot(uint64(snap.Head.Slot)))
	}
	v := &view{interval: s.lastInterval, state: s.state, gap: gap, peers: len(s.peers)}
	if gap && highest > snap.Head.Slot {
		v.distance = uint64(highest - snap.Head.Slot)
	}
	for _, p := range s.peers {
		head := p.status.Head
		// One that is behind finality knows less than we do, and agrees to nothing.
		if now.Sub(p.statusAt) <= freshTime && head.Slot >= snap.LatestFinalized.Slot && snap.Block(head.Root) != nil {
			v.agree++
		}
	}
	old := s.view.Load()
	if v.outdated = old.outdated; *v != *old {
		v.outdated = make(chan struct{})
		s.view.Store(v)
		close(old.outdated)
	}
}

// askStatuses asks peers what they have, where we may have missed something.
func (s *Service) askStatuses(ctx context.Context, now time.Time, snap *lstar.Snapshot) (start []func()) {
	interval := quietTime
	if snap.Head.Slot+staleSlots < s.cfg.Clock.Slot() {
		interval = staleTime
	}
	for id, p := range s.peers {
		if p.asking || now.Sub(p.statusAt) < interval || now.Before(p.askAfter) {
			continue
		}
		p.asking = true
		start = append(start, func() {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			_, err := s.cfg.Network.Status(ctx, id) // which calls OnStatus
			s.mu.Lock()
			defer s.mu.Unlock()
			p.asking = false
			if err != nil {
				p.askAfter = s.cfg.Clock.Now().Add(staleTime)
			}
		})
	}
	return start
}

// request counts a request to a peer, and returns the function that makes it. Of
// do's results, done gets the error, with the lock held.
func (s *Service) request(ctx context.Context, p *syncPeer, m method, do func(context.Context) error, done func(err error)) func() {
	ctx, cancel := context.WithCancel(ctx)
	r := &blockRequest{peer: p.id, deadline: s.cfg.Clock.Now().Add(requestTimeout), cancel: cancel}
	s.requests[r] = struct{}{}
	p.inFlight[m]++
	return func() {
		err := do(ctx)
		s.mu.Lock()
		cancel()
		delete(s.requests, r)
		p.inFlight[m]--
		if err != nil {
			p.fail(m, s.cfg.Clock.Now())
			s.cfg.Log.Debug("request failed", telemetry.Peer(p.id.String()), telemetry.Err(err))
		}
		done(err)
		s.wake()
		s.mu.Unlock()
		s.penalize()
	}
}

// planRoots asks for missing blocks by their roots.
//
// leanSpec: node/sync/backfill_sync.py, BackfillSync.fill_missing
func (s *Service) planRoots(ctx context.Context, now time.Time, snap *lstar.Snapshot) (start []func()) {
	var due []*want
	for _, w := range s.wants {
		// What a range is about to bring is left to it, and a head that was fetched
		// and is parked is to be imported.
		if !w.busy && w.seen && !now.Before(w.after) && !s.orphans.has(w.root) && (s.run == nil || w.slot <= snap.Head.Slot+rangeThreshold) {
			due = append(due, w)
		}
	}
	slices.SortFunc(due, func(a, b *want) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), slices.Compare(a.root[:], b.root[:]))
	})
	byPeer := make(map[*syncPeer][]*want)
	for _, w := range due {
		open := func(p *syncPeer) bool { return p.available(byRoot, now) && len(byPeer[p]) < maxRoots }
		source := func(p *syncPeer) bool { return p.failures[byRoot] < 2 && slices.Contains(w.sources, p.id) }
		var p *syncPeer
		if w.refusals == 0 { // who speaks of it is asked first, and waited for
			p = s.pick(func(p *syncPeer) bool { return open(p) && source(p) })
		}
		if p == nil && (w.refusals > 0 || s.pick(source) == nil) {
			p = s.pick(open)
		}
		if p != nil {
			w.busy = true
			byPeer[p] = append(byPeer[p], w)
		}
	}
	for p, wants := range byPeer {
		roots := make([]lstar.Root, len(wants))
		for i, w := range wants {
			roots[i] = w.root
		}
		var blocks []*lstar.SignedBlock
		start = append(start, s.request(ctx, p, byRoot, func(ctx context.Context) (err error) {
			blocks, err = s.cfg.Network.BlocksByRoot(ctx, p.id, roots)
			return err
		}, func(err error) { s.gotRoots(p, wants, blocks, err) }))
	}
	return start
}

// gotRoots takes the answer to a request by root. The caller holds the lock.
func (s *Service) gotRoots(p *syncPeer, wants []*want, blocks []*lstar.SignedBlock, err error) {
	for _, w := range wants {
		w.busy = false
	}
	if err != nil {
		return // which counts against the peer, and says nothing about the blocks
	}
	now := s.cfg.Clock.Now()
	got := make(map[lstar.Root]*lstar.SignedBlock, len(blocks))
	for _, b := range blocks {
		got[b.Block.Root()] = b
	}
	for _, w := range wants {
		if b := got[w.root]; b != nil {
			w.refusals = 0
			s.gotBlock(p, w, b)
			continue
		}
		if len(blocks) > 0 {
			continue // the response may have ended early: only one without a block says that there is none
		}
		w.refusals++
		w.after = now.Add(backoff(w.refusals))
		if w.refusals >= maxRefusals {
			s.refused(w)
			s.giveUp(w)
		}
	}
}

// gotBlock parks a block that was fetched, to be imported at once where its
// parent is known, else to be followed further back.
func (s *Service) gotBlock(p *syncPeer, w *want, b *lstar.SignedBlock) {
	snap := s.cfg.Chain.Snapshot()
	block := &b.Block
	switch {
	case snap.Block(w.root) != nil:
		return
	case s.bad.has(block.ParentRoot):
		s.bad.add(w.root)
		for _, o := range s.orphans.removeDescendants(w.root) {
			s.bad.add(o.root)
		}
		return
	case w.depth > maxDepth || block.Slot <= snap.LatestFinalized.Slot || block.Slot > s.cfg.Clock.Slot()+1:
		s.giveUp(w) // too far, or a fork of what is final
		return
	}
	p.succeed(byRoot)
	p.unserved = max(p.unserved-1, 0)
	s.addOrphan(&orphan{block: b, root: w.root, from: p.id, depth: w.depth})
	if snap.Block(block.ParentRoot) != nil {
		s.ready = append(s.ready, block.ParentRoot)
		kick(s.unlocked)
	}
}

// refused counts a block that nobody has against those who spoke of it. Who sends
// a block has its parent, and who names a head has it, unless it has just started
// again.
func (s *Service) refused(w *want) {
	for _, id := range w.sources {
		if p := s.peers[id]; p != nil {
			if p.unserved++; p.unserved%maxUnserved == 0 {
				s.blame(p.id, "blocks without parents")
			}
		}
	}
}

// giveUp shelves a block and all that waits for it.
func (s *Service) giveUp(w *want) {
	until := s.cfg.Clock.Now().Add(shelfTime)
	s.shelve(w.root, until)
	for _, o := range s.orphans.removeDescendants(w.root) {
		s.shelve(o.root, until)
	}
}

// shelve stops the fetching of a block for a while. What waits for it is shelved
// for as long and no longer, or a chain that grows would stay on the shelf.
func (s *Service) shelve(root lstar.Root, until time.Time) {
	if len(s.shelved) >= maxShelved {
		clear(s.shelved)
	}
	s.shelved[root] = until
}
