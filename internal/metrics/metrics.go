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
	// StartTime is when the process started; New takes its own time where it is zero.
	StartTime time.Time
	// PeerNames are the names that peers can have in metrics, beside "unknown".
	PeerNames []string
}

// Metrics holds every metric of the node, on a registry of its own. It is safe for concurrent use.
//
// The fields follow leanMetrics' metrics.md, section by section. To add a metric: a field here, its definition
// in New, and the event that moves it in Observer; the tests list all three, and docs/metrics.md is made of the
// definitions.
type Metrics struct {
	registry *prometheus.Registry
	clock    atomic.Pointer[func() lstar.Slot]
	log      atomic.Pointer[Log]
	queues   queues

	// leanspec_*: this node's own.
	peersConnected        prometheus.Gauge
	blocksImported        prometheus.Counter
	attestationsProcessed prometheus.Counter
	syncDistance          prometheus.Gauge
	blocksRejected        *prometheus.CounterVec // reason, source
	attestationsRejected  *prometheus.CounterVec // reason, source
	aggregatesRejected    *prometheus.CounterVec // reason, source
	blockImported         prometheus.Histogram
	seen                  map[string]prometheus.Histogram // by kind of gossip
	importTime            prometheus.Histogram
	importStages          [len(stageNames)]prometheus.Observer
	duties                *prometheus.CounterVec // duty, outcome, reason
	signaturesRefused     *prometheus.CounterVec // role
	signingRecordsMissing prometheus.Gauge
	keySlotsLeft          *prometheus.GaugeVec   // validator, role
	queueDropped          *prometheus.CounterVec // queue
	saveTime              prometheus.Histogram
	storageUsed           prometheus.Gauge
	storageFree           *prometheus.GaugeVec // no label: it is there once it is known
	storeBlocks           prometheus.Gauge
	storeStates           prometheus.Gauge
	fingerprint           prometheus.Gauge
	finalized             atomic.Uint64 // slot
	drift                 drift

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
	payloadAggregationTime  prometheus.Histogram
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
	tickInterval              prometheus.Histogram

	// State transition.
	latestJustifiedSlot        prometheus.Gauge
	latestFinalizedSlot        prometheus.Gauge
	justifiedSlot              prometheus.Gauge
	finalizedSlot              prometheus.Gauge
	finalizations              *prometheus.CounterVec // result
	stateTransitionTime        prometheus.Histogram
	transitionSlots            prometheus.Counter
	transitionSlotsTime        prometheus.Histogram
	transitionBlockTime        prometheus.Histogram
	transitionAttestations     prometheus.Counter
	transitionAttestationsTime prometheus.Histogram

	// Validator.
	validatorsCount           prometheus.Gauge
	isAggregator              prometheus.Gauge
	attestationProductionTime prometheus.Histogram
	aggregatorSkipped         *prometheus.CounterVec // reason

	networkMetrics

	definitions []Definition
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

var statuses = names{statusIdle, statusSyncing, statusSynced}

// coverageSections are the sections of the slot report on aggregates.
//
// leanSpec: node/metrics/registry.py, ATTESTATION_AGGREGATE_COVERAGE_SECTIONS
var coverageSections = names{
	"timely", "late", "block", "combined",
	"aggregate_start_new", "proposal_payloads", "proposal_gossip", "proposal_combined",
}

// subnetCombined is the value of the subnet label that stands for all subnets together.
const subnetCombined = "combined"

// New defines and registers every metric. Each starts at zero and is present from the first scrape.
func New(info Info) *Metrics {
	if info.StartTime.IsZero() {
		info.StartTime = time.Now()
	}
	startTime := float64(info.StartTime.UnixNano()) / 1e9

	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	d := &definer{Factory: promauto.With(m.registry)}
	m.defineOwn(d, startTime)
	m.defineLean(d, info, startTime)
	m.networkMetrics = newNetworkMetrics(d, info.PeerNames)
	m.definitions = d.definitions
	return m
}

// Buckets of this node's own histograms, in seconds.
var (
	delays = []float64{0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 8, 16}
	stages = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
)

// defineOwn defines what this node has beside leanMetrics.
func (m *Metrics) defineOwn(d *definer, startTime float64) {
	// The clock's slot is computed when it is scraped, so that it is right even where the node hangs.
	d.section = "The node"
	d.gaugeFunc("leanspec_slot_current", "Slot of the wall clock, 0 before genesis.", m.currentSlot)
	d.gaugeFunc("leanspec_epoch_current", "Slot of the wall clock divided by 3.",
		func() float64 { return float64(events.Epoch(m.clockSlot())) })
	m.peersConnected = d.gauge("leanspec_peers_connected", "Peers with an open connection.")
	m.blocksImported = d.counter("leanspec_blocks_imported_total",
		"Blocks added to fork choice, own blocks included, each block once.")
	m.attestationsProcessed = d.counter("leanspec_attestations_processed_total",
		"Votes accepted: one for an attestation, one for each participant of an aggregate or of an attestation in a block.")
	m.syncDistance = d.gauge("leanspec_sync_distance",
		"Slots between the best head known from peers and ours, 0 when synced.")
	d.gauge("leanspec_process_start_time_seconds", "Unix time at which the process started.").Set(startTime)

	d.counterFuncs("leanspec_log_lines_total", "Lines logged, by level. Dropped lines are included.", m.logLines)
	d.counterFunc("leanspec_log_lines_dropped_total", "Log lines lost because standard error was blocked or failed.", m.logLinesDropped)

	d.section = "The chain"
	d.gaugeFunc("leanspec_finality_lag_slots", "Slots between the wall clock and the finalized checkpoint.", m.finalityLag)
	m.fingerprint = d.gauge("leanspec_chain_fingerprint",
		"First 48 bits of the root of the canonical block at, or last before, the latest slot that is a multiple of 16 and at "+
			"least 4 slots behind the clock. Nodes on one chain show the same number.")
	m.blocksRejected = d.counterVec("leanspec_blocks_rejected_total", "Blocks that failed a check.",
		fixed("reason", blockReasons...), fixed("source", sources...))
	m.attestationsRejected = d.counterVec("leanspec_attestations_rejected_total",
		"Votes of one validator that failed a check. Those that wait for a block are not among them.",
		fixed("reason", voteReasons...), fixed("source", sources...))
	m.aggregatesRejected = d.counterVec("leanspec_aggregates_rejected_total",
		"Aggregated votes that failed a check. Those that wait for a block are not among them.",
		fixed("reason", voteReasons...), fixed("source", sources...))
	m.importTime = d.histogram("leanspec_block_import_time_seconds",
		"Time from when the chain is given a block until everybody sees it, waits included.", stages...)
	importStages := d.histogramVec("leanspec_block_import_stage_time_seconds",
		"Parts of an import: waiting for the chain's owner and for a processor, checking signatures, the state transition, "+
			"fork choice, and saving and showing the result.",
		stages, fixed("stage", stageNames[:]...))
	for i, stage := range stageNames {
		m.importStages[i] = importStages.WithLabelValues(stage)
	}
	m.storeBlocks = d.gauge("leanspec_store_blocks", "Blocks in the fork-choice store.")
	m.storeStates = d.gauge("leanspec_store_states", "States in the fork-choice store.")

	d.section = "Time"
	blockSeen := d.histogram("leanspec_block_seen_delay_seconds",
		"Time from the start of a block's slot until the block came by gossip. Valid blocks only.", delays...)
	m.blockImported = d.histogram("leanspec_block_imported_delay_seconds",
		"Time from the start of a block's slot until it was in fork choice, for blocks of gossip and own ones.", delays...)
	m.seen = map[string]prometheus.Histogram{
		events.GossipBlock: blockSeen,
		events.GossipAttestation: d.histogram("leanspec_attestation_seen_delay_seconds",
			"Time from the start of its slot until the vote of one validator came by gossip. Valid votes only.", delays...),
		events.GossipAggregation: d.histogram("leanspec_aggregate_seen_delay_seconds",
			"Time from the start of its slot until an aggregated vote came by gossip. Valid ones only.", delays...),
	}
	d.gaugeFunc("leanspec_clock_drift_seconds",
		"How long after the interval they belong to the gossip messages of peers come: the median over the peers of the median of "+
			"their last 16, of the peers heard in the last two minutes. Negative where this clock is behind theirs; above a second where it is ahead, or messages come late. "+
			"0 without messages.",
		func() float64 { return m.drift.median(time.Now()) })

	d.section = "Validators"
	m.duties = d.counterVec("leanspec_duties_total",
		"Duties by what became of them: made in time, late, missed by this node's fault, or skipped on purpose. A vote counts for "+
			"each validator. The reason is empty for those that were done.",
		Label{Name: "duty", Values: duties}, Label{Name: "outcome", Values: outcomes},
		Label{Name: "reason", Values: append(slices.Clone(missedReasons), skippedReasons[:len(skippedReasons)-2]...), Late: true})
	for _, duty := range duties {
		m.duties.WithLabelValues(duty, events.OutcomeMade, "")
		m.duties.WithLabelValues(duty, events.OutcomeLate, "")
		for _, reason := range missedReasons {
			m.duties.WithLabelValues(duty, events.OutcomeMissed, reason)
		}
		for _, reason := range skippedReasons {
			m.duties.WithLabelValues(duty, events.OutcomeSkipped, reason)
		}
	}
	m.signaturesRefused = d.counterVec("leanspec_validator_signatures_refused_total",
		"Signatures refused because the slot or a later one was signed already.", fixed("role", signatureKinds...))
	m.signingRecordsMissing = d.gauge("leanspec_validator_signing_records_missing",
		"Keys without a record of what they have signed when the process started, after genesis.")
	m.keySlotsLeft = d.gaugeVec("leanspec_validator_key_slots_left", "Slots for which a key can still sign.",
		open("validator", "indices of the validators run here"), fixed("role", signatureKinds...))

	d.section = "Queues and storage"
	m.queues.define(d)
	m.registry.MustRegister(&m.queues)
	m.queueDropped = d.counterVec("leanspec_queue_dropped_total", "Items that a full queue refused or gave up.", fixed("queue", queueNames...))
	m.saveTime = d.histogram("leanspec_storage_save_time_seconds",
		"Time until a change of the chain is on the disk, which everybody who sees it waits for.",
		0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
	m.storageUsed = d.gauge("leanspec_storage_used_bytes", "Size of the database of the chain, 0 without a data folder.")
	m.storageFree = d.gaugeVec("leanspec_storage_free_bytes", "Free space on the disk of the data folder; absent without one.")
}

// defineLean defines what leanMetrics has, but for the network.
func (m *Metrics) defineLean(d *definer, info Info, startTime float64) {
	d.section = "leanMetrics: Node Info Metrics"
	d.gaugeVec("lean_node_info", "Name and version of the node, always 1.",
		open("name", "of the program"), open("version", "of the program")).WithLabelValues(info.Name, info.Version).Set(1)
	d.gauge("lean_node_start_time_seconds", "Unix time at which the node started.").Set(startTime)

	d.section = "leanMetrics: PQ Signature Metrics"
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

	d.section = "leanMetrics: Block Production Metrics"
	m.blockAggregatedPayloads = d.histogram("lean_block_aggregated_payloads",
		"Aggregated attestations in a block built by this node.", 1, 2, 4, 8, 16, 32, 64, 128)
	m.payloadAggregationTime = d.histogram("lean_block_building_payload_aggregation_time_seconds",
		"Time to choose and merge the votes of a block built by this node.", 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4)
	m.blockBuildingTime = d.histogram("lean_block_building_time_seconds", "Time to build a block.", buildingTimes...)
	m.blockBuildingSuccess = d.counter("lean_block_building_success_total", "Blocks built.")
	m.blockBuildingFailures = d.counter("lean_block_building_failures_total", "Blocks that could not be built.")

	d.section = "leanMetrics: Fork-Choice Metrics"
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
	m.syncStatus = d.gaugeVec("lean_node_sync_status", "1 for the status the node is in, otherwise 0.",
		fixed("status", statuses...))
	m.setSyncStatus(statusIdle)
	m.tickInterval = d.histogram("lean_tick_interval_duration_seconds", "Time between two ticks of the chain's clock, one an interval.",
		0.4, 0.6, 0.75, 0.8, 0.805, 0.81, 0.815, 0.82, 0.825, 0.85, 0.9, 1.0, 1.2, 1.6)

	// Not in metrics.md; leanSpec's own registry has them, its API vectors ask for them, and its node moves none.
	d.section = "leanSpec's coverage report"
	d.gaugeVec("lean_attestation_aggregate_coverage_validators",
		"Validators covered by the aggregates of a section of the slot report, by subnet and combined. leanSpec's node never sets it, nor does this one.",
		fixed("section", coverageSections...), fixed("subnet", subnetCombined))
	d.gaugeVec("lean_attestation_aggregate_coverage_subnets",
		"Subnets covered by the aggregates of a section of the slot report. Never set, as above.", fixed("section", coverageSections...))
	d.gaugeVec("lean_attestation_aggregate_coverage_diff_validators",
		"Validators covered only by the block, or only by what was there in time. Never set, as above.",
		fixed("direction", "block_only", "timely_only"))

	// metrics.md names each checkpoint twice; both are the store's.
	d.section = "leanMetrics: State Transition Metrics"
	m.latestJustifiedSlot = d.gauge("lean_latest_justified_slot", "Slot of the latest justified checkpoint.")
	m.latestFinalizedSlot = d.gauge("lean_latest_finalized_slot", "Slot of the latest finalized checkpoint.")
	m.justifiedSlot = d.gauge("lean_justified_slot", "Slot of the current justified checkpoint.")
	m.finalizedSlot = d.gauge("lean_finalized_slot", "Slot of the current finalized checkpoint.")
	m.finalizations = d.counterVec("lean_finalizations_total", "Advances of the finalized checkpoint. None can fail.",
		fixed("result", "success", "error"))
	m.stateTransitionTime = d.histogram("lean_state_transition_time_seconds", "Time of a whole state transition.",
		0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4)
	m.transitionSlots = d.counter("lean_state_transition_slots_processed_total", "Slots gone through by the state transitions of the blocks imported.")
	m.transitionSlotsTime = d.histogram("lean_state_transition_slots_processing_time_seconds", "Time of process_slots.", shortTimes...)
	m.transitionBlockTime = d.histogram("lean_state_transition_block_processing_time_seconds", "Time of process_block, attestations included.", shortTimes...)
	m.transitionAttestations = d.counter("lean_state_transition_attestations_processed_total",
		"Aggregated attestations processed in the blocks imported.")
	m.transitionAttestationsTime = d.histogram("lean_state_transition_attestations_processing_time_seconds", "Time of process_attestations.", shortTimes...)

	d.section = "leanMetrics: Validator Metrics"
	m.validatorsCount = d.gauge("lean_validators_count", "Validators run by this node.")
	m.isAggregator = d.gauge("lean_is_aggregator", "1 where this node aggregates, otherwise 0.")
	m.attestationProductionTime = d.histogram("lean_attestations_production_time_seconds",
		"Time to make a vote.", buildingTimes...)
	m.aggregatorSkipped = d.counterVec("lean_aggregator_skipped_total", "Aggregations not done, by reason.", fixed("reason", aggregatorSkipReasons...))
}

// SetClock sets the function that returns the slot of the wall clock, 0 before genesis. It is called at every scrape, from
// any goroutine.
func (m *Metrics) SetClock(slot func() lstar.Slot) { m.clock.Store(&slot) }

// Log counts its lines.
type Log interface {
	Lines(slog.Level) uint64
	Dropped() uint64
}

// SetLog sets the log whose lines are counted.
func (m *Metrics) SetLog(l Log) { m.log.Store(&l) }

func (m *Metrics) logLines(level slog.Level) float64 {
	if l := m.log.Load(); l != nil {
		return float64((*l).Lines(level))
	}
	return 0
}

func (m *Metrics) logLinesDropped() float64 {
	if l := m.log.Load(); l != nil {
		return float64((*l).Dropped())
	}
	return 0
}

func (m *Metrics) clockSlot() lstar.Slot {
	if slot := m.clock.Load(); slot != nil {
		return (*slot)()
	}
	return 0
}

func (m *Metrics) currentSlot() float64 { return float64(m.clockSlot()) }

func (m *Metrics) finalityLag() float64 {
	slot := uint64(m.clockSlot())
	return float64(slot - min(m.finalized.Load(), slot))
}

// Definitions returns what there is to know of every metric but those of the Go runtime and the process, in the
// order of the documentation.
func (m *Metrics) Definitions() []Definition { return slices.Clone(m.definitions) }

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
		// Protobuf alone has the native histograms.
		AcceptedFormats: []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim},
		// Any number of scrapes at once cost one collection.
		CoalesceGather: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
