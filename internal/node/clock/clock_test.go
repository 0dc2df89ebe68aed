package clock_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
)

func TestSlotClock(t *testing.T) {
	const genesis = 1000
	for name, tt := range map[string]struct {
		millis          int64
		slot            lstar.Slot
		interval, total lstar.Interval
	}{
		"long before genesis":       {-5, 0, 0, 0},
		"just before genesis":       {999_999, 0, 0, 0},
		"genesis":                   {1_000_000, 0, 0, 0},
		"end of the first interval": {1_000_799, 0, 0, 0},
		"second interval":           {1_000_800, 0, 1, 1},
		"last interval":             {1_003_999, 0, 4, 4},
		"second slot":               {1_004_000, 1, 0, 5},
		"later":                     {1_041_700, 10, 2, 52},
	} {
		c := clock.SlotClock{GenesisTime: genesis}
		if got := c.CurrentSlot(tt.millis); got != tt.slot {
			t.Errorf("%s: CurrentSlot = %d, want %d", name, got, tt.slot)
		}
		if got := c.CurrentInterval(tt.millis); got != tt.interval {
			t.Errorf("%s: CurrentInterval = %d, want %d", name, got, tt.interval)
		}
		if got := c.TotalIntervals(tt.millis); got != tt.total {
			t.Errorf("%s: TotalIntervals = %d, want %d", name, got, tt.total)
		}
	}
}

// TestEach checks that Each calls f once for each interval, and skips intervals that pass during a call.
func TestEach(t *testing.T) {
	const genesis = 1000
	fake := clocktest.New(time.Unix(genesis-7, 0))
	c := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis}, Time: fake}
	ctx, cancel := context.WithCancel(context.Background())
	var seen []lstar.Interval
	err := make(chan error)
	go func() {
		err <- c.Each(ctx, func(i lstar.Interval) {
			seen = append(seen, i)
			if i == 2 { // a call that takes three intervals
				fake.Advance(3 * lstar.MillisecondsPerInterval * time.Millisecond)
			}
			if i == 8 {
				cancel()
			}
		})
	}()
	for step := 0; ; step++ {
		select {
		case got := <-err:
			if !errors.Is(got, context.Canceled) {
				t.Errorf("Each = %v, want %v", got, context.Canceled)
			}
			if want := []lstar.Interval{0, 1, 2, 5, 6, 7, 8}; !slices.Equal(seen, want) {
				t.Errorf("intervals = %v, want %v", seen, want)
			}
			return
		case <-fake.Waiting():
			fake.Advance(fake.Left())
		}
	}
}

func TestEachStartsWithTheCurrentInterval(t *testing.T) {
	fake := clocktest.New(time.UnixMilli(1_041_700))
	c := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: 1000}, Time: fake}
	ctx, cancel := context.WithCancel(context.Background())
	var first lstar.Interval
	_ = c.Each(ctx, func(i lstar.Interval) { first = i; cancel() })
	if first != 52 {
		t.Errorf("first interval = %d, want 52", first)
	}
}
