package lstar

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// selectProofsForCoverage selects proofs that together have as many participants as
// possible, at most room. It is greedy: it takes the proof that adds most participants,
// and of equals the one with the larger encoding, so that every node selects the same. It
// exhausts the first pool before the second. It returns the proofs and all participants.
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

// ProofTask is the work of making a single-message proof from other proofs, signatures,
// and a component of a block's proof. Its inputs are immutable, so any goroutine can do
// the work.
type ProofTask struct {
	proofs     proof.Scheme
	data       AttestationData
	validators *Validators
	children   []*SingleMessageAggregate
	signatures []proof.Signature
	component  *blockComponent // an additional child, or nil
}

// blockComponent is a component of the proof of a block.
type blockComponent struct {
	participants AggregationBits
	components   []proof.Component
	index        int
	proof        []byte
}

// Slot returns the slot of the votes.
func (t *ProofTask) Slot() Slot { return t.data.Slot }

// Prove makes the proof. With a production prover it can take seconds.
func (t *ProofTask) Prove() (*SignedAggregatedAttestation, error) {
	children := t.children
	if c := t.component; c != nil {
		split, err := t.proofs.Split(c.components, c.index, c.proof)
		if err != nil {
			return nil, fmt.Errorf("split the proof of a block: %w", err)
		}
		children = append([]*SingleMessageAggregate{{c.participants.Clone(), split}}, children...)
	}
	if len(children) == 1 && len(t.signatures) == 0 {
		return &SignedAggregatedAttestation{t.data, *children[0]}, nil
	}
	merged, err := aggregateProofs(t.proofs, children, t.signatures, &t.data, t.validators)
	if err != nil {
		return nil, fmt.Errorf("aggregate for slot %d: %w", t.data.Slot, err)
	}
	return &SignedAggregatedAttestation{t.data, *merged}, nil
}

// AggregationTasks returns a task for each vote that can be aggregated: one that has
// signatures that no proof covers, or at least two proofs of which one is pending.
//
// leanSpec: aggregation.py, aggregate
func (s *Store) AggregationTasks() []*ProofTask {
	validators := s.HeadState().Validators
	var tasks []*ProofTask
	for _, data := range s.pending.order {
		tasks = s.appendAggregationTask(tasks, data, validators)
	}
	for _, data := range s.signatures.order {
		if s.pending.get(data) == nil {
			tasks = s.appendAggregationTask(tasks, data, validators)
		}
	}
	return tasks
}

func (s *Store) appendAggregationTask(tasks []*ProofTask, data AttestationData, validators *Validators) []*ProofTask {
	room := s.crypto.Proofs.MaxSignatures() - 1 // a block's proof needs room for the proposer
	children, covered := selectProofsForCoverage(room, s.pending.get(data).usable(), s.known.get(data).usable())
	room -= covered.Count()

	// Signatures of validators that the proofs do not cover fill the remaining room.
	var uncovered []proof.Signature
	if v := s.signatures.get(data); v != nil {
		for _, i := range slices.Sorted(maps.Keys(v.signatures)) {
			if len(uncovered) < room && validators.has(i) && !covered.Get(int(i)) {
				uncovered = append(uncovered, proof.Signature{
					Validator: uint64(i), Key: validators.AttestationKey(i), Signature: v.signatures[i],
				})
			}
		}
	}
	if len(uncovered) == 0 && len(children) < 2 {
		return tasks
	}
	return append(tasks, &ProofTask{proofs: s.crypto.Proofs, data: data, validators: validators, children: children, signatures: uncovered})
}

// AddOwnAggregate adds the result of a [ProofTask] to the aggregates that count from the
// next acceptance on. It replaces the aggregates and the signatures that it contains.
// Signatures for which the proof had no room await the next aggregation.
func (s *Store) AddOwnAggregate(a *SignedAggregatedAttestation) {
	s.addPending(a)
	if v := s.signatures.get(a.Data); v != nil {
		maps.DeleteFunc(v.signatures, func(i ValidatorIndex, _ *xmss.Signature) bool {
			return a.Proof.Participants.Get(int(i))
		})
		if len(v.signatures) == 0 {
			s.signatures.remove(a.Data)
		}
	}
}

// Aggregate does all aggregation tasks. As in leanSpec, the results replace all pending
// aggregates. It returns them for publication. It leaves out votes whose proof cannot be
// made, and returns their errors, which are not of type [*Rejection].
//
// leanSpec: aggregation.py, aggregate
func (s *Store) Aggregate() ([]*SignedAggregatedAttestation, error) {
	var (
		made []*SignedAggregatedAttestation
		errs []error
	)
	for _, task := range s.AggregationTasks() {
		a, err := task.Prove()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		made = append(made, a)
	}
	s.pending = newPool[*payload]()
	for _, a := range made {
		s.AddOwnAggregate(a)
	}
	return made, errors.Join(errs...)
}

// RecoveryTasks returns a task for each vote of an imported block whose voters the pending
// proofs do not cover and whose target is after the justified slot. The task splits the
// proof of the vote from the block's proof and merges it with the pending ones. The vote
// counts once the result is added and accepted.
//
// leanSpec: node/sync/service.py, _deconstruct_block_into_store
func (s *Store) RecoveryTasks(b *SignedBlock) []*ProofTask {
	parent := s.tree.get(b.Block.ParentRoot)
	if parent == nil || len(b.Block.Body.Attestations) == 0 {
		return nil
	}
	validators := parent.state.Validators
	components, err := blockComponents(&b.Block, b.Block.Root(), validators)
	if err != nil {
		return nil
	}
	var tasks []*ProofTask
	for i := range b.Block.Body.Attestations {
		a := &b.Block.Body.Attestations[i]
		if a.Data.Target.Slot <= s.latestJustified.Slot {
			continue
		}
		var local []*SingleMessageAggregate
		if p := s.pending.get(a.Data); p != nil {
			local = slices.Clone(p.proofs)
		}
		if covers(local, &a.AggregationBits) {
			continue
		}
		tasks = append(tasks, &ProofTask{
			proofs: s.crypto.Proofs, data: a.Data, validators: validators, children: local,
			component: &blockComponent{a.AggregationBits, components, i, b.Proof.Proof},
		})
	}
	return tasks
}

// aggregateProofs merges proofs and signatures of one vote to one proof.
//
// leanSpec: containers/aggregation.py, SingleMessageAggregate.aggregate
func aggregateProofs(scheme proof.Scheme, children []*SingleMessageAggregate, signatures []proof.Signature, data *AttestationData, validators *Validators) (*SingleMessageAggregate, error) {
	parts := make([]proof.Child, len(children))
	for i, c := range children {
		part, err := proofChild(c, validators)
		if err != nil {
			return nil, err
		}
		parts[i] = part
	}
	indices, bytes, err := scheme.Aggregate(parts, signatures, data.Root(), uint64(data.Slot))
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

// proofChild returns a proof with the indices and the keys of its participants.
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

// AggregatePayloads merges the proofs of each attestation of a proposal to one.
func (c Crypto) AggregatePayloads(p *Proposal) ([]*SingleMessageAggregate, error) {
	made := make([]*SingleMessageAggregate, len(p.Proofs))
	for i, proofs := range p.Proofs {
		made[i] = proofs[0]
		if len(proofs) > 1 {
			var err error
			if made[i], err = aggregateProofs(c.Proofs, proofs, nil, &p.Block.Body.Attestations[i].Data, p.Validators); err != nil {
				return nil, fmt.Errorf("attestation %d of the block: %w", i, err)
			}
		}
	}
	return made, nil
}

// MergeBlockProof returns the proof of a block. attestations holds a proof for each
// attestation of the body, and signature is the proposer's, over the block root.
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
