package conformance

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
)

// slotClockFixture is a conversion between time, slots and intervals.
//
// leanSpec: test_fixtures/slot_clock.py
type slotClockFixture struct {
	envelope
	Config struct {
		SecondsPerSlot, IntervalsPerSlot, MillisecondsPerInterval int
	}
	Operation struct {
		Kind                    string
		GenesisTime             *uint64
		UnixSeconds             *int64
		CurrentTimeMilliseconds *int64
		Slot                    *lstar.Slot
	}
	Output struct {
		Interval, TotalIntervals *lstar.Interval
		Slot                     *lstar.Slot
	}
}

func (f *slotClockFixture) run(t *testing.T, _ *environment) {
	checkEqual(t, "seconds per slot", lstar.SecondsPerSlot, f.Config.SecondsPerSlot)
	checkEqual(t, "intervals per slot", lstar.IntervalsPerSlot, f.Config.IntervalsPerSlot)
	checkEqual(t, "milliseconds per interval", lstar.MillisecondsPerInterval, f.Config.MillisecondsPerInterval)

	op, out := &f.Operation, &f.Output
	var slotClock clock.SlotClock
	if op.GenesisTime != nil {
		slotClock.GenesisTime = *op.GenesisTime
	}
	switch {
	case op.Kind == "from_unix_time" && op.UnixSeconds != nil && out.Interval != nil:
		checkEqual(t, "interval", slotClock.TotalIntervals(*op.UnixSeconds*1000), *out.Interval)
	case op.Kind == "from_slot" && op.Slot != nil && out.Interval != nil:
		checkEqual(t, "interval", op.Slot.Interval(), *out.Interval)
	case op.Kind == "current_slot" && op.CurrentTimeMilliseconds != nil && out.Slot != nil:
		checkEqual(t, "slot", slotClock.CurrentSlot(*op.CurrentTimeMilliseconds), *out.Slot)
	case op.Kind == "current_interval" && op.CurrentTimeMilliseconds != nil && out.Interval != nil:
		checkEqual(t, "interval", slotClock.CurrentInterval(*op.CurrentTimeMilliseconds), *out.Interval)
	case op.Kind == "total_intervals" && op.CurrentTimeMilliseconds != nil && out.TotalIntervals != nil:
		checkEqual(t, "total intervals", slotClock.TotalIntervals(*op.CurrentTimeMilliseconds), *out.TotalIntervals)
	default:
		t.Errorf("unknown operation %q, or unexpected arguments or output", op.Kind)
	}
}
