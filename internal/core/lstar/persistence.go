package lstar

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// View holds the checkpoints of a store, as storage keeps them.
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

// Changes holds the changes of a store since an earlier moment. Storage must write all of
// them or none.
type Changes struct {
	View View
	// Blocks holds the new blocks, parents before children, and Roots their roots.
	Blocks []*SignedBlock
	Roots  []Root
	// Votes holds the votes that count and have new voters, each with all of its voters
	// and an empty proof. Dropped holds the data roots of votes that no longer count.
	Votes   []*SignedAggregatedAttestation
	Dropped []Root
	// Finalized is the finalized block, and FinalizedState the state after it.
	Finalized      *Block
	FinalizedState *State
}

// journal records changes for [Store.TakeChanges].
type journal struct {
	view    View
	blocks  []*SignedBlock
	roots   []Root
	votes   []*payload
	dropped []Root
}

// TakeChanges returns the changes since the previous call, or nil if there are none. The
// anchor of a new store is not a change.
//
// The store holds pending changes in memory, among them blocks with their proofs. So a
// caller without storage must also call TakeChanges after every change.
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
			c.Votes = append(c.Votes, &SignedAggregatedAttestation{Data: p.data, Proof: SingleMessageAggregate{Participants: union(p.proofs)}})
		}
	}
	*j = journal{view: view}
	return c
}

func (s *Store) view() View {
	return View{s.Head(), s.SafeTarget(), s.latestJustified, s.latestFinalized, s.highestSlot}
}

// Saved is a store that storage has read.
type Saved struct {
	View View
	// Anchor is a block at or before the finalized slot, and AnchorState the state after
	// it. Anchor is nil if only the header in AnchorState is known.
	Anchor      *Block
	AnchorState *State
	// Blocks yields the blocks after the anchor's slot in the order of their slots.
	Blocks iter.Seq2[*Block, error]
	Votes  []*SignedAggregatedAttestation
}

// Restore returns a store with the saved blocks, checkpoints and votes that count. It does
// not have the proofs, nor votes that awaited aggregation or acceptance.
//
// Blocks were verified before they were saved, so Restore does not verify signatures. It
// computes the state after every block, and returns an error if the state root differs
// from the block's or if a checkpoint's block is missing.
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
	if s.tree.get(v.SafeTarget.Root) == nil { // not updated for a long time, as during sync
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
	// The order of arrival is not saved. It matters only under [PinnedRules], where the
	// order of slots is as good.
	slices.SortStableFunc(saved.Votes, func(a, b *SignedAggregatedAttestation) int { return cmp.Compare(a.Data.Slot, b.Data.Slot) })
	for _, vote := range saved.Votes {
		s.known.getOrAdd(vote.Data, newPayload).add(&vote.Proof)
	}
	s.recountVotes = true
	s.journal = journal{view: s.view()}
	return s, nil
}
