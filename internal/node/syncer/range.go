package syncer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// batchSlots is the size of a range request, and window the number of batches
	// that are downloaded ahead of the import.
	batchSlots = 64
	window     = 4
	// maxBatchFailures and maxRestarts bound what a run puts up with before block
	// by block takes its place.
	maxBatchFailures = 3
	maxBatchWait     = slotTime // for a peer that failed
	maxRestarts      = 8
	// warnFailures is the number of runs in a row without a block that is worth a
	// warning.
	warnFailures = 3
)

// rangeRun fetches the blocks of a range of slots.
//
// Peers may be on different forks, and may lie by leaving blocks out, and which
// of two batches that do not fit together is the wrong one cannot be seen. So
// when that happens one peer gets to show that it can do better alone: from our
// head, and where that is on another fork, from our finalized block.
type rangeRun struct {
	start, next, target lstar.Slot
	deep                bool    // it started from the finalized block
	only                peer.ID // the one peer that is asked, or empty
	excluded            map[peer.ID]bool
	batches             []*batch // in order; the first is the next to import
	givers              []peer.ID
	imported, restarts  int
	err                 error // of the last request that failed, or nil
}

// batch is a part of a run.
type batch struct {
	first, last lstar.Slot
	busy, done  bool
	from        peer.ID
	blocks      []*lstar.SignedBlock
	failures    int
}

// planRange starts a run where there is a long way to go, and requests for it.
func (s *Service) planRange(ctx context.Context, now time.Time, snap *lstar.Snapshot) (start []func()) {
	if s.run == nil {
		s.startRange(now, snap)
	}
	run := s.run
	if run == nil {
		return nil
	}
	for len(run.batches) < window && run.next <= run.target {
		last := min(run.next+batchSlots-1, run.target)
		run.batches = append(run.batches, &batch{first: run.next, last: last})
		run.next = last + 1
	}
	// Responses that end early add batches. No more than a window of them is ahead of
	// the import, or a peer that sends one invalid block at a time is asked for hundreds.
	for i, b := range run.batches[:min(len(run.batches), window)] {
		if b.busy || b.done {
			continue
		}
		able := func(p *syncPeer) bool {
			return !run.excluded[p.id] && (run.only == "" || run.only == p.id) && p.headSlot >= b.last
		}
		ready := func(p *syncPeer) bool { return able(p) && p.available(byRange, now) }
		p := s.pick(func(p *syncPeer) bool { return ready(p) && p.id != b.from })
		if p == nil {
			p = s.pick(ready)
		}
		if p != nil {
			start = append(start, s.requestBatch(ctx, run, b, p))
			continue
		}
		soon := func(p *syncPeer) bool { return able(p) && p.after[byRange].Sub(now) <= maxBatchWait }
		if i == 0 && (b.failures >= maxBatchFailures || s.pick(soon) == nil) {
			// Nobody can show what is claimed to be there, or not for a while.
			s.endRun(run)
			return start
		}
	}
	if len(run.batches) == 0 {
		s.endRun(run)
	}
	return start
}

// startRange starts a run if it is the way to go.
func (s *Service) startRange(now time.Time, snap *lstar.Snapshot) {
	if now.Before(s.rangeAfter) {
		return
	}
	var target lstar.Slot
	long := false
	for _, w := range s.wants {
		if w.seen && !w.held {
			target = max(target, w.slot)
			long = long || w.depth > deepFork
		}
	}
	noRoots := len(s.wants) > 0 && s.pick(func(p *syncPeer) bool { return p.failures[byRoot] == 0 }) == nil
	first := snap.Head.Slot + 1
	deep := target < first || long && target <= snap.Head.Slot+rangeThreshold
	if deep {
		first = snap.LatestFinalized.Slot + 1
	}
	if target < first || !long && !noRoots && target <= snap.Head.Slot+rangeThreshold {
		return
	}
	if s.pick(func(p *syncPeer) bool { return p.headSlot >= first && !now.Before(p.after[byRange]) }) == nil {
		return
	}
	if floor := first + p2p.MinSlotsForBlockRequests; floor < s.cfg.Clock.Slot() && !s.warned {
		s.warned = true
		s.cfg.Log.Warn("further behind than peers serve blocks: start from a checkpoint instead, with --checkpoint-sync-url",
			logging.Slot(snap.Head.Slot), "from_slot", uint64(first), "oldest_served_slot", uint64(s.cfg.Clock.Slot()-p2p.MinSlotsForBlockRequests))
	}
	s.run = &rangeRun{start: first, next: first, target: target, deep: deep, excluded: make(map[peer.ID]bool)}
	s.cfg.Log.Info("fetching blocks", logging.Slot(snap.Head.Slot), "from_slot", uint64(first), "to_slot", uint64(target))
}

func (s *Service) requestBatch(ctx context.Context, run *rangeRun, b *batch, p *syncPeer) func() {
	b.busy, b.from = true, p.id
	var blocks []*lstar.SignedBlock
	return s.request(ctx, p, byRange, func(ctx context.Context) (err error) {
		blocks, err = s.cfg.Network.BlocksByRange(ctx, p.id, b.first, uint64(b.last-b.first)+1)
		return err
	}, nil, func(err error) {
		b.busy = false
		if err != nil {
			b.failures++
			run.err = err
			return
		}
		// A block with an empty proof is one that the peer does not have.
		b.done, b.blocks = true, slices.DeleteFunc(blocks, unproven)
		run.split(b)
		kick(s.unlocked)
	})
}

// split ends a batch at its last block, and makes a batch of the slots after it: a
// response may end early, because a peer limits the bytes that it sends.
func (r *rangeRun) split(b *batch) {
	i := slices.Index(r.batches, b)
	if i < 0 || len(b.blocks) == 0 {
		return
	}
	if last := b.blocks[len(b.blocks)-1].Block.Slot; last < b.last {
		r.batches = slices.Insert(r.batches, i+1, &batch{first: last + 1, last: b.last})
		b.last = last
	}
}

// endRun ends a run. One that brought nothing is not repeated at once, so that
// the blocks can be fetched by their roots meanwhile. The caller holds the lock.
func (s *Service) endRun(run *rangeRun) {
	if s.run != run {
		return
	}
	s.run = nil
	if run.imported > 0 {
		s.rangeFailures = 0
		return
	}
	if s.rangeFailures++; s.rangeFailures == warnFailures {
		s.cfg.Log.Warn("no peer serves the missing blocks", logging.Slot(s.cfg.Chain.Snapshot().Head.Slot),
			"from_slot", uint64(run.start), "to_slot", uint64(run.target), logging.Err(run.err),
			logging.Advice("Connect this node to a peer that serves the chain, or start it from a newer checkpoint with --checkpoint-sync-url."))
	}
	s.rangeAfter = s.cfg.Clock.Now().Add(backoff(s.rangeFailures))
	for _, id := range append(run.givers, run.only) {
		if p := s.peers[id]; p != nil {
			p.fail(byRange, s.cfg.Clock.Now(), causeUnanswered)
		}
	}
}

// restart begins a run anew, at what is known by now.
func (s *Service) restart(run *rangeRun) {
	if s.run != run {
		return
	}
	snap := s.cfg.Chain.Snapshot()
	run.start = snap.Head.Slot + 1
	if run.deep {
		run.start = snap.LatestFinalized.Slot + 1
	}
	run.next, run.batches, run.givers = run.start, nil, nil
	if run.restarts++; run.restarts > maxRestarts {
		s.endRun(run)
	}
}

// errUnconnected is a batch that does not follow from what we have.
var errUnconnected = errors.New("blocks do not connect")

// importBatch imports the next batch of the run, and reports whether there was
// one.
func (s *Service) importBatch(ctx context.Context) bool {
	s.mu.Lock()
	run := s.run
	if run == nil || len(run.batches) == 0 || !run.batches[0].done {
		s.mu.Unlock()
		return false
	}
	b := run.batches[0]
	s.mu.Unlock()
	started := s.cfg.Clock.Now()
	imported, err := s.importBlocks(ctx, b)
	if ctx.Err() != nil {
		return false
	}

	s.mu.Lock()
	run.imported += imported
	again := true
	switch {
	case s.run != run:
	case err == nil:
		run.batches = run.batches[1:]
		run.givers = append(run.givers, b.from)
		if imported > 0 {
			if p := s.peers[b.from]; p != nil {
				p.succeed(byRange)
			}
			run.givers = run.givers[:0]
			run.only = "" // what was in the way is behind us
		}
	case causeOf(err).invalid():
		if p := s.peers[b.from]; p != nil { // the next run does not ask it at once, either
			p.fail(byRange, s.cfg.Clock.Now(), causeOf(err))
		}
		s.exclude(run, b.from)
	case errors.Is(err, errUnconnected):
		s.unconnected(run, b)
	default:
		again = false // it says nothing about the batch, which the next tick tries again
	}
	s.wake()
	s.mu.Unlock()
	if imported > 0 {
		s.cfg.Log.Debug("batch imported", logging.Slot(b.last), "blocks", imported,
			logging.Duration(s.cfg.Clock.Now().Sub(started)), logging.Peer(b.from))
	}
	return again
}

// importBlocks imports the blocks of a batch in order and returns how many were
// new.
func (s *Service) importBlocks(ctx context.Context, b *batch) (imported int, err error) {
	for _, block := range b.blocks {
		root := block.Block.Root()
		s.mu.Lock()
		bad := s.bad.Has(root)
		known := s.known(root)
		connected := known || s.known(block.Block.ParentRoot)
		if !bad && !known && connected {
			s.importing[root]++
		}
		s.mu.Unlock()
		switch {
		case bad:
			err := &lstar.Rejection{Reason: lstar.StateRootMismatch, Detail: "block " + root.String() + " was found invalid before"}
			s.blameBlock(b.from, root, "invalid block in a range: "+err.Error())
			return imported, err
		case known:
			continue
		case !connected:
			return imported, errUnconnected
		}
		err := s.importBlock(ctx, block, root, b.from, false)
		switch c := causeOf(err); {
		case err == nil:
			imported++
		case c == causeNone: // it came another way meanwhile
		case c == causeEarly:
			return imported, errUnconnected
		default:
			if c.invalid() {
				s.blameBlock(b.from, root, "invalid block in a range: "+err.Error())
			}
			return imported, err
		}
	}
	return imported, nil
}

// unconnected decides how to go on after a batch that does not connect. The
// caller holds the lock.
func (s *Service) unconnected(run *rangeRun, b *batch) {
	if s.run != run {
		return
	}
	alone := run.only == b.from || b.first == run.start // nobody else can have left something out
	switch {
	case !alone:
		for _, id := range append(run.givers, b.from) {
			if p := s.peers[id]; p != nil {
				p.score = max(p.score-failurePenalty, 0)
			}
		}
		run.only = b.from
		s.restart(run)
	case !run.deep:
		run.deep, run.only = true, b.from
		s.restart(run)
	default:
		// A peer that itself started later may have nothing older: once is no fault.
		if p := s.peers[b.from]; p != nil {
			if p.fail(byRange, s.cfg.Clock.Now(), causeUnanswered); p.failures[byRange] >= maxBatchFailures {
				s.blame(b.from, "ranges of blocks that do not connect to the finalized block")
			}
		}
		s.exclude(run, b.from)
	}
}

// exclude goes on without a peer.
func (s *Service) exclude(run *rangeRun, id peer.ID) {
	run.excluded[id] = true
	run.only, run.deep = "", false
	if p := s.peers[id]; p != nil {
		p.score = max(p.score-failurePenalty, 0)
	}
	s.restart(run)
}
