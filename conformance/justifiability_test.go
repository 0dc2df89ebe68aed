package conformance

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// justifiabilityFixture is a slot, and whether 3SF-mini allows it as a target.
//
// leanSpec: test_fixtures/justifiability.py
type justifiabilityFixture struct {
	envelope
	Slot, FinalizedSlot lstar.Slot
	Output              struct {
		Delta         int64
		IsJustifiable bool
	}
}

func (f *justifiabilityFixture) run(t *testing.T, _ *environment) {
	if delta := int64(f.Slot - f.FinalizedSlot); delta != f.Output.Delta {
		t.Errorf("distance = %d, want %d", delta, f.Output.Delta)
	}
	if got := f.Slot.IsJustifiableAfter(f.FinalizedSlot); got != f.Output.IsJustifiable {
		t.Errorf("slot %d is justifiable after slot %d = %v, want %v", f.Slot, f.FinalizedSlot, got, f.Output.IsJustifiable)
	}
}
