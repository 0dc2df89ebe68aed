package conformance

import (
	"fmt"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// simulateFiller does to the store what building a block did to leanSpec's.
//
// The filler builds blocks on a copy of the store: it moves the copy to the
// block's slot, has it hear the votes of the block's author one by one,
// aggregates and accepts them, and builds the block out of the known pool. Then
// it adds that pool to the one of the store, so that the votes of a block count,
// which a block alone does not do.
//
// leanSpec: test_types/block_spec.py, build_signed_block_with_store
func (c *chain) simulateFiller(s *blockStep) error {
	block := &s.Block.Block
	if c.store.State(block.ParentRoot) == nil {
		return nil // the block was built without a store, to be rejected
	}
	scratch := c.store.Clone()
	if _, err := scratch.OnTick(block.Slot.Interval(), true, true); err != nil {
		return err
	}
	heard, forced, err := heardVotes(scratch, s)
	if err != nil {
		return err
	}
	for i := range heard {
		task, err := scratch.Snapshot().PrepareAttestation(&heard[i])
		if err != nil {
			return fmt.Errorf("vote of validator %d that the block was built with: %w", heard[i].ValidatorIndex, err)
		}
		scratch.AddAttestation(task) // unsigned: mocked proofs do not ask for the signature
	}
	if _, err := scratch.Aggregate(); err != nil {
		return err
	}
	scratch.AcceptNewAttestations()
	// A full block differs where the node leaves out votes that move nothing.
	full := len(block.Body.Attestations) == lstar.MaxAttestationsData && c.rules.UsefulVotesFirst
	if !forced && !full {
		if err := checkProduction(scratch.Clone(), block); err != nil {
			return err
		}
	}
	for _, entry := range scratch.LatestKnownAggregatedPayloads() {
		for _, p := range entry.Proofs {
			c.store.AddKnownAggregate(&lstar.SignedAggregatedAttestation{Data: entry.Data, Proof: *p})
		}
	}
	return nil
}

// checkProduction has the store produce the block that the filler built on such a
// store, where that was on the head: nodes build on no other block.
//
// leanSpec includes votes with the same target slot in the order in which they
// came to the store, the node in the order of their roots, so the order is left
// out of the comparison.
func checkProduction(store *lstar.Store, want *lstar.Block) error {
	if store.Head().Root != want.ParentRoot {
		return nil
	}
	got, err := store.ProduceBlock(want.Slot, want.ProposerIndex, nil)
	if err != nil {
		return fmt.Errorf("producing the block: %w", err)
	}
	if got.Root == want.Root() {
		return nil
	}
	if g, w := bodyVotes(got.Block), bodyVotes(want); !slices.Equal(g, w) || got.Block.ProposerIndex != want.ProposerIndex {
		return fmt.Errorf("the block produced for slot %d has votes\n%q, want\n%q", want.Slot, g, w)
	}
	return nil
}

// bodyVotes describes the attestations of a block, in the order of target slots.
func bodyVotes(b *lstar.Block) (votes []string) {
	for i := range b.Body.Attestations {
		a := &b.Body.Attestations[i]
		votes = append(votes, fmt.Sprintf("%08d %s %s", a.Data.Target.Slot, a.Data.Root(), bitString(&a.AggregationBits)))
	}
	slices.Sort(votes)
	return votes
}

// heardVotes returns the votes that the filler's copy of the store heard, and
// whether it forced others into the body. The vector does not list them. They are:
//
//   - The votes of the body that the copy had no proof of, without the
//     attestations that the filler forced into the body at the very end and that
//     no store heard of: for these, the snapshot has no proof.
//   - Votes that the builder then left out of the body. Of these the vector has
//     the data roots alone, in the snapshot; the data are found by trying.
func heardVotes(scratch *lstar.Store, s *blockStep) (heard []lstar.SignedAttestation, forced bool, err error) {
	covered := make(map[lstar.Root]map[int]bool) // by data root: validators with a proof
	for _, pool := range [][]lstar.AggregateEntry{scratch.LatestKnownAggregatedPayloads(), scratch.LatestNewAggregatedPayloads()} {
		for _, entry := range pool {
			root := entry.Data.Root()
			if covered[root] == nil {
				covered[root] = make(map[int]bool)
			}
			for _, p := range entry.Proofs {
				for v := range p.Participants.All {
					covered[root][v] = true
				}
			}
		}
	}
	explained := make(map[lstar.Root]bool)
	for i := range s.Block.Body.Attestations {
		a := &s.Block.Body.Attestations[i]
		root := a.Data.Root()
		explained[root] = true
		entry := s.StoreSnapshot.known(root)
		if entry != nil && len(entry.ParticipantSets) == 0 || entry == nil && !s.Valid {
			forced = true // an entry that a valid block lacks was pruned since
			continue
		}
		for v := range a.AggregationBits.All {
			if !covered[root][v] {
				heard = append(heard, lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(v), Data: a.Data})
			}
		}
	}
	for _, e := range scratch.AttestationSignatures() {
		explained[e.Data.Root()] = true
	}
	for _, entry := range s.StoreSnapshot.KnownAggregatedPayloads {
		if explained[entry.DataRoot] || covered[entry.DataRoot] != nil {
			continue
		}
		data, ok := findAttestationData(scratch, entry.DataRoot, s.Block.Slot)
		if !ok {
			return nil, false, fmt.Errorf("no vote has the data root %s of the snapshot", entry.DataRoot)
		}
		for _, participants := range entry.ParticipantSets {
			for _, v := range participants {
				heard = append(heard, lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(v), Data: data})
			}
		}
	}
	return heard, forced, nil
}

// findAttestationData returns the vote with a data root, of those for a block of
// the store that is head and target at once, as the filler makes them.
func findAttestationData(s *lstar.Store, root lstar.Root, latest lstar.Slot) (lstar.AttestationData, bool) {
	var blocks []lstar.Checkpoint
	for _, r := range s.BlockRoots() {
		blocks = append(blocks, lstar.Checkpoint{Root: r, Slot: s.Block(r).Slot})
	}
	for _, target := range blocks {
		for _, source := range blocks {
			for slot := target.Slot; slot <= latest; slot++ {
				data := lstar.AttestationData{Slot: slot, Head: target, Target: target, Source: source}
				if data.Root() == root {
					return data, true
				}
			}
		}
	}
	return lstar.AttestationData{}, false
}
