package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

const (
	// stuckAfter is how long a turn of the chain's owner, or of sync, may take before
	// the node is not live: three slots. Turns take milliseconds, and a slow disk or a
	// busy machine makes that a second or two, which passes. Three slots do not: duties
	// stop when the head is four behind.
	stuckAfter = 12 * time.Second
	// dutiesStuckAfter is the same for the duties of an interval. They wait for the
	// chain, for the disk and for the signatures of all validators, which on a machine
	// that is too small takes longer than three slots and is no reason to restart it.
	dutiesStuckAfter = time.Minute
	// watchEvery is how often the log is told of what /livez says when asked.
	watchEvery = time.Second
)

// pulse returns the pulse of a loop that /livez is to watch.
func (n *Node) pulse(name string, limit time.Duration) *health.Pulse {
	p := health.NewPulse(limit, n.cfg.now)
	n.health.AddLive(health.Check{Name: name, Run: p.Check})
	return p
}

// watchLoops writes a line when a loop is stuck, and when none is any more.
func (n *Node) watchLoops(ctx context.Context) error {
	w := watchdog{log: logging.Component(n.cfg.Log, "node"), live: n.health.Live, last: time.Now()}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.look(time.Now())
		}
	}
}

// watchdog remembers what it said.
type watchdog struct {
	log   *slog.Logger
	live  func() error
	last  time.Time // when it looked
	after int       // looks to let pass
	stuck error
}

// look is called every watchEvery. Where that did not happen, the process was
// stopped, as by SIGSTOP, and the loops are given a moment to notice.
func (w *watchdog) look(at time.Time) {
	if at.Sub(w.last) > 3*watchEvery {
		w.after = 3
	}
	w.last = at
	if w.after > 0 {
		w.after--
		return
	}
	now := w.live()
	before := w.stuck
	w.stuck = now
	switch {
	case now != nil && before == nil:
		w.log.Error("a part of the node is stuck", logging.Err(now),
			logging.Advice("is the disk of the data folder slow or hung? If it does not end, restart the node: nothing that was shown is lost"))
	case now == nil && before != nil:
		w.log.Info("the node goes on", "was", before.Error())
	}
}
