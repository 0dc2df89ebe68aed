// Package clock turns wall time into slots and intervals, and wakes the node at
// their boundaries. Tests drive it with a fake.
//
// leanSpec: node/chain/clock.py
package clock

import (
	"context"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// SlotClock converts Unix time in milliseconds to slots and intervals. All of
// them are 0 before genesis.
//
// leanSpec: node/chain/clock.py, SlotClock
type SlotClock struct {
	GenesisTime uint64 // Unix seconds
}

func (c SlotClock) sinceGenesis(unixMillis int64) uint64 {
	return uint64(max(0, unixMillis-int64(c.GenesisTime)*1000))
}

// CurrentSlot returns the slot at a time.
func (c SlotClock) CurrentSlot(unixMillis int64) lstar.Slot {
	return lstar.Slot(c.sinceGenesis(unixMillis) / lstar.MillisecondsPerSlot)
}

// CurrentInterval returns the interval within the slot, 0 to 4, at a time.
func (c SlotClock) CurrentInterval(unixMillis int64) lstar.Interval {
	return lstar.Interval(c.sinceGenesis(unixMillis) % lstar.MillisecondsPerSlot / lstar.MillisecondsPerInterval)
}

// TotalIntervals returns the number of intervals from genesis to a time.
func (c SlotClock) TotalIntervals(unixMillis int64) lstar.Interval {
	return lstar.Interval(c.sinceGenesis(unixMillis) / lstar.MillisecondsPerInterval)
}

// StartOf returns when an interval starts.
func (c SlotClock) StartOf(i lstar.Interval) time.Time {
	return time.UnixMilli(int64(c.GenesisTime)*1000 + int64(i)*lstar.MillisecondsPerInterval)
}

// Time is the source of wall time.
type Time interface {
	Now() time.Time
	// Until waits until a time is reached, and returns the error of ctx if that
	// is done first. It notices when the clock is set.
	Until(ctx context.Context, t time.Time) error
}

// System is the clock of the machine.
type System struct{}

// Now returns the time without its monotonic part: slots follow the wall.
func (System) Now() time.Time { return time.Now().Round(0) }

// maxSleep bounds a single sleep, so that a step of the wall clock, or a machine
// that was suspended, is noticed soon.
const maxSleep = time.Second

// Until waits until the wall clock shows t.
func (s System) Until(ctx context.Context, t time.Time) error {
	for {
		left := t.Sub(s.Now())
		if left <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(min(left, maxSleep))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Clock is a slot clock that runs.
type Clock struct {
	SlotClock
	Time
}

// Slot returns the current slot.
func (c Clock) Slot() lstar.Slot { return c.CurrentSlot(c.Now().UnixMilli()) }

// Interval returns the number of intervals since genesis.
func (c Clock) Interval() lstar.Interval { return c.TotalIntervals(c.Now().UnixMilli()) }

// BeforeGenesis reports whether genesis is yet to come.
func (c Clock) BeforeGenesis() bool { return c.Now().Before(c.StartOf(0)) }

// Each calls f with every interval that begins, starting with the one that the
// clock is in, until ctx is done, whose error it returns. Before genesis it waits
// for it. A call that takes longer than an interval is followed by one with the
// interval that is current then: what was missed is missed.
func (c Clock) Each(ctx context.Context, f func(lstar.Interval)) error {
	if err := c.Until(ctx, c.StartOf(0)); err != nil {
		return err
	}
	for next := lstar.Interval(0); ; {
		if now := c.Interval(); now >= next {
			next = now + 1
			f(now)
		}
		if err := c.Until(ctx, c.StartOf(next)); err != nil {
			return err
		}
	}
}
