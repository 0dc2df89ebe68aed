package lstar

import (
	"maps"
	"slices"
)

// SignatureEntry is a vote with the validators, in ascending order, whose signatures await
// aggregation.
type SignatureEntry struct {
	Data       AttestationData
	Validators []ValidatorIndex
}

// AggregateEntry is a vote with its proofs, which the caller must not change.
type AggregateEntry struct {
	Data   AttestationData
	Proofs []*SingleMessageAggregate
}

// AttestationSignatures returns the votes with signatures that await aggregation, in the
// order of their arrival.
//
// leanSpec: containers/store.py, Store.attestation_signatures
func (s *Store) AttestationSignatures() []SignatureEntry {
	entries := make([]SignatureEntry, 0, len(s.signatures.order))
	for v := range s.signatures.all {
		entries = append(entries, SignatureEntry{v.data, slices.Sorted(maps.Keys(v.signatures))})
	}
	return entries
}

// LatestNewAggregatedPayloads returns the votes whose aggregates count from the next
// acceptance on, in the order of their arrival.
//
// leanSpec: containers/store.py, Store.latest_new_aggregated_payloads
func (s *Store) LatestNewAggregatedPayloads() []AggregateEntry { return entries(s.pending) }

// LatestKnownAggregatedPayloads returns the votes whose aggregates count for the head, in
// the order of their arrival. A vote that arrived in a block has no proofs at first.
//
// leanSpec: containers/store.py, Store.latest_known_aggregated_payloads
func (s *Store) LatestKnownAggregatedPayloads() []AggregateEntry { return entries(s.known) }

func entries(p *pool[*payload]) []AggregateEntry {
	out := make([]AggregateEntry, 0, len(p.order))
	for v := range p.all {
		out = append(out, AggregateEntry{v.data, slices.Clone(v.proofs)})
	}
	return out
}

// BlockRoots returns the roots of all known blocks in ascending order.
//
// leanSpec: containers/store.py, Store.blocks
func (s *Store) BlockRoots() []Root {
	roots := make([]Root, len(s.tree.nodes))
	for i := range roots {
		roots[i] = s.tree.nodes[i].root
	}
	slices.SortFunc(roots, compareRoots)
	return roots
}

// Clone returns a store that changes independently of s. It shares the immutable blocks,
// states, proofs and signatures.
func (s *Store) Clone() *Store {
	c := *s
	c.tree = s.tree.without(0)
	c.signatures = s.signatures.clone(func(v *voteSignatures) *voteSignatures {
		return &voteSignatures{v.data, maps.Clone(v.signatures)}
	})
	clonePayload := func(p *payload) *payload {
		q := *p
		q.proofs = slices.Clone(p.proofs)
		return &q
	}
	c.pending, c.known = s.pending.clone(clonePayload), s.known.clone(clonePayload)
	c.latest, c.latestShared, c.snapshot = slices.Clone(s.latest), false, nil
	c.journal = journal{view: s.view()}
	return &c
}

func (p *pool[T]) clone(each func(T) T) *pool[T] {
	c := *p
	c.order, c.byData = slices.Clone(p.order), make(map[AttestationData]T, len(p.byData))
	for data, v := range p.byData {
		c.byData[data] = each(v)
	}
	return &c
}
