package lstar

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/spec/proof"
	"github.com/leanEthereum/leanspec-node/internal/spec/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// selectProofsForCoverage picks proofs that together name as many validators as
// possible, but no more than room, greedily, from the first pool before the
// second. It returns them and the validators that they name. Of two proofs that
// add as many, the one with the larger encoding is taken, so that every node
// picks the same.
//
// leanSpec: aggregation.py, select_proofs_for_coverage
func selectProofsForCoverage(room int, pools ...[]*SingleMessageAggregate) ([]*SingleMessageAggregate, AggregationBits) {
	covered := ssz.NewBitlist(ValidatorRegistryLimit)
	var selected []*SingleMessageAggregate
	for _, pool := range pools {
		candidates := slices.Clone(pool)
		for len(candidates) > 0 {
			best, bestAdds := 0, 0
			for i, c := range candidates {
				adds := 0
				for v := range c.Participants.All {
					if !covered.Get(v) {
						adds++
					}
				}
				if adds > room {
					continue
				}
				if adds > bestAdds || adds == bestAdds && adds > 0 && bytes.Compare(ssz.Marshal(c), ssz.Marshal(candidates[best])) > 0 {
					best, bestAdds = i, adds
				}
			}
			if bestAdds == 0 {
				break
			}
			for v := range candidates[best].Participants.All {
				covered.Set(v)
			}
			room -= bestAdds
			selected = append(selected, candidates[best])
			candidates = slices.Delete(candidates, best, best+1)
		}
	}
	return selected, covered
}

// Aggregate turns the votes that came in since the last round into aggregates,
// which replace the pending ones, and returns them for publication. A vote whose
// proof cannot be made is left out; the error says why, and is no Rejection.
//
// leanSpec: aggregation.py, aggregate
func (s *Store) Aggregate() ([]*SignedAggregatedAttestation, error) {
	validators := s.HeadState().Validators
	var (
		made []*SignedAggregatedAttestation
		errs []error
	)
	aggregate := func(data AttestationData) {
		a, err := s.aggregateVote(data, validators)
		if err != nil {
			errs = append(errs, fmt.Errorf("aggregate for slot %d: %w", data.Slot, err))
		}
		if a != nil {
			made = append(made, a)
		}
	}
	// Known proofs alone start no round: aggregating them again adds nothing.
	for _, data := range s.pending.order {
		aggregate(data)
	}
	for _, data := range s.signatures.order {
		if s.pending.get(data) == nil {
			aggregate(data)
		}
	}

	pending := newPool[*payload]()
	for _, a := range made {
		pending.getOrAdd(a.Data, newPayload).add(&a.Proof)
	}
	s.pending = pending
	// A proof absorbs the signatures of those that it names; others wait for room.
	s.signatures.keep(func(data *AttestationData) bool {
		raw, p := s.signatures.get(*data), pending.get(*data)
		if p == nil {
			return true
		}
		maps.DeleteFunc(raw.signatures, func(v ValidatorIndex, _ *xmss.Signature) bool {
			return p.proofs[0].Participants.Get(int(v))
		})
		return len(raw.signatures) > 0
	})
	return made, errors.Join(errs...)
}

// aggregateVote makes the aggregate of one vote, or nil where there is nothing new.
func (s *Store) aggregateVote(data AttestationData, validators *Validators) (*SignedAggregatedAttestation, error) {
	room := s.crypto.Proofs.MaxSignatures() - 1 // so that it fits into a block, beside the proposer's
	children, covered := selectProofsForCoverage(room, s.pending.get(data).usable(), s.known.get(data).usable())
	room -= covered.Count()

	// Signatures fill what the proofs leave open, as far as a proof has room.
	var fresh []proof.Signature
	if raw := s.signatures.get(data); raw != nil {
		for _, v := range slices.Sorted(maps.Keys(raw.signatures)) {
			if len(fresh) < room && validators.has(v) && !covered.Get(int(v)) {
				fresh = append(fresh, proof.Signature{
					Validator: uint64(v), Key: validators.AttestationKey(v), Signature: raw.signatures[v],
				})
			}
		}
	}
	if len(fresh) == 0 && len(children) < 2 {
		return nil, nil
	}
	agg, err := s.aggregateProofs(children, fresh, &data, validators)
	if err != nil {
		return nil, err
	}
	return &SignedAggregatedAttestation{data, *agg}, nil
}

// aggregateProofs makes one proof of several and of fresh signatures.
//
// leanSpec: containers/aggregation.py, SingleMessageAggregate.aggregate
func (s *Store) aggregateProofs(children []*SingleMessageAggregate, fresh []proof.Signature, data *AttestationData, validators *Validators) (*SingleMessageAggregate, error) {
	parts := make([]proof.Child, len(children))
	for i, c := range children {
		part, err := proofChild(c, validators)
		if err != nil {
			return nil, err
		}
		parts[i] = part
	}
	indices, bytes, err := s.crypto.Proofs.Aggregate(parts, fresh, data.Root(), uint64(data.Slot))
	if err != nil {
		return nil, err
	}
	validatorIndices := make([]ValidatorIndex, len(indices))
	for i, v := range indices {
		validatorIndices[i] = ValidatorIndex(v)
	}
	bits, err := BitsFromIndices(validatorIndices)
	if err != nil {
		return nil, err
	}
	return &SingleMessageAggregate{bits, bytes}, nil
}

// proofChild pairs a proof with the validators that it names and their keys.
func proofChild(p *SingleMessageAggregate, validators *Validators) (proof.Child, error) {
	keys, err := validators.attestationKeys(&p.Participants, ValidatorNotInState)
	if err != nil {
		return proof.Child{}, err
	}
	child := proof.Child{Keys: keys, Proof: p.Proof}
	for v := range p.Participants.All {
		child.Validators = append(child.Validators, uint64(v))
	}
	return child, nil
}

// MergeBlockProof makes the proof of a block out of the proofs of its
// attestations, in order, and the proposer's signature over the block root.
//
// leanSpec: node/validator/service.py, _sign_block
func (c Crypto) MergeBlockProof(block *Block, attestations []*SingleMessageAggregate, validators *Validators, signature *xmss.Signature) (MultiMessageAggregate, error) {
	parts := make([]proof.Child, 0, len(attestations)+1)
	for _, a := range attestations {
		part, err := proofChild(a, validators)
		if err != nil {
			return MultiMessageAggregate{}, err
		}
		parts = append(parts, part)
	}
	key := validators.ProposalKey(block.ProposerIndex)
	proposer := uint64(block.ProposerIndex)
	_, single, err := c.Proofs.Aggregate(nil, []proof.Signature{{Validator: proposer, Key: key, Signature: signature}}, block.Root(), uint64(block.Slot))
	if err != nil {
		return MultiMessageAggregate{}, err
	}
	parts = append(parts, proof.Child{Validators: []uint64{proposer}, Keys: []*xmss.PublicKey{key}, Proof: single})
	merged, err := c.Proofs.Merge(parts)
	return MultiMessageAggregate{merged}, err
}
