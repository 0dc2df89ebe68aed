package syncer

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// candidate is one peer's copy of a block that is not part of the chain. The root does not cover
// the proof, so a forged copy must not replace a valid one.
type candidate struct {
	block   *lstar.SignedBlock
	root    lstar.Root
	from    peer.ID
	came    time.Time // by gossip, or zero
	waiting bool      // its gossip message waits for a verdict

	depth    int            // one more than that of the child for which it was requested, or 0
	batch    *batch         // the batch that brought it, or nil
	failedIn lstar.Interval // one more than the interval in which this node failed to import it, or 0
}

type copyKey struct {
	root lstar.Root
	from peer.ID
}

func (c *candidate) key() copyKey           { return copyKey{c.root, c.from} }
func (c *candidate) slot() lstar.Slot       { return c.block.Block.Slot }
func (c *candidate) parentRoot() lstar.Root { return c.block.Block.ParentRoot }

// due reports whether the block may be imported in an interval. A failure of this node delays the
// import until the next interval, even if the clock is set back.
func (c *candidate) due(i lstar.Interval) bool { return c.failedIn != i+1 }

// unproven reports whether the block has an empty proof. leanSpec's node serves its anchor block
// that way. A peer that sends an unproven block does not have the whole block.
func (c *candidate) unproven() bool { return len(c.block.Proof.Proof) == 0 }

type (
	// blockGossiped comes with a block by gossip that is not ahead of the clock and whose body is
	// within the limits. A verdict follows.
	blockGossiped struct{ *candidate }
	// blockImported comes after an importBlock.
	blockImported struct {
		*candidate
		err error
	}
	// blockProduced comes after the import of a block that this node made.
	blockProduced struct{ root lstar.Root }
)

// received returns the candidate for a block that came by gossip. It refuses a block that is ahead
// of the clock or too large, with an event to report, before it computes the root, which is slow.
func received(c clock.SlotClock, now time.Time, from peer.ID, b *lstar.SignedBlock) (_ *candidate, refused p2p.Verdict, why events.Event) {
	if b.Block.Slot > c.CurrentSlot(now.UnixMilli())+1 {
		return nil, p2p.Ignore, events.MessageEarly(seen(c, events.GossipBlock, from, b.Block.Slot, 0, now))
	}
	var rejection *lstar.Rejection
	if err := lstar.CheckBody(&b.Block.Body); errors.As(err, &rejection) {
		return nil, p2p.Reject, events.BlockRejected{
			Slot: b.Block.Slot, Reason: string(rejection.Reason), Gossip: true, Peer: from, Err: err,
		}
	}
	return &candidate{block: b, root: b.Block.Root(), from: from, came: now}, p2p.Accept, nil
}

// leanSpec: node/sync/head_sync.py, HeadSync.on_gossip_block
func (e blockGossiped) apply(p *planner) {
	c := e.candidate
	c.waiting = true
	if s := p.peer(c.from); s != nil {
		s.headSlot = max(s.headSlot, c.slot())
	}
	p.admit(c, false)
}

// admit decides about a block that came by gossip. A block whose parent is missing is parked once
// its proposer's signature is known to be valid.
func (p *planner) admit(c *candidate, signed bool) {
	parent := c.parentRoot()
	switch {
	case c.slot() <= p.snap.LatestFinalized.Slot || p.known(c.root):
		p.verdict(c, p2p.Ignore)
	case p.importing[c.root]: // that copy may be forged
		p.park(c)
		p.verdict(c, p2p.Ignore)
	case p.bad.Has(c.root) || p.bad.Has(parent):
		p.invalid(c.root)
		p.verdict(c, p2p.Reject)
	case !p.proposedBy(c):
		p.invalid(c.root)
		p.rejected(c, &lstar.Rejection{Reason: lstar.WrongProposer})
	case p.known(parent):
		p.startImport(c)
	case p.conflicting.Has(c.root) || p.conflicting.Has(parent):
		p.conflict(c.root)
		p.verdict(c, p2p.Ignore)
	case !signed:
		p.emit(checkProposers{blocks: []*candidate{c}})
	default:
		p.park(c)
		p.resume(c.root)
		p.emit(report{events.BlockPending{Slot: c.slot(), Root: c.root, ParentRoot: parent, Peer: c.from}})
		p.verdict(c, p2p.Ignore)
	}
}

// proposedBy reports whether a block names the proposer of its slot. The registry never changes, so
// the proposer is known before the parent is.
func (p *planner) proposedBy(c *candidate) bool {
	proposer, err := lstar.ProposerForSlot(c.slot(), p.snap.HeadState.Validators.Len())
	return err == nil && c.block.Block.ProposerIndex == proposer
}

// proposerChecked handles the result of checking the proposer of a block that came by gossip.
func (p *planner) proposerChecked(c *candidate, err error) {
	switch k := causeOf(err); {
	case k == causeBadMessage:
		p.invalid(c.root)
		p.rejected(c, err)
	case k == causeBadCopy:
		p.rejected(c, err)
	case err != nil:
		p.verdict(c, p2p.Ignore)
	default:
		p.admit(c, true)
	}
}

// verdict gives the verdict for the gossip message of a block, if it waits for one.
func (p *planner) verdict(c *candidate, v p2p.Verdict) {
	if c.waiting {
		c.waiting = false
		p.emit(verdict{c, v})
	}
}

// rejected reports and rejects a block that came by gossip, without passing it to the chain.
func (p *planner) rejected(c *candidate, err error) {
	var rejection *lstar.Rejection
	errors.As(err, &rejection)
	p.emit(report{events.BlockRejected{
		Slot: c.slot(), Root: c.root, Reason: string(rejection.Reason), Gossip: true, Peer: c.from, Err: err,
	}})
	p.verdict(c, p2p.Reject)
}

func (p *planner) startImport(c *candidate) {
	p.importing[c.root] = true
	p.emit(importBlock{c})
}

func (e blockImported) apply(p *planner) {
	c := e.candidate
	delete(p.importing, c.root)
	if p.serial == c {
		p.serial = nil
	}
	p.changed = true
	k := causeOf(e.err)
	switch k {
	case causeNone:
		p.arrived(c.root)
	case causeBadCopy:
		p.parked.remove(c)
	case causeBadMessage:
		p.parked.removeCopies(c.root)
		p.invalid(c.root)
	default:
		c.failedIn = p.interval + 1
	}
	if m := p.missing[c.root]; m != nil && k.invalid() && c.came.IsZero() {
		p.refused(m, c.from, true)
	}
	if c.batch != nil {
		p.batchImported(c, e.err)
		return
	}
	if e.err == nil && !c.came.IsZero() {
		p.emit(report{seen(p.clock, events.GossipBlock, c.from, c.slot(), 0, c.came)})
	}
	switch {
	case e.err == nil:
		p.verdict(c, p2p.Accept)
	case k.invalid() && c.waiting:
		p.verdict(c, p2p.Reject)
	case k.invalid():
		p.penalizeCopy(c, "invalid block: "+e.err.Error())
	default:
		p.verdict(c, p2p.Ignore)
	}
}

func (e blockProduced) apply(p *planner) {
	p.arrived(e.root)
	p.changed = true
}

// arrived removes the parked copies of a new block of the chain, and unlocks the votes that wait
// for it. The next plan imports its children.
func (p *planner) arrived(root lstar.Root) {
	p.parked.removeCopies(root)
	p.unlock(append(p.pendingAttestations.take(root), p.pendingAggregates.take(root)...))
}

// planImport imports parked blocks and the blocks of a range, one at a time.
func (p *planner) planImport() {
	if p.serial != nil {
		return
	}
	if p.serial = p.next; p.serial == nil {
		p.serial = p.nextOfRange()
	}
	if p.serial != nil {
		p.startImport(p.serial)
	}
}

// park keeps a block until its parent is part of the chain.
func (p *planner) park(c *candidate) {
	p.dropped(events.QueueOrphanBlocks, p.parked.add(c))
	p.changed = true
}

// invalid drops a block of which no copy can be valid, and all blocks that wait for it.
func (p *planner) invalid(root lstar.Root) { p.condemn(p.bad, root) }

// conflict drops a block of a fork that branches off before the finalized block, and all blocks
// that wait for it.
func (p *planner) conflict(root lstar.Root) { p.condemn(p.conflicting, root) }

func (p *planner) condemn(to *bounded.Set[lstar.Root], root lstar.Root) {
	to.Add(root)
	p.parked.removeCopies(root)
	for _, c := range p.parked.removeDescendants(root) {
		to.Add(c.root)
	}
	p.changed = true
}

// seen returns the event for the arrival of a message that nodes send at an interval of its slot.
func seen(c clock.SlotClock, kind string, from peer.ID, slot lstar.Slot, interval lstar.Interval, came time.Time) events.MessageSeen {
	start := came
	if slot < maxSlot {
		start = c.StartOf(slot.Interval())
	}
	delay := came.Sub(start)
	return events.MessageSeen{
		Kind: kind, Slot: slot, Peer: from, Delay: delay,
		Offset: delay - time.Duration(interval)*intervalTime,
	}
}

// maxSlot is a limit of the slots that seen converts to a time.
const maxSlot = 1 << 40
