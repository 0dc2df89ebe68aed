// Package clocktest provides a fake clock, which only the test advances.
package clocktest

import (
	"context"
	"sync"
	"time"
)

// Fake is a clock.Time that the test advances. It is safe for concurrent use. Use New to create one.
type Fake struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[*waiter]struct{}
	waiting chan struct{} // has an element after a call of Until has begun to wait
}

type waiter struct {
	until time.Time
	wake  chan struct{}
}

// New returns a clock whose time is now.
func New(now time.Time) *Fake {
	return &Fake{now: now, waiters: make(map[*waiter]struct{}), waiting: make(chan struct{}, 1)}
}

// Now returns the time of the clock.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Until waits until the time is at or after t, or until ctx ends.
func (f *Fake) Until(ctx context.Context, t time.Time) error {
	f.mu.Lock()
	if !f.now.Before(t) {
		f.mu.Unlock()
		return ctx.Err()
	}
	w := &waiter{t, make(chan struct{})}
	f.waiters[w] = struct{}{}
	select {
	case f.waiting <- struct{}{}:
	default:
	}
	f.mu.Unlock()
	select {
	case <-w.wake:
	case <-ctx.Done():
		f.mu.Lock()
		delete(f.waiters, w)
		f.mu.Unlock()
	}
	return ctx.Err()
}

// Advance moves the clock by d, and ends the calls of Until whose time is reached.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	for w := range f.waiters {
		if !f.now.Before(w.until) {
			delete(f.waiters, w)
			close(w.wake)
		}
	}
}

// Waiting returns a channel that has an element after a call of Until has begun to wait.
func (f *Fake) Waiting() <-chan struct{} { return f.waiting }

// Left returns the time until the first waiting call of Until ends, or 0 if no call is waiting.
func (f *Fake) Left() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first time.Time
	for w := range f.waiters {
		if first.IsZero() || w.until.Before(first) {
			first = w.until
		}
	}
	return max(0, first.Sub(f.now))
}
