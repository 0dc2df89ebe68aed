// Package chain owns the fork-choice store and imports blocks and votes into it.
//
// Only one goroutine, in [Chain.Run], accesses the store. It performs ticks, and the requests of
// other goroutines, one after another. Work that needs no order (signature checks, state
// transitions) runs in the goroutine that calls ImportBlock or AddAttestation, a bounded number at
// a time. The owner saves each change before it publishes it as an immutable snapshot. Readers take
// the latest snapshot and never wait.
//
// leanSpec: node/chain/service.py, node/sync/service.py
package chain

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/internal/node/prover"
)

// queueSize bounds the queue of requests to the owner. If it is full, callers wait.
const queueSize = 256

// idleBeat is the time between beats of the pulse while there are no ticks and no requests, as
// before genesis.
const idleBeat = time.Second

// ErrStopped is the error of a call that the owner did not perform because the chain has stopped.
var ErrStopped = errors.New("the chain has stopped")

// Config configures a Chain.
type Config struct {
	Store    *lstar.Store // must not be used after New
	Verifier *Verifier    // of the store's proofs and signatures
	Clock    clock.Clock
	Bus      *events.Bus
	Log      *slog.Logger
	// Storage saves the chain. If it is nil, the chain is not saved.
	Storage Storage
	// IsAggregator is the role at the start; SetAggregator changes it.
	IsAggregator bool
	// PublishAggregates is called with the aggregates that this node has made. It must not block.
	// Several goroutines call it. It may be nil.
	PublishAggregates func([]*lstar.SignedAggregatedAttestation)
	// OnSlotEnd is called by the owner with a summary of each slot. It must not block.
	OnSlotEnd func(events.SlotSummary)
	// Pulse gets a beat at each iteration of the owner's loop. It may be nil.
	Pulse *health.Pulse
}

// Storage keeps the changes of a chain.
type Storage interface {
	// Save saves the changes atomically, and returns when they are durable. After an error the
	// chain stops without having published the changes.
	Save(*lstar.Changes) error
}

// Chain is the owner of a store. Its methods are safe for concurrent use.
type Chain struct {
	cfg        Config
	requests   chan request
	stopped    chan struct{}
	shared     atomic.Pointer[shared]
	aggregator atomic.Bool
	prover     *prover.Prover
	// recovering holds an element for each imported block whose proof is being split.
	recovering chan struct{}
	background background

	// Only the owner uses the fields from here on. aggregating is set while proofs of an earlier
	// interval are being made.
	aggregating bool
	shown       view
	summary     slotSummary
	lastTick    time.Time
	due         lstar.Interval // first interval whose duties are not reported yet
}

// request is a function to call with the store. The owner closes done after it has published the
// effects of the call.
type request struct {
	do   func(*lstar.Store)
	done chan struct{}
}

// shared is the published snapshot, and a channel that is closed when there is a newer one.
type shared struct {
	snapshot *lstar.Snapshot
	outdated chan struct{}
}

// New returns a chain. Nothing happens until Run is called.
func New(cfg Config) *Chain {
	c := &Chain{
		cfg:        cfg,
		requests:   make(chan request, queueSize),
		stopped:    make(chan struct{}),
		prover:     prover.New(),
		recovering: make(chan struct{}, maxRecovering),
	}
	c.background.ctx, c.background.cancel = context.WithCancel(context.Background())
	c.aggregator.Store(cfg.IsAggregator)
	c.shown = viewOf(cfg.Store)
	c.show(cfg.Store)
	return c
}

// Queues returns the queue of requests, for metrics.
func (c *Chain) Queues() []events.Queue {
	return []events.Queue{{
		Name: events.QueueChainRequests, Capacity: queueSize, Length: func() int { return len(c.requests) },
	}}
}

// Snapshot returns the latest snapshot of the store.
func (c *Chain) Snapshot() *lstar.Snapshot { return c.shared.Load().snapshot }

// Watch returns the latest snapshot of the store, and a channel that is closed when there is a newer one.
func (c *Chain) Watch() (*lstar.Snapshot, <-chan struct{}) {
	s := c.shared.Load()
	return s.snapshot, s.outdated
}

// IsAggregator reports whether this node aggregates votes.
func (c *Chain) IsAggregator() bool { return c.aggregator.Load() }

// SetAggregator sets whether this node aggregates votes, and returns the previous value.
func (c *Chain) SetAggregator(enabled bool) (previous bool) {
	previous = c.aggregator.Swap(enabled)
	if previous != enabled {
		c.cfg.Bus.Report(events.AggregatorRole{Enabled: enabled})
	}
	return previous
}

// Run owns the store until ctx ends, and then returns nil. If a change cannot be saved, it returns
// the error of Save. It must be called once.
func (c *Chain) Run(ctx context.Context) error {
	defer c.background.close()
	defer close(c.stopped)
	store := c.cfg.Store
	c.cfg.Pulse.Beat()
	c.cfg.Bus.Report(events.AggregatorRole{Enabled: c.IsAggregator()})
	c.cfg.Bus.Report(events.ChainLoaded{
		Head: c.shown.head, Justified: c.shown.justified, Finalized: c.shown.finalized, SafeTarget: c.shown.safeTarget,
	})

	// Advance the store before the first request: in the slot of its anchor it would reject the
	// blocks and votes of peers as far in the future. Duties before now are not reported.
	if !c.cfg.Clock.BeforeGenesis() {
		now := c.cfg.Clock.Interval()
		c.advance(store, now)
		c.due = now + 1
		c.reportFingerprint(store, now.Slot())
		if err := c.publish(store); err != nil {
			return err
		}
	}

	// Ticks have their own channel, so that they never wait behind a queue of votes.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticks := make(chan lstar.Interval)
	go func() {
		_ = c.cfg.Clock.Each(ctx, func(i lstar.Interval) {
			select {
			case ticks <- i:
			case <-ctx.Done():
			}
		})
	}()
	idle := time.NewTicker(idleBeat)
	defer idle.Stop()
	for {
		c.cfg.Pulse.Beat()
		var r request
		select {
		case <-ctx.Done():
			return nil
		case i := <-ticks:
			c.tick(store, i)
		default:
			select {
			case <-ctx.Done():
				return nil
			case i := <-ticks:
				c.tick(store, i)
			case r = <-c.requests:
				r.do(store)
			case <-idle.C:
				continue
			}
		}
		if err := c.publish(store); err != nil {
			return err
		}
		if r.done != nil {
			close(r.done)
		}
	}
}

// do calls f with the store in the owner's goroutine, and waits until the effects of f are published.
// It returns the error of ctx if ctx ends before the queue has room, and ErrStopped if the chain
// stops. Once f is queued, do ignores ctx, so the caller may read the variables that f sets.
func (c *Chain) do(ctx context.Context, f func(*lstar.Store)) error {
	r := request{f, make(chan struct{})}
	select {
	case c.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped:
		return ErrStopped
	}
	select {
	case <-r.done:
		return nil
	case <-c.stopped: // the owner has returned from its last request
	}
	select {
	case <-r.done:
		return nil
	default:
		return ErrStopped
	}
}

// tick advances the store to an interval, and performs and reports all duties up to it.
func (c *Chain) tick(s *lstar.Store, to lstar.Interval) {
	now := c.cfg.Clock.Now()
	if !c.lastTick.IsZero() {
		c.cfg.Bus.Report(events.Tick{Elapsed: now.Sub(c.lastTick)})
	}
	c.lastTick = now
	first := c.due
	c.due = to + 1
	late := c.advance(s, to)
	c.aggregate(s, first, to, late)
	if first <= to.Slot().Interval() {
		c.reportFingerprint(s, to.Slot())
	}
	if to.InSlot() == lstar.IntervalsPerSlot-1 {
		c.reportSlot(s, to.Slot())
	}
}

// advance moves the store to an interval. If the store is behind by more than a slot, as at start
// and after a pause, advance skips to the last slot and returns true.
//
// leanSpec: node/chain/service.py, _tick_to
func (c *Chain) advance(s *lstar.Store, to lstar.Interval) (late bool) {
	late = c.catchUp(s, to)
	sizes := s.Sizes() // before the interval empties a pool
	c.cfg.Bus.Report(events.PoolSizes{
		AttestationSignatures: sizes.Signatures, NewPayloads: sizes.Pending, KnownPayloads: sizes.Known,
		Blocks: sizes.Blocks, States: sizes.Blocks,
	})
	// The tick does not include the aggregation of interval 2, because a proof is slow.
	if _, err := s.OnTick(to, false, false); err != nil {
		c.cfg.Log.Error("tick failed", logging.Slot(to.Slot()), logging.Err(err),
			logging.Advice("Please report this as a bug, with this line."))
	}
	return late
}

// catchUp skips all but the last slot if the store is behind by more than a slot, and reports
// whether it was.
func (c *Chain) catchUp(s *lstar.Store, to lstar.Interval) (behind bool) {
	behind = to > s.Time()+lstar.IntervalsPerSlot
	if behind {
		s.SkipTo(to - lstar.IntervalsPerSlot)
	}
	return behind
}

// publish saves the changes, and then publishes the snapshot if it is a new one.
func (c *Chain) publish(s *lstar.Store) error {
	if changes := s.TakeChanges(); changes != nil && c.cfg.Storage != nil {
		started := time.Now()
		if err := c.cfg.Storage.Save(changes); err != nil {
			return err
		}
		c.cfg.Bus.Report(events.ChainSaved{Duration: time.Since(started)})
	}
	c.show(s)
	return nil
}

// show publishes the snapshot if it is a new one, and reports what has changed.
func (c *Chain) show(s *lstar.Store) {
	snapshot, previous := s.Snapshot(), c.shared.Load()
	if previous != nil && snapshot == previous.snapshot {
		return
	}
	c.shared.Store(&shared{snapshot, make(chan struct{})})
	if previous != nil {
		close(previous.outdated)
	}
	if now := viewOf(s); now != c.shown {
		c.report(c.shown, now)
		c.shown = now
	}
}
