package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// limitBurst is how many warnings of one kind pass within limitWindow; the rest are counted.
	limitBurst  = 5
	limitWindow = 10 * time.Second
	// limitKinds bounds the kinds of warning that are told apart. Beyond it all others share one count.
	limitKinds = 256
)

// limitHandler passes on every record but keeps one kind of warning from filling the log: after limitBurst lines
// in a window it only counts, and when the window is over the latest one comes out with suppressed=N. A kind is
// the component, message, reason and queue of a line, so that a flood from many peers is one kind. The ends of
// windows are noticed at the next record of any level; records carry the time, so there is no clock.
type limitHandler struct {
	next      slog.Handler
	component string
	limits    *limits
}

// limits is shared by all handlers derived from one.
type limits struct {
	mu      sync.Mutex
	kinds   map[limitKind]*limitCount
	nextDue time.Time // no window ends before
}

type limitKind struct{ component, message, reason, queue string }

type limitCount struct {
	ends       time.Time
	passed     int
	suppressed int
	handler    slog.Handler // of the latest suppressed record
	latest     slog.Record
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
		if a.Key == keyComponent {
			with.component = a.Value.String()
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
	isWarning := r.Level >= slog.LevelWarn && r.Level < slog.LevelError

	h.limits.mu.Lock()
	due := h.limits.expire(now)
	pass := true
	if isWarning {
		pass = h.limits.admit(h.kind(r), now, h.next, r)
	}
	h.limits.mu.Unlock()

	for _, count := range due {
		summary := count.latest
		summary.Time = now
		summary.AddAttrs(slog.Int("suppressed", count.suppressed))
		if err := count.handler.Handle(ctx, summary); err != nil {
			return err
		}
	}
	if !pass {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *limitHandler) kind(r slog.Record) limitKind {
	kind := limitKind{component: h.component, message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case keyComponent:
			kind.component = a.Value.String()
		case keyReason:
			kind.reason = a.Value.String()
		case keyQueue:
			kind.queue = a.Value.String()
		}
		return true
	})
	return kind
}

// admit counts a warning and says whether it may be written.
func (l *limits) admit(kind limitKind, now time.Time, handler slog.Handler, r slog.Record) bool {
	count := l.kinds[kind]
	if count == nil && len(l.kinds) >= limitKinds {
		kind = limitKind{}
		count = l.kinds[kind]
	}
	if count == nil {
		count = &limitCount{ends: now.Add(limitWindow)}
		l.kinds[kind] = count
		if len(l.kinds) == 1 || count.ends.Before(l.nextDue) {
			l.nextDue = count.ends
		}
	}
	if count.passed < limitBurst {
		count.passed++
		return true
	}
	count.suppressed++
	count.handler, count.latest = handler, r.Clone()
	return false
}

// expire forgets the windows that are over and returns those that suppressed something, oldest first.
func (l *limits) expire(now time.Time) (due []*limitCount) {
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
		delete(l.kinds, kind)
		if count.suppressed > 0 {
			due = append(due, count)
		}
	}
	slices.SortFunc(due, func(a, b *limitCount) int { return a.latest.Time.Compare(b.latest.Time) })
	return due
}
