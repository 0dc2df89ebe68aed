// Package clock converts wall time to slots and intervals, and calls the node at the start of each
// interval. Tests replace the time with clocktest.
//
// leanSpec: node/chain/clock.py
package clock

import (
	"context"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// SlotClock converts Unix time in milliseconds to slots and intervals. Before genesis, both are 0.
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

// StartOf returns the time at which an interval starts.
func (c SlotClock) StartOf(i lstar.Interval) time.Time {
	return time.UnixMilli(int64(c.GenesisTime)*1000 + int64(i)*lstar.MillisecondsPerInterval)
}

// Time is the source of wall time.
type Time interface {
	Now() time.Time
	// Until waits until Now is at or after t, even if the clock is set meanwhile. It returns the
	// error of ctx if ctx ends first.
	Until(ctx context.Context, t time.Time) error
}

// System is the clock of the operating system.
type System struct{}

// Now returns the time without its monotonic part, because slots follow wall time.
func (System) Now() time.Time { return time.Now().Round(0) }

// maxSleep bounds a single sleep, so that Until soon notices when the wall clock is set or the
// machine resumes.
const maxSleep = time.Second

// Until implements Time.
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

// Clock is a slot clock with a source of time.
type Clock struct {
	SlotClock
	Time
}

// Slot returns the current slot.
func (c Clock) Slot() lstar.Slot { return c.CurrentSlot(c.Now().UnixMilli()) }

// Interval returns the number of intervals since genesis.
func (c Clock) Interval() lstar.Interval { return c.TotalIntervals(c.Now().UnixMilli()) }

// BeforeGenesis reports whether the current time is before genesis.
func (c Clock) BeforeGenesis() bool { return c.Now().Before(c.StartOf(0)) }

// Each waits for genesis and then calls f at the start of each interval, beginning with the current
// one, until ctx ends. It returns the error of ctx. If a call of f takes longer than an interval,
// Each skips the intervals that have passed.
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
