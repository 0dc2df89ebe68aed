package conformance

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/poseidon"
)

// poseidonFixture is a state, and the state after a permutation.
//
// leanSpec: test_fixtures/poseidon_permutation.py
type poseidonFixture struct {
	envelope
	Width                   int
	InputState, OutputState []koalabear.Element
}

func (f *poseidonFixture) run(t *testing.T, _ *environment) {
	if len(f.InputState) != f.Width {
		t.Fatalf("state of %d elements, want %d", len(f.InputState), f.Width)
	}
	switch f.Width {
	case 16:
		poseidon.Permute16((*[16]koalabear.Element)(f.InputState))
	case 24:
		poseidon.Permute24((*[24]koalabear.Element)(f.InputState))
	default:
		t.Fatalf("width = %d, want 16 or 24", f.Width)
	}
	checkEqual(t, "output state", f.InputState, f.OutputState)
}
