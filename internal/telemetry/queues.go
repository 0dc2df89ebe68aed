package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The queues of the node.
const (
	QueueChainRequests          = "chain_requests"
	QueuePublishAggregates      = "publish_aggregates"
	QueueOrphanBlocks           = "orphan_blocks"
	QueuePendingAttestations    = "pending_attestations"
	QueuePendingAggregates      = "pending_aggregates"
	QueueUnlockedVotes          = "unlocked_votes"
	QueueValidatingBlocks       = "validating_blocks"
	QueueValidatingAttestations = "validating_attestations"
	QueueValidatingAggregates   = "validating_aggregates"
	// QueueGossip is pubsub's own, whose length it does not tell.
	QueueGossip = "gossip_validation"
)

// queueNames are the queues that may become a label value; the last but one has no length.
var queueNames = names{
	QueueChainRequests, QueuePublishAggregates, QueueOrphanBlocks, QueuePendingAttestations, QueuePendingAggregates,
	QueueUnlockedVotes, QueueValidatingBlocks, QueueValidatingAttestations, QueueValidatingAggregates,
	QueueGossip, labelOther,
}

// Queue is something bounded in which items wait.
type Queue struct {
	// Name is one of the Queue constants.
	Name     string
	Capacity int
	// Length is called at every scrape, from any goroutine. It must not wait for anybody.
	Length func() int
}

// queues reads the lengths of queues when it is scraped.
type queues struct {
	list             atomic.Pointer[[]Queue]
	length, capacity *prometheus.Desc
}

func (q *queues) define(d *definer) {
	describe := func(name, help string) *prometheus.Desc {
		label := Label{Name: "queue", Values: queueNames[:len(queueNames)-2]}
		return prometheus.NewDesc(name, help, d.define("gauge", name, help, nil, []Label{label}), nil)
	}
	q.length = describe("leanspec_queue_length", "Items that wait in a queue now.")
	q.capacity = describe("leanspec_queue_capacity", "Items that fit into a queue.")
}

// Watch adds queues to those whose lengths are shown. One of the same name is replaced.
func (m *Metrics) Watch(added ...Queue) {
	var next []Queue
	old := m.queues.list.Load()
	if old != nil {
		for _, q := range *old {
			replaced := false
			for _, a := range added {
				replaced = replaced || a.Name == q.Name
			}
			if !replaced {
				next = append(next, q)
			}
		}
	}
	next = append(next, added...)
	m.queues.list.Store(&next)
}

// Describe implements prometheus.Collector.
func (q *queues) Describe(out chan<- *prometheus.Desc) {
	out <- q.length
	out <- q.capacity
}

// Collect implements prometheus.Collector.
func (q *queues) Collect(out chan<- prometheus.Metric) {
	list := q.list.Load()
	if list == nil {
		return
	}
	for _, queue := range *list {
		if !queueNames.has(queue.Name) {
			continue
		}
		out <- prometheus.MustNewConstMetric(q.length, prometheus.GaugeValue, float64(queue.Length()), queue.Name)
		out <- prometheus.MustNewConstMetric(q.capacity, prometheus.GaugeValue, float64(queue.Capacity), queue.Name)
	}
}
