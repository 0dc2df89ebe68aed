package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/telemetry"
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
func (n *Node) pulse(name string, limit time.Duration) *telemetry.Pulse {
	p := telemetry.NewPulse(limit, n.cfg.now)
	n.health.AddLive(telemetry.Check{Name: name, Run: p.Check})
	return p
}

// watchLoops writes a line when a loop is stuck, and when none is any more.
func (n *Node) watchLoops(ctx context.Context) error {
	log := telemetry.Component(n.cfg.Log, "node")
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var stuck error
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			stuck = n.noteLoops(log, stuck)
		}
	}
}

func (n *Node) noteLoops(log *slog.Logger, before error) error {
	now := n.health.Live()
	switch {
	case now != nil && before == nil:
		log.Error("a part of the node is stuck", telemetry.Err(now),
			telemetry.Advice("is the disk of the data folder slow or hung? If it does not end, restart the node: nothing that was shown is lost"))
	case now == nil && before != nil:
		log.Info("the node goes on", "was", before.Error())
	}
	return now
}
