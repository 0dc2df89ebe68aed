package lstar

import (
	"cmp"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// buildBlock builds a block on a state, with the votes of the known pool.
//
// Votes can be included only if their source is justified, and including votes is
// what justifies sources. So the builder goes over the candidates in rounds: it
// takes what is eligible, applies it, and starts again from what that justified,
// until nothing new comes. Justification only moves forward, so it ends.
//
// leanSpec: block_production.py, build_block
func (s *Store) buildBlock(state *State, parentRoot Root, slot Slot, proposer ValidatorIndex, lap Lap) (*Proposal, error) {
	advanced, err := state.ProcessSlots(slot)
	if err != nil {
		return nil, err
	}
	b := &blockBuilder{
		store:    s,
		pre:      advanced,
		block:    Block{Slot: slot, ProposerIndex: proposer, ParentRoot: parentRoot},
		room:     s.crypto.Proofs.MaxSignatures() - 1, // one is the proposer's
		included: make(map[AttestationData]bool),
	}
	post, err := advanced.ProcessBlock(&b.block)
	if err != nil {
		return nil, err
	}
	lap.end(StepTrial)
	payloads := slices.Collect(s.known.all)
	slices.SortStableFunc(payloads, func(x, y *payload) int {
		return cmp.Or(cmp.Compare(x.data.Target.Slot, y.data.Target.Slot), compareRoots(x.root, y.root))
	})
	for {
		before := post
		if err := b.round(payloads, before); err != nil {
			return nil, err
		}
		lap.end(StepPayloads)
		if post, err = advanced.ProcessBlock(&b.block); err != nil {
			return nil, err
		}
		lap.end(StepTrial)
		if post.LatestJustified == before.LatestJustified && post.LatestFinalized.Slot == before.LatestFinalized.Slot {
			break
		}
	}
	b.block.StateRoot = post.Root()
	return &Proposal{Block: &b.block, Root: b.block.Root(), Proofs: b.proofs, Validators: state.Validators}, nil
}

type blockBuilder struct {
	store    *Store
	pre      *State // at the block's slot
	block    Block
	proofs   [][]*SingleMessageAggregate
	room     int // for signatures in the block's proof
	included map[AttestationData]bool
}

// candidate is a vote that can be included, with the proofs that cover it best.
type candidate struct {
	*payload
	proofs []*SingleMessageAggregate
	voters int
	fresh  int  // voters whose votes the state has not counted
	wins   bool // justifies its target
}

// round includes every candidate that is eligible given the state after the block as it
// stands, in order. If the block has no room for all of them, the votes that justify a
// target come first, and votes that add no voter are left out; see
// [Rules].UsefulVotesFirst.
func (b *blockBuilder) round(payloads []*payload, post *State) error {
	candidates, voters := b.candidates(payloads, post)
	crowded := b.store.rules.UsefulVotesFirst && len(b.included)+len(candidates) > MaxAttestationsData
	if voters > b.room || crowded {
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return c.fresh == 0 })
		slices.SortStableFunc(candidates, func(x, y candidate) int {
			return cmp.Or(-compareBool(x.wins, y.wins), cmp.Compare(y.fresh, x.fresh))
		})
	}
	for _, c := range candidates {
		if len(b.included) >= MaxAttestationsData {
			return nil
		}
		if c.voters > b.room {
			if c.proofs, _ = selectProofsForCoverage(b.room, c.usable()); len(c.proofs) == 0 {
				continue
			}
		}
		participants, err := union(c.proofs)
		if err != nil {
			return err
		}
		b.included[c.data] = true
		b.room -= participants.Count()
		b.proofs = append(b.proofs, c.proofs)
		b.block.Body.Attestations = append(b.block.Body.Attestations, AggregatedAttestation{participants, c.data})
	}
	return nil
}

// union returns the participants of the proof that the given proofs give together.
func union(proofs []*SingleMessageAggregate) (AggregationBits, error) {
	if len(proofs) == 1 {
		return proofs[0].Participants.Clone(), nil
	}
	var indices []ValidatorIndex
	seen := ssz.NewBitlist(ValidatorRegistryLimit)
	for _, p := range proofs {
		for v := range p.Participants.All {
			if !seen.Get(v) {
				seen.Set(v)
				indices = append(indices, ValidatorIndex(v))
			}
		}
	}
	return BitsFromIndices(indices)
}

// candidates returns the votes that are eligible and not included yet, and the
// number of their voters.
func (b *blockBuilder) candidates(payloads []*payload, post *State) (candidates []candidate, voters int) {
	registry := b.pre.Validators.Len()
	tally, err := post.justifications.tally(registry)
	if err != nil {
		return nil, 0 // a block on such a state is invalid whatever it includes
	}
	for _, p := range payloads {
		proofs := p.usable()
		if len(proofs) == 0 || b.included[p.data] || !b.eligible(&p.data, post) {
			continue
		}
		selected, covered := selectProofsForCoverage(b.store.crypto.Proofs.MaxSignatures()-1, proofs)
		if len(selected) == 0 {
			continue
		}
		c := candidate{payload: p, proofs: selected, voters: covered.Count()}
		if p.data.Target.Slot > 0 { // votes for genesis justify nothing
			counted := 0
			c.fresh = c.voters
			for _, t := range tally {
				if t.root == p.data.Target.Root {
					counted = t.votes.Count()
					for v := range covered.All {
						if t.votes.Get(v) {
							c.fresh--
						}
					}
				}
			}
			c.wins = 3*(counted+c.fresh) >= 2*registry
		}
		candidates, voters = append(candidates, c), voters+c.voters
	}
	return candidates, voters
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// eligible reports whether a vote can move justification, given the state after
// the block as it stands.
func (b *blockBuilder) eligible(data *AttestationData, post *State) bool {
	if b.store.tree.get(data.Head.Root) == nil || data.Source.Slot != post.LatestJustified.Slot {
		return false
	}
	if !data.liesOnChain(post.HistoricalBlockHash) {
		return false
	}
	finalized := post.LatestFinalized.Slot
	if justified, err := isSlotJustified(post.justifiedSlots, finalized, data.Source.Slot); err != nil || !justified {
		return false
	}
	// A vote for genesis justifies nothing, and is included all the same: it
	// carries weight for the head, and this is how it spreads.
	if data.Source.Slot == 0 && data.Target.Slot == 0 {
		return true
	}
	justified, err := isSlotJustified(post.justifiedSlots, finalized, data.Target.Slot)
	return err == nil && !justified
}
