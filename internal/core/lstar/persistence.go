package lstar

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// View is what a store points at.
type View struct {
	Head, SafeTarget, LatestJustified, LatestFinalized Checkpoint
	HighestSlot                                        Slot // of all blocks ever added
}

func (v *View) DefineSSZ(d *ssz.Codec) {
	for _, c := range [...]*Checkpoint{&v.Head, &v.SafeTarget, &v.LatestJustified, &v.LatestFinalized} {
		ssz.Nested(d, c)
	}
	ssz.Uint(d, &v.HighestSlot)
}

// Changes are what became different in a store, for whoever keeps it on disk:
// all of them or none must be kept.
type Changes struct {
	View View
	// Blocks are new, parents before children; Roots are theirs.
	Blocks []*SignedBlock
	Roots  []Root
	// Votes are those that count now, of all validators that cast each, without
	// proofs. Dropped are the roots of votes that count no more.
	Votes   []*SignedAggregatedAttestation
	Dropped []Root
	// Finalized is the finalized block, and FinalizedState the state after it.
	Finalized      *Block
	FinalizedState *State
}

// journal collects changes until somebody takes them.
type journal struct {
	view    View
	blocks  []*SignedBlock
	roots   []Root
	votes   []*payload
	dropped []Root
}

// TakeChanges returns what changed since the last time, or nil. A store that was
// just made has changed nothing: its anchor is its maker's to keep.
//
// The cost of what is pending here is the blocks with their proofs, so also a
// caller who keeps nothing takes them.
func (s *Store) TakeChanges() *Changes {
	view := s.view()
	j := &s.journal
	if view == j.view && len(j.blocks) == 0 && len(j.votes) == 0 && len(j.dropped) == 0 {
		return nil
	}
	c := &Changes{View: view, Blocks: j.blocks, Roots: j.roots, Dropped: j.dropped}
	if n := s.tree.get(view.LatestFinalized.Root); n != nil {
		c.Finalized, c.FinalizedState = n.block, n.state
	}
	taken := make(map[*payload]bool, len(j.votes))
	for _, p := range j.votes {
		if !taken[p] && s.known.get(p.data) == p {
			taken[p] = true
			c.Votes = append(c.Votes, &SignedAggregatedAttestation{Data: p.data, Proof: SingleMessageAggregate{Participants: p.voters()}})
		}
	}
	*j = journal{view: view}
	return c
}

func (s *Store) view() View {
	return View{s.Head(), s.SafeTarget(), s.latestJustified, s.latestFinalized, s.highestSlot}
}

// Saved is a store as it was kept.
type Saved struct {
	View View
	// AnchorState is the state after a block at or behind the finalized one, and
	// Anchor that block, nil if only its header in the state is known. What is
	// older, and not kept for the store's sake, is not in it.
	Anchor      *Block
	AnchorState *State
	// Blocks are those after the anchor's slot in the order of their slots.
	Blocks iter.Seq2[*Block, error]
	Votes  []*SignedAggregatedAttestation
}

// Restore returns the store that was saved: its blocks, the votes that count, and
// what it pointed at. Votes that did not count yet are lost, and so are proofs.
//
// Blocks were verified before they were saved, so their signatures are not
// checked again. The states after them are computed, and the roots that the
// blocks hold are compared. The error says what does not fit together.
func Restore(crypto Crypto, rules Rules, saved *Saved) (*Store, error) {
	var s *Store
	if saved.Anchor == nil {
		s = NewStoreFromState(crypto, rules, saved.AnchorState)
	} else {
		var err error
		if s, err = NewStore(crypto, rules, saved.AnchorState, saved.Anchor); err != nil {
			return nil, err
		}
	}
	for block, err := range saved.Blocks {
		if err != nil {
			return nil, err
		}
		parent := s.tree.get(block.ParentRoot)
		if parent == nil {
			continue // of a fork that left the chain before the anchor
		}
		root := block.Root()
		state, err := parent.state.StateTransition(block)
		if err != nil {
			return nil, fmt.Errorf("block %s at slot %d: %w", root, block.Slot, err)
		}
		if s.tree.get(root) == nil {
			s.tree.add(root, block, state)
		}
	}
	v := &saved.View
	if s.tree.get(v.SafeTarget.Root) == nil { // no tick for a long time, as while syncing
		v.SafeTarget = v.LatestFinalized
	}
	for _, c := range [...]struct {
		name string
		at   Checkpoint
	}{{"head", v.Head}, {"safe target", v.SafeTarget}, {"justified", v.LatestJustified}, {"finalized", v.LatestFinalized}} {
		switch n := s.tree.get(c.at.Root); {
		case n == nil:
			return nil, fmt.Errorf("the %s block %s is missing", c.name, c.at)
		case n.block.Slot != c.at.Slot:
			return nil, fmt.Errorf("the %s block %s is at slot %d", c.name, c.at, n.block.Slot)
		}
	}
	s.head, s.safeTarget = v.Head.Root, v.SafeTarget.Root
	s.latestJustified, s.latestFinalized, s.highestSlot = v.LatestJustified, v.LatestFinalized, v.HighestSlot
	s.time = max(s.time, v.Head.Slot.Interval())
	// The order in which votes came is not kept; where it matters, by the rules of
	// the pinned commit, that of their slots is as good.
	slices.SortStableFunc(saved.Votes, func(a, b *SignedAggregatedAttestation) int { return cmp.Compare(a.Data.Slot, b.Data.Slot) })
	for _, vote := range saved.Votes {
		s.known.getOrAdd(vote.Data, newPayload).add(&vote.Proof)
	}
	s.recountVotes = true
	s.journal = journal{view: s.view()}
	return s, nil
}
