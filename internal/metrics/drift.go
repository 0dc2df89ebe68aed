package metrics

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	driftMessages = 16              // latest messages of a peer that count; a step of the clock shows within a minute
	driftPeers    = 256             // limit of the number of peers
	driftTime     = 2 * time.Minute // a peer without a message for this time does not count
	maxDrift      = time.Minute     // a message with a larger offset is ignored
)

// drift compares this node's clock with those of its peers. All nodes send a kind of message in the
// same interval, so the time from that interval to the arrival is the difference of two clocks plus
// the latency. Every peer has the same weight, however many messages it sends.
type drift struct {
	mu    sync.Mutex
	peers map[peer.ID]*offsets
}

// offsets is a ring of the latest offsets of a peer.
type offsets struct {
	list    [driftMessages]time.Duration
	next, n int
	last    time.Time // of the latest message
}

// add records the time from the interval in which a message is sent to its arrival from a peer.
func (d *drift) add(now time.Time, from peer.ID, offset time.Duration) {
	if offset > maxDrift || offset < -maxDrift {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.peers[from]
	if o == nil {
		if len(d.peers) >= driftPeers {
			d.forget(now)
		}
		if len(d.peers) >= driftPeers {
			return
		}
		if d.peers == nil {
			d.peers = make(map[peer.ID]*offsets)
		}
		o = new(offsets)
		d.peers[from] = o
	}
	o.list[o.next] = offset
	o.next = (o.next + 1) % driftMessages
	o.n = min(o.n+1, driftMessages)
	o.last = now
}

// forget removes the peers without a recent message. The caller holds the lock.
func (d *drift) forget(now time.Time) {
	maps.DeleteFunc(d.peers, func(_ peer.ID, o *offsets) bool { return now.Sub(o.last) > driftTime })
}

// median returns the median of the peers' medians, in seconds, or 0 without peers.
func (d *drift) median(now time.Time) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	var medians []time.Duration
	for _, o := range d.peers {
		medians = append(medians, median(slices.Clone(o.list[:o.n])))
	}
	if len(medians) == 0 {
		return 0
	}
	return median(medians).Seconds()
}

// median sorts a list, which must not be empty, and returns its middle element.
func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
