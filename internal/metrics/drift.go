package metrics

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// driftMessages is the number of messages of a peer that are looked at, so few that a step of the clock is
	// noticed within a minute.
	driftMessages = 16
	// driftPeers bounds the number of peers.
	driftPeers = 256
	// driftTime is for how long a peer has a voice that is not heard any more: gone, or
	// with nothing to say that others had not said before.
	driftTime = 2 * time.Minute
	// maxDrift is beyond what a message can be late by because of a clock.
	maxDrift = time.Minute
)

// drift compares this clock with those of the peers. A message is sent at an interval that everybody agrees on, so
// the time from that interval to its arrival is the difference of the two clocks, and how long the message took.
// Every peer has one voice, however much it sends.
type drift struct {
	mu    sync.Mutex
	peers map[peer.ID]*offsets
}

// offsets are the latest of one peer.
type offsets struct {
	list [driftMessages]time.Duration
	next int
	n    int
	last time.Time // when it was heard
}

// add takes the time from the interval in which a message is sent until it came from a peer.
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

// forget drops the peers that were not heard lately. The caller holds the lock.
func (d *drift) forget(now time.Time) {
	maps.DeleteFunc(d.peers, func(_ peer.ID, o *offsets) bool { return now.Sub(o.last) > driftTime })
}

// median returns the median over the peers in seconds, 0 without any.
func (d *drift) median(now time.Time) float64 {
	d.mu.Lock()
	d.forget(now)
	medians := make([]time.Duration, 0, len(d.peers))
	for _, o := range d.peers {
		medians = append(medians, median(slices.Clone(o.list[:o.n])))
	}
	d.mu.Unlock()
	if len(medians) == 0 {
		return 0
	}
	return median(medians).Seconds()
}

// median sorts a list that is not empty and returns the one in the middle.
func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
