package lstar

import (
	"fmt"
	"testing"
)

// benchChain returns a store with a chain that finalizes, and the next block, which has a
// vote of all validators.
func benchChain(b *testing.B, validators int) (*Store, *SignedBlock) {
	s := newTestStore(b, validators)
	const slots = 64
	for slot := range Slot(slots) {
		runSlot(b, s, slot)
	}
	proposer, _ := ProposerForSlot(slots, validators)
	p, err := s.ProduceBlock(slots, proposer, nil)
	if err != nil {
		b.Fatal(err)
	}
	return s, &SignedBlock{Block: *p.Block}
}

func forSizes(b *testing.B, f func(b *testing.B, validators int)) {
	for _, n := range []int{128, 4096} {
		b.Run(fmt.Sprintf("validators=%d", n), func(b *testing.B) { f(b, n) })
	}
}

// BenchmarkStateTransition measures a state transition, with the roots of the state before
// and after it.
func BenchmarkStateTransition(b *testing.B) {
	forSizes(b, func(b *testing.B, validators int) {
		s, block := benchChain(b, validators)
		pre := s.State(block.Block.ParentRoot)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := pre.StateTransition(&block.Block); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStateRoot measures the root of a state after a transition, which has already
// hashed the trees.
func BenchmarkStateRoot(b *testing.B) {
	forSizes(b, func(b *testing.B, validators int) {
		s, _ := benchChain(b, validators)
		b.ReportAllocs()
		for b.Loop() {
			_ = s.HeadState().Root()
		}
	})
}

// BenchmarkUpdateHead measures a head update with a vote of every validator.
func BenchmarkUpdateHead(b *testing.B) {
	forSizes(b, func(b *testing.B, validators int) {
		s, _ := benchChain(b, validators)
		b.ReportAllocs()
		for b.Loop() {
			s.UpdateHead()
		}
	})
}

func BenchmarkDecodeBlock(b *testing.B) {
	_, block := benchChain(b, 4096)
	in := EncodeBlock(&block.Block)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeSignedBlock(in); err != nil {
			b.Fatal(err)
		}
	}
}
