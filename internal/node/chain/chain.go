// Package chain owns the fork-choice store.
//
// One goroutine, in Run, has the store to itself: it ticks it, and does what
// others ask for, one thing after the other. Nobody else touches it. Work that
// needs no order (signature checks, state transitions) is done by whoever brings
// a block or a vote, outside of that goroutine, in a bounded number at a time.
// After every change the owner publishes an immutable snapshot; readers take the
// latest and never wait.
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

// queueSize bounds the requests that wait for the owner; who comes later waits
// in line.
const queueSize = 256

// beatEvery is how often the owner turns if nothing else turns it: before genesis
// there are no intervals.
const beatEvery = time.Second

// ErrStopped is what requests get once the chain has stopped.
var ErrStopped = errors.New("the chain has stopped")

// Config is what a Chain needs.
type Config struct {
	Store    *lstar.Store // the chain takes it over
	Verifier *Verifier    // of the store's proofs and signatures
	Clock    clock.Clock
	Bus      *events.Bus
	Log      *slog.Logger
	// Storage may be nil: the chain is in memory then, and gone with the process.
	Storage Storage
	// IsAggregator is the role at start; SetAggregator changes it.
	IsAggregator bool
	// PublishAggregates is called with the aggregates that this node made. It must not
	// block, and several goroutines call it.
	PublishAggregates func([]*lstar.SignedAggregatedAttestation)
	// OnSlotEnd is called by the owner with a summary of each slot. It must not block.
	OnSlotEnd func(events.SlotSummary)
	// Pulse beats with every turn of the owner. It may be nil.
	Pulse *health.Pulse
}

// Storage keeps what a chain must not forget.
type Storage interface {
	// Save keeps all of the changes or none, and returns once they are safe. After
	// an error the chain stops, and none of the changes has been shown to anybody.
	Save(*lstar.Changes) error
}

// Chain is a running store.
type Chain struct {
	cfg        Config
	requests   chan request
	stopped    chan struct{}
	shared     atomic.Pointer[shared]
	aggregator atomic.Bool
	prover     *prover.Prover
	// recovering holds an element for each import whose proofs are being recovered.
	recovering chan struct{}
	background background

	// aggregating is set while the proofs of an earlier interval are being made. It
	// belongs to the owner, as do the following fields.
	aggregating bool
	shown       view
	summary     slotSummary
	lastTick    time.Time
	due         lstar.Interval // the first that is not accounted for
}

// request is something to do with the store. Done is closed when it is done and
// everybody can see its effects.
type request struct {
	do   func(*lstar.Store)
	done chan struct{}
}

// shared is what everybody may read, and a channel that is closed once there is
// something newer.
type shared struct {
	snapshot *lstar.Snapshot
	outdated chan struct{}
}

// New returns a chain that does nothing until Run.
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

// Queues returns what waits here for something else.
func (c *Chain) Queues() []events.Queue {
	return []events.Queue{{
		Name: events.QueueChainRequests, Capacity: queueSize, Length: func() int { return len(c.requests) },
	}}
}

// Snapshot returns the latest view of the store.
func (c *Chain) Snapshot() *lstar.Snapshot { return c.shared.Load().snapshot }

// Watch returns the latest view of the store, and a channel that is closed once
// there is a newer one.
func (c *Chain) Watch() (*lstar.Snapshot, <-chan struct{}) {
	s := c.shared.Load()
	return s.snapshot, s.outdated
}

// IsAggregator reports whether this node aggregates votes.
func (c *Chain) IsAggregator() bool { return c.aggregator.Load() }

// SetAggregator changes the role, and returns what it was.
func (c *Chain) SetAggregator(enabled bool) (previous bool) {
	previous = c.aggregator.Swap(enabled)
	if previous != enabled {
		c.cfg.Bus.Report(events.AggregatorRole{Enabled: enabled})
	}
	return previous
}

// Run owns the store until ctx is done, which is no error, or until a change could
// not be saved.
func (c *Chain) Run(ctx context.Context) error {
	defer c.background.close()
	defer close(c.stopped)
	store := c.cfg.Store
	c.cfg.Pulse.Beat()
	c.cfg.Bus.Report(events.AggregatorRole{Enabled: c.IsAggregator()})
	c.cfg.Bus.Report(events.ChainLoaded{
		Head: c.shown.head, Justified: c.shown.justified, Finalized: c.shown.finalized, SafeTarget: c.shown.safeTarget,
	})

	// The clock first: a store that is still at its anchor's slot would refuse what
	// peers send as being far ahead. What was due until now was not this run's.
	if !c.cfg.Clock.BeforeGenesis() {
		now := c.cfg.Clock.Interval()
		c.advance(store, now)
		c.due = now + 1
		c.reportFingerprint(store, now.Slot())
		if err := c.publish(store); err != nil {
			return err
		}
	}

	// Ticks come as requests of their own channel, so that they are never behind
	// a queue of votes.
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
	idle := time.NewTicker(beatEvery)
	defer idle.Stop()
	for {
		c.cfg.Pulse.Beat()
		var r request
		select {
		case <-ctx.Done():
			return nil
		case i := <-ticks:
			c.begins(store, i)
		default:
			select {
			case <-ctx.Done():
				return nil
			case i := <-ticks:
				c.begins(store, i)
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

// do runs f on the store, in the owner's goroutine, and waits until its effects
// can be seen. The error is that of ctx, if it ends before there is room in the
// queue, or ErrStopped; f is not run then. Once queued there is no way back: what
// f did to the caller's variables and to the store is never half known.
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
	case <-c.stopped: // by its owner, who runs nothing any more
	}
	select {
	case <-r.done:
		return nil
	default:
		return ErrStopped
	}
}

// begins does what an interval brings.
func (c *Chain) begins(s *lstar.Store, i lstar.Interval) {
	now := c.cfg.Clock.Now()
	if !c.lastTick.IsZero() {
		c.cfg.Bus.Report(events.Tick{Elapsed: now.Sub(c.lastTick)})
	}
	c.lastTick = now
	c.tick(s, i)
}

// tick does what is due at an interval, and reports the duties that were due since the
// interval before.
func (c *Chain) tick(s *lstar.Store, to lstar.Interval) {
	first := c.due
	c.due = to + 1
	late := c.advance(s, to)
	c.aggregate(s, first, to, late)
	if first <= to.Slot().Interval() {
		c.reportFingerprint(s, to.Slot())
	}
	if to.InSlot() == lstar.IntervalsPerSlot-1 {
		c.slotEnds(s, to.Slot())
	}
}

// advance moves the store to an interval. A node that is behind by more than a slot, as
// at start and after a pause, skips to the last slot, and advance returns true.
//
// leanSpec: node/chain/service.py, _tick_to
func (c *Chain) advance(s *lstar.Store, to lstar.Interval) (late bool) {
	late = c.catchUp(s, to)
	c.reportSizes(s) // before the interval empties a pool
	// The aggregation of interval 2 is not part of the tick, because it takes long.
	if _, err := s.OnTick(to, false, false); err != nil {
		c.cfg.Log.Error("tick failed", logging.Slot(to.Slot()), logging.Err(err),
			logging.Advice("Please report this as a bug, with this line."))
	}
	return late
}

// catchUp skips what a store that is behind by more than a slot need not tick
// through, and reports whether it was.
func (c *Chain) catchUp(s *lstar.Store, to lstar.Interval) (behind bool) {
	behind = to > s.Time()+lstar.IntervalsPerSlot
	if behind {
		s.SkipTo(to - lstar.IntervalsPerSlot)
	}
	return behind
}

// publish saves what changed and publishes a snapshot if it shows something new.
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
