// Package metrics defines the node's metrics, updates them from the events that services report,
// and serves them.
//
// To add a metric, add a field to [Metrics], its definition to definitions.go, and a case for its
// event to [Metrics.Fold]. Tests check that there is one. "make docs" generates docs/metrics.md
// from the definitions.
package metrics

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Info identifies the node in its metrics.
type Info struct {
	Name, Version string
	// StartTime is the start of the process; if it is zero, New uses the current time.
	StartTime time.Time
	// PeerNames are the names that peers can have in metrics, besides "unknown".
	PeerNames []string
	// Slot returns the slot of the wall clock, 0 before genesis. It must be safe for concurrent
	// use. If it is nil, the slot is 0.
	Slot func() lstar.Slot
	// Log is the log whose lines are counted. It may be nil.
	Log Log
}

// Metrics holds all metrics of the node, in a registry of its own. It is safe for concurrent use.
type Metrics struct {
	registry    *prometheus.Registry
	definitions []Definition
	peerNames   []string
	slot        func() lstar.Slot // of the wall clock
	queues      queues
	finalized   atomic.Uint64 // slot
	drift       drift

	// The node's own metrics.
	blocksImported, attestationsProcessed       prometheus.Counter
	faults, bans, subscriptionsLost, duplicates prometheus.Counter
	peersConnected, foreignPeers, syncDistance  prometheus.Gauge
	fingerprint, storeBlocks, storeStates       prometheus.Gauge
	storageUsed, signingRecordsMissing          prometheus.Gauge
	importTime, blockImported, saveTime         prometheus.Observer
	importStages                                [len(stageNames)]prometheus.Observer
	seen                                        map[string]prometheus.Observer    // by kind of gossip
	requestTime                                 map[string]prometheus.Observer    // by protocol
	rejected                                    map[string]*prometheus.CounterVec // by kind of gossip: reason, source
	duties, signaturesRefused, queueDropped     *prometheus.CounterVec
	gossipMessages, requests                    *prometheus.CounterVec
	keySlotsLeft, peersByHead, peersByFinalized *prometheus.GaugeVec
	storageFree                                 *prometheus.GaugeVec // without labels: absent until it is known

	// The metrics of leanMetrics.
	attestationSignatures, attestationSignaturesValid    prometheus.Counter
	attestationSignaturesInvalid                         prometheus.Counter
	aggregatedSignatures, aggregatedSignaturesValid      prometheus.Counter
	aggregatedSignaturesInvalid                          prometheus.Counter
	attestationsInAggregates                             prometheus.Counter
	blockBuildingSuccess, blockBuildingFailures          prometheus.Counter
	attestationsValid, attestationsInvalid, reorgs       prometheus.Counter
	transitionSlots, transitionAttestations              prometheus.Counter
	headSlot, safeTargetSlot                             prometheus.Gauge
	gossipSignatures                                     prometheus.Gauge
	newAggregatedPayloads, knownAggregatedPayloads       prometheus.Gauge
	latestJustifiedSlot, latestFinalizedSlot             prometheus.Gauge
	justifiedSlot, finalizedSlot                         prometheus.Gauge
	validatorsCount, isAggregator                        prometheus.Gauge
	committeeSubnet, committeeCount                      prometheus.Gauge
	attestationSigningTime, attestationVerificationTime  prometheus.Observer
	aggregateBuildingTime, aggregateVerificationTime     prometheus.Observer
	blockAggregatedPayloads, payloadAggregationTime      prometheus.Observer
	blockBuildingTime, blockProcessingTime               prometheus.Observer
	attestationValidationTime, attestationProductionTime prometheus.Observer
	reorgDepth, committeeAggregationTime, tickInterval   prometheus.Observer
	stateTransitionTime, transitionSlotsTime             prometheus.Observer
	transitionBlockTime, transitionAttestationsTime      prometheus.Observer
	gossipSize                                           map[string]prometheus.Observer // by kind of gossip
	syncStatus, connectedPeers, meshPeers                *prometheus.GaugeVec
	finalizations, aggregatorSkipped                     *prometheus.CounterVec
	connections, disconnections                          *prometheus.CounterVec
}

// New defines and registers all metrics. All but the late ones are exposed from the first scrape,
// starting at zero.
func New(info Info) *Metrics {
	if info.StartTime.IsZero() {
		info.StartTime = time.Now()
	}
	if info.Slot == nil {
		info.Slot = func() lstar.Slot { return 0 }
	}
	if info.Log == nil {
		info.Log = noLog{}
	}
	m := &Metrics{
		slot:      info.Slot,
		registry:  prometheus.NewRegistry(),
		peerNames: slices.DeleteFunc(slices.Clone(info.PeerNames), func(name string) bool { return name == unknownPeer }),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d := &definer{Factory: promauto.With(m.registry)}
	startTime := float64(info.StartTime.UnixNano()) / 1e9
	m.defineOwn(d, info.Log, startTime)
	m.defineLean(d, info, startTime)
	m.registry.MustRegister(&m.queues)
	m.definitions = d.definitions
	return m
}

// Log counts the lines of a log by level, and those that were dropped.
type Log interface {
	Lines(slog.Level) uint64
	Dropped() uint64
}

type noLog struct{}

func (noLog) Lines(slog.Level) uint64 { return 0 }
func (noLog) Dropped() uint64         { return 0 }

func (m *Metrics) finalityLag() float64 {
	slot := uint64(m.slot())
	return float64(slot - min(m.finalized.Load(), slot))
}

// Definitions returns the definitions of all metrics, except those of the Go runtime and of the
// process, in the order of the documentation.
func (m *Metrics) Definitions() []Definition { return slices.Clone(m.definitions) }

// Registry returns the registry, which gathers all metrics. Libraries may register collectors of
// their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics as Prometheus text, or as OpenMetrics or protobuf if the request asks
// for it. Only protobuf has the native histograms.
//
// leanSpec: node/api/handlers.py, metrics
func (m *Metrics) Handler() http.Handler {
	exposition := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // a broken collector must not hide all others
		// Text comes first, so that "Accept: */*" gets the same as no Accept header.
		AcceptedFormats: []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim},
		CoalesceGather:  true, // concurrent scrapes share one collection
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { exposition.ServeHTTP(plainTextType{w}, r) })
}

// plainTextType removes the escaping parameter that promhttp adds to the content type of text. leanSpec's
// API vectors specify the type without it, and all names here are ASCII, so nothing is escaped.
type plainTextType struct{ http.ResponseWriter }

func (w plainTextType) Write(p []byte) (int, error) {
	w.fixType()
	return w.ResponseWriter.Write(p)
}

func (w plainTextType) WriteHeader(status int) {
	w.fixType()
	w.ResponseWriter.WriteHeader(status)
}

func (w plainTextType) fixType() {
	h := w.Header()
	if plain, _, found := strings.Cut(h.Get("Content-Type"), "; escaping="); found && strings.HasPrefix(plain, "text/plain") {
		h.Set("Content-Type", plain)
	}
}

// queues exposes the lengths of queues, which it reads at the scrape.
type queues struct {
	list             atomic.Pointer[[]events.Queue]
	length, capacity *prometheus.Desc
}

// Watch exposes the lengths of queues. It replaces the queues of an earlier call.
func (m *Metrics) Watch(queues ...events.Queue) { m.queues.list.Store(&queues) }

// Describe implements prometheus.Collector.
func (q *queues) Describe(out chan<- *prometheus.Desc) {
	out <- q.length
	out <- q.capacity
}

// Collect implements prometheus.Collector. It leaves out queues with an unknown name.
func (q *queues) Collect(out chan<- prometheus.Metric) {
	list := q.list.Load()
	if list == nil {
		return
	}
	for _, queue := range *list {
		if watchedQueues.has(queue.Name) {
			out <- prometheus.MustNewConstMetric(q.length, prometheus.GaugeValue, float64(queue.Length()), queue.Name)
			out <- prometheus.MustNewConstMetric(q.capacity, prometheus.GaugeValue, float64(queue.Capacity), queue.Name)
		}
	}
}
