package telemetry

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A Check is one thing that /livez or /readyz asks. Run says what is wrong, with numbers, and nil where nothing is.
// It must not wait for anything.
type Check struct {
	Name string
	Run  func() error
}

// Pulse tells whether a loop turns. The loop calls Beat with every turn, which costs an atomic store; whoever asks
// learns how long the turn has lasted. A process that was stopped and goes on counts as stuck until the loop's next turn.
// A nil Pulse takes no notice.
type Pulse struct {
	limit time.Duration
	now   func() time.Time
	begin time.Time
	// beat is when the last turn began, in nanoseconds after begin; resting if the loop waits for what may take any time.
	beat atomic.Int64
}

const resting = -1

// NewPulse returns the pulse of a loop whose turns never take as long as limit. The first turn begins now. The time
// is time.Now's if now is nil; its monotonic part counts, so that setting the clock stops no loop.
func NewPulse(limit time.Duration, now func() time.Time) *Pulse {
	if now == nil {
		now = time.Now
	}
	return &Pulse{limit: limit, now: now, begin: now()}
}

// Beat begins a turn.
func (p *Pulse) Beat() {
	if p != nil {
		p.beat.Store(max(0, int64(p.now().Sub(p.begin))))
	}
}

// Rest ends a turn; the next may be any time away.
func (p *Pulse) Rest() {
	if p != nil {
		p.beat.Store(resting)
	}
}

// Check says whether the loop is stuck.
func (p *Pulse) Check() error {
	beat := p.beat.Load()
	if beat == resting {
		return nil
	}
	if took := p.now().Sub(p.begin) - time.Duration(beat); took > p.limit {
		return fmt.Errorf("no turn of its loop for %s (stuck after %s)", took.Truncate(100*time.Millisecond), p.limit)
	}
	return nil
}

// AddLive adds to what a live node does, AddReady to what a ready node does besides. Both are for the time before
// anybody asks.
func (h *Health) AddLive(c Check) { h.live = append(h.live, c) }

// AddReady is explained at AddLive.
func (h *Health) AddReady(c Check) { h.ready = append(h.ready, c) }

// Live says what keeps the node from being live: the first check that fails, by name.
func (h *Health) Live() error {
	for _, c := range h.live {
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// syncedCheck is the rule of /health.
func (h *Health) syncedCheck() error {
	in := h.Input()
	if synced, reason := Evaluate(in); !synced {
		return fmt.Errorf("%s: head slot %d, clock slot %d, %d peers, %d of them agree that there is nothing newer",
			reason, in.HeadSlot, in.ClockSlot, in.Peers, in.PeersAgreeNothingNewer)
	}
	return nil
}

// ping is that there is an answer at all.
var ping = Check{"ping", func() error { return nil }}

// Livez answers whether the node's loops turn, see probe.
func (h *Health) Livez() http.Handler {
	return probe("livez", func() []Check { return slices.Concat([]Check{ping}, h.live) })
}

// Readyz answers whether the node is live, in the network and synced, see probe.
func (h *Health) Readyz() http.Handler {
	return probe("readyz", func() []Check {
		return slices.Concat([]Check{ping}, h.live, h.ready, []Check{{"synced", h.syncedCheck}})
	})
}

// probe answers as kube-apiserver does: 200 and "ok", or with ?verbose a line a check; ?exclude=name, which may come
// more than once, leaves a check out. Where one fails, the lines come in any case and the status is 503, where
// kube-apiserver has 500: nothing is wrong with the answer, it is the node that cannot serve, and so says /health.
func probe(name string, checks func() []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		query := r.URL.Query()
		exclude := make(map[string]bool)
		for _, e := range query["exclude"] {
			exclude[e] = true
		}
		var body strings.Builder
		failed := false
		for _, c := range checks() {
			if exclude[c.Name] {
				delete(exclude, c.Name)
				fmt.Fprintf(&body, "[+]%s excluded: ok\n", c.Name)
			} else if err := c.Run(); err != nil {
				failed = true
				fmt.Fprintf(&body, "[-]%s failed: %s\n", c.Name, strings.Join(strings.Fields(err.Error()), " "))
			} else {
				fmt.Fprintf(&body, "[+]%s ok\n", c.Name)
			}
		}
		if len(exclude) > 0 {
			fmt.Fprintf(&body, "warn: some health checks cannot be excluded: no matches for %s\n", quotedNames(exclude))
		}
		text, code := "ok", http.StatusOK
		switch {
		case failed:
			text, code = body.String()+name+" check failed\n", http.StatusServiceUnavailable
		case query.Has("verbose"):
			text = body.String() + name + " check passed\n"
		}
		header := w.Header()
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Length", strconv.Itoa(len(text)))
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(text))
		}
	})
}

// quotedNames lists names that somebody asked for, in order.
func quotedNames(set map[string]bool) string {
	var names []string
	for name := range set {
		names = append(names, strconv.Quote(name))
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
