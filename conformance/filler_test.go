package conformance

import (
	"fmt"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// simulateFiller changes the store as the filler of the vectors changed leanSpec's store
// when it built the block of a step.
//
// The filler builds a block on a copy of the store. It advances the copy to the block's
// slot, adds the votes of the block one by one, aggregates and accepts them, and builds the
// block from the known pool. Then it adds the known pool of the copy to that of the store,
// so that the votes of the block count.
//
// leanSpec: test_types/block_spec.py, build_signed_block_with_store
func (c *chain) simulateFiller(s *blockStep) error {
	block := &s.Block.Block
	if c.store.State(block.ParentRoot) == nil {
		return nil // an invalid block, which the filler built without a store
	}
	scratch := c.store.Clone()
	if _, err := scratch.OnTick(block.Slot.Interval(), true, true); err != nil {
		return err
	}
	votes, forced, err := fillerVotes(scratch, s)
	if err != nil {
		return err
	}
	for i := range votes {
		task, err := scratch.Snapshot().PrepareAttestation(&votes[i])
		if err != nil {
			return fmt.Errorf("vote of validator %d for the block: %w", votes[i].ValidatorIndex, err)
		}
		scratch.AddAttestation(task) // without a signature: mocked proofs need none
	}
	if _, err := scratch.Aggregate(); err != nil {
		return err
	}
	scratch.AcceptNewAttestations()
	// A full block may differ, because the node leaves out votes that justify nothing.
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

// checkProduction compares a block of the filler with the one that the store produces. It
// skips a block that is not on the head, because nodes build only on the head.
//
// leanSpec includes votes with the same target slot in the order of their arrival, and the
// node in the order of their roots. So the comparison ignores the order.
func checkProduction(store *lstar.Store, want *lstar.Block) error {
	if store.Head().Root != want.ParentRoot {
		return nil
	}
	got, err := store.ProduceBlock(want.Slot, want.ProposerIndex, nil)
	if err != nil {
		return fmt.Errorf("produce the block: %w", err)
	}
	if got.Root == want.Root() {
		return nil
	}
	if g, w := bodyVotes(got.Block), bodyVotes(want); !slices.Equal(g, w) || got.Block.ProposerIndex != want.ProposerIndex {
		return fmt.Errorf("votes of the block produced for slot %d =\n%q, want\n%q", want.Slot, g, w)
	}
	return nil
}

// bodyVotes returns a text for each attestation of a block, sorted by target slot.
func bodyVotes(b *lstar.Block) (votes []string) {
	for i := range b.Body.Attestations {
		a := &b.Body.Attestations[i]
		votes = append(votes, fmt.Sprintf("%08d %s %s", a.Data.Target.Slot, a.Data.Root(), bitString(&a.AggregationBits)))
	}
	slices.Sort(votes)
	return votes
}

// fillerVotes returns the votes that the filler added to its copy of the store, and whether
// it also forced votes into the body without adding them. The vector does not list them.
// They are:
//
//   - The votes of the body for which the copy had no proof. A vote for which the snapshot
//     has no proof either was forced into the body.
//   - Votes that the builder left out of the body. The snapshot of the vector has only
//     their data roots; findAttestationData finds the data.
func fillerVotes(scratch *lstar.Store, s *blockStep) (votes []lstar.SignedAttestation, forced bool, err error) {
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
			forced = true // if the block is valid, a missing entry has been pruned
			continue
		}
		for v := range a.AggregationBits.All {
			if !covered[root][v] {
				votes = append(votes, lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(v), Data: a.Data})
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
			return nil, false, fmt.Errorf("found no vote with the data root %s of the snapshot", entry.DataRoot)
		}
		for _, participants := range entry.ParticipantSets {
			for _, v := range participants {
				votes = append(votes, lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(v), Data: data})
			}
		}
	}
	return votes, forced, nil
}

// findAttestationData returns the attestation data with a root. It tries all votes whose
// head and target are the same block, as the filler makes them.
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
