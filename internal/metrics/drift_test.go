package metrics

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestDrift checks that every peer has the same weight, however many messages it sends.
func TestDrift(t *testing.T) {
	var d drift
	now := time.Unix(1, 0)
	if got := d.median(now); got != 0 {
		t.Errorf("drift without messages = %v, want 0", got)
	}
	for i := range 10_000 {
		d.add(now, "liar", -30*time.Second)
		if i < 3 {
			d.add(now, "honest", 100*time.Millisecond)
			d.add(now, "also honest", 200*time.Millisecond)
		}
	}
	if got := d.median(now); got != 0.1 {
		t.Errorf("drift with one liar of three = %v, want 0.1", got)
	}
	for range driftMessages {
		d.add(now, "honest", -2*time.Second)
		d.add(now, "also honest", -3*time.Second)
	}
	if got := d.median(now); got != -3 {
		t.Errorf("drift after the clock was set = %v, want -3, the median of the latest messages", got)
	}
	now = now.Add(driftTime)
	d.add(now, "honest", -2*time.Second)
	now = now.Add(time.Second)
	if got := d.median(now); got != -2 {
		t.Errorf("drift with one peer left = %v, want -2: the others sent nothing lately", got)
	}
	for i := range 2 * driftPeers {
		d.add(now, peer.ID(fmt.Sprint(i)), 0)
	}
	if len(d.peers) > driftPeers {
		t.Errorf("%d peers are kept, want at most %d", len(d.peers), driftPeers)
	}
	// Messages may be reported after their peers have disconnected. Such peers must not keep others out.
	now = now.Add(driftTime + time.Second)
	d.add(now, "another", time.Second)
	if got := d.median(now); got != 1 {
		t.Errorf("drift with one peer after many = %v, want 1", got)
	}
}
