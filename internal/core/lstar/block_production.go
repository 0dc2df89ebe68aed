package lstar

import (
	"cmp"
	"slices"
)

// buildBlock builds a block on a state, with votes of the known pool.
//
// A vote is eligible only if its source is justified, and the votes of the block can
// justify further sources. So the builder works in rounds: it includes the eligible votes,
// applies the block, and continues until justification does not advance. Justification
// never goes back, so the loop ends.
//
// leanSpec: block_production.py, build_block
func (s *Store) buildBlock(state *State, parentRoot Root, slot Slot, proposer ValidatorIndex, step StepFunc) (*Proposal, error) {
	advanced, err := state.ProcessSlots(slot)
	if err != nil {
		return nil, err
	}
	b := &blockBuilder{
		store:    s,
		pre:      advanced,
		block:    Block{Slot: slot, ProposerIndex: proposer, ParentRoot: parentRoot},
		room:     s.crypto.Proofs.MaxSignatures() - 1, // without the proposer's
		included: make(map[AttestationData]bool),
	}
	post, err := advanced.ProcessBlock(&b.block)
	if err != nil {
		return nil, err
	}
	step.done(StepTrial)
	payloads := slices.Collect(s.known.all)
	slices.SortStableFunc(payloads, func(x, y *payload) int {
		return cmp.Or(cmp.Compare(x.data.Target.Slot, y.data.Target.Slot), compareRoots(x.root, y.root))
	})
	for {
		before := post
		b.round(payloads, before)
		step.done(StepPayloads)
		if post, err = advanced.ProcessBlock(&b.block); err != nil {
			return nil, err
		}
		step.done(StepTrial)
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
	room     int // number of signatures for which the block's proof has room
	included map[AttestationData]bool
}

// candidate is an eligible vote with the proofs that cover most of its voters.
type candidate struct {
	*payload
	proofs    []*SingleMessageAggregate
	voters    int
	newVoters int // those whose votes for the target the state does not have
	justifies int // 1 if the vote justifies its target, otherwise 0
}

// round includes the candidates that are eligible in post, the state after the block so
// far. If the block has no room for all of them, the votes that justify a target come
// first, and votes that add no voter are left out; see [Rules].UsefulVotesFirst.
func (b *blockBuilder) round(payloads []*payload, post *State) {
	candidates, voters := b.candidates(payloads, post)
	crowded := b.store.rules.UsefulVotesFirst && len(b.included)+len(candidates) > MaxAttestationsData
	if voters > b.room || crowded {
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return c.newVoters == 0 })
		slices.SortStableFunc(candidates, func(x, y candidate) int {
			return cmp.Or(cmp.Compare(y.justifies, x.justifies), cmp.Compare(y.newVoters, x.newVoters))
		})
	}
	for _, c := range candidates {
		if len(b.included) >= MaxAttestationsData {
			return
		}
		if c.voters > b.room {
			if c.proofs, _ = selectProofsForCoverage(b.room, c.usable()); len(c.proofs) == 0 {
				continue
			}
		}
		participants := union(c.proofs)
		b.included[c.data] = true
		b.room -= participants.Count()
		b.proofs = append(b.proofs, c.proofs)
		b.block.Body.Attestations = append(b.block.Body.Attestations, AggregatedAttestation{participants, c.data})
	}
}

// candidates returns the eligible votes that the block does not have, and the number of
// their voters.
func (b *blockBuilder) candidates(payloads []*payload, post *State) (candidates []candidate, voters int) {
	registry := b.pre.Validators.Len()
	pending, err := post.justifications.unpack(registry)
	if err != nil {
		return nil, 0 // every block on such a state is invalid
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
		if p.data.Target.Slot > 0 { // genesis is already justified
			counted := 0
			c.newVoters = c.voters
			for _, j := range pending {
				if j.target == p.data.Target.Root {
					counted = j.votes.Count()
					for v := range covered.All {
						if j.votes.Get(v) {
							c.newVoters--
						}
					}
				}
			}
			if 3*(counted+c.newVoters) >= 2*registry {
				c.justifies = 1
			}
		}
		candidates, voters = append(candidates, c), voters+c.voters
	}
	return candidates, voters
}

// eligible reports whether a vote can justify its target in post, the state after the
// block so far.
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
	// A vote for genesis justifies nothing, but it has weight for the head, and blocks
	// spread it.
	if data.Source.Slot == 0 && data.Target.Slot == 0 {
		return true
	}
	justified, err := isSlotJustified(post.justifiedSlots, finalized, data.Target.Slot)
	return err == nil && !justified
}
