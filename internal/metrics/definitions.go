package metrics

import (
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Buckets of this node's own histograms, in seconds.
var (
	delays = []float64{0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 8, 16}
	stages = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
)

// Buckets that several histograms of leanMetrics share, in seconds.
var (
	shortTimes    = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}
	proofTimes    = []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}
	buildingTimes = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}
)

// defineOwn defines the metrics that this node has in addition to those of leanMetrics.
func (m *Metrics) defineOwn(d *definer, log Log, startTime float64) {
	// The slot of the clock is computed at the scrape, so it is right even if the node hangs.
	d.section = "The node"
	d.gaugeFunc("leanspec_slot_current", "Slot of the wall clock, 0 before genesis.", func() float64 { return float64(m.slot()) })
	d.gaugeFunc("leanspec_epoch_current", "Slot of the wall clock divided by 3.",
		func() float64 { return float64(events.Epoch(m.slot())) })
	m.peersConnected = d.gauge("leanspec_peers_connected", "Number of peers with an open connection.")
	m.blocksImported = d.counter("leanspec_blocks_imported_total",
		"Number of blocks added to fork choice, including own blocks. Each block counts once.")
	m.attestationsProcessed = d.counter("leanspec_attestations_processed_total",
		"Number of votes accepted: one for an attestation, one for each participant of an aggregate or of an attestation in a block.")
	m.syncDistance = d.gauge("leanspec_sync_distance",
		"Number of slots between the highest head reported by peers and the head of this node, 0 when synced.")
	d.gauge("leanspec_process_start_time_seconds", "Start time of the process, in Unix seconds.").Set(startTime)
	d.counterFuncs("leanspec_log_lines_total", "Number of lines logged, by level, including dropped lines.",
		func(level slog.Level) float64 { return float64(log.Lines(level)) })
	d.counterFunc("leanspec_log_lines_dropped_total",
		"Number of log lines dropped because standard error was blocked or failed.", func() float64 { return float64(log.Dropped()) })

	d.section = "The chain"
	d.gaugeFunc("leanspec_finality_lag_slots", "Number of slots between the wall clock and the finalized checkpoint.", m.finalityLag)
	m.fingerprint = d.gauge("leanspec_chain_fingerprint",
		"First 48 bits of the root of a canonical block: the block at the latest slot that is a multiple of 16 and at least 4 slots "+
			"behind the clock, or the last one before it. Nodes on the same chain have the same value.")
	m.rejected = map[string]*prometheus.CounterVec{
		events.GossipBlock: d.counterVec("leanspec_blocks_rejected_total", "Number of blocks that failed a check.",
			fixed("reason", blockReasons...), fixed("source", sources...)),
		events.GossipAttestation: d.counterVec("leanspec_attestations_rejected_total",
			"Number of single votes that failed a check, without those that wait for a block.",
			fixed("reason", voteReasons...), fixed("source", sources...)),
		events.GossipAggregation: d.counterVec("leanspec_aggregates_rejected_total",
			"Number of aggregates that failed a check, without those that wait for a block.",
			fixed("reason", voteReasons...), fixed("source", sources...)),
	}
	m.importTime = d.histogram("leanspec_block_import_time_seconds",
		"Duration of a block import, from the call to the published result, including waits, in seconds.", stages...)
	importStages := d.histogramVec("leanspec_block_import_stage_time_seconds",
		"Duration of the parts of a block import, in seconds: waiting for the chain's owner and for a processor, verifying signatures, "+
			"the state transition, fork choice, and saving and publishing the result.",
		stages, fixed("stage", stageNames[:]...))
	for i, stage := range stageNames {
		m.importStages[i] = importStages.WithLabelValues(stage)
	}
	m.storeBlocks = d.gauge("leanspec_store_blocks", "Number of blocks in the fork-choice store.")
	m.storeStates = d.gauge("leanspec_store_states", "Number of states in the fork-choice store.")

	d.section = "Time"
	blockSeen := d.histogram("leanspec_block_seen_delay_seconds",
		"Delay between the start of a slot and the arrival of its block by gossip, in seconds. Only valid blocks count.", delays...)
	m.blockImported = d.histogram("leanspec_block_imported_delay_seconds",
		"Delay between the start of a slot and the end of the import of its block, for gossiped and own blocks, in seconds.", delays...)
	m.seen = map[string]prometheus.Observer{
		events.GossipBlock: blockSeen,
		events.GossipAttestation: d.histogram("leanspec_attestation_seen_delay_seconds",
			"Delay between the start of a slot and the arrival of a single vote by gossip, in seconds. Only valid votes count.", delays...),
		events.GossipAggregation: d.histogram("leanspec_aggregate_seen_delay_seconds",
			"Delay between the start of a slot and the arrival of an aggregate by gossip, in seconds. Only valid aggregates count.", delays...),
	}
	d.gaugeFunc("leanspec_clock_drift_seconds",
		"Delay between the interval to which gossip messages belong and their arrival, in seconds: the median over the peers of the last two "+
			"minutes of each peer's median over its latest 16 messages. A negative value means that this clock is behind those of the "+
			"peers; a value above 1 means that it is ahead, or that messages are late. 0 without messages.",
		func() float64 { return m.drift.median(time.Now()) })

	d.section = "Validators"
	m.duties = d.counterVec("leanspec_duties_total",
		"Number of duties, by outcome: made in time, late, missed because of a fault of this node, or skipped on purpose. Votes count "+"once for each validator. The reason is empty for duties that were done.",
		fixed("duty", duties...), fixed("outcome", outcomes...),
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
		"Number of signatures refused because the key has already signed for the slot or a later one.", fixed("role", signatureKinds...))
	m.signingRecordsMissing = d.gauge("leanspec_validator_signing_records_missing",
		"Number of keys that had no signing record when the node started after genesis.")
	m.keySlotsLeft = d.gaugeVec("leanspec_validator_key_slots_left", "Number of slots for which a key can still sign.",
		open("validator", "indices of this node's validators"), fixed("role", signatureKinds...))

	d.section = "Queues and storage"
	m.queues.length = d.desc("leanspec_queue_length", "Number of items that wait in a queue.", fixed("queue", watchedQueues...))
	m.queues.capacity = d.desc("leanspec_queue_capacity", "Number of items that fit into a queue.", fixed("queue", watchedQueues...))
	m.queueDropped = d.counterVec("leanspec_queue_dropped_total",
		"Number of items that a full queue refused or evicted.", fixed("queue", queueNames...))
	m.saveTime = d.histogram("leanspec_storage_save_time_seconds",
		"Duration until a change of the chain is on disk, in seconds. The change is published after that.",
		0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
	m.storageUsed = d.gauge("leanspec_storage_used_bytes", "Size of the database of the chain, in bytes; 0 without a data folder.")
	m.storageFree = d.lateGauge("leanspec_storage_free_bytes",
		"Free space on the disk of the data folder, in bytes; absent without one.")

	d.section = "Network"
	m.peersByHead = d.gaugeVec("leanspec_peers_by_head",
		"Number of peers with a known status, by the relation of their head to this node's when they sent it: same, behind (an ancestor), "+
			"ahead (not known yet), or fork.", fixed("relation", headRelations...))
	m.peersByFinalized = d.gaugeVec("leanspec_peers_by_finalized",
		"Number of peers with a known status, by the relation of their finalized checkpoint to this node's when they sent it.",
		fixed("relation", finalRelations...))
	m.gossipMessages = d.counterVec("leanspec_gossip_messages_total", "Number of gossip messages from peers, by verdict.",
		fixed("kind", gossipKinds...), fixed("verdict", verdicts...))
	m.requests = d.counterVec("leanspec_requests_total", "Number of requests from this node (outbound) and from peers (inbound), by result.",
		fixed("protocol", protocols...), fixed("direction", directions...), fixed("result", requestResults...))
	requestTime := d.histogramVec("leanspec_request_time_seconds",
		"Duration of a successful request of this node, until the whole response has arrived, in seconds.",
		[]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}, fixed("protocol", protocols...))
	m.requestTime = make(map[string]prometheus.Observer, len(protocols))
	for _, p := range protocols {
		m.requestTime[p] = requestTime.WithLabelValues(p)
	}
	m.faults = d.counter("leanspec_peer_faults_total", "Number of faults counted against peers.")
	m.bans = d.counter("leanspec_peers_banned_total", "Number of temporary bans of peers.")
	m.subscriptionsLost = d.counter("leanspec_gossip_subscriptions_lost_total",
		"Number of times that the gossip library lost the subscriptions of a connected peer.")
	m.duplicates = d.counter("leanspec_duplicate_identity_total",
		"Number of connections which show that two processes have the same peer id.")
	m.foreignPeers = d.gauge("leanspec_peers_without_common_topic",
		"Number of connected peers that gossip, but on no topic of this node's network.")
}

// defineLean defines the metrics of leanMetrics' metrics.md, section by section.
func (m *Metrics) defineLean(d *definer, info Info, startTime float64) {
	d.section = "leanMetrics: Node Info Metrics"
	d.gaugeVec("lean_node_info", "Name and version of the node; always 1.",
		open("name", "of the program"), open("version", "of the program")).WithLabelValues(info.Name, info.Version).Set(1)
	d.gauge("lean_node_start_time_seconds", "Start time of the node, in Unix seconds.").Set(startTime)

	d.section = "leanMetrics: PQ Signature Metrics"
	m.attestationSignatures = d.counter("lean_pq_sig_attestation_signatures_total", "Number of votes signed by this node.")
	m.attestationSignaturesValid = d.counter("lean_pq_sig_attestation_signatures_valid_total",
		"Number of verified signatures of single votes that were valid.")
	m.attestationSignaturesInvalid = d.counter("lean_pq_sig_attestation_signatures_invalid_total",
		"Number of verified signatures of single votes that were invalid.")
	m.attestationSigningTime = d.histogram("lean_pq_sig_attestation_signing_time_seconds",
		"Duration of signing a vote, in seconds.", shortTimes...)
	m.attestationVerificationTime = d.histogram("lean_pq_sig_attestation_verification_time_seconds",
		"Duration of verifying the signature of a vote, in seconds.", shortTimes...)
	m.aggregatedSignatures = d.counter("lean_pq_sig_aggregated_signatures_total", "Number of aggregated signatures made by this node.")
	m.aggregatedSignaturesValid = d.counter("lean_pq_sig_aggregated_signatures_valid_total",
		"Number of verified aggregated signatures, including proofs of blocks, that were valid.")
	m.aggregatedSignaturesInvalid = d.counter("lean_pq_sig_aggregated_signatures_invalid_total",
		"Number of verified aggregated signatures, including proofs of blocks, that were invalid.")
	m.attestationsInAggregates = d.counter("lean_pq_sig_attestations_in_aggregated_signatures_total",
		"Number of votes in the aggregated signatures made by this node.")
	m.aggregateBuildingTime = d.histogram("lean_pq_sig_aggregated_signatures_building_time_seconds",
		"Duration of making an aggregated signature, in seconds.", proofTimes...)
	m.aggregateVerificationTime = d.histogram("lean_pq_sig_aggregated_signatures_verification_time_seconds",
		"Duration of verifying an aggregated signature or the proof of a block, in seconds.", proofTimes...)

	d.section = "leanMetrics: Block Production Metrics"
	m.blockAggregatedPayloads = d.histogram("lean_block_aggregated_payloads",
		"Number of aggregated attestations in a block built by this node.", 1, 2, 4, 8, 16, 32, 64, 128)
	m.payloadAggregationTime = d.histogram("lean_block_building_payload_aggregation_time_seconds",
		"Duration of choosing and merging the votes of a block built by this node, in seconds.", 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4)
	m.blockBuildingTime = d.histogram("lean_block_building_time_seconds", "Duration of building a block, in seconds.", buildingTimes...)
	m.blockBuildingSuccess = d.counter("lean_block_building_success_total", "Number of blocks built.")
	m.blockBuildingFailures = d.counter("lean_block_building_failures_total", "Number of failures to build a block.")

	d.section = "leanMetrics: Fork-Choice Metrics"
	m.headSlot = d.gauge("lean_head_slot", "Slot of the head of fork choice.")
	d.gaugeFunc("lean_current_slot", "Slot of the wall clock, 0 before genesis.", func() float64 { return float64(m.slot()) })
	m.safeTargetSlot = d.gauge("lean_safe_target_slot", "Slot of the safe target.")
	m.blockProcessingTime = d.histogram("lean_fork_choice_block_processing_time_seconds",
		"Duration of adding a block to fork choice, including signatures and state transition, in seconds.",
		0.005, 0.01, 0.025, 0.05, 0.1, 1, 1.25, 1.5, 2, 4)
	m.attestationsValid = d.counter("lean_attestations_valid_total", "Number of single votes that passed validation.")
	m.attestationsInvalid = d.counter("lean_attestations_invalid_total", "Number of single votes that failed validation.")
	m.attestationValidationTime = d.histogram("lean_attestation_validation_time_seconds",
		"Duration of validating a vote, including its signature, in seconds.", shortTimes...)
	m.reorgs = d.counter("lean_fork_choice_reorgs_total", "Number of head changes that removed blocks from the canonical chain.")
	m.reorgDepth = d.histogram("lean_fork_choice_reorg_depth", "Number of blocks that a reorg removed from the canonical chain.",
		1, 2, 3, 5, 7, 10, 20, 30, 50, 100)
	m.gossipSignatures = d.gauge("lean_gossip_signatures", "Number of signatures of single votes in the fork-choice store.")
	m.newAggregatedPayloads = d.gauge("lean_latest_new_aggregated_payloads",
		"Number of aggregated payloads in the store that do not count in fork choice yet.")
	m.knownAggregatedPayloads = d.gauge("lean_latest_known_aggregated_payloads",
		"Number of aggregated payloads in the store that count in fork choice.")
	m.committeeAggregationTime = d.histogram("lean_committee_signatures_aggregation_time_seconds",
		"Duration of aggregating the signatures of a committee, in seconds.", 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4)
	m.syncStatus = d.gaugeVec("lean_node_sync_status", "Sync status of the node: 1 for the current status, 0 for the others.", fixed("status", statuses...))
	m.setSyncStatus(statusIdle)
	m.tickInterval = d.histogram("lean_tick_interval_duration_seconds",
		"Time between two ticks of the chain, one for each interval, in seconds.",
		0.4, 0.6, 0.75, 0.8, 0.805, 0.81, 0.815, 0.82, 0.825, 0.85, 0.9, 1.0, 1.2, 1.6)

	// leanSpec's registry and its API vectors have these metrics, but metrics.md does not.
	// leanSpec's node never sets them.
	d.section = "leanSpec's coverage report"
	d.gaugeVec("lean_attestation_aggregate_coverage_validators",
		"Number of validators covered by the aggregates of a section of leanSpec's slot report, by subnet and combined. Always 0, as in leanSpec's node.",
		fixed("section", coverageSections...), fixed("subnet", "combined"))
	d.gaugeVec("lean_attestation_aggregate_coverage_subnets",
		"Number of subnets covered by the aggregates of a section of leanSpec's slot report. Always 0.", fixed("section", coverageSections...))
	d.gaugeVec("lean_attestation_aggregate_coverage_diff_validators",
		"Number of validators covered only by the block, or only by aggregates that were in time. Always 0.",
		fixed("direction", "block_only", "timely_only"))

	// metrics.md has two metrics for each checkpoint. Both show that of the store.
	d.section = "leanMetrics: State Transition Metrics"
	m.latestJustifiedSlot = d.gauge("lean_latest_justified_slot", "Slot of the latest justified checkpoint.")
	m.latestFinalizedSlot = d.gauge("lean_latest_finalized_slot", "Slot of the latest finalized checkpoint.")
	m.justifiedSlot = d.gauge("lean_justified_slot", "Slot of the current justified checkpoint.")
	m.finalizedSlot = d.gauge("lean_finalized_slot", "Slot of the current finalized checkpoint.")
	m.finalizations = d.counterVec("lean_finalizations_total", "Number of times that the finalized checkpoint advanced. The result error does not occur.",
		fixed("result", "success", "error"))
	m.stateTransitionTime = d.histogram("lean_state_transition_time_seconds", "Duration of a whole state transition, in seconds.",
		0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4)
	m.transitionSlots = d.counter("lean_state_transition_slots_processed_total",
		"Number of slots processed by the state transitions of imported blocks.")
	m.transitionSlotsTime = d.histogram("lean_state_transition_slots_processing_time_seconds",
		"Duration of process_slots, in seconds.", shortTimes...)
	m.transitionBlockTime = d.histogram("lean_state_transition_block_processing_time_seconds",
		"Duration of process_block, including attestations, in seconds.", shortTimes...)
	m.transitionAttestations = d.counter("lean_state_transition_attestations_processed_total",
		"Number of aggregated attestations in imported blocks.")
	m.transitionAttestationsTime = d.histogram("lean_state_transition_attestations_processing_time_seconds",
		"Duration of process_attestations, in seconds.", shortTimes...)

	d.section = "leanMetrics: Validator Metrics"
	m.validatorsCount = d.gauge("lean_validators_count", "Number of validators of this node.")
	m.isAggregator = d.gauge("lean_is_aggregator", "Aggregator role of this node: 1 if it aggregates votes, otherwise 0.")
	m.attestationProductionTime = d.histogram("lean_attestations_production_time_seconds",
		"Duration of making a vote, in seconds.", buildingTimes...)
	m.aggregatorSkipped = d.counterVec("lean_aggregator_skipped_total", "Number of skipped aggregations, by reason.",
		fixed("reason", aggregatorSkipReasons...))

	d.section = "leanMetrics: Network Metrics"
	client := Label{Name: "client", Values: append(slices.Clone(m.peerNames), unknownPeer),
		Note: "a name of validator-config.yaml, or " + unknownPeer}
	m.connectedPeers = d.gaugeVec("lean_connected_peers", "Number of peers with an open connection.", client)
	m.connections = d.counterVec("lean_peer_connection_events_total",
		"Number of connection attempts, by result. For a peer with several connections, the first one counts.",
		fixed("direction", directions...), fixed("result", connectionResults...))
	m.disconnections = d.counterVec("lean_peer_disconnection_events_total",
		"Number of disconnections of peers, by reason. For a peer with several connections, the end of the last one counts.",
		fixed("direction", directions...), fixed("reason", disconnectReasons...))
	m.meshPeers = d.gaugeVec("lean_gossip_mesh_peers", "Number of peers in the mesh of at least one gossip topic.", client)
	m.committeeSubnet = d.gauge("lean_attestation_committee_subnet", "Attestation subnet of this node's committee.")
	m.committeeCount = d.gauge("lean_attestation_committee_count", "Number of attestation committees.")
	m.gossipSize = map[string]prometheus.Observer{
		events.GossipBlock: d.histogram("lean_gossip_block_size_bytes", "Compressed size of a block gossiped by a peer, in bytes.",
			10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000),
		events.GossipAttestation: d.histogram("lean_gossip_attestation_size_bytes", "Compressed size of a vote gossiped by a peer, in bytes.",
			512, 1024, 2048, 4096, 8192, 16384),
		events.GossipAggregation: d.histogram("lean_gossip_aggregation_size_bytes", "Compressed size of an aggregate gossiped by a peer, in bytes.",
			1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576),
	}
}
