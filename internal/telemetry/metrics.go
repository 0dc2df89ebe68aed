package telemetry

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// slotsPerEpoch turns slots into epochs for display. A lean chain has none; the justification lookback is what
// leanSpec keeps of its old epoch length.
//
// leanSpec: spec/forks/lstar/config.py, JUSTIFICATION_LOOKBACK_SLOTS
const slotsPerEpoch = 3

// Epoch returns the epoch that this project reports for a slot.
func Epoch(slot uint64) uint64 { return slot / slotsPerEpoch }

// Info identifies the node in its metrics.
type Info struct {
	Name, Version string
	// StartTime is when the process started; NewMetrics takes its own time where it is zero.
	StartTime time.Time
}

// Metrics holds every metric of the node, on a registry of its own. It is safe for concurrent use.
//
// The fields follow leanMetrics' metrics.md, section by section. To add a metric: a field here, its definition
// in NewMetrics, and the event that moves it in Observer; the tests list all three.
type Metrics struct {
	registry *prometheus.Registry
	clock    atomic.Pointer[func() uint64]
	log      atomic.Pointer[LogControl]
	queues   firstComers

	// leanspec_*: this node's own.
	peersConnected        prometheus.Gauge
	blocksImported        prometheus.Counter
	attestationsProcessed prometheus.Counter
	syncDistance          prometheus.Gauge
	blocksRejected        *prometheus.CounterVec // reason
	attestationsRejected  *prometheus.CounterVec // reason
	aggregatesRejected    *prometheus.CounterVec // reason
	dutiesSkipped         *prometheus.CounterVec // duty, reason
	signaturesRefused     *prometheus.CounterVec // role
	keySlotsLeft          *prometheus.GaugeVec   // validator, role
	queueDropped          *prometheus.CounterVec // queue
	saveTime              prometheus.Histogram
	storeBlocks           prometheus.Gauge
	storeStates           prometheus.Gauge

	// leanMetrics, by section of metrics.md. PQ signatures:
	attestationSignatures        prometheus.Counter
	attestationSignaturesValid   prometheus.Counter
	attestationSignaturesInvalid prometheus.Counter
	attestationSigningTime       prometheus.Histogram
	attestationVerificationTime  prometheus.Histogram
	aggregatedSignatures         prometheus.Counter
	aggregatedSignaturesValid    prometheus.Counter
	aggregatedSignaturesInvalid  prometheus.Counter
	attestationsInAggregates     prometheus.Counter
	aggregateBuildingTime        prometheus.Histogram
	aggregateVerificationTime    prometheus.Histogram

	// Block production.
	blockAggregatedPayloads prometheus.Histogram
	blockBuildingTime       prometheus.Histogram
	blockBuildingSuccess    prometheus.Counter
	blockBuildingFailures   prometheus.Counter

	// Fork choice.
	headSlot                  prometheus.Gauge
	safeTargetSlot            prometheus.Gauge
	blockProcessingTime       prometheus.Histogram
	attestationsValid         prometheus.Counter
	attestationsInvalid       prometheus.Counter
	attestationValidationTime prometheus.Histogram
	reorgs                    prometheus.Counter
	reorgDepth                prometheus.Histogram
	gossipSignatures          prometheus.Gauge
	newAggregatedPayloads     prometheus.Gauge
	knownAggregatedPayloads   prometheus.Gauge
	committeeAggregationTime  prometheus.Histogram
	syncStatus                *prometheus.GaugeVec // status
	coverageValidators        *prometheus.GaugeVec // section, subnet
	coverageSubnets           *prometheus.GaugeVec // section
	coverageDiffValidators    *prometheus.GaugeVec // direction

	// State transition.
	latestJustifiedSlot        prometheus.Gauge
	latestFinalizedSlot        prometheus.Gauge
	justifiedSlot              prometheus.Gauge
	finalizedSlot              prometheus.Gauge
	finalizations              *prometheus.CounterVec // result
	stateTransitionTime        prometheus.Histogram
	transitionAttestationsDone prometheus.Counter

	// Validator.
	validatorsCount           prometheus.Gauge
	isAggregator              prometheus.Gauge
	attestationProductionTime prometheus.Histogram
	aggregatorSkipped         *prometheus.CounterVec // reason

	// Network.
	connectedPeers prometheus.Gauge
	networkMetrics
}

// Histogram buckets that several metrics of leanMetrics share, in seconds.
var (
	shortTimes    = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}
	proofTimes    = []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}
	buildingTimes = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}
)

// The values of lean_node_sync_status. A node is idle until its first SyncState event.
const (
	statusIdle    = "idle"
	statusSyncing = "syncing"
	statusSynced  = "synced"
)

// coverageSections are the sections of the slot report on aggregates.
//
// leanSpec: node/metrics/registry.py, ATTESTATION_AGGREGATE_COVERAGE_SECTIONS
var coverageSections = set(
	"timely", "late", "block", "combined",
	"aggregate_start_new", "proposal_payloads", "proposal_gossip", "proposal_combined",
)

// subnetCombined is the value of the subnet label that stands for all subnets together.
const subnetCombined = "combined"

// NewMetrics defines and registers every metric. Each starts at zero and is present from the first scrape.
func NewMetrics(info Info) *Metrics {
	if info.StartTime.IsZero() {
		info.StartTime = time.Now()
	}
	startTime := float64(info.StartTime.UnixNano()) / 1e9

	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	d := definer{promauto.With(m.registry)}

	// This node's own. The clock's slot is computed when it is scraped, so that it is right even where the
	// node hangs.
	d.gaugeFunc("leanspec_slot_current", "Slot of the wall clock, 0 before genesis.", m.currentSlot)
	d.gaugeFunc("leanspec_epoch_current", "Slot of the wall clock divided by 3.",
		func() float64 { return float64(Epoch(m.clockSlot())) })
	m.peersConnected = d.gauge("leanspec_peers_connected", "Peers with an open connection.")
	m.blocksImported = d.counter("leanspec_blocks_imported_total",
		"Blocks added to fork choice, own blocks included, each block once.")
	m.attestationsProcessed = d.counter("leanspec_attestations_processed_total",
		"Votes accepted: one for an attestation, one for each participant of an aggregate or of an attestation in a block.")
	m.syncDistance = d.gauge("leanspec_sync_distance",
		"Slots between the best head known from peers and ours, 0 when synced.")
	d.gauge("leanspec_process_start_time_seconds", "Unix time at which the process started.").Set(startTime)
	m.blocksRejected = d.counterVec("leanspec_blocks_rejected_total", "Blocks that failed a check.", "reason")
	m.attestationsRejected = d.counterVec("leanspec_attestations_rejected_total",
		"Votes of one validator that failed a check.", "reason")
	m.aggregatesRejected = d.counterVec("leanspec_aggregates_rejected_total",
		"Aggregated votes that failed a check.", "reason")
	m.dutiesSkipped = d.counterVec("leanspec_duties_skipped_total", "Duties that were due and not done.", "duty", "reason")
	m.signaturesRefused = d.counterVec("leanspec_validator_signatures_refused_total",
		"Signatures refused because the slot or a later one was signed already.", "role")
	for kind := range signatureKinds {
		m.signaturesRefused.WithLabelValues(kind)
	}
	m.keySlotsLeft = d.gaugeVec("leanspec_validator_key_slots_left", "Slots for which a key can still sign.", "validator", "role")
	m.queueDropped = d.counterVec("leanspec_queue_dropped_total", "Items that a full queue refused.", "queue")
	m.saveTime = d.histogram("leanspec_storage_save_time_seconds",
		"Time until a change of the chain is on the disk, which everybody who sees it waits for.",
		0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
	for _, level := range logLevels {
		d.NewCounterFunc(prometheus.CounterOpts{Name: "leanspec_log_lines_total", Help: "Lines logged, by level.",
			ConstLabels: prometheus.Labels{"level": levelName(level)}}, func() float64 { return m.logLines(level) })
	}
	m.storeBlocks = d.gauge("leanspec_store_blocks", "Blocks in the fork-choice store.")
	m.storeStates = d.gauge("leanspec_store_states", "States in the fork-choice store.")

	// leanMetrics: Node Info Metrics
	d.gaugeVec("lean_node_info", "Name and version of the node, always 1.", "name", "version").
		WithLabelValues(info.Name, info.Version).Set(1)
	d.gauge("lean_node_start_time_seconds", "Unix time at which the node started.").Set(startTime)

	// leanMetrics: PQ Signature Metrics
	m.attestationSignatures = d.counter("lean_pq_sig_attestation_signatures_total", "Votes signed by this node.")
	m.attestationSignaturesValid = d.counter("lean_pq_sig_attestation_signatures_valid_total",
		"Signatures of single votes that were checked and found valid.")
	m.attestationSignaturesInvalid = d.counter("lean_pq_sig_attestation_signatures_invalid_total",
		"Signatures of single votes that were checked and found invalid.")
	m.attestationSigningTime = d.histogram("lean_pq_sig_attestation_signing_time_seconds",
		"Time to sign a vote.", shortTimes...)
	m.attestationVerificationTime = d.histogram("lean_pq_sig_attestation_verification_time_seconds",
		"Time to check the signature of a vote.", shortTimes...)
	m.aggregatedSignatures = d.counter("lean_pq_sig_aggregated_signatures_total",
		"Aggregated signatures made by this node.")
	m.aggregatedSignaturesValid = d.counter("lean_pq_sig_aggregated_signatures_valid_total",
		"Aggregated signatures that were checked and found valid, proofs of blocks included.")
	m.aggregatedSignaturesInvalid = d.counter("lean_pq_sig_aggregated_signatures_invalid_total",
		"Aggregated signatures that were checked and found invalid, proofs of blocks included.")
	m.attestationsInAggregates = d.counter("lean_pq_sig_attestations_in_aggregated_signatures_total",
		"Votes in the aggregated signatures made by this node.")
	m.aggregateBuildingTime = d.histogram("lean_pq_sig_aggregated_signatures_building_time_seconds",
		"Time to make an aggregated signature.", proofTimes...)
	m.aggregateVerificationTime = d.histogram("lean_pq_sig_aggregated_signatures_verification_time_seconds",
		"Time to check an aggregated signature, proofs of blocks included.", proofTimes...)

	// leanMetrics: Block Production Metrics
	m.blockAggregatedPayloads = d.histogram("lean_block_aggregated_payloads",
		"Aggregated attestations in a block built by this node.", 1, 2, 4, 8, 16, 32, 64, 128)
	m.blockBuildingTime = d.histogram("lean_block_building_time_seconds", "Time to build a block.", buildingTimes...)
	m.blockBuildingSuccess = d.counter("lean_block_building_success_total", "Blocks built.")
	m.blockBuildingFailures = d.counter("lean_block_building_failures_total", "Blocks that could not be built.")

	// leanMetrics: Fork-Choice Metrics
	m.headSlot = d.gauge("lean_head_slot", "Slot of the head of fork choice.")
	d.gaugeFunc("lean_current_slot", "Slot of the wall clock, 0 before genesis.", m.currentSlot)
	m.safeTargetSlot = d.gauge("lean_safe_target_slot", "Slot of the safe target.")
	m.blockProcessingTime = d.histogram("lean_fork_choice_block_processing_time_seconds",
		"Time to add a block to fork choice, signatures and state transition included.",
		0.005, 0.01, 0.025, 0.05, 0.1, 1, 1.25, 1.5, 2, 4)
	m.attestationsValid = d.counter("lean_attestations_valid_total", "Single votes that passed validation.")
	m.attestationsInvalid = d.counter("lean_attestations_invalid_total", "Single votes that failed validation.")
	m.attestationValidationTime = d.histogram("lean_attestation_validation_time_seconds",
		"Time to validate a vote, signature included.", shortTimes...)
	m.reorgs = d.counter("lean_fork_choice_reorgs_total", "Head changes that took blocks off the canonical chain.")
	m.reorgDepth = d.histogram("lean_fork_choice_reorg_depth", "Blocks that a reorg took off the canonical chain.",
		1, 2, 3, 5, 7, 10, 20, 30, 50, 100)
	m.gossipSignatures = d.gauge("lean_gossip_signatures", "Signatures of single votes in the fork-choice store.")
	m.newAggregatedPayloads = d.gauge("lean_latest_new_aggregated_payloads",
		"Aggregated payloads in the store that do not count yet.")
	m.knownAggregatedPayloads = d.gauge("lean_latest_known_aggregated_payloads",
		"Aggregated payloads in the store that count.")
	m.committeeAggregationTime = d.histogram("lean_committee_signatures_aggregation_time_seconds",
		"Time to aggregate the signatures of a committee.", 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4)
	m.syncStatus = d.gaugeVec("lean_node_sync_status", "1 for the status the node is in, otherwise 0.", "status")
	m.setSyncStatus(statusIdle)

	// Not in metrics.md; leanSpec's own registry has them and its API vectors ask for them.
	m.coverageValidators = d.gaugeVec("lean_attestation_aggregate_coverage_validators",
		"Validators covered by the aggregates of a section of the slot report, by subnet and combined.", "section", "subnet")
	m.coverageSubnets = d.gaugeVec("lean_attestation_aggregate_coverage_subnets",
		"Subnets covered by the aggregates of a section of the slot report.", "section")
	m.coverageDiffValidators = d.gaugeVec("lean_attestation_aggregate_coverage_diff_validators",
		"Validators covered only by the block, or only by what was there in time.", "direction")
	for section := range coverageSections {
		m.coverageValidators.WithLabelValues(section, subnetCombined).Set(0)
		m.coverageSubnets.WithLabelValues(section).Set(0)
	}
	m.coverageDiffValidators.WithLabelValues("block_only").Set(0)
	m.coverageDiffValidators.WithLabelValues("timely_only").Set(0)

	// leanMetrics: State Transition Metrics. metrics.md names each checkpoint twice; both are the store's.
	m.latestJustifiedSlot = d.gauge("lean_latest_justified_slot", "Slot of the latest justified checkpoint.")
	m.latestFinalizedSlot = d.gauge("lean_latest_finalized_slot", "Slot of the latest finalized checkpoint.")
	m.justifiedSlot = d.gauge("lean_justified_slot", "Slot of the current justified checkpoint.")
	m.finalizedSlot = d.gauge("lean_finalized_slot", "Slot of the current finalized checkpoint.")
	m.finalizations = d.counterVec("lean_finalizations_total", "Advances of the finalized checkpoint.", "result")
	m.finalizations.WithLabelValues("success")
	m.finalizations.WithLabelValues("error")
	m.stateTransitionTime = d.histogram("lean_state_transition_time_seconds", "Time of a whole state transition.",
		0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4)
	m.transitionAttestationsDone = d.counter("lean_state_transition_attestations_processed_total",
		"Aggregated attestations processed in the blocks imported.")

	// leanMetrics: Validator Metrics
	m.validatorsCount = d.gauge("lean_validators_count", "Validators run by this node.")
	m.isAggregator = d.gauge("lean_is_aggregator", "1 where this node aggregates, otherwise 0.")
	m.attestationProductionTime = d.histogram("lean_attestations_production_time_seconds",
		"Time to make a vote.", buildingTimes...)
	m.aggregatorSkipped = d.counterVec("lean_aggregator_skipped_total", "Aggregations not done, by reason.", "reason")
	m.aggregatorSkipped.WithLabelValues(labelOther)
	for reason := range aggregatorSkipReasons {
		m.aggregatorSkipped.WithLabelValues(reason)
	}

	// leanMetrics: Network Metrics. The client label would need a name that peers tell of themselves.
	m.connectedPeers = d.gaugeVec("lean_connected_peers", "Peers with an open connection.", "client").
		WithLabelValues("unknown")
	m.networkMetrics = newNetworkMetrics(d)

	return m
}

// SetClock gives the metrics the slot of the wall clock, which must be 0 before genesis. It is called at every
// scrape, from any goroutine.
func (m *Metrics) SetClock(slot func() uint64) { m.clock.Store(&slot) }

// SetLog gives the metrics the log whose lines they count.
func (m *Metrics) SetLog(c *LogControl) { m.log.Store(c) }

func (m *Metrics) logLines(level slog.Level) float64 {
	if c := m.log.Load(); c != nil {
		return float64(c.Lines(level))
	}
	return 0
}

func (m *Metrics) clockSlot() uint64 {
	if slot := m.clock.Load(); slot != nil && *slot != nil {
		return (*slot)()
	}
	return 0
}

func (m *Metrics) currentSlot() float64 { return float64(m.clockSlot()) }

// setSyncStatus makes status the one value of lean_node_sync_status that is 1.
func (m *Metrics) setSyncStatus(status string) {
	for _, s := range []string{statusIdle, statusSyncing, statusSynced} {
		m.syncStatus.WithLabelValues(s).Set(oneIf(s == status))
	}
}

// Registry gathers every metric, and takes more collectors, such as a library's own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics as Prometheus text, or as OpenMetrics where the request asks for it.
//
// leanSpec: node/api/handlers.py, metrics
func (m *Metrics) Handler() http.Handler {
	exposition := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		// One broken collector must not hide all others from the operator.
		ErrorHandling: promhttp.ContinueOnError,
		// Text first, so that "Accept: */*" gets what a plain GET gets.
		AcceptedFormats: []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1},
		// Any number of scrapes at once cost one collection.
		CoalesceGather: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		exposition.ServeHTTP(plainTextType{w}, r)
	})
}

// plainTextType drops the escaping parameter that promhttp adds to the content type of text. leanSpec's API
// vectors fix the type without it, and every name here is plain ASCII, so there is nothing to escape.
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

// definer makes a definition one line.
type definer struct{ promauto.Factory }

func (d definer) counter(name, help string) prometheus.Counter {
	return d.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func (d definer) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return d.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (d definer) gauge(name, help string) prometheus.Gauge {
	return d.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func (d definer) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return d.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func (d definer) gaugeFunc(name, help string, value func() float64) {
	d.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func (d definer) histogram(name, help string, buckets ...float64) prometheus.Histogram {
	return d.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

// observe records a duration that was measured.
func observe(h prometheus.Histogram, d time.Duration) {
	if d > 0 {
		h.Observe(d.Seconds())
	}
}

// add adds a count. A negative one would make the counter panic.
func add(c prometheus.Counter, n int) {
	if n > 0 {
		c.Add(float64(n))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
