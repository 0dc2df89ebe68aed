package syncer

import (
	"log/slog"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// rangeThreshold is the distance in slots above which blocks are requested by range, and
	// deepFork the depth of a fork above which they are.
	rangeThreshold = 8
	deepFork       = 32
	// batchSlots is the number of slots of a range request, and window the number of batches that
	// are requested ahead of the import.
	batchSlots = 64
	window     = 4
	// maxBatchFailures, maxBatchWait (for a peer that failed) and maxRestarts limit the failures of
	// a run, after which requests by root replace it.
	maxBatchFailures = 3
	maxBatchWait     = slotTime
	maxRestarts      = 8
	// warnFailures is the number of runs in a row without a block that causes a warning.
	warnFailures = 3
)

// rangeRun fetches the blocks of a range of slots.
//
// Peers may be on different forks, and may leave blocks out. If two batches do not connect, the run
// cannot determine which one is wrong. So it continues with a single peer: from the head of this
// node and, if that is on another fork, from the finalized block.
type rangeRun struct {
	start, next, target lstar.Slot
	deep                bool    // it started from the finalized block
	only                peer.ID // the only peer that gets requests, or empty
	excluded            map[peer.ID]bool
	batches             []*batch  // in order; the first is imported next
	givers              []peer.ID // peers that sent the latest batches, which had no new block
	imported, restarts  int
	err                 error // of the latest request that failed, or nil
}

// batch is a part of a run.
type batch struct {
	run         *rangeRun
	first, last lstar.Slot
	busy, done  bool // it is being requested; its blocks have arrived
	from        peer.ID
	blocks      []*candidate // that are not imported yet
	imported    int
	failures    int
}

// planRange starts a run if this node is far behind, and sends the requests of the run.
func (p *planner) planRange() {
	if p.run == nil {
		p.startRange()
	}
	run := p.run
	if run == nil {
		return
	}
	for len(run.batches) < window && run.next <= run.target {
		last := min(run.next+batchSlots-1, run.target)
		run.batches = append(run.batches, &batch{run: run, first: run.next, last: last})
		run.next = last + 1
	}
	// Responses that end early add batches. Only a window of batches is requested ahead of the
	// import; otherwise a peer that sends one invalid block at a time would get hundreds of requests.
	for i, b := range run.batches[:min(len(run.batches), window)] {
		if b.busy || b.done {
			continue
		}
		able := func(s *syncPeer) bool {
			return !run.excluded[s.id] && (run.only == "" || run.only == s.id) && s.headSlot >= b.last
		}
		ready := func(s *syncPeer) bool { return able(s) && s.available(byRange, p.now) }
		s := p.pick(func(s *syncPeer) bool { return ready(s) && s.id != b.from })
		if s == nil {
			s = p.pick(ready)
		}
		if s != nil {
			b.busy, b.from = true, s.id
			p.request(s, &request{kind: byRange, batch: b})
			continue
		}
		soon := func(s *syncPeer) bool { return able(s) && s.after[byRange].Sub(p.now) <= maxBatchWait }
		if i == 0 && (b.failures >= maxBatchFailures || !p.any(soon)) {
			// No peer can serve the batch soon.
			p.endRun(run)
			return
		}
	}
	if len(run.batches) == 0 {
		p.endRun(run)
	}
}

// startRange starts a run if the missing blocks should be requested by range.
func (p *planner) startRange() {
	if p.now.Before(p.rangeAfter) {
		return
	}
	head := p.snap.Head.Slot
	var target lstar.Slot
	long := false
	for _, m := range p.missing {
		if m.referenced && !m.suspended {
			target = max(target, m.slot)
			long = long || m.depth > deepFork
		}
	}
	noRoots := len(p.missing) > 0 && !p.any(func(s *syncPeer) bool { return s.failures[byRoot] == 0 })
	first := head + 1
	deep := target < first || long && target <= head+rangeThreshold
	if deep {
		first = p.snap.LatestFinalized.Slot + 1
	}
	if target < first || !long && !noRoots && target <= head+rangeThreshold {
		return
	}
	if !p.any(func(s *syncPeer) bool { return s.headSlot >= first && !p.now.Before(s.after[byRange]) }) {
		return
	}
	if slot := p.slot(); first+p2p.MinSlotsForBlockRequests < slot && !p.warned {
		p.warned = true
		p.log(slog.LevelWarn, "further behind than peers serve blocks", logging.Advice("Set the checkpoint sync URL and restart the node, so that it starts from a newer checkpoint."),
			logging.Slot(head), "from_slot", uint64(first), "oldest_served_slot", uint64(slot-p2p.MinSlotsForBlockRequests))
	}
	p.run = &rangeRun{start: first, next: first, target: target, deep: deep, excluded: make(map[peer.ID]bool)}
	p.log(slog.LevelInfo, "fetching blocks", logging.Slot(head), "from_slot", uint64(first), "to_slot", uint64(target))
}

// rangeAnswered handles the response to a request by range.
func (p *planner) rangeAnswered(r *request, blocks []*candidate, err error) {
	p.release(r)
	b := r.batch
	if err != nil {
		b.failures++
		b.run.err = err
		return
	}
	// A peer that sends an unproven block does not have the whole block.
	b.done, b.blocks = true, slices.DeleteFunc(blocks, (*candidate).unproven)
	for _, c := range b.blocks {
		c.batch = b
	}
	b.run.split(b)
}

// split ends a batch at its last block, and makes a batch of the slots after it: a response may end
// early, because a peer limits the bytes that it sends.
func (r *rangeRun) split(b *batch) {
	i := slices.Index(r.batches, b)
	if i < 0 || len(b.blocks) == 0 {
		return
	}
	if last := b.blocks[len(b.blocks)-1].slot(); last < b.last {
		r.batches = slices.Insert(r.batches, i+1, &batch{run: r, first: last + 1, last: b.last})
		b.last = last
	}
}

// endRun ends the run. After a run that brought no block, the next one is delayed, so that blocks
// can be requested by root.
func (p *planner) endRun(run *rangeRun) {
	p.abandon(run)
	p.run, p.changed = nil, true
	if run.imported > 0 {
		p.rangeFailures = 0
		return
	}
	if p.rangeFailures++; p.rangeFailures == warnFailures {
		p.log(slog.LevelWarn, "no peer serves the missing blocks", logging.Slot(p.snap.Head.Slot),
			"from_slot", uint64(run.start), "to_slot", uint64(run.target), logging.Err(run.err),
			logging.Advice("Connect this node to a peer that serves the chain, or set the checkpoint sync URL and restart it."))
	}
	p.rangeAfter = p.now.Add(backoff(p.rangeFailures))
	for _, id := range append(run.givers, run.only) {
		if s := p.peer(id); s != nil {
			s.fail(byRange, p.now, causeUnanswered)
		}
	}
}

// restart starts the run again from the present head or finalized block.
func (p *planner) restart(run *rangeRun) {
	run.start = p.snap.Head.Slot + 1
	if run.deep {
		run.start = p.snap.LatestFinalized.Slot + 1
	}
	p.abandon(run)
	run.next, run.batches, run.givers = run.start, nil, nil
	if run.restarts++; run.restarts > maxRestarts {
		p.endRun(run)
	}
}

// abandon cancels the requests of the run.
func (p *planner) abandon(run *rangeRun) {
	for _, r := range slices.Clone(p.requests) {
		if r.batch != nil && r.batch.run == run {
			p.end(r)
		}
	}
}

// nextOfRange returns the next block of the run that is to be imported. It returns nil if there is
// no such block now, and when the run changes course.
func (p *planner) nextOfRange() *candidate {
	for p.run != nil && len(p.run.batches) > 0 && p.run.batches[0].done {
		b := p.run.batches[0]
		if len(b.blocks) == 0 {
			p.batchDone(b)
			continue
		}
		switch c := b.blocks[0]; {
		case p.bad.Has(c.root):
			p.badBatch(c, &lstar.Rejection{Reason: lstar.StateRootMismatch, Detail: "block " + c.root.String() + " was found invalid before"})
		case p.known(c.root):
			b.blocks = b.blocks[1:]
		case !p.known(c.parentRoot()):
			p.unconnected(b)
		case p.importing[c.root] || !c.due(p.interval):
			return nil
		default:
			return c
		}
	}
	return nil
}

// batchImported handles the result of importing a block of a run.
func (p *planner) batchImported(c *candidate, err error) {
	b := c.batch
	run := b.run
	if err == nil {
		b.imported++
		run.imported++
	}
	if p.run != run || len(run.batches) == 0 || run.batches[0] != b { // the run has changed course
		if causeOf(err).invalid() {
			p.penalizeCopy(c, "invalid block in a range: "+err.Error())
		}
		return
	}
	switch k := causeOf(err); {
	case k == causeNone: // even if the block was imported from elsewhere meanwhile
		b.blocks = b.blocks[1:]
	case k == causeEarly:
		p.unconnected(b)
	case k.invalid():
		p.badBatch(c, err)
	}
}

// batchDone continues with the next batch.
func (p *planner) batchDone(b *batch) {
	run := b.run
	run.batches = run.batches[1:]
	if !slices.Contains(run.givers, b.from) {
		run.givers = append(run.givers, b.from)
	}
	p.changed = true
	if b.imported == 0 {
		return
	}
	if s := p.peer(b.from); s != nil {
		s.succeed(byRange)
	}
	run.givers = nil
	run.only = "" // the batches connect again
	p.log(slog.LevelDebug, "batch imported", logging.Slot(b.last), "blocks", b.imported, logging.Peer(b.from))
}

// badBatch continues without the peer that sent an invalid block.
func (p *planner) badBatch(c *candidate, err error) {
	p.penalizeCopy(c, "invalid block in a range: "+err.Error())
	if s := p.peer(c.from); s != nil { // delays its requests in the next run, too
		s.fail(byRange, p.now, causeOf(err))
	}
	p.exclude(c.batch.run, c.from)
}

// unconnected decides how to continue after a batch that does not connect to the chain.
func (p *planner) unconnected(b *batch) {
	run := b.run
	alone := run.only == b.from || b.first == run.start // no other peer can have left a block out
	switch {
	case !alone:
		for _, id := range append(run.givers, b.from) {
			if s := p.peer(id); s != nil {
				s.score = max(s.score-failurePenalty, 0)
			}
		}
		run.only = b.from
		p.restart(run)
	case !run.deep:
		run.deep, run.only = true, b.from
		p.restart(run)
	default:
		// A peer that started later may not have older blocks, so the first time is not a fault.
		if s := p.peer(b.from); s != nil {
			if s.fail(byRange, p.now, causeUnanswered); s.failures[byRange] >= maxBatchFailures {
				p.penalize(b.from, "ranges of blocks that do not connect to the finalized block")
			}
		}
		p.exclude(run, b.from)
	}
}

// exclude restarts the run without a peer.
func (p *planner) exclude(run *rangeRun, id peer.ID) {
	run.excluded[id] = true
	run.only, run.deep = "", false
	if s := p.peer(id); s != nil {
		s.score = max(s.score-failurePenalty, 0)
	}
	p.restart(run)
}
