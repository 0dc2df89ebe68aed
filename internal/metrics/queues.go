package metrics

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// queues reads the lengths of queues when it is scraped.
type queues struct {
	list             atomic.Pointer[[]events.Queue]
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

// Watch shows the lengths of more queues. A queue replaces an earlier one of the same name.
func (m *Metrics) Watch(added ...events.Queue) {
	var next []events.Queue
	if old := m.queues.list.Load(); old != nil {
		next = slices.DeleteFunc(slices.Clone(*old), func(q events.Queue) bool {
			return slices.ContainsFunc(added, func(a events.Queue) bool { return a.Name == q.Name })
		})
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
