package chain

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// view is the part of the store whose changes are reported.
type view struct {
	head, safeTarget, justified, finalized lstar.Checkpoint
	headStateRoot                          lstar.Root
}

func viewOf(s *lstar.Store) view {
	head := s.Head()
	return view{head, s.SafeTarget(), s.LatestJustified(), s.LatestFinalized(), stateRoot(s, head)}
}

// stateRoot returns the state root of a block, or the zero hash if the block is not in the store.
func stateRoot(s *lstar.Store, of lstar.Checkpoint) lstar.Root {
	if block := s.Block(of.Root); block != nil {
		return block.StateRoot
	}
	return lstar.Root{}
}

// report reports the differences between two views.
func (c *Chain) report(before, now view) {
	bus := c.cfg.Bus
	if now.head != before.head {
		bus.Report(events.HeadChanged{
			Old: before.head, New: now.head, OldStateRoot: before.headStateRoot, NewStateRoot: now.headStateRoot,
			ReorgDepth: c.cfg.Store.ReorgDepth(before.head.Root, now.head.Root),
		})
	}
	if now.safeTarget != before.safeTarget {
		bus.Report(events.SafeTarget{Checkpoint: now.safeTarget})
	}
	if now.justified != before.justified {
		bus.Report(events.Justified{Checkpoint: now.justified, StateRoot: stateRoot(c.cfg.Store, now.justified)})
	}
	if now.finalized.Slot > before.finalized.Slot { // a reorganization can lower it, which is not a finalization
		bus.Report(events.Finalized{Checkpoint: now.finalized, StateRoot: stateRoot(c.cfg.Store, now.finalized)})
	}
}

// slotSummary collects data for the summary of a slot.
type slotSummary struct {
	blockSlot lstar.Slot // latest slot with a block
	seen      bool       // blockSlot is set
	voteSlot  lstar.Slot // latest slot with votes
	count     int        // largest number of votes in one aggregate of voteSlot
	endSlot   lstar.Slot // latest slot whose summary was reported
	ended     bool       // endSlot is set
}

func (s *slotSummary) block(slot lstar.Slot) {
	if !s.seen || slot > s.blockSlot {
		s.blockSlot, s.seen = slot, true
	}
}

func (s *slotSummary) votes(slot lstar.Slot, n int) {
	if slot > s.voteSlot {
		s.voteSlot, s.count = slot, 0
	}
	if slot == s.voteSlot {
		s.count = max(s.count, n)
	}
}

// reportSlot reports the summary of a slot at its end. It ignores a second call for the same slot:
// a node that starts in the last interval ticks that interval twice.
func (c *Chain) reportSlot(s *lstar.Store, slot lstar.Slot) {
	if c.summary.ended && slot == c.summary.endSlot {
		return
	}
	c.summary.endSlot, c.summary.ended = slot, true
	summary := events.SlotSummary{
		Slot: slot, Head: s.Head(), Justified: s.LatestJustified(), Finalized: s.LatestFinalized(), SafeTarget: s.SafeTarget(),
		BlockSeen: c.summary.seen && c.summary.blockSlot == slot,
	}
	if c.summary.voteSlot == slot {
		summary.Votes = c.summary.count
	}
	c.cfg.OnSlotEnd(summary)
}

// Nodes are compared by their canonical block at every fingerprintSlots-th slot, once it is
// fingerprintAge slots old. So nodes on one chain report the same value, even if they are read at
// different times in a slot or one of them is a block behind.
const (
	fingerprintSlots = 16
	fingerprintAge   = 4
)

// reportFingerprint reports the block by which nodes are compared in slot now.
func (c *Chain) reportFingerprint(s *lstar.Store, now lstar.Slot) {
	if now < fingerprintAge {
		return
	}
	at := (now - fingerprintAge) / fingerprintSlots * fingerprintSlots
	c.cfg.Bus.Report(events.Fingerprint{Root: canonicalAt(s, at)})
}

// canonicalAt returns the root of the canonical block at a slot, or of the last block before it. It
// follows parents instead of counting slots, because after a long time without blocks there are
// many slots and few blocks.
func canonicalAt(s *lstar.Store, slot lstar.Slot) lstar.Root {
	root := s.Head().Root
	for block := s.Block(root); block != nil; block = s.Block(root) {
		if block.Slot <= slot {
			return root
		}
		root = block.ParentRoot
	}
	// The blocks before the anchor are only in the history of the state.
	for state := s.HeadState(); ; slot-- {
		if root := state.HistoricalBlockHash(slot); !root.IsZero() || slot == 0 {
			return root
		}
	}
}
