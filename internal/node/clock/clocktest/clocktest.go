// Package clocktest is a clock that stands still until a test moves it.
package clocktest

import (
	"context"
	"sync"
	"time"
)

// Fake is a clock.Time. The zero value is not usable.
type Fake struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[*waiter]struct{}
	waiting chan struct{} // has one element while somebody waits
}

type waiter struct {
	until time.Time
	wake  chan struct{}
}

// New returns a clock that shows now.
func New(now time.Time) *Fake {
	return &Fake{now: now, waiters: make(map[*waiter]struct{}), waiting: make(chan struct{}, 1)}
}

// Now returns what the clock shows.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Until waits until the clock shows t.
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
		return ctx.Err()
	case <-ctx.Done():
		f.mu.Lock()
		delete(f.waiters, w)
		f.mu.Unlock()
		return ctx.Err()
	}
}

// Advance moves the clock, and wakes those whose time has come.
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

// Waiting gets an element after somebody began to wait.
func (f *Fake) Waiting() <-chan struct{} { return f.waiting }

// Left returns how long it is until the first of those who wait is woken.
func (f *Fake) Left() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left time.Duration
	first := true
	for w := range f.waiters {
		if d := w.until.Sub(f.now); first || d < left {
			left, first = d, false
		}
	}
	return left
}
