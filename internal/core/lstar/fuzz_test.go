package lstar

import (
	"bytes"
	"errors"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// fuzzContainer decodes arbitrary bytes. A decoded value must encode to the same bytes,
// and an error must wrap ssz.ErrInvalid.
func fuzzContainer[T any, P interface {
	*T
	ssz.Object
}](f *testing.F, seeds ...P) {
	for _, seed := range seeds {
		f.Add(ssz.Marshal(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v := P(new(T))
		if err := ssz.Unmarshal(in, v); err != nil {
			if !errors.Is(err, ssz.ErrInvalid) {
				t.Fatalf("error %v does not wrap ssz.ErrInvalid", err)
			}
			return
		}
		if out := ssz.Marshal(v); !bytes.Equal(in, out) {
			t.Fatalf("encoding = %x, want the input %x", out, in)
		}
		_ = ssz.HashTreeRoot(v)
	})
}

func seedVote() AggregatedAttestation {
	bits := ssz.NewBitlist(9)
	bits.Set(3)
	return AggregatedAttestation{bits, AttestationData{Slot: 5, Head: Checkpoint{Root{1}, 5}}}
}

func seedBlock() *SignedBlock {
	return &SignedBlock{
		Block{Slot: 7, ProposerIndex: 3, Body: BlockBody{[]AggregatedAttestation{seedVote(), seedVote()}}},
		MultiMessageAggregate{[]byte("proof")},
	}
}

func seedState() *State {
	s := GenesisState(1, NewValidators(make([]Validator, 3)))
	votes := ssz.NewBitlist(6)
	votes.Set(4)
	s.historicalBlockHashes = ssz.Tree{}.Append(Root{1}).Grow(4)
	s.justifiedSlots = s.justifiedSlots.Grow(3).Set(1)
	s.justifications = justifications{ssz.Tree{}.Append(Root{2}).Append(Root{3}), ssz.NewBitTree(&votes)}
	return s
}

func FuzzCheckpoint(f *testing.F)      { fuzzContainer(f, &Checkpoint{Root{1}, 2}) }
func FuzzAttestationData(f *testing.F) { fuzzContainer(f, &AttestationData{Slot: 3}) }
func FuzzBlockHeader(f *testing.F)     { fuzzContainer(f, &BlockHeader{Slot: 3}) }
func FuzzValidator(f *testing.F)       { fuzzContainer(f, &Validator{Index: 3}) }
func FuzzGenesisConfig(f *testing.F)   { fuzzContainer(f, &GenesisConfig{3}) }

func FuzzAggregatedAttestation(f *testing.F) { v := seedVote(); fuzzContainer(f, &v) }
func FuzzBlockBody(f *testing.F)             { fuzzContainer(f, &seedBlock().Block.Body) }
func FuzzBlock(f *testing.F)                 { fuzzContainer(f, &seedBlock().Block) }
func FuzzSignedBlock(f *testing.F)           { fuzzContainer(f, seedBlock()) }
func FuzzMultiMessageAggregate(f *testing.F) { fuzzContainer(f, &MultiMessageAggregate{[]byte{1}}) }

func FuzzSingleMessageAggregate(f *testing.F) {
	fuzzContainer(f, &SingleMessageAggregate{seedVote().AggregationBits, []byte{1}})
}

func FuzzSignedAggregatedAttestation(f *testing.F) {
	v := seedVote()
	fuzzContainer(f, &SignedAggregatedAttestation{v.Data, SingleMessageAggregate{v.AggregationBits, []byte{1}}})
}

func FuzzState(f *testing.F) { fuzzContainer(f, seedState()) }

// FuzzStateTransition applies a block to any state that decodes. The result must be a valid
// state or a rejection.
func FuzzStateTransition(f *testing.F) {
	f.Add(seedState().Encode(), ssz.Marshal(&seedBlock().Block))
	f.Fuzz(func(t *testing.T, stateBytes, blockBytes []byte) {
		state, err := DecodeState(stateBytes)
		if err != nil {
			return
		}
		var block Block
		if ssz.Unmarshal(blockBytes, &block) != nil {
			return
		}
		// Set the fields that the fuzzer could hardly guess.
		advanced, err := state.ProcessSlots(block.Slot)
		if err != nil {
			return
		}
		block.ParentRoot = ssz.HashTreeRoot(&advanced.LatestBlockHeader)
		if p, err := ProposerForSlot(block.Slot, state.Validators.Len()); err == nil {
			block.ProposerIndex = p
		}
		if post, err := advanced.ProcessBlock(&block); err == nil {
			if back, err := DecodeState(post.Encode()); err != nil || back.Root() != post.Root() {
				t.Fatalf("the encoded post-state decodes to another state, or to error %v", err)
			}
		} else if r := new(*Rejection); !errors.As(err, r) {
			t.Fatalf("error = %v, want a *Rejection", err)
		}
	})
}

func FuzzSignedAttestation(f *testing.F) {
	for _, scheme := range []*xmss.Scheme{xmss.Test, xmss.Prod} {
		f.Add(make([]byte, 8+128+scheme.SignatureSize()))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, scheme := range []*xmss.Scheme{xmss.Test, xmss.Prod} {
			a, err := DecodeSignedAttestation(in, scheme)
			if err != nil {
				if !errors.Is(err, ssz.ErrInvalid) {
					t.Fatalf("error %v does not wrap ssz.ErrInvalid", err)
				}
				continue
			}
			if out := a.Encode(); !bytes.Equal(in, out) {
				t.Fatalf("encoding = %x, want the input %x", out, in)
			}
		}
	})
}
