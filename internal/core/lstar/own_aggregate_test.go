package lstar

import "testing"

// TestOwnAggregateContained adds an own aggregate that was proved while a larger one came.
func TestOwnAggregateContained(t *testing.T) {
	s := newTestStore(t, 4)
	data := AttestationData{Slot: 1}
	add := func(proof byte, indices ...ValidatorIndex) {
		s.AddOwnAggregate(&SignedAggregatedAttestation{Data: data, Proof: SingleMessageAggregate{bitsOf(t, indices...), []byte{proof}}})
	}
	add(1, 0, 1)
	add(2, 2)
	add(3, 0, 1, 2) // of both
	if n := s.Sizes().Pending; n != 1 {
		t.Fatalf("%d pending aggregates, want 1", n)
	}
	add(4, 0, 2)
	if n := s.Sizes().Pending; n != 1 {
		t.Errorf("%d pending aggregates, want 1: one contains the other", n)
	}
}
