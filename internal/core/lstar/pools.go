package lstar

import (
	"bytes"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// payload is a vote with the proofs of its voters. The proof of an old vote is empty:
// [Store.dropOldProofs] keeps only its participants.
type payload struct {
	data   AttestationData
	root   Root // of data
	proofs []*SingleMessageAggregate
}

func newPayload(data AttestationData) *payload { return &payload{data: data, root: data.Root()} }

// withoutProofs reports whether the payload has no proofs, or only a list of voters.
func (p *payload) withoutProofs() bool {
	return len(p.proofs) == 0 || len(p.proofs) == 1 && len(p.proofs[0].Proof) == 0
}

// usable returns the proofs that can become part of a block or of a larger proof. The
// receiver may be nil.
func (p *payload) usable() []*SingleMessageAggregate {
	if p == nil {
		return nil
	}
	var usable []*SingleMessageAggregate
	for _, proof := range p.proofs {
		if len(proof.Proof) > 0 {
			usable = append(usable, proof)
		}
	}
	return usable
}

// add adds a proof and reports whether it changed the payload.
func (p *payload) add(proof *SingleMessageAggregate) bool {
	if (p.withoutProofs() || len(proof.Proof) == 0) && covers(p.proofs, &proof.Participants) {
		return false
	}
	for _, q := range p.proofs {
		if q.Participants.Equal(&proof.Participants) && bytes.Equal(q.Proof, proof.Proof) {
			return false
		}
	}
	p.proofs = append(p.proofs, proof)
	return true
}

// union returns the participants of all proofs together.
func union(proofs []*SingleMessageAggregate) AggregationBits {
	if len(proofs) == 1 {
		return proofs[0].Participants.Clone()
	}
	all, length := ssz.NewBitlist(ValidatorRegistryLimit), 0
	for _, proof := range proofs {
		for v := range proof.Participants.All {
			all.Set(v)
			length = max(length, v+1)
		}
	}
	return all.Slice(0, length)
}

// covers reports whether every validator in bits is a participant of one of the proofs.
func covers(proofs []*SingleMessageAggregate, bits *AggregationBits) bool {
	for v := range bits.All {
		if !slices.ContainsFunc(proofs, func(p *SingleMessageAggregate) bool { return p.Participants.Get(v) }) {
			return false
		}
	}
	return true
}

// pool maps votes to values. It keeps the order in which the votes arrived, so that the
// results of the store depend only on its inputs.
type pool[T any] struct {
	order  []AttestationData
	byData map[AttestationData]T
}

func newPool[T any]() *pool[T] { return &pool[T]{byData: make(map[AttestationData]T)} }

func (p *pool[T]) get(data AttestationData) T { return p.byData[data] }

// getOrAdd returns the value of a vote. If there is none, it adds the result of make.
func (p *pool[T]) getOrAdd(data AttestationData, make func(AttestationData) T) T {
	v, ok := p.byData[data]
	if !ok {
		v = make(data)
		p.order = append(p.order, data)
		p.byData[data] = v
	}
	return v
}

// remove drops a vote.
func (p *pool[T]) remove(data AttestationData) {
	delete(p.byData, data)
	p.order = slices.DeleteFunc(p.order, func(other AttestationData) bool { return other == data })
}

// addInFront adds new votes before those that the pool has.
//
// leanSpec: fork_choice.py, on_block
func (p *pool[T]) addInFront(votes []AttestationData, make func(AttestationData) T) {
	var added []AttestationData
	for _, data := range votes {
		if _, ok := p.byData[data]; !ok {
			p.byData[data] = make(data)
			added = append(added, data)
		}
	}
	p.order = append(added, p.order...)
}

// keep removes the votes for which keep returns false.
func (p *pool[T]) keep(keep func(*AttestationData) bool) {
	p.order = slices.DeleteFunc(p.order, func(data AttestationData) bool {
		if keep(&data) {
			return false
		}
		delete(p.byData, data)
		return true
	})
}

// all yields the values in the order of arrival.
func (p *pool[T]) all(yield func(T) bool) {
	for _, data := range p.order {
		if !yield(p.byData[data]) {
			return
		}
	}
}

// voteSignatures holds the signatures of a vote that await aggregation.
type voteSignatures struct {
	data       AttestationData
	signatures map[ValidatorIndex]*xmss.Signature
}

func newVoteSignatures(data AttestationData) *voteSignatures {
	return &voteSignatures{data, make(map[ValidatorIndex]*xmss.Signature)}
}
