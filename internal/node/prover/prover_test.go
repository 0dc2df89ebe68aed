package prover

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// gated is a proof scheme whose Aggregate sends its slot to started, and then waits for an error
// from release. It returns the error, or a proof if the error is nil.
type gated struct {
	prooftest.Trusting
	started chan uint64
	release chan error
}

func (g *gated) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, slot uint64) ([]uint64, []byte, error) {
	g.started <- slot
	if err := <-g.release; err != nil {
		return nil, nil, err
	}
	return g.Trusting.Aggregate(children, signatures, message, slot)
}

// newTasks returns n aggregation tasks of one vote each, for slots 0 to n-1.
func newTasks(t *testing.T, n int) (*gated, []*lstar.ProofTask) {
	t.Helper()
	scheme := &gated{prooftest.Trusting{Max: 100}, make(chan uint64, n), make(chan error, n)}
	state := lstar.GenesisState(0, lstar.NewValidators(make([]lstar.Validator, n)))
	store, err := lstar.NewStore(lstar.Crypto{Signatures: xmss.Test, Proofs: scheme}, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	store.SkipTo(lstar.Slot(n).Interval())
	head := store.Head()
	for i := range n {
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

// TestProve checks that Prove returns all proofs in the order of the tasks and leaves out a task
// that fails.
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
			t.Errorf("slots of the proofs = %v, want the order of the tasks", slots(made))
		}
	}
}

// TestBound checks the bound of the tasks that run at a time.
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

// TestNewestFirst checks that Prove starts the tasks of the newest slots first.
func TestNewestFirst(t *testing.T) {
	defer goleak.VerifyNone(t)
	scheme, tasks := newTasks(t, 5)
	close(scheme.release)
	p := New()
	p.running = make(chan struct{}, 1)
	if _, err := p.Prove(t.Context(), tasks); err != nil {
		t.Fatal(err)
	}
	for want := uint64(4); ; want-- {
		if got := <-scheme.started; got != want {
			t.Fatalf("slot of the next task = %d, want %d", got, want)
		}
		if want == 0 {
			break
		}
	}
}

// TestFinishedAtDeadline checks that Prove returns all proofs that are finished when its context
// ends. Many runs, because the end of the context races with the results.
func TestFinishedAtDeadline(t *testing.T) {
	defer goleak.VerifyNone(t)
	const n = 128
	for range 200 {
		scheme, tasks := newTasks(t, n)
		p := New()
		p.running = make(chan struct{}, n)
		ctx, cancel := context.WithCancel(t.Context())
		made := make(chan int)
		go func() {
			proofs, _ := p.Prove(ctx, tasks)
			made <- len(proofs)
		}()
		for range n {
			<-scheme.started
		}
		close(scheme.release)
		for len(p.running) > n/2 {
			runtime.Gosched()
		}
		finished := n - len(p.running)
		cancel()
		if got := <-made; got < finished {
			t.Fatalf("proofs = %d, want at least the %d that were finished", got, finished)
		}
	}
}

// TestTimeout checks that Prove leaves out a proof that is not finished at the timeout, and returns
// the others.
func TestTimeout(t *testing.T) {
	defer goleak.VerifyNone(t)
	scheme, tasks := newTasks(t, 2)
	p := New()
	p.running = make(chan struct{}, 1)
	p.timeout = 50 * time.Millisecond
	scheme.release <- nil // for one task; the other is not finished at the timeout
	made, err := p.Prove(t.Context(), tasks)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want %v", err, context.DeadlineExceeded)
	}
	if len(made) != 1 {
		t.Errorf("slots of the proofs = %v, want one", slots(made))
	}
	scheme.release <- nil

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if made, err := p.Prove(ctx, tasks[:1]); len(made) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Prove with an ended context = slots %v, error %v, want none and %v", slots(made), err, context.Canceled)
	}
	close(scheme.release)
}
