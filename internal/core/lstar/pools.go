package lstar

import (
	"bytes"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// payload is a vote with the proofs that validators cast it.
type payload struct {
	data   AttestationData
	root   Root // of data
	proofs []*SingleMessageAggregate
}

func newPayload(data AttestationData) *payload { return &payload{data: data, root: data.Root()} }

// shed reports whether there is nothing left of the proofs but who they name.
func (p *payload) shed() bool {
	return len(p.proofs) == 0 || len(p.proofs) == 1 && len(p.proofs[0].Proof) == 0
}

// voters returns who cast the vote.
func (p *payload) voters() AggregationBits {
	highest := 0
	for _, agg := range p.proofs {
		highest = max(highest, agg.Participants.Len())
	}
	voters := ssz.NewBitlist(highest)
	for _, agg := range p.proofs {
		for v := range agg.Participants.All {
			voters.Set(v)
		}
	}
	return voters
}

// usable returns the proofs that can become part of a block or of a larger proof.
func (p *payload) usable() []*SingleMessageAggregate {
	if p == nil || p.shed() {
		return nil
	}
	usable := p.proofs[:0:0]
	for _, agg := range p.proofs {
		if len(agg.Proof) > 0 {
			usable = append(usable, agg)
		}
	}
	return usable
}

// add adds a proof unless it is there already.
func (p *payload) add(proof *SingleMessageAggregate) bool {
	if (p.shed() || len(proof.Proof) == 0) && covers(p.proofs, &proof.Participants) {
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

// pool is a set of values by the vote that they are about, in the order in which
// the votes came: whoever walks over it does so in the same order every time.
type pool[T any] struct {
	order  []AttestationData
	byData map[AttestationData]T
}

func newPool[T any]() *pool[T] { return &pool[T]{byData: make(map[AttestationData]T)} }

func (p *pool[T]) get(data AttestationData) T { return p.byData[data] }

// getOrAdd returns the value of a vote, which make makes when there is none.
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

// addInFront adds the votes that are not there yet before those that are.
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

// keep drops the votes for which keep is false.
func (p *pool[T]) keep(keep func(*AttestationData) bool) {
	p.order = slices.DeleteFunc(p.order, func(data AttestationData) bool {
		if keep(&data) {
			return false
		}
		delete(p.byData, data)
		return true
	})
}

// all yields the values in order.
func (p *pool[T]) all(yield func(T) bool) {
	for _, data := range p.order {
		if !yield(p.byData[data]) {
			return
		}
	}
}

// rawVotes are the signatures of a vote that nobody has aggregated yet.
type rawVotes struct {
	data       AttestationData
	signatures map[ValidatorIndex]*xmss.Signature
}

func newRawVotes(data AttestationData) *rawVotes {
	return &rawVotes{data, make(map[ValidatorIndex]*xmss.Signature)}
}
