package lstar

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/spec/proof"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// trusting is a proof scheme that believes everything. Its proofs say nothing
// but differ where the participants do.
type trusting struct{ max int }

func (trusting) Name() string         { return "trusting" }
func (t trusting) MaxSignatures() int { return t.max }

func (trusting) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, _ uint64) ([]uint64, []byte, error) {
	var all []uint64
	for _, c := range children {
		all = append(all, c.Validators...)
	}
	for _, s := range signatures {
		all = append(all, s.Validator)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	h := sha256.New()
	h.Write(message[:])
	_ = binary.Write(h, binary.LittleEndian, all)
	return all, h.Sum(nil), nil
}

func (trusting) VerifySingle(proof.Component, []byte) error  { return nil }
func (trusting) VerifyMulti([]proof.Component, []byte) error { return nil }
func (trusting) Merge([]proof.Child) ([]byte, error)         { return []byte{1}, nil }
func (trusting) Split(c []proof.Component, i int, _ []byte) ([]byte, error) {
	return c[i].Message[:], nil
}

// newTestStore returns a store at genesis whose signatures need not be valid.
func newTestStore(t testing.TB, validators int) *Store {
	t.Helper()
	list := make([]Validator, validators)
	for i := range list {
		list[i].AttestationPublicKey[0], list[i].AttestationPublicKey[1] = byte(i), byte(i>>8)
		list[i].ProposalPublicKey[4] = 1
	}
	state := GenesisState(1000, NewValidators(list))
	s, err := NewStore(Crypto{Signatures: xmss.Test, Proofs: trusting{1 << 20}}, NetworkRules, state, GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// buildOn returns the block of a slot on a parent, with attestations as they are.
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

// importOn builds a block and imports it, with the clock at its slot.
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

// firstN names the first n validators.
func firstN(t testing.TB, n int) AggregationBits {
	t.Helper()
	indices := make([]ValidatorIndex, n)
	for i := range indices {
		indices[i] = ValidatorIndex(i)
	}
	return bitsOf(t, indices...)
}

// runSlot does what a node sees in a slot in which everybody is honest: a block,
// and an aggregate of all votes.
func runSlot(t testing.TB, s *Store, slot Slot) {
	t.Helper()
	validators := s.HeadState().Validators.Len()
	if slot > 0 {
		proposer, _ := ProposerForSlot(slot, validators)
		p, err := s.ProduceBlock(slot, proposer)
		if err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
		if err := s.OnBlock(&SignedBlock{Block: *p.Block}); err != nil {
			t.Fatalf("slot %d: importing the own block: %v", slot, err)
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
