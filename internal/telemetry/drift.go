package telemetry

import (
	"slices"
	"sync"
	"time"
)

const (
	// driftMessages is the number of messages of a peer that are looked at, so few that a step of the clock is
	// noticed within a minute.
	driftMessages = 16
	// driftPeers bounds the number of peers.
	driftPeers = 256
	// maxDrift is beyond what a message can be late by because of a clock.
	maxDrift = time.Minute
)

// drift compares this clock with those of the peers. A message is sent at an interval that everybody agrees on, so
// the time from that interval to its arrival is the difference of the two clocks, and how long the message took.
// Every peer has one voice, however much it sends.
type drift struct {
	mu    sync.Mutex
	peers map[string]*offsets
}

// offsets are the latest of one peer.
type offsets struct {
	list [driftMessages]time.Duration
	next int
	n    int
}

// add takes the time from the interval in which a message is sent until it came from a peer.
func (d *drift) add(peer string, offset time.Duration) {
	if offset > maxDrift || offset < -maxDrift {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.peers[peer]
	if o == nil {
		if len(d.peers) >= driftPeers {
			return
		}
		if d.peers == nil {
			d.peers = make(map[string]*offsets)
		}
		o = new(offsets)
		d.peers[peer] = o
	}
	o.list[o.next] = offset
	o.next = (o.next + 1) % driftMessages
	o.n = min(o.n+1, driftMessages)
}

// forget drops a peer that is gone.
func (d *drift) forget(peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.peers, peer)
}

// median returns the median over the peers in seconds, 0 without any.
func (d *drift) median() float64 {
	d.mu.Lock()
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
