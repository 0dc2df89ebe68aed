package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

const (
	// stuckAfter is the limit of one iteration of the event loops of chain and sync: three slots. A
	// node above it is not live. Iterations take milliseconds, or one or two seconds on a slow disk
	// or a busy machine. Duties stop when the head is more than four slots behind.
	stuckAfter = 12 * time.Second
	// dutiesStuckAfter is the limit of the duties of an interval. They wait for the chain, the disk
	// and the signatures of all validators. On a slow machine, this can take more than three slots,
	// and a restart would not help.
	dutiesStuckAfter = time.Minute
	// watchEvery is the interval between checks of the event loops.
	watchEvery = time.Second
)

// pulse returns a pulse for an event loop, and adds it to the checks of /livez.
func (n *Node) pulse(name string, limit time.Duration) *health.Pulse {
	p := health.NewPulse(limit, n.cfg.now)
	n.health.AddLive(health.Check{Name: name, Run: p.Check})
	return p
}

// watchLoops logs when an event loop is stuck, and when no loop is stuck any more.
func (n *Node) watchLoops(ctx context.Context) error {
	w := watchdog{log: logging.Component(n.cfg.Log, "node"), live: n.health.Live, last: time.Now()}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.check(time.Now())
		}
	}
}

// watchdog is the state of watchLoops.
type watchdog struct {
	log   *slog.Logger
	live  func() error
	last  time.Time // of the last check
	skip  int       // number of checks to skip
	stuck error     // result of the last check
}

// check checks the event loops. Call it every watchEvery. After a gap of more than three intervals,
// for example because of SIGSTOP, it skips three checks, so that the loops can run first.
func (w *watchdog) check(at time.Time) {
	if at.Sub(w.last) > 3*watchEvery {
		w.skip = 3
	}
	w.last = at
	if w.skip > 0 {
		w.skip--
		return
	}
	before := w.stuck
	w.stuck = w.live()
	switch {
	case w.stuck != nil && before == nil:
		w.log.Error("event loop stuck", logging.Err(w.stuck),
			logging.Advice("Check whether the disk of the data folder is slow or hangs. If this does not end, restart the node: it loses nothing that it has shown."))
	case w.stuck == nil && before != nil:
		w.log.Info("event loop runs again", "was", before.Error())
	}
}
