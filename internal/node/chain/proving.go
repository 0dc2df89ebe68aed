package chain

import (
	"context"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// maxRecovering is the number of imported blocks whose proofs are split at a time. Further imports wait.
const maxRecovering = 64

// background runs goroutines that end when the chain stops.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// run calls f in a goroutine, unless the chain has stopped.
func (b *background) run(f func(ctx context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(func() { f(b.ctx) })
	}
}

// close cancels the context of the goroutines and waits for them.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
}

// aggregationInterval is the interval of a slot in which aggregators aggregate.
const aggregationInterval = 2

// aggregate starts the aggregation that is due in the intervals from first to last, if any, and
// reports the outcome of the duty when it is known. The owner calls it. It does not wait for proofs.
func (c *Chain) aggregate(s *lstar.Store, first, last lstar.Interval, late bool) {
	before := func(i lstar.Interval) int { // number of aggregations before interval i
		return int((i + lstar.IntervalsPerSlot - 1 - aggregationInterval) / lstar.IntervalsPerSlot)
	}
	n := before(last+1) - before(first)
	if n <= 0 {
		return
	}
	slot := lstar.Slot(before(last+1) - 1)
	if !c.IsAggregator() {
		c.aggregationDuty(slot, events.OutcomeSkipped, events.ReasonNotAggregator, n)
		return
	}
	if n > 1 { // the node was suspended or busy
		c.aggregationDuty(slot-1, events.OutcomeMissed, events.ReasonClockSkipped, n-1)
	}
	tasks := s.AggregationTasks()
	switch {
	case late:
		c.aggregationDuty(slot, events.OutcomeMissed, events.ReasonClockSkipped, 1)
	case len(tasks) == 0:
		c.aggregationDuty(slot, events.OutcomeSkipped, events.ReasonNoSignatures, 1)
	case c.aggregating:
		c.aggregationDuty(slot, events.OutcomeMissed, events.ReasonProverBusy, 1)
	default:
		c.aggregating = true
		c.background.run(func(ctx context.Context) { c.proveAggregates(ctx, slot, tasks) })
	}
}

// proveAggregates makes the aggregates of a slot, adds them to the store and publishes them.
func (c *Chain) proveAggregates(ctx context.Context, slot lstar.Slot, tasks []*lstar.ProofTask) {
	started := time.Now()
	made, err := c.prover.Prove(ctx, tasks)
	took := time.Since(started)
	if ctx.Err() != nil {
		return // the chain stops
	}
	if err != nil {
		c.cfg.Log.Warn("votes not aggregated", logging.Slot(slot), logging.Err(err),
			logging.Advice("This node publishes no aggregate of these votes. If this repeats, report it with this line."))
	}
	if c.do(ctx, func(s *lstar.Store) {
		c.aggregating = false
		for _, a := range made {
			s.AddOwnAggregate(a)
			c.summary.votes(a.Data.Slot, a.Proof.Participants.Count())
		}
	}) != nil {
		return
	}
	for _, a := range made {
		c.cfg.Bus.Report(events.AggregateProduced{
			Slot: a.Data.Slot, Participants: a.Proof.Participants.Count(), Data: a.Data, Bits: a.Proof.Participants,
			Duration: took / time.Duration(len(made)),
		})
	}
	switch {
	case err != nil:
		c.aggregationDuty(slot, events.OutcomeMissed, events.ReasonAggregationFailed, 1)
	case c.cfg.Clock.Interval() > slot.Interval()+aggregationInterval:
		c.aggregationDuty(slot, events.OutcomeLate, "", 1)
	default:
		c.aggregationDuty(slot, events.OutcomeMade, "", 1)
	}
	c.publishAggregates(made)
}

// aggregationDuty reports the outcome of count aggregation duties, the last at slot.
func (c *Chain) aggregationDuty(slot lstar.Slot, outcome, reason string, count int) {
	c.cfg.Bus.Report(events.DutyEnded{
		Duty: events.DutyAggregation, Slot: slot, Outcome: outcome, Reason: reason, Count: count,
	})
}

func (c *Chain) publishAggregates(made []*lstar.SignedAggregatedAttestation) {
	if len(made) > 0 && c.cfg.PublishAggregates != nil {
		c.cfg.PublishAggregates(made)
	}
}

// recover starts to split the proof of an imported block into the proofs of its votes, so that the
// votes count. While maxRecovering blocks are being split, it waits, at most until ctx ends.
func (c *Chain) recover(ctx context.Context, tasks []*lstar.ProofTask, publish bool) {
	if len(tasks) == 0 {
		return
	}
	select {
	case c.recovering <- struct{}{}:
	default:
		select {
		case c.recovering <- struct{}{}:
		case <-ctx.Done():
			return
		case <-c.background.ctx.Done():
			return
		}
	}
	c.background.run(func(ctx context.Context) {
		defer func() { <-c.recovering }()
		// An error means that a proof cannot be split. Its votes may still arrive by gossip.
		made, _ := c.prover.Prove(ctx, tasks)
		if len(made) == 0 {
			return
		}
		if c.do(ctx, func(s *lstar.Store) {
			for _, a := range made {
				s.AddOwnAggregate(a)
			}
		}) == nil && publish {
			c.publishAggregates(made)
		}
	})
}
