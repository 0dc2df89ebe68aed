package health

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Pulse detects an event loop that hangs. The loop calls Beat, which costs an atomic store, at the
// start of each iteration, and Rest before it waits for an unbounded time. After the process was
// stopped and continued, the loop counts as stuck until its next Beat. A nil Pulse does nothing.
type Pulse struct {
	limit time.Duration
	now   func() time.Time
	begin time.Time
	// beat is the start of the current iteration, in nanoseconds after begin, or resting.
	beat atomic.Int64
}

const resting = -1

// NewPulse returns the pulse of a loop that is stuck if an iteration takes longer than limit. The
// first iteration begins at the call. A nil now means time.Now. Pulses use the monotonic clock, so
// setting the wall clock has no effect.
func NewPulse(limit time.Duration, now func() time.Time) *Pulse {
	if now == nil {
		now = time.Now
	}
	return &Pulse{limit: limit, now: now, begin: now()}
}

// Beat begins an iteration.
func (p *Pulse) Beat() {
	if p != nil {
		p.beat.Store(max(0, int64(p.now().Sub(p.begin))))
	}
}

// Rest ends an iteration. The next one may begin at any time.
func (p *Pulse) Rest() {
	if p != nil {
		p.beat.Store(resting)
	}
}

// Check returns an error if the loop is stuck.
func (p *Pulse) Check() error {
	beat := p.beat.Load()
	if beat == resting {
		return nil
	}
	if took := p.now().Sub(p.begin) - time.Duration(beat); took > p.limit {
		return fmt.Errorf("event loop has not run for %s (limit %s)", took.Truncate(100*time.Millisecond), p.limit)
	}
	return nil
}
