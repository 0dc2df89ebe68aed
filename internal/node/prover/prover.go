// Package prover makes aggregation proofs outside the chain's owner.
//
// A proof takes microseconds with the built-in scheme, and seconds with a production prover. Each
// proof is a task with plain inputs. The owner of the store creates the tasks, this package
// performs a bounded number of them at a time, and the caller passes the results back to the owner.
// So the owner never waits for a proof.
package prover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// timeout bounds the duration of a call of Prove. An aggregate that is more than a slot old is of
// little use.
const timeout = lstar.SecondsPerSlot * time.Second

// Prover performs proof tasks. It is safe for concurrent use.
type Prover struct {
	timeout time.Duration
	running chan struct{} // holds an element for each task that is being performed
}

// New returns a prover that performs as many tasks at a time as there are processors.
func New() *Prover {
	return &Prover{timeout: timeout, running: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Prove performs tasks and returns the proofs in the order of the tasks. It starts with the newest
// slots, so that old tasks that repeatedly time out do not delay them. It leaves out tasks that
// fail, or that do not finish within one slot or before ctx ends; the error gives the reasons.
func (p *Prover) Prove(ctx context.Context, tasks []*lstar.ProofTask) ([]*lstar.SignedAggregatedAttestation, error) {
	newestFirst := make([]int, len(tasks))
	for i := range newestFirst {
		newestFirst[i] = i
	}
	slices.SortStableFunc(newestFirst, func(a, b int) int { return cmp.Compare(tasks[b].Slot(), tasks[a].Slot()) })
	type result struct {
		task  int
		proof *lstar.SignedAggregatedAttestation
		err   error
	}
	results := make(chan result, len(tasks)) // has room for tasks that finish late
	ctx, finish := context.WithTimeout(ctx, p.timeout)
	go func() {
		defer finish()
		var wg sync.WaitGroup
		defer wg.Wait()
		for _, i := range newestFirst {
			select {
			case p.running <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Go(func() {
				defer func() { <-p.running }()
				if ctx.Err() == nil {
					proof, err := tasks[i].Prove()
					results <- result{i, proof, err}
				}
			})
		}
	}()
	<-ctx.Done() // all tasks are finished, or their time is over
	proofs := make([]*lstar.SignedAggregatedAttestation, len(tasks))
	unfinished := len(tasks)
	var errs []error
	for len(results) > 0 {
		r := <-results
		unfinished--
		proofs[r.task] = r.proof
		if r.err != nil {
			errs = append(errs, r.err)
		}
	}
	if unfinished > 0 {
		errs = append(errs, fmt.Errorf("%d of %d proofs are not finished: %w", unfinished, len(tasks), ctx.Err()))
	}
	proofs = slices.DeleteFunc(proofs, func(proof *lstar.SignedAggregatedAttestation) bool { return proof == nil })
	return proofs, errors.Join(errs...)
}
