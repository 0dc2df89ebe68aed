package lstar

import (
	"maps"
	"slices"
)

// SignatureEntry is a vote with the validators whose signatures of it await
// aggregation, in ascending order.
type SignatureEntry struct {
	Data       AttestationData
	Validators []ValidatorIndex
}

// AggregateEntry is a vote with the proofs of it. It is to be read only.
type AggregateEntry struct {
	Data   AttestationData
	Proofs []*SingleMessageAggregate
}

// AttestationSignatures returns the signatures that await aggregation, in the
// order in which their votes came.
//
// leanSpec: containers/store.py, Store.attestation_signatures
func (s *Store) AttestationSignatures() []SignatureEntry {
	entries := make([]SignatureEntry, 0, len(s.signatures.order))
	for raw := range s.signatures.all {
		entries = append(entries, SignatureEntry{raw.data, slices.Sorted(maps.Keys(raw.signatures))})
	}
	return entries
}

// LatestNewAggregatedPayloads returns the aggregates that count from the next
// acceptance on, in the order in which their votes came.
//
// leanSpec: containers/store.py, Store.latest_new_aggregated_payloads
func (s *Store) LatestNewAggregatedPayloads() []AggregateEntry { return entries(s.pending) }

// LatestKnownAggregatedPayloads returns the aggregates that count for the head,
// in the order in which their votes came. A vote that came in a block has an
// entry without proofs until they are known.
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

// Clone returns a store that changes independently of s, to try out what would
// happen. It shares what is immutable: blocks, states, proofs and signatures.
func (s *Store) Clone() *Store {
	c := *s
	c.tree = s.tree.without(0)
	c.signatures = s.signatures.clone(func(raw *rawVotes) *rawVotes {
		return &rawVotes{raw.data, maps.Clone(raw.signatures)}
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

// AddKnownAggregate adds an aggregate that was verified before, or made by this
// node, to those that count. The head follows with its next update.
func (s *Store) AddKnownAggregate(a *SignedAggregatedAttestation) {
	p := s.known.getOrAdd(a.Data, newPayload)
	if p.add(&a.Proof) {
		s.countVotes(p, &a.Proof)
		s.journal.votes = append(s.journal.votes, p)
	}
}
