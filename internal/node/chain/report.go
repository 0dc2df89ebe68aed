package chain

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// view is the part of the store whose changes are reported.
type view struct {
	head, safeTarget, justified, finalized lstar.Checkpoint
}

func viewOf(s *lstar.Store) view {
	return view{s.Head(), s.SafeTarget(), s.LatestJustified(), s.LatestFinalized()}
}

// report tells the observer what changed between two views.
func (c *Chain) report(before, now view) {
	obs := c.cfg.Observer
	if now.head != before.head {
		obs.HeadChanged(telemetry.HeadChanged{
			OldRoot: before.head.Root, NewRoot: now.head.Root,
			OldSlot: uint64(before.head.Slot), NewSlot: uint64(now.head.Slot),
			ReorgDepth: c.cfg.Store.ReorgDepth(before.head.Root, now.head.Root),
		})
	}
	if now.safeTarget != before.safeTarget {
		obs.SafeTarget(telemetry.SafeTarget{Slot: uint64(now.safeTarget.Slot), Root: now.safeTarget.Root})
	}
	if now.justified != before.justified {
		obs.Justified(telemetry.Justified{Slot: uint64(now.justified.Slot), Root: now.justified.Root})
	}
	if now.finalized.Slot > before.finalized.Slot { // a reorganisation can lower it, which is no finalization
		obs.Finalized(telemetry.Finalized{Slot: uint64(now.finalized.Slot), Root: now.finalized.Root})
	}
}

// slotSummary collects what the line at the end of a slot says about it.
type slotSummary struct {
	blockSlot lstar.Slot // latest slot with a block
	seen      bool       // blockSlot is set
	voteSlot  lstar.Slot // slot that count is about
	count     int
	endSlot   lstar.Slot // latest slot that was told
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

func (c *Chain) reportSizes(s *lstar.Store) {
	sizes := s.Sizes()
	c.cfg.Observer.PoolSizes(telemetry.PoolSizes{
		AttestationSignatures: sizes.Signatures, NewPayloads: sizes.Pending, KnownPayloads: sizes.Known,
		Blocks: sizes.Blocks, States: sizes.Blocks,
	})
}

// slotEnds tells of a slot once: the interval in which a node starts may come twice.
func (c *Chain) slotEnds(s *lstar.Store, slot lstar.Slot) {
	if c.summary.ended && slot == c.summary.endSlot {
		return
	}
	c.summary.endSlot, c.summary.ended = slot, true
	summary := telemetry.SlotSummary{
		Slot: uint64(slot), HeadSlot: uint64(s.Head().Slot), HeadRoot: s.Head().Root,
		JustifiedSlot: uint64(s.LatestJustified().Slot), FinalizedSlot: uint64(s.LatestFinalized().Slot),
		SafeTargetSlot: uint64(s.SafeTarget().Slot),
		BlockSeen:      c.summary.seen && c.summary.blockSlot == slot,
	}
	if c.summary.voteSlot == slot {
		summary.Votes = c.summary.count
	}
	c.cfg.OnSlotEnd(summary)
}

// Nodes are compared by their canonical block at every fingerprintSlots-th slot,
// once it is fingerprintAge slots old. So nodes that are asked at different
// moments of a slot, or are a block behind, still say the same.
const (
	fingerprintSlots = 16
	fingerprintAge   = 4
)

// reportFingerprint reports the block by which nodes are compared.
func (c *Chain) reportFingerprint(s *lstar.Store, now lstar.Slot) {
	if now < fingerprintAge {
		return
	}
	at := (now - fingerprintAge) / fingerprintSlots * fingerprintSlots
	c.cfg.Observer.Fingerprint(telemetry.Fingerprint{Root: canonicalAt(s, at)})
}

// canonicalAt returns the root of the canonical block at a slot, or the last
// before it. It goes from block to block: after a long time without any, slots are
// many and blocks few.
func canonicalAt(s *lstar.Store, slot lstar.Slot) lstar.Root {
	root := s.Head().Root
	for block := s.Block(root); block != nil; block = s.Block(root) {
		if block.Slot <= slot {
			return root
		}
		root = block.ParentRoot
	}
	// Before the block that the store began with only the history is known.
	for state := s.HeadState(); ; slot-- {
		if root := state.HistoricalBlockHash(slot); !root.IsZero() || slot == 0 {
			return root
		}
	}
}
