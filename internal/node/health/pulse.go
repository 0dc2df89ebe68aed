package health

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Pulse detects an event loop that hangs. The loop calls Beat at the start of each iteration, which costs an atomic
// store, and Rest before it waits for something that may take any time. After the process was stopped and continued,
// the loop counts as stuck until its next Beat. A nil Pulse does nothing.
type Pulse struct {
	limit time.Duration
	now   func() time.Time
	begin time.Time
	// beat is the start of the iteration, in nanoseconds after begin, or resting.
	beat atomic.Int64
}

const resting = -1

// NewPulse returns the pulse of a loop whose iterations never take as long as limit. The first iteration begins now. A
// nil now means time.Now. Pulses use the monotonic clock, so setting the wall clock does not affect them.
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
