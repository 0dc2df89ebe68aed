package lstar

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// newTestStore returns a store at genesis that accepts invalid signatures.
func newTestStore(t testing.TB, validators int) *Store {
	t.Helper()
	list := make([]Validator, validators)
	for i := range list {
		list[i].AttestationPublicKey[0], list[i].AttestationPublicKey[1] = byte(i), byte(i>>8)
		list[i].ProposalPublicKey[4] = 1
	}
	state := GenesisState(1000, NewValidators(list))
	s, err := NewStore(Crypto{Signatures: xmss.Test, Proofs: prooftest.Trusting{Max: 1 << 20}}, NetworkRules, state, GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// buildOn returns the block of a slot on a parent, with the given attestations.
func buildOn(t testing.TB, s *Store, parent Root, slot Slot, attestations ...AggregatedAttestation) *SignedBlock {
	t.Helper()
	state := s.State(parent)
	proposer, err := ProposerForSlot(slot, state.Validators.Len())
	if err != nil {
		t.Fatal(err)
	}
	b := &SignedBlock{Block: Block{Slot: slot, ProposerIndex: proposer, ParentRoot: parent, Body: BlockBody{attestations}}}
	advanced, err := state.ProcessSlots(slot)
	if err != nil {
		t.Fatal(err)
	}
	post, err := advanced.ProcessBlock(&b.Block)
	if err != nil {
		t.Fatal(err)
	}
	b.Block.StateRoot = post.Root()
	return b
}

// importOn builds a block, advances the clock to its slot and imports it.
func importOn(t testing.TB, s *Store, parent Root, slot Slot, attestations ...AggregatedAttestation) Root {
	t.Helper()
	b := buildOn(t, s, parent, slot, attestations...)
	s.SkipTo(slot.Interval())
	if err := s.OnBlock(b); err != nil {
		t.Fatal(err)
	}
	return b.Block.Root()
}

func bitsOf(t testing.TB, indices ...ValidatorIndex) AggregationBits {
	t.Helper()
	bits, err := BitsFromIndices(indices)
	if err != nil {
		t.Fatal(err)
	}
	return bits
}

// firstN returns the bits of the first n validators.
func firstN(t testing.TB, n int) AggregationBits {
	t.Helper()
	indices := make([]ValidatorIndex, n)
	for i := range indices {
		indices[i] = ValidatorIndex(i)
	}
	return bitsOf(t, indices...)
}

// runSlot runs a slot of an honest network: it imports a block, and an aggregate of the
// votes of all validators.
func runSlot(t testing.TB, s *Store, slot Slot) {
	t.Helper()
	validators := s.HeadState().Validators.Len()
	if slot > 0 {
		proposer, _ := ProposerForSlot(slot, validators)
		p, err := s.ProduceBlock(slot, proposer, nil)
		if err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
		if err := s.OnBlock(&SignedBlock{Block: *p.Block}); err != nil {
			t.Fatalf("slot %d: import of the block: %v", slot, err)
		}
	}
	if _, err := s.OnTick(slot.Interval()+1, false, false); err != nil {
		t.Fatal(err)
	}
	data, err := s.AttestationData(slot)
	if err != nil {
		t.Fatalf("slot %d: %v", slot, err)
	}
	agg := &SignedAggregatedAttestation{data, SingleMessageAggregate{firstN(t, validators), []byte{byte(slot)}}}
	if err := s.OnGossipAggregatedAttestation(agg); err != nil {
		t.Fatalf("slot %d: %v", slot, err)
	}
	if _, err := s.OnTick(slot.Interval()+4, false, false); err != nil {
		t.Fatal(err)
	}
}
