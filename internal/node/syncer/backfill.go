package syncer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	slotTime = lstar.SecondsPerSlot * time.Second
	// rangeThreshold is the distance in slots from which on blocks are fetched by
	// their slots, and the depth from which on a fork is.
	rangeThreshold = 8
	deepFork       = 32
	// maxRoots bounds a request by root.
	maxRoots = 32
	// maxRefusals is the number of requests without success after which a missing
	// block is given up for holdTime, which doubles up to maxHoldTime.
	maxRefusals = 3
	holdTime    = 8 * slotTime
	maxHoldTime = 128 * slotTime
	// maxWants bounds the missing blocks that are remembered while nothing refers to
	// them.
	maxWants = 4096
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

// want is a block that this node does not have and that exists, because the
// proposer of a descendant signed that, or that a peer claims to exist.
type want struct {
	root    lstar.Root
	slot    lstar.Slot // of the block, or where it is not known, the last one possible
	depth   int        // of the block, as an orphan
	since   time.Time
	sources []peer.ID // that should have it

	refusals int              // since the last hold
	asked    map[peer.ID]bool // peers that did not have it since then; true for one that sent an invalid copy
	holds    int
	held     bool      // given up until after, unless another peer or block refers to it
	after    time.Time // it may be asked for again
	busy     bool
	seen     bool // by the current plan
	waited   bool // a block with a valid proposer signature waits for it
	trusted  bool // a peer claims it whose claims led somewhere so far
}

// backOff stops requests for the block for a while after one without success.
func (w *want) backOff(now time.Time) {
	w.refusals++
	w.after = now.Add(backoff(w.refusals))
}

// hold gives the block up for a while.
func (w *want) hold(now time.Time) {
	w.held = true
	w.after = now.Add(min(holdTime<<min(w.holds, 16), maxHoldTime))
	w.holds++
}

// resume allows one more request after the block was given up.
func (w *want) resume(now time.Time) {
	if w.held {
		w.held, w.after, w.refusals = false, now, maxRefusals-1
	}
}

// blockRequest is a request for blocks in flight.
type blockRequest struct {
	peer     peer.ID
	deadline time.Time
	cancel   context.CancelFunc
	late     bool
	answered bool // the peer has done its part
	// unanswered says that the peer had the whole time to answer.
	unanswered bool
}

// plan looks at what is missing, and returns the requests to start.
func (s *Service) plan(ctx context.Context) (start []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, snap := s.cfg.Clock.Now(), s.cfg.Chain.Snapshot()
	if finalized := snap.LatestFinalized.Slot; finalized != s.finalized {
		if finalized < s.finalized { // by a reorganisation
			s.conflicting = bounded.NewSet[lstar.Root](maxBadBlocks)
		}
		s.finalized = finalized
	}
	gap, highest := s.collectWants(now, snap)
	s.show(now, snap, gap, highest)
	start = s.askStatuses(ctx, now, snap)
	start = append(start, s.planRange(ctx, now, snap)...)
	return append(start, s.planRoots(ctx, now, snap)...)
}

// collectWants brings s.wants up to date. It returns what keeps the node from being
// synced, and the best head known.
//
// A block whose proposer signed it proves that its ancestors exist, so it counts
// for as long as it waits for one of them, also while the missing block is given
// up. It no longer counts once finality has passed it. A checkpoint that a peer
// merely claims counts until that peer has failed to show it.
func (s *Service) collectWants(now time.Time, snap *lstar.Snapshot) (gap gap, highest lstar.Slot) {
	for _, w := range s.wants {
		w.seen, w.waited, w.trusted, w.sources = false, false, false, w.sources[:0]
		if w.held && !now.Before(w.after) {
			w.held, w.refusals, w.asked = false, 0, nil
		}
	}
	limit := s.cfg.Clock.Slot() + 1
	for id, p := range s.peers {
		for _, c := range [...]lstar.Checkpoint{p.status.Head, p.status.Finalized} {
			if c.Root.IsZero() || c.Slot <= snap.LatestFinalized.Slot || c.Slot > limit {
				continue
			}
			if s.bad.Has(c.Root) || s.conflicting.Has(c.Root) || s.importing[c.Root] > 0 || snap.Block(c.Root) != nil {
				continue
			}
			w := s.want(c.Root, c.Slot, 0, now)
			w.sources, w.trusted = append(w.sources, id), w.trusted || p.trusted()
		}
	}
	s.dropConflicting(snap)
	waits := false
	for parent, children := range s.orphans.missing {
		if s.importing[parent] > 0 || snap.Block(parent) != nil {
			continue
		}
		for _, o := range children {
			w := s.want(parent, max(o.block.Block.Slot, 1)-1, o.depth+1, now)
			w.waited = true
			w.sources = append(w.sources, o.from)
		}
		waits = true
	}
	if waits {
		highest = s.orphans.highest()
	}
	for root, w := range s.wants {
		switch {
		case !w.seen:
			// One that is asked for, imported or given up comes back, and its backoff counts.
			if !w.busy && s.importing[root] == 0 && (!now.Before(w.after) || len(s.wants) > maxWants) {
				delete(s.wants, root)
			}
		case w.waited || w.trusted && !w.held:
			highest = max(highest, w.slot)
			if w.slot > snap.Head.Slot+gapSlots || now.Sub(w.since) >= gapTime {
				gap.known = true
				gap.waiting = gap.waiting || w.waited && w.holds > 0
			}
		}
	}
	return gap, highest
}

// gap is what keeps a node from being synced.
type gap struct {
	known   bool // blocks exist that this node does not have
	waiting bool // signed blocks wait for one that no peer has
}

// dropConflicting removes the blocks that can never be imported, because they wait
// for a block that would be at or before the finalized slot and is not part of the
// chain.
func (s *Service) dropConflicting(snap *lstar.Snapshot) {
	for parent, children := range s.orphans.missing {
		if s.importing[parent] > 0 || snap.Block(parent) != nil {
			continue
		}
		for _, o := range children {
			if o.block.Block.Slot <= snap.LatestFinalized.Slot+1 {
				s.conflict(parent)
				break
			}
		}
	}
}

// invalid drops a block of which no copy can be valid, and all that waits for it. The
// caller holds the lock.
func (s *Service) invalid(root lstar.Root) {
	s.bad.Add(root)
	for _, o := range s.orphans.removeDescendants(root) {
		s.bad.Add(o.root)
	}
}

// conflict drops a block of a fork that branches off before what is final, and all
// that waits for it.
func (s *Service) conflict(root lstar.Root) {
	s.conflicting.Add(root)
	for _, o := range s.orphans.removeDescendants(root) {
		s.conflicting.Add(o.root)
	}
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
	default: // of several children the nearest decides, so that a long fake chain does not hide it
		w.slot, w.depth = max(w.slot, slot), min(w.depth, depth)
	}
	w.seen = true
	return w
}

// show updates the view and the state.
//
// leanSpec: node/sync/service.py, SyncService.on_peer_status and _check_sync_complete
func (s *Service) show(now time.Time, snap *lstar.Snapshot, gap gap, highest lstar.Slot) {
	before := s.state
	finalized, any := s.networkFinalized()
	if !any {
		s.state = Idle
	} else {
		if s.state == Idle || finalized > snap.Head.Slot {
			s.state = Syncing
		}
		if s.state == Syncing && finalized <= snap.Head.Slot && !gap.known {
			s.state = Synced
		}
	}
	if s.state != before {
		s.cfg.Log.Info("sync state", "from", before.String(), "to", s.state.String(), logging.Slot(snap.Head.Slot))
	}
	v := &View{interval: s.lastInterval, State: s.state, Gap: gap.known, MissingAncestor: gap.waiting, Peers: len(s.peers)}
	if gap.known && highest > snap.Head.Slot {
		v.Distance = uint64(highest - snap.Head.Slot)
	}
	for _, p := range s.peers {
		head := p.status.Head
		// One that is behind finality knows less than we do, and agrees to nothing.
		if now.Sub(p.statusAt) <= freshTime && head.Slot >= snap.LatestFinalized.Slot && snap.Block(head.Root) != nil {
			v.Agree++
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

// request counts a request to a peer, and returns the function that makes it: do waits
// for the answer, and check, which may be nil, is this node's work on it, for which the
// peer is given no deadline. Of do's results, done gets the error, with the lock held.
func (s *Service) request(run context.Context, p *syncPeer, m method, do func(context.Context) error, check func(context.Context), done func(err error)) func() {
	ctx, cancel := context.WithCancel(run)
	r := &blockRequest{peer: p.id, deadline: s.cfg.Clock.Now().Add(requestTimeout), cancel: cancel}
	s.requests[r] = struct{}{}
	p.inFlight[m]++
	return func() {
		err := do(ctx)
		s.mu.Lock()
		r.answered = true
		s.mu.Unlock()
		if err == nil && check != nil {
			check(run)
		}
		s.mu.Lock()
		cancel()
		delete(s.requests, r)
		p.inFlight[m]--
		if r.unanswered {
			err = p2p.ErrNoResponse
		}
		if err != nil {
			p.fail(m, s.cfg.Clock.Now(), causeOf(err))
			s.cfg.Log.Debug("request failed", logging.Peer(p.id), logging.Err(err))
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
		able := func(p *syncPeer) bool {
			invalid, asked := w.asked[p.id]
			return !invalid && (!asked || w.holds == 0)
		}
		open := func(p *syncPeer) bool { return able(p) && p.available(byRoot, now) && len(byPeer[p]) < maxRoots }
		source := func(p *syncPeer) bool {
			return able(p) && p.failures[byRoot] < 2 && slices.Contains(w.sources, p.id)
		}
		fresh := func(p *syncPeer) bool { _, asked := w.asked[p.id]; return !asked && open(p) }
		var p *syncPeer
		if w.refusals == 0 { // a peer that refers to it is asked first, and waited for
			p = s.pick(func(p *syncPeer) bool { return open(p) && source(p) })
		}
		if p == nil && (w.refusals > 0 || s.pick(source) == nil) {
			if p = s.pick(fresh); p == nil {
				p = s.pick(open)
			}
		}
		switch {
		case p != nil:
			w.busy = true
			byPeer[p] = append(byPeer[p], w)
		case w.refusals > 0 && s.pick(able) == nil: // no peer is left
			s.giveUp(w, now)
		}
	}
	for p, wants := range byPeer {
		roots := make([]lstar.Root, len(wants))
		for i, w := range wants {
			roots[i] = w.root
		}
		var (
			answer []*lstar.SignedBlock
			blocks []fetched
		)
		start = append(start, s.request(ctx, p, byRoot, func(ctx context.Context) (err error) {
			answer, err = s.cfg.Network.BlocksByRoot(ctx, p.id, roots)
			return err
		}, func(ctx context.Context) {
			blocks = s.checkFetched(ctx, answer)
		}, func(err error) { s.gotRoots(p, wants, blocks, err) }))
	}
	return start
}

// fetched is a block that a peer sent on request.
type fetched struct {
	block *lstar.SignedBlock
	root  lstar.Root
	err   error // of the check of its proposer's signature
}

// unproven reports whether a block has an empty proof. leanSpec's node serves the
// block that it started from that way; a peer that sends it does not have the block.
func unproven(b *lstar.SignedBlock) bool { return len(b.Proof.Proof) == 0 }

// checkFetched checks the proposer's signatures of those blocks whose parents are
// unknown. The import checks the others.
func (s *Service) checkFetched(ctx context.Context, blocks []*lstar.SignedBlock) []fetched {
	checked := make([]fetched, 0, len(blocks))
	for _, b := range blocks {
		if unproven(b) {
			continue
		}
		f := fetched{block: b, root: b.Block.Root()}
		if !s.known(b.Block.ParentRoot) {
			f.err = s.cfg.Chain.VerifyProposer(ctx, b, f.root)
		}
		checked = append(checked, f)
	}
	return checked
}

// gotRoots takes the answer to a request by root. The caller holds the lock.
func (s *Service) gotRoots(p *syncPeer, wants []*want, blocks []fetched, err error) {
	for _, w := range wants {
		w.busy = false
	}
	if err != nil {
		return // the peer's backoff delays the next request, and the block stays wanted
	}
	got := make(map[lstar.Root]fetched, len(blocks))
	for _, f := range blocks {
		got[f.root] = f
	}
	last := -1
	for i, w := range wants {
		if _, ok := got[w.root]; ok {
			last = i
		}
	}
	for i, w := range wants {
		f, ok := got[w.root]
		switch c := causeOf(f.err); {
		case !ok && i > last && last >= 0: // the response may have ended early: ask for the rest
		case !ok:
			if p.claims(w.root) {
				p.denied++
			}
			s.refused(w, p.id, false)
		case c.invalid():
			key := orphanKey{w.root, p.id}
			if !s.faulted.Has(key) {
				s.faulted.Add(key)
				s.blame(p.id, "invalid block: "+f.err.Error())
			}
			if c == causeBadMessage {
				s.invalid(w.root)
			}
			s.refused(w, p.id, true)
		case f.err == nil:
			s.gotBlock(p, w, f.block)
		}
	}
}

// gotBlock parks a block that was fetched, to be imported at once where its
// parent is known, else to be followed further back.
func (s *Service) gotBlock(p *syncPeer, w *want, b *lstar.SignedBlock) {
	snap := s.cfg.Chain.Snapshot()
	block := &b.Block
	now := s.cfg.Clock.Now()
	switch {
	case snap.Block(w.root) != nil:
		return
	case s.bad.Has(block.ParentRoot):
		s.invalid(w.root)
		return
	case block.Slot <= snap.LatestFinalized.Slot || s.conflicting.Has(block.ParentRoot):
		s.conflict(w.root)
		return
	case w.depth > maxDepth || block.Slot > s.cfg.Clock.Slot()+1:
		s.giveUp(w, now) // too far
		return
	}
	p.succeed(byRoot)
	p.unserved, p.denied = max(p.unserved-1, 0), max(p.denied-1, 0)
	// A parked block that has to leave for others is not asked for again at once.
	w.after = now.Add(backoff(1))
	s.addOrphan(&orphan{block: b, root: w.root, from: p.id, depth: w.depth})
	if snap.Block(block.ParentRoot) != nil {
		s.ready = append(s.ready, block.ParentRoot)
		kick(s.unlocked)
		return
	}
	s.resume(w.root)
}

// refused notes that a peer does not have a block, or sent an invalid copy. The
// block is asked of another peer, if there is one, after a while. The caller holds
// the lock.
func (s *Service) refused(w *want, from peer.ID, invalid bool) {
	now := s.cfg.Clock.Now()
	if w.asked == nil {
		w.asked = make(map[peer.ID]bool)
	}
	w.asked[from] = w.asked[from] || invalid
	if w.backOff(now); w.refusals >= maxRefusals {
		s.giveUp(w, now)
	}
}

// giveUp stops requests for a block for a while. The blocks that wait for it stay
// parked. The first time it counts against the peers that refer to the block: a
// peer that sends a block has its parent, and a peer that claims a head has it,
// unless it has just started again.
func (s *Service) giveUp(w *want, now time.Time) {
	w.hold(now)
	if w.holds > 1 {
		return
	}
	for _, id := range w.sources {
		if p := s.peers[id]; p != nil {
			if p.unserved++; p.unserved%maxUnserved == 0 {
				s.blame(p.id, "blocks without parents")
			}
		}
	}
}

// resume asks again for the block that a new one waits for, directly or not. The
// caller holds the lock.
func (s *Service) resume(root lstar.Root) {
	if w := s.wants[s.orphans.missingAncestor(root)]; w != nil && w.held {
		w.resume(s.cfg.Clock.Now())
		maps.DeleteFunc(w.asked, func(_ peer.ID, invalid bool) bool { return !invalid })
	}
}
