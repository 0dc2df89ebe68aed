// Package prover makes aggregation proofs outside of the chain's owner.
//
// With the built-in scheme a proof takes microseconds, with a prover for production
// seconds. Either way a proof is a task with plain inputs: the owner of the store hands
// out tasks, this package performs a bounded number of them at a time, and the results
// return to the owner as commands. Nothing but the proof itself waits for a slow prover.
package prover

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// DefaultTimeout is how long the tasks of one call may take: an aggregate that is more
// than a slot old is of little use.
const DefaultTimeout = lstar.SecondsPerSlot * time.Second

// Prover performs proof tasks. It is safe for concurrent use.
type Prover struct {
	timeout time.Duration
	running chan struct{} // holds an element for each task that is being performed
}

// New returns a prover that performs as many tasks at a time as there are processors.
func New() *Prover {
	return &Prover{timeout: DefaultTimeout, running: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Prove performs tasks and returns the proofs in the order of the tasks. It leaves out
// those that fail and those that are not done after the timeout or when ctx ends; the
// error says why.
func (p *Prover) Prove(ctx context.Context, tasks []*lstar.ProofTask) ([]*lstar.SignedAggregatedAttestation, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	type result struct {
		task  int
		proof *lstar.SignedAggregatedAttestation
		err   error
	}
	results := make(chan result, len(tasks)) // so that a late task ends
	for i, task := range tasks {
		go func() {
			select {
			case p.running <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-p.running }()
			if ctx.Err() != nil {
				return
			}
			proof, err := task.Prove()
			results <- result{i, proof, err}
		}()
	}
	proofs := make([]*lstar.SignedAggregatedAttestation, len(tasks))
	var errs []error
	for done := range tasks {
		select {
		case r := <-results:
			proofs[r.task] = r.proof
			if r.err != nil {
				errs = append(errs, r.err)
			}
			continue
		case <-ctx.Done():
		}
		errs = append(errs, fmt.Errorf("%d of %d proofs are not done: %w", len(tasks)-done, len(tasks), ctx.Err()))
		break
	}
	made := proofs[:0]
	for _, proof := range proofs {
		if proof != nil {
			made = append(made, proof)
		}
	}
	return made, errors.Join(errs...)
}
