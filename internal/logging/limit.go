package logging

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// limitBurst is the number of warnings or errors of one kind that are written in limitWindow. A
	// fault in every slot of 4 s occurs 15 times in a window.
	limitBurst  = 5
	limitWindow = time.Minute
	// limitPeerBurst is the same limit for lines at info about peers: a peer that connects in a
	// loop cannot fill the log.
	limitPeerBurst = 20
	// limitKinds is the number of kinds that are counted separately. Further kinds of a level share
	// one count.
	limitKinds = 256
)

// limitHandler keeps repeated warnings, errors, and lines at info about peers from filling the log.
// After a burst of a kind it only counts the lines. At the end of the window it writes the latest
// one with suppressed=N, and one such line per window while the kind continues. A kind is the
// level, component, message, reason and queue of a line, so a flood from many peers is one kind.
// The next record of any level ends a window. Records have the time, so the handler needs no clock.
type limitHandler struct {
	next      slog.Handler
	component string
	hasPeer   bool
	limits    *limits
}

// limits is the state that a handler shares with all handlers derived from it.
type limits struct {
	mu      sync.Mutex
	kinds   map[limitKind]*limitCount
	nextDue time.Time // no window ends earlier
}

type limitKind struct {
	level                             string
	component, message, reason, queue string
}

type limitCount struct {
	ends   time.Time
	passed int
	held   heldBack
}

// heldBack counts the lines of a kind that were not written, and holds the latest.
type heldBack struct {
	count   int
	handler slog.Handler // of the latest
	latest  slog.Record
}

func newLimitHandler(next slog.Handler) *limitHandler {
	return &limitHandler{next: next, limits: &limits{kinds: map[limitKind]*limitCount{}}}
}

func (h *limitHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *limitHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		switch a.Key {
		case keyComponent:
			with.component = a.Value.String()
		case keyPeerID:
			with.hasPeer = true
		}
	}
	return &with
}

func (h *limitHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.next = h.next.WithGroup(name)
	return &with
}

func (h *limitHandler) Handle(ctx context.Context, r slog.Record) error {
	now := r.Time
	if now.IsZero() {
		now = time.Now()
	}
	kind, burst := h.kind(r)

	h.limits.mu.Lock()
	due := h.limits.expire(now)
	pass := burst == 0 || h.limits.admit(kind, burst, now, h.next, r)
	h.limits.mu.Unlock()

	for _, held := range due {
		if !held.handler.Enabled(ctx, held.latest.Level) { // the level has changed
			continue
		}
		summary := held.latest
		summary.Time = now
		summary.AddAttrs(slog.Int("suppressed", held.count))
		if err := held.handler.Handle(ctx, summary); err != nil {
			return err
		}
	}
	if !pass {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// kind returns the kind of a record and its limit per window; 0 means no limit.
func (h *limitHandler) kind(r slog.Record) (kind limitKind, burst int) {
	if r.Level < slog.LevelInfo {
		return kind, 0
	}
	kind = limitKind{level: levelName(r.Level), component: h.component, message: r.Message}
	hasPeer := h.hasPeer
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case keyComponent:
			kind.component = a.Value.String()
		case keyReason:
			kind.reason = a.Value.String()
		case keyQueue:
			kind.queue = a.Value.String()
		case keyPeerID:
			hasPeer = true
		}
		return true
	})
	switch {
	case r.Level >= slog.LevelWarn:
		return kind, limitBurst
	case hasPeer:
		return kind, limitPeerBurst
	}
	return kind, 0
}

// admit counts a line and reports whether it may be written.
func (l *limits) admit(kind limitKind, burst int, now time.Time, handler slog.Handler, r slog.Record) bool {
	count := l.kinds[kind]
	if count == nil && len(l.kinds) >= limitKinds {
		kind = limitKind{level: kind.level}
		count = l.kinds[kind]
	}
	if count == nil {
		count = &limitCount{ends: now.Add(limitWindow)}
		l.kinds[kind] = count
		if len(l.kinds) == 1 || count.ends.Before(l.nextDue) {
			l.nextDue = count.ends
		}
	}
	if count.passed < burst {
		count.passed++
		return true
	}
	count.held.count++
	count.held.handler, count.held.latest = handler, r.Clone()
	return false
}

// expire ends the windows that are over and returns the latest line that each held back, oldest
// first. A kind with such a line gets no other line in the next window. Other kinds are removed.
func (l *limits) expire(now time.Time) (due []heldBack) {
	if len(l.kinds) == 0 || now.Before(l.nextDue) {
		return nil
	}
	l.nextDue = now.Add(limitWindow)
	for kind, count := range l.kinds {
		if now.Before(count.ends) {
			if count.ends.Before(l.nextDue) {
				l.nextDue = count.ends
			}
			continue
		}
		if count.held.count == 0 {
			delete(l.kinds, kind)
			continue
		}
		due = append(due, count.held)
		count.held = heldBack{}
		count.ends = now.Add(limitWindow)
	}
	slices.SortFunc(due, func(a, b heldBack) int { return a.latest.Time.Compare(b.latest.Time) })
	return due
}
