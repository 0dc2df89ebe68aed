package conformance

import (
	"bytes"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// syncFixture is a checkpoint state, and whether a node may start from it.
//
// leanSpec: test_fixtures/sync.py
type syncFixture struct {
	envelope
	Operation struct {
		Kind          string
		NumValidators int
		AnchorSlot    lstar.Slot
	}
	Output struct {
		Valid          bool
		StateBytes     hexBytes
		ValidatorCount int
		AnchorSlot     lstar.Slot
	}
}

func (f *syncFixture) run(t *testing.T, _ *environment) {
	if f.Operation.Kind != "verify_checkpoint" {
		t.Fatalf("unknown operation %q", f.Operation.Kind)
	}
	s, err := lstar.DecodeState(f.Output.StateBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := lstar.VerifyCheckpointState(s); (err == nil) != f.Output.Valid {
		t.Errorf("VerifyCheckpointState: error = %v, want success = %v", err, f.Output.Valid)
	}
	checkEqual(t, "number of validators", s.Validators.Len(), f.Output.ValidatorCount)
	checkEqual(t, "slot", s.Slot, f.Output.AnchorSlot)

	built, _ := buildAnchor(t, &f.envelope, f.Operation.NumValidators, f.Operation.AnchorSlot, 0)
	if !bytes.Equal(built.Encode(), f.Output.StateBytes) {
		t.Errorf("state built from the operation =\n%x, want\n%x", built.Encode(), []byte(f.Output.StateBytes))
	}
}
