package prover

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// gated is a proof scheme whose Aggregate waits for an error to return, or nil for a
// proof.
type gated struct {
	prooftest.Trusting
	started chan struct{}
	release chan error
}

func (g *gated) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, slot uint64) ([]uint64, []byte, error) {
	g.started <- struct{}{}
	if err := <-g.release; err != nil {
		return nil, nil, err
	}
	return g.Trusting.Aggregate(children, signatures, message, slot)
}

// newTasks returns n aggregation tasks of one validator each.
func newTasks(t *testing.T, n int) (*gated, []*lstar.ProofTask) {
	t.Helper()
	scheme := &gated{prooftest.Trusting{Max: 100}, make(chan struct{}, n), make(chan error, n)}
	state := lstar.GenesisState(0, lstar.NewValidators(make([]lstar.Validator, n)))
	store, err := lstar.NewStore(lstar.Crypto{Signatures: xmss.Test, Proofs: scheme}, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	store.SkipTo(lstar.Slot(n).Interval())
	head := store.Head()
	for i := range n { // one vote for each slot
		task, err := store.Snapshot().PrepareAttestation(&lstar.SignedAttestation{
			ValidatorIndex: lstar.ValidatorIndex(i), Data: lstar.AttestationData{Slot: lstar.Slot(i), Head: head, Target: head, Source: head},
		})
		if err != nil {
			t.Fatal(err)
		}
		store.AddAttestation(task)
	}
	tasks := store.AggregationTasks()
	if len(tasks) != n {
		t.Fatalf("tasks = %d, want %d", len(tasks), n)
	}
	return scheme, tasks
}

func slots(proofs []*lstar.SignedAggregatedAttestation) (slots []lstar.Slot) {
	for _, p := range proofs {
		slots = append(slots, p.Data.Slot)
	}
	return slots
}

func TestProve(t *testing.T) {
	defer goleak.VerifyNone(t)
	scheme, tasks := newTasks(t, 5)
	broken := errors.New("broken")
	for _, err := range []error{nil, broken, nil, nil, nil} {
		scheme.release <- err
	}
	made, err := New().Prove(t.Context(), tasks)
	if !errors.Is(err, broken) {
		t.Errorf("error = %v, want %v", err, broken)
	}
	if len(made) != 4 {
		t.Fatalf("proofs = %d, want 4", len(made))
	}
	for i, slot := range slots(made)[1:] {
		if slot <= made[i].Data.Slot {
			t.Errorf("proofs are for slots %v, want the order of the tasks", slots(made))
		}
	}
}

// TestBound checks that no more tasks run at a time than the prover has room for.
func TestBound(t *testing.T) {
	defer goleak.VerifyNone(t)
	scheme, tasks := newTasks(t, 6)
	p := New()
	p.running = make(chan struct{}, 2)
	done := make(chan int)
	go func() {
		made, _ := p.Prove(t.Context(), tasks)
		done <- len(made)
	}()
	for range tasks {
		<-scheme.started
		if running := len(p.running); running > 2 {
			t.Errorf("running tasks = %d, want at most 2", running)
		}
		scheme.release <- nil
	}
	if made := <-done; made != 6 {
		t.Errorf("proofs = %d, want 6", made)
	}
}

// TestTimeout checks that a proof which takes too long is left out, and that the
// others are returned.
func TestTimeout(t *testing.T) {
	defer goleak.VerifyNone(t)
	scheme, tasks := newTasks(t, 2)
	p := New()
	p.running = make(chan struct{}, 1)
	p.timeout = 50 * time.Millisecond
	scheme.release <- nil // for the first one; the second never ends before the timeout
	made, err := p.Prove(t.Context(), tasks)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want %v", err, context.DeadlineExceeded)
	}
	if len(made) != 1 {
		t.Errorf("proofs for slots %v, want one", slots(made))
	}
	scheme.release <- nil

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if made, err := p.Prove(ctx, tasks[:1]); len(made) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("after the context: proofs for slots %v, error %v, want none and %v", slots(made), err, context.Canceled)
	}
	close(scheme.release)
}
