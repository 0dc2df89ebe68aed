package syncer

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// OnBlock judges a block that came by gossip.
//
// leanSpec: node/sync/head_sync.py, HeadSync.on_gossip_block
func (s *Service) OnBlock(ctx context.Context, from peer.ID, b *lstar.SignedBlock) p2p.Verdict {
	// The clock comes first: nothing is kept of, or done for, a block that no
	// honest node can have made yet.
	came := s.cfg.Clock.Now()
	if b.Block.Slot > s.cfg.Clock.Slot()+1 {
		s.cfg.Bus.Report(events.MessageEarly(s.seen(events.GossipBlock, from, b.Block.Slot, 0, came)))
		return p2p.Ignore
	}
	var rejection *lstar.Rejection
	if err := lstar.CheckBody(&b.Block.Body); errors.As(err, &rejection) {
		s.rejected(from, b, lstar.Root{}, rejection.Reason, err) // its root would be much work
		return p2p.Reject
	}
	root := b.Block.Root()
	verdict, orphaned := s.admit(from, b, root, came, false)
	if orphaned {
		switch err := s.cfg.Chain.VerifyProposer(ctx, b, root); {
		case causeOf(err).invalid():
			errors.As(err, &rejection)
			s.rejected(from, b, root, rejection.Reason, err)
			return p2p.Reject
		case err != nil:
			return p2p.Ignore
		}
		verdict, orphaned = s.admit(from, b, root, came, true)
	}
	switch {
	case orphaned:
		s.cfg.Bus.Report(events.BlockPending{
			Slot: b.Block.Slot, Root: root, ParentRoot: b.Block.ParentRoot, Peer: from,
		})
		s.wake()
		return p2p.Ignore
	case verdict != p2p.Accept:
		return verdict
	}
	err := s.importBlock(ctx, b, root, from, true)
	if causeOf(err).invalid() {
		return p2p.Reject
	}
	if err != nil {
		return p2p.Ignore
	}
	s.cfg.Bus.Report(s.seen(events.GossipBlock, from, b.Block.Slot, 0, came))
	return p2p.Accept
}

// rejected reports a block that came by gossip and that the chain need not see.
func (s *Service) rejected(from peer.ID, b *lstar.SignedBlock, root lstar.Root, reason lstar.RejectionReason, err error) {
	s.cfg.Bus.Report(events.BlockRejected{
		Slot: b.Block.Slot, Root: root, Reason: string(reason), Gossip: true, Peer: from, Err: err,
	})
}

// seen describes when a message came that is sent at an interval of its slot.
func (s *Service) seen(kind string, from peer.ID, slot lstar.Slot, interval lstar.Interval, came time.Time) events.MessageSeen {
	start := came
	if slot < maxSlot {
		start = s.cfg.Clock.StartOf(slot.Interval())
	}
	delay := came.Sub(start)
	return events.MessageSeen{
		Kind: kind, Slot: slot, Peer: from, Delay: delay,
		Offset: delay - time.Duration(interval)*lstar.MillisecondsPerInterval*time.Millisecond,
	}
}

// maxSlot is beyond any slot that the clock can turn into a time.
const maxSlot = 1 << 40

// admit decides about a block without importing it. If it accepts the block, the
// import has begun. An orphan's parent is missing; admit parks it if its proposer's
// signature is known to be valid.
func (s *Service) admit(from peer.ID, b *lstar.SignedBlock, root lstar.Root, came time.Time, signed bool) (v p2p.Verdict, orphaned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.cfg.Chain.Snapshot()
	block := &b.Block
	if p := s.peers[from]; p != nil {
		p.headSlot = max(p.headSlot, block.Slot)
	}
	if block.Slot <= snap.LatestFinalized.Slot || snap.Block(root) != nil {
		return p2p.Ignore, false
	}
	if s.importing[root] > 0 { // in case that copy is a forged one
		s.addOrphan(&orphan{block: b, root: root, from: from, came: came})
		return p2p.Ignore, false
	}
	if s.bad.Has(root) || s.bad.Has(block.ParentRoot) {
		s.bad.Add(root)
		return p2p.Reject, false
	}
	// The registry never changes, so the proposer is known before the parent is.
	if proposer, err := lstar.ProposerForSlot(block.Slot, snap.HeadState.Validators.Len()); err != nil || block.ProposerIndex != proposer {
		s.bad.Add(root)
		s.rejected(from, b, root, lstar.WrongProposer, err)
		return p2p.Reject, false
	}
	if snap.Block(block.ParentRoot) != nil {
		s.importing[root]++
		return p2p.Accept, false
	}
	if s.conflicting.Has(root) || s.conflicting.Has(block.ParentRoot) {
		s.conflicting.Add(root)
		return p2p.Ignore, false
	}
	if signed {
		s.addOrphan(&orphan{block: b, root: root, from: from, came: came})
		s.resume(root)
	}
	return p2p.Ignore, true
}

// OnOwnBlock takes note of a block that this node made and imported.
func (s *Service) OnOwnBlock(b *lstar.SignedBlock) {
	root := b.Block.Root()
	s.mu.Lock()
	s.importing[root]++
	s.mu.Unlock()
	s.imported(root, b, "", nil)
}

// addOrphan parks a block. The caller holds the lock.
func (s *Service) addOrphan(o *orphan) { s.dropped(events.QueueOrphanBlocks, s.orphans.add(o)) }

// importBlock gives a block to the chain, and what waits for it to importReady
// and replay. The caller has counted the import in s.importing.
func (s *Service) importBlock(ctx context.Context, b *lstar.SignedBlock, root lstar.Root, from peer.ID, gossip bool) error {
	origin := chain.Origin{Gossip: gossip, Peer: from}
	s.awaitStore(ctx, b.Block.Slot)
	err := s.cfg.Chain.ImportBlock(ctx, b, origin)
	if gossip {
		from = "" // nobody was asked for it
	}
	s.imported(root, b, from, err)
	return err
}

// awaitStore waits until the store's clock, which may be behind after a pause,
// admits a block that the wall clock admits.
func (s *Service) awaitStore(ctx context.Context, slot lstar.Slot) {
	for slot <= s.cfg.Clock.Slot()+1 {
		snap, newer := s.cfg.Chain.Watch()
		if slot <= snap.Time.Slot()+1 {
			return
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return
		}
	}
}

// imported does what follows from an import of a block. From is the peer that was
// asked for it, or empty.
func (s *Service) imported(root lstar.Root, b *lstar.SignedBlock, from peer.ID, err error) {
	s.mu.Lock()
	c := causeOf(err)
	if w := s.wants[root]; c.invalid() && w != nil && from != "" {
		s.refused(w, from, true)
	}
	if s.importing[root]--; s.importing[root] <= 0 {
		delete(s.importing, root)
	}
	switch {
	case err == nil || errors.Is(err, lstar.ErrKnown):
		s.orphans.removeCopies(root, b.Block.ParentRoot)
		if s.orphans.waitsFor(root) {
			s.ready = append(s.ready, root)
			kick(s.unlocked)
		}
		votes := append(s.pendingAttestations.take(root), s.pendingAggregates.take(root)...)
		if room := max(0, maxUnlocked-len(s.unlockedVotes)); len(votes) > room {
			s.dropped(events.QueueUnlockedVotes, len(votes)-room)
			votes = votes[:room]
		}
		if len(votes) > 0 {
			s.unlockedVotes = append(s.unlockedVotes, votes...)
			s.unlockedCount.Store(int64(len(s.unlockedVotes)))
			kick(s.votesUnlocked)
		}
	case c == causeBadMessage:
		s.orphans.removeCopies(root, b.Block.ParentRoot)
		s.invalid(root)
	case s.orphans.has(root): // another copy of it
		s.ready = append(s.ready, b.Block.ParentRoot)
		kick(s.unlocked)
	}
	s.wake()
	s.mu.Unlock()
}

// importReady imports, one block after the other, what was fetched and what
// waited for its parent.
func (s *Service) importReady(ctx context.Context) {
	for ctx.Err() == nil {
		if s.importOrphans(ctx) || s.importBatch(ctx) {
			continue
		}
		select {
		case <-s.unlocked:
		case <-ctx.Done():
		}
	}
}

// importOrphans imports the blocks that waited for one that is there now, and
// reports whether there was one.
//
// leanSpec: node/sync/head_sync.py, HeadSync.on_gossip_block
func (s *Service) importOrphans(ctx context.Context) bool {
	s.mu.Lock()
	if len(s.ready) == 0 {
		s.mu.Unlock()
		return false
	}
	parent := s.ready[0]
	s.ready = s.ready[1:]
	children := s.orphans.children(parent)
	s.mu.Unlock()
	for _, o := range children {
		s.mu.Lock()
		waiting := s.orphans.holds(o) // no other copy was imported, nor found invalid
		if waiting {
			s.orphans.remove(o)
			s.importing[o.root]++
		}
		s.mu.Unlock()
		if !waiting {
			continue
		}
		gossip := !o.came.IsZero()
		err := s.importBlock(ctx, o.block, o.root, o.from, gossip)
		switch {
		case err == nil && gossip:
			s.cfg.Bus.Report(s.seen(events.GossipBlock, o.from, o.block.Block.Slot, 0, o.came))
		case causeOf(err).invalid():
			s.blameBlock(o.from, o.root, "invalid block: "+err.Error())
		}
		if ctx.Err() != nil {
			break
		}
	}
	return true
}
