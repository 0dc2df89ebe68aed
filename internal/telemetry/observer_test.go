package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// readings are the values of series, by name and labels.
type readings map[string]float64

// of returns the value of a series. The test fails if it is not exposed.
func (r readings) of(t *testing.T, series string) float64 {
	t.Helper()
	value, exposed := r[series]
	if !exposed {
		t.Fatalf("no series %s is exposed", series)
	}
	return value
}

// values flattens all lean metrics into series and value; a histogram gives its count and its sum.
func values(t *testing.T, m *Metrics) readings {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	all := readings{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "lean") {
			continue
		}
		for _, metric := range family.Metric {
			labels := ""
			for i, pair := range metric.Label {
				if i > 0 {
					labels += ","
				}
				labels += fmt.Sprintf("%s=%q", pair.GetName(), pair.GetValue())
			}
			if labels != "" {
				labels = "{" + labels + "}"
			}
			name := family.GetName()
			switch family.GetType() {
			case histogram:
				all[name+"_count"+labels] = float64(metric.GetHistogram().GetSampleCount())
				all[name+"_sum"+labels] = metric.GetHistogram().GetSampleSum()
			case counter:
				all[name+labels] = metric.GetCounter().GetValue()
			default:
				all[name+labels] = metric.GetGauge().GetValue()
			}
		}
	}
	return all
}

// moved returns what changed between two readings.
func moved(before, after readings) map[string]float64 {
	changes := map[string]float64{}
	for series, value := range after {
		if delta := value - before[series]; delta != 0 {
			changes[series] = delta
		}
	}
	return changes
}

// eventCase is one event, the metrics that it moves by how much from zero, and the level of its line (empty
// where it has none).
type eventCase struct {
	name  string
	send  func(*Observer)
	want  map[string]float64
	level string
}

type deltas = map[string]float64

var errTest = errors.New("broken")

var eventCases = []eventCase{
	{
		name: "block imported from a peer",
		send: func(o *Observer) {
			o.BlockImported(BlockImported{
				Slot: 12, ProposerIndex: 3, Root: [32]byte{1}, ParentRoot: [32]byte{2}, Attestations: 2, Participants: 7,
				Slots: 3, Gossip: true, PeerID: "peer", Delay: 2 * time.Second,
				Stages: Stages{SignatureVerification: 250 * time.Millisecond, StateTransition: 500 * time.Millisecond,
					Slots: 125 * time.Millisecond, Block: 250 * time.Millisecond, Attestations: 62500 * time.Microsecond,
					ForkChoice: 125 * time.Millisecond, Total: time.Second, Wait: 500 * time.Millisecond,
					Save: 31250 * time.Microsecond, Elapsed: 4 * time.Second},
			})
		},
		want: deltas{
			"leanspec_block_imported_delay_seconds_count":                              1,
			"leanspec_block_imported_delay_seconds_sum":                                2,
			"leanspec_block_import_time_seconds_count":                                 1,
			"leanspec_block_import_time_seconds_sum":                                   4,
			`leanspec_block_import_stage_time_seconds_count{stage="wait"}`:             1,
			`leanspec_block_import_stage_time_seconds_sum{stage="wait"}`:               0.5,
			`leanspec_block_import_stage_time_seconds_count{stage="signatures"}`:       1,
			`leanspec_block_import_stage_time_seconds_sum{stage="signatures"}`:         0.25,
			`leanspec_block_import_stage_time_seconds_count{stage="state_transition"}`: 1,
			`leanspec_block_import_stage_time_seconds_sum{stage="state_transition"}`:   0.5,
			`leanspec_block_import_stage_time_seconds_count{stage="fork_choice"}`:      1,
			`leanspec_block_import_stage_time_seconds_sum{stage="fork_choice"}`:        0.125,
			`leanspec_block_import_stage_time_seconds_count{stage="save"}`:             1,
			`leanspec_block_import_stage_time_seconds_sum{stage="save"}`:               0.03125,
			"lean_state_transition_slots_processed_total":                              3,
			"lean_state_transition_slots_processing_time_seconds_count":                1,
			"lean_state_transition_slots_processing_time_seconds_sum":                  0.125,
			"lean_state_transition_block_processing_time_seconds_count":                1,
			"lean_state_transition_block_processing_time_seconds_sum":                  0.25,
			"lean_state_transition_attestations_processing_time_seconds_count":         1,
			"lean_state_transition_attestations_processing_time_seconds_sum":           0.0625,
			"leanspec_blocks_imported_total":                                           1,
			"leanspec_attestations_processed_total":                                    7,
			"lean_state_transition_time_seconds_count":                                 1,
			"lean_state_transition_time_seconds_sum":                                   0.5,
			"lean_state_transition_attestations_processed_total":                       2,
			"lean_fork_choice_block_processing_time_seconds_count":                     1,
			"lean_fork_choice_block_processing_time_seconds_sum":                       1,
			"lean_pq_sig_aggregated_signatures_valid_total":                            1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_count":        1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_sum":          0.25,
		},
		level: "debug",
	},
	{
		name: "own block imported",
		send: func(o *Observer) {
			o.BlockImported(BlockImported{Slot: 12, Own: true, Delay: -time.Second, Stages: Stages{Total: time.Second}})
		},
		want: deltas{
			"leanspec_block_imported_delay_seconds_count":          1,
			"leanspec_blocks_imported_total":                       1,
			"lean_fork_choice_block_processing_time_seconds_count": 1,
			"lean_fork_choice_block_processing_time_seconds_sum":   1,
		},
		level: "debug",
	},
	{
		name:  "block of history imported",
		send:  func(o *Observer) { o.BlockImported(BlockImported{Slot: 12, PeerID: "peer", Delay: time.Hour}) },
		want:  deltas{"leanspec_blocks_imported_total": 1, "lean_pq_sig_aggregated_signatures_valid_total": 1},
		level: "debug",
	},
	{
		name: "block seen",
		send: func(o *Observer) {
			o.Seen(Seen{Kind: GossipBlock, PeerID: "peer", Delay: 500 * time.Millisecond, Offset: 500 * time.Millisecond})
		},
		want: deltas{
			"leanspec_block_seen_delay_seconds_count": 1, "leanspec_block_seen_delay_seconds_sum": 0.5, "leanspec_clock_drift_seconds": 0.5,
		},
	},
	{
		name: "vote seen before its slot",
		send: func(o *Observer) {
			o.Seen(Seen{Kind: GossipAttestation, PeerID: "peer", Delay: -time.Second, Offset: -1800 * time.Millisecond})
		},
		want: deltas{"leanspec_attestation_seen_delay_seconds_count": 1, "leanspec_clock_drift_seconds": -1.8},
	},
	{
		name: "aggregate seen",
		send: func(o *Observer) {
			o.Seen(Seen{Kind: GossipAggregation, PeerID: "peer", Delay: 2 * time.Second, Offset: 250 * time.Millisecond})
		},
		want: deltas{
			"leanspec_aggregate_seen_delay_seconds_count": 1, "leanspec_aggregate_seen_delay_seconds_sum": 2, "leanspec_clock_drift_seconds": 0.25,
		},
	},
	{
		name: "block far ahead of the clock",
		send: func(o *Observer) {
			o.Early(Seen{Kind: GossipBlock, PeerID: "peer", Delay: -9 * time.Second, Offset: -9 * time.Second})
		},
		want: deltas{"leanspec_clock_drift_seconds": -9},
	},
	{
		name: "message of another day",
		send: func(o *Observer) { o.Early(Seen{Kind: GossipBlock, PeerID: "peer", Offset: -24 * time.Hour}) },
	},
	{
		name: "block rejected",
		send: func(o *Observer) {
			o.BlockRejected(BlockRejected{Slot: 1, Reason: "WRONG_PROPOSER", Gossip: true, Err: errTest})
		},
		want:  deltas{`leanspec_blocks_rejected_total{reason="WRONG_PROPOSER",source="gossip"}`: 1},
		level: "warn",
	},
	{
		name:  "own block rejected",
		send:  func(o *Observer) { o.BlockRejected(BlockRejected{Slot: 1, Reason: "STATE_ROOT_MISMATCH", Own: true}) },
		want:  deltas{`leanspec_blocks_rejected_total{reason="STATE_ROOT_MISMATCH",source="own"}`: 1},
		level: "warn",
	},
	{
		name: "block rejected for its proof",
		send: func(o *Observer) { o.BlockRejected(BlockRejected{Reason: "INVALID_BLOCK_PROOF"}) },
		want: deltas{
			`leanspec_blocks_rejected_total{reason="INVALID_BLOCK_PROOF",source="sync"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":                            1,
		},
		level: "warn",
	},
	{
		name:  "block pending",
		send:  func(o *Observer) { o.BlockPending(BlockPending{Slot: 3}) },
		level: "debug",
	},
	{
		name: "vote accepted",
		send: func(o *Observer) {
			o.AttestationAccepted(AttestationAccepted{Slot: 3, Validator: 9, PeerID: "peer",
				Duration: 500 * time.Millisecond, SignatureVerification: 250 * time.Millisecond})
		},
		want: deltas{
			"leanspec_attestations_processed_total":                   1,
			"lean_attestations_valid_total":                           1,
			"lean_attestation_validation_time_seconds_count":          1,
			"lean_attestation_validation_time_seconds_sum":            0.5,
			"lean_pq_sig_attestation_signatures_valid_total":          1,
			"lean_pq_sig_attestation_verification_time_seconds_count": 1,
			"lean_pq_sig_attestation_verification_time_seconds_sum":   0.25,
		},
		level: "debug",
	},
	{
		name: "own vote accepted",
		send: func(o *Observer) { o.AttestationAccepted(AttestationAccepted{Slot: 3, Own: true}) },
		want: deltas{
			"leanspec_attestations_processed_total": 1,
			"lean_attestations_valid_total":         1,
		},
		level: "debug",
	},
	{
		name: "vote rejected",
		send: func(o *Observer) {
			o.AttestationRejected(AttestationRejected{Slot: 3, Reason: "UNKNOWN_HEAD_BLOCK", Err: errTest})
		},
		want: deltas{
			"lean_attestations_invalid_total":                                                 1,
			`leanspec_attestations_rejected_total{reason="UNKNOWN_HEAD_BLOCK",source="sync"}`: 1,
		},
		level: "debug",
	},
	{
		name: "vote rejected for its signature",
		send: func(o *Observer) {
			o.AttestationRejected(AttestationRejected{Reason: "INVALID_SIGNATURE", SignatureVerification: time.Second})
		},
		want: deltas{
			"lean_attestations_invalid_total":                                                1,
			`leanspec_attestations_rejected_total{reason="INVALID_SIGNATURE",source="sync"}`: 1,
			"lean_pq_sig_attestation_signatures_invalid_total":                               1,
			"lean_pq_sig_attestation_verification_time_seconds_count":                        1,
			"lean_pq_sig_attestation_verification_time_seconds_sum":                          1,
		},
		level: "debug",
	},
	{
		name: "aggregate accepted",
		send: func(o *Observer) {
			o.AggregateAccepted(AggregateAccepted{Slot: 3, Participants: 5, Duration: time.Second})
		},
		want: deltas{
			"leanspec_attestations_processed_total":                             5,
			"lean_pq_sig_aggregated_signatures_valid_total":                     1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_count": 1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_sum":   1,
		},
		level: "debug",
	},
	{
		name: "own aggregate accepted",
		send: func(o *Observer) {
			o.AggregateAccepted(AggregateAccepted{Slot: 3, Participants: 5, Own: true, Duration: time.Second})
		},
		want:  deltas{"leanspec_attestations_processed_total": 5},
		level: "debug",
	},
	{
		name: "aggregate with a negative count",
		send: func(o *Observer) { o.AggregateAccepted(AggregateAccepted{Participants: -1, Own: true}) },
		want: deltas{}, level: "debug",
	},
	{
		name:  "aggregate rejected",
		send:  func(o *Observer) { o.AggregateRejected(AggregateRejected{Slot: 3, Reason: "DECODE_ERROR"}) },
		want:  deltas{`leanspec_aggregates_rejected_total{reason="DECODE_ERROR",source="sync"}`: 1},
		level: "debug",
	},
	{
		name: "aggregate rejected for its proof",
		send: func(o *Observer) { o.AggregateRejected(AggregateRejected{Reason: "INVALID_SIGNATURE"}) },
		want: deltas{
			`leanspec_aggregates_rejected_total{reason="INVALID_SIGNATURE",source="sync"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":                              1,
		},
		level: "debug",
	},
	{
		name: "aggregate produced",
		send: func(o *Observer) {
			o.AggregateProduced(AggregateProduced{Slot: 3, Participants: 6, Duration: 500 * time.Millisecond})
		},
		want: deltas{
			"lean_pq_sig_aggregated_signatures_total":                       1,
			"lean_pq_sig_attestations_in_aggregated_signatures_total":       6,
			"lean_pq_sig_aggregated_signatures_building_time_seconds_count": 1,
			"lean_pq_sig_aggregated_signatures_building_time_seconds_sum":   0.5,
			"lean_committee_signatures_aggregation_time_seconds_count":      1,
			"lean_committee_signatures_aggregation_time_seconds_sum":        0.5,
		},
		level: "debug",
	},
	{
		name:  "head extended",
		send:  func(o *Observer) { o.HeadChanged(HeadChanged{OldSlot: 4, NewSlot: 5}) },
		want:  deltas{"lean_head_slot": 5},
		level: "debug",
	},
	{
		name: "head changed by reorg",
		send: func(o *Observer) { o.HeadChanged(HeadChanged{OldSlot: 4, NewSlot: 5, ReorgDepth: 2}) },
		want: deltas{
			"lean_head_slot":                     5,
			"lean_fork_choice_reorgs_total":      1,
			"lean_fork_choice_reorg_depth_count": 1,
			"lean_fork_choice_reorg_depth_sum":   2,
		},
		level: "info",
	},
	{
		name:  "justified",
		send:  func(o *Observer) { o.Justified(Justified{Slot: 8}) },
		want:  deltas{"lean_latest_justified_slot": 8, "lean_justified_slot": 8},
		level: "debug",
	},
	{
		name: "finalized",
		send: func(o *Observer) { o.Finalized(Finalized{Slot: 7}) },
		want: deltas{
			"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7,
			`lean_finalizations_total{result="success"}`: 1,
		},
		level: "debug",
	},
	{
		name:  "safe target",
		send:  func(o *Observer) { o.SafeTarget(SafeTarget{Slot: 6}) },
		want:  deltas{"lean_safe_target_slot": 6},
		level: "debug",
	},
	{
		name: "block produced",
		send: func(o *Observer) {
			o.BlockProduced(BlockProduced{Slot: 9, Validator: 1, Attestations: 3, Payloads: 250 * time.Millisecond,
				Duration: 500 * time.Millisecond})
		},
		want: deltas{
			"lean_block_building_payload_aggregation_time_seconds_count": 1,
			"lean_block_building_payload_aggregation_time_seconds_sum":   0.25,
			"lean_block_building_success_total":                          1,
			"lean_block_building_time_seconds_count":                     1,
			"lean_block_building_time_seconds_sum":                       0.5,
			"lean_block_aggregated_payloads_count":                       1,
			"lean_block_aggregated_payloads_sum":                         3,
		},
		level: "debug",
	},
	{
		name: "block production failed",
		send: func(o *Observer) { o.BlockProductionFailed(BlockProductionFailed{Slot: 9, Err: errTest}) },
		want: deltas{
			"lean_block_building_failures_total": 1, `leanspec_duties_total{duty="block",outcome="missed",reason="other"}`: 1,
		},
		level: "error",
	},
	{
		name: "own block refused",
		send: func(o *Observer) {
			o.BlockProductionFailed(BlockProductionFailed{Slot: 9, Built: true, Reason: ReasonProductionFailed, Err: errTest})
		},
		want:  deltas{`leanspec_duties_total{duty="block",outcome="missed",reason="production_failed"}`: 1},
		level: "error",
	},
	{
		name: "vote produced",
		send: func(o *Observer) {
			o.AttestationProduced(AttestationProduced{Slot: 9, Validator: 1, Duration: 500 * time.Millisecond})
		},
		want: deltas{
			"lean_attestations_production_time_seconds_count": 1,
			"lean_attestations_production_time_seconds_sum":   0.5,
		},
		level: "debug",
	},
	{
		name: "duty skipped for want of sync",
		send: func(o *Observer) {
			o.Duty(Duty{Duty: DutyBlock, Outcome: OutcomeSkipped, Slot: 9, Reason: ReasonNotSynced})
		},
		want:  deltas{`leanspec_duties_total{duty="block",outcome="skipped",reason="not_synced"}`: 1},
		level: "debug",
	},
	{
		name: "duty skipped for a signature already made",
		send: func(o *Observer) {
			o.Duty(Duty{Duty: DutyAttestation, Outcome: OutcomeSkipped, Slot: 9, Reason: ReasonAlreadySigned})
		},
		want:  deltas{`leanspec_duties_total{duty="attestation",outcome="skipped",reason="already_signed"}`: 1},
		level: "warn",
	},
	{
		name: "votes made",
		send: func(o *Observer) { o.Duty(Duty{Duty: DutyAttestation, Outcome: OutcomeMade, Slot: 9, Count: 3}) },
		want: deltas{`leanspec_duties_total{duty="attestation",outcome="made",reason=""}`: 3},
	},
	{
		name:  "block late",
		send:  func(o *Observer) { o.Duty(Duty{Duty: DutyBlock, Outcome: OutcomeLate, Slot: 9}) },
		want:  deltas{`leanspec_duties_total{duty="block",outcome="late",reason=""}`: 1},
		level: "info",
	},
	{
		name: "aggregation missed",
		send: func(o *Observer) {
			o.Duty(Duty{Duty: DutyAggregation, Outcome: OutcomeMissed, Reason: ReasonAggregationFailed})
		},
		want:  deltas{`leanspec_duties_total{duty="aggregation",outcome="missed",reason="aggregation_failed"}`: 1},
		level: "warn",
	},
	{
		name: "aggregation skipped",
		send: func(o *Observer) {
			o.Duty(Duty{Duty: DutyAggregation, Outcome: OutcomeSkipped, Reason: ReasonNotAggregator})
		},
		want: deltas{
			`leanspec_duties_total{duty="aggregation",outcome="skipped",reason="not_aggregator"}`: 1,
			`lean_aggregator_skipped_total{reason="not_aggregator"}`:                              1,
		},
		level: "debug",
	},
	{
		name: "aggregation skipped for a reason leanMetrics does not know",
		send: func(o *Observer) {
			o.Duty(Duty{Duty: DutyAggregation, Outcome: OutcomeSkipped, Reason: ReasonNoSignatures})
		},
		want: deltas{
			`leanspec_duties_total{duty="aggregation",outcome="skipped",reason="no_signatures"}`: 1,
			`lean_aggregator_skipped_total{reason="other"}`:                                      1,
		},
		level: "debug",
	},
	{
		name:  "duties paused",
		send:  func(o *Observer) { o.DutyGate(DutyGate{Duty: DutyBlock, Slot: 9, HeadSlot: 4, Lag: 5}) },
		level: "warn",
	},
	{
		name:  "duties resumed",
		send:  func(o *Observer) { o.DutyGate(DutyGate{Open: true, Duty: DutyBlock, Slot: 9}) },
		level: "info",
	},
	{
		name: "vote signed",
		send: func(o *Observer) {
			o.SignatureMade(SignatureMade{Kind: SignatureAttestation, Duration: 500 * time.Millisecond})
		},
		want: deltas{
			"lean_pq_sig_attestation_signatures_total":           1,
			"lean_pq_sig_attestation_signing_time_seconds_count": 1,
			"lean_pq_sig_attestation_signing_time_seconds_sum":   0.5,
		},
		level: "debug",
	},
	{
		name:  "proposal signed",
		send:  func(o *Observer) { o.SignatureMade(SignatureMade{Kind: SignatureProposal, Duration: time.Second}) },
		level: "debug",
	},
	{
		name: "signature refused",
		send: func(o *Observer) {
			o.SignatureRefused(SignatureRefused{Kind: SignatureProposal, Slot: 3, LatestSlot: 4, Err: errTest})
		},
		want:  deltas{`leanspec_validator_signatures_refused_total{role="proposal"}`: 1},
		level: "error",
	},
	{
		name: "signing records missing",
		send: func(o *Observer) {
			o.SigningRecordsMissing(SigningRecordsMissing{Keys: 4, File: "a.ssz", Slot: 3, NextSlot: 5})
		},
		want:  deltas{"leanspec_validator_signing_records_missing": 4},
		level: "error",
	},
	{
		name: "key window",
		send: func(o *Observer) { o.KeyWindow(KeyWindow{Validator: 7, Role: SignatureAttestation, SlotsLeft: 50}) },
		want: deltas{`leanspec_validator_key_slots_left{role="attestation",validator="7"}`: 50},
	},
	{
		name: "key window, low",
		send: func(o *Observer) {
			o.KeyWindow(KeyWindow{Validator: 7, Role: SignatureProposal, SlotsLeft: 5, Low: true})
		},
		want:  deltas{`leanspec_validator_key_slots_left{role="proposal",validator="7"}`: 5},
		level: "warn",
	},
	{
		name:  "signing failed",
		send:  func(o *Observer) { o.SignatureMade(SignatureMade{Kind: SignatureAttestation, Err: errTest}) },
		level: "error",
	},
	{
		name:  "slot summary",
		send:  func(o *Observer) { o.SlotSummary(SlotSummary{Slot: 10, HeadSlot: 9, FinalizedSlot: 7}) },
		want:  deltas{"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7},
		level: "info",
	},
	{
		name: "chain loaded",
		send: func(o *Observer) {
			o.ChainLoaded(ChainLoaded{HeadSlot: 9, JustifiedSlot: 8, FinalizedSlot: 7, SafeTargetSlot: 6})
		},
		want: deltas{
			"lean_head_slot": 9, "lean_safe_target_slot": 6,
			"lean_latest_justified_slot": 8, "lean_justified_slot": 8,
			"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7,
		},
	},
	{
		name: "tick",
		send: func(o *Observer) { o.Tick(Tick{Elapsed: 500 * time.Millisecond}) },
		want: deltas{"lean_tick_interval_duration_seconds_count": 1, "lean_tick_interval_duration_seconds_sum": 0.5},
	},
	{
		name: "the clock set back",
		send: func(o *Observer) { o.Tick(Tick{Elapsed: -time.Second}) },
	},
	{
		name: "fingerprint",
		send: func(o *Observer) { o.Fingerprint(Fingerprint{Root: [32]byte{0, 0, 0, 0, 1, 2, 3}}) },
		want: deltas{"leanspec_chain_fingerprint": 0x102},
	},
	{
		name: "disk",
		send: func(o *Observer) { o.Disk(Disk{Used: 5, Free: 7}) },
		want: deltas{"leanspec_storage_used_bytes": 5, "leanspec_storage_free_bytes": 7},
	},
	{
		name: "pool sizes",
		send: func(o *Observer) {
			o.PoolSizes(PoolSizes{AttestationSignatures: 1, NewPayloads: 2, KnownPayloads: 3, Blocks: 4, States: 5})
		},
		want: deltas{
			"lean_gossip_signatures":                1,
			"lean_latest_new_aggregated_payloads":   2,
			"lean_latest_known_aggregated_payloads": 3,
			"leanspec_store_blocks":                 4,
			"leanspec_store_states":                 5,
		},
	},
	{
		name:  "queue dropped",
		send:  func(o *Observer) { o.QueueDropped(QueueDropped{Queue: QueueOrphanBlocks}) },
		want:  deltas{`leanspec_queue_dropped_total{queue="orphan_blocks"}`: 1},
		level: "warn",
	},
	{
		name: "chain saved",
		send: func(o *Observer) { o.ChainSaved(ChainSaved{Duration: 2 * time.Millisecond}) },
		want: deltas{`leanspec_storage_save_time_seconds_count`: 1, `leanspec_storage_save_time_seconds_sum`: 0.002},
	},
	{
		name: "syncing",
		send: func(o *Observer) { o.SyncState(SyncState{Distance: 20, Reason: "known_gap"}) },
		want: deltas{
			"leanspec_sync_distance":                  20,
			`lean_node_sync_status{status="idle"}`:    -1,
			`lean_node_sync_status{status="syncing"}`: 1,
		},
		level: "info",
	},
	{
		name: "synced",
		send: func(o *Observer) { o.SyncState(SyncState{Synced: true, Distance: 2}) },
		want: deltas{
			`lean_node_sync_status{status="idle"}`:   -1,
			`lean_node_sync_status{status="synced"}`: 1,
		},
		level: "info",
	},
	{
		name:  "validators loaded",
		send:  func(o *Observer) { o.ValidatorsLoaded(ValidatorsLoaded{Count: 4}) },
		want:  deltas{"lean_validators_count": 4},
		level: "info",
	},
	{
		name:  "aggregator role",
		send:  func(o *Observer) { o.AggregatorRole(AggregatorRole{Enabled: true}) },
		want:  deltas{"lean_is_aggregator": 1},
		level: "info",
	},
	{
		name:  "peers",
		send:  func(o *Observer) { o.Peers(Peers{Connected: 6}) },
		want:  deltas{"leanspec_peers_connected": 6, `lean_connected_peers{client="unknown"}`: 6},
		level: "debug",
	},
	{
		name: "peer connected",
		send: func(o *Observer) {
			o.PeerConnection(PeerConnection{PeerID: "peer", Direction: DirectionInbound, Result: ResultSuccess})
		},
		want:  deltas{`lean_peer_connection_events_total{direction="inbound",result="success"}`: 1},
		level: "info",
	},
	{
		name: "peer did not connect",
		send: func(o *Observer) {
			o.PeerConnection(PeerConnection{Direction: DirectionOutbound, Result: ResultTimeout, Err: errTest})
		},
		want:  deltas{`lean_peer_connection_events_total{direction="outbound",result="timeout"}`: 1},
		level: "debug",
	},
	{
		name: "peer disconnected",
		send: func(o *Observer) {
			o.PeerDisconnection(PeerDisconnection{PeerID: "peer", Direction: DirectionOutbound, Reason: DisconnectRemoteClose})
		},
		want:  deltas{`lean_peer_disconnection_events_total{direction="outbound",reason="remote_close"}`: 1},
		level: "info",
	},
	{
		name: "second connection of a peer",
		send: func(o *Observer) {
			o.PeerConnection(PeerConnection{PeerID: "peer", Direction: DirectionInbound, Result: ResultSuccess, Further: true})
		},
		level: "debug",
	},
	{
		name: "end of one of several connections",
		send: func(o *Observer) {
			o.PeerDisconnection(PeerDisconnection{PeerID: "peer", Direction: DirectionOutbound, Reason: DisconnectRemoteClose, Further: true})
		},
		level: "debug",
	},
	{
		name:  "subscriptions lost",
		send:  func(o *Observer) { o.SubscriptionsLost(SubscriptionsLost{PeerID: "peer", Reset: true}) },
		want:  deltas{"leanspec_gossip_subscriptions_lost_total": 1},
		level: "warn",
	},
	{
		name: "duplicate identity",
		send: func(o *Observer) {
			o.DuplicateIdentity(DuplicateIdentity{PeerID: "peer", Address: "/ip4/192.0.2.1/udp/9001/quic-v1"})
		},
		want:  deltas{"leanspec_duplicate_identity_total": 1},
		level: "warn",
	},
	{
		name: "foreign peer",
		send: func(o *Observer) {
			o.ForeignPeer(ForeignPeer{PeerID: "peer", Ours: []string{"a"}, Theirs: []string{"b"}})
		},
		level: "warn",
	},
	{
		name: "foreign peers",
		send: func(o *Observer) { o.ForeignPeers(ForeignPeers{Count: 2}) },
		want: deltas{"leanspec_peers_without_common_topic": 2},
	},
	{
		name: "peer at fault",
		send: func(o *Observer) {
			o.PeerFault(PeerFault{PeerID: "peer", Reason: "bad bytes", Faults: 1, Err: errTest})
		},
		want:  deltas{"leanspec_peer_faults_total": 1},
		level: "debug",
	},
	{
		name:  "peer banned",
		send:  func(o *Observer) { o.PeerBanned(PeerBanned{PeerID: "peer", Reason: "bad bytes"}) },
		want:  deltas{"leanspec_peers_banned_total": 1},
		level: "warn",
	},
	{
		name: "gossiped block",
		send: func(o *Observer) { o.GossipReceived(GossipReceived{Kind: GossipBlock, Bytes: 700}) },
		want: deltas{"lean_gossip_block_size_bytes_count": 1, "lean_gossip_block_size_bytes_sum": 700},
	},
	{
		name: "gossiped vote",
		send: func(o *Observer) { o.GossipReceived(GossipReceived{Kind: GossipAttestation, Bytes: 600}) },
		want: deltas{"lean_gossip_attestation_size_bytes_count": 1, "lean_gossip_attestation_size_bytes_sum": 600},
	},
	{
		name: "gossiped aggregate",
		send: func(o *Observer) { o.GossipReceived(GossipReceived{Kind: GossipAggregation, Bytes: 500}) },
		want: deltas{"lean_gossip_aggregation_size_bytes_count": 1, "lean_gossip_aggregation_size_bytes_sum": 500},
	},
	{
		name: "gossip of another kind",
		send: func(o *Observer) { o.GossipReceived(GossipReceived{Kind: "other", Bytes: 500}) },
	},
	{
		name: "mesh peers",
		send: func(o *Observer) { o.MeshPeers(MeshPeers{Count: 5, ByName: map[string]int{"zeam_0": 1}}) },
		want: deltas{`lean_gossip_mesh_peers{client="unknown"}`: 4, `lean_gossip_mesh_peers{client="zeam_0"}`: 1},
	},
	{
		name: "gossip judged",
		send: func(o *Observer) { o.GossipJudged(GossipJudged{Kind: GossipAttestation, Verdict: VerdictIgnore}) },
		want: deltas{`leanspec_gossip_messages_total{kind="attestation",verdict="ignore"}`: 1},
	},
	{
		name: "gossip that is no aggregate",
		send: func(o *Observer) {
			o.GossipJudged(GossipJudged{Kind: GossipAggregation, Verdict: VerdictReject, Undecodable: true})
		},
		want: deltas{
			`leanspec_gossip_messages_total{kind="aggregation",verdict="reject"}`:       1,
			`leanspec_aggregates_rejected_total{reason="DECODE_ERROR",source="gossip"}`: 1,
		},
	},
	{
		name: "request of ours answered",
		send: func(o *Observer) {
			o.Request(Request{Protocol: RequestStatus, Direction: DirectionOutbound, Result: ResultSuccess, Duration: 250 * time.Millisecond})
		},
		want: deltas{
			`leanspec_requests_total{direction="outbound",protocol="status",result="success"}`: 1,
			`leanspec_request_time_seconds_count{protocol="status"}`:                           1,
			`leanspec_request_time_seconds_sum{protocol="status"}`:                             0.25,
		},
	},
	{
		name: "request of a peer refused",
		send: func(o *Observer) {
			o.Request(Request{Protocol: RequestBlocksByRange, Direction: DirectionInbound, Result: ResultRefused, Duration: time.Second})
		},
		want: deltas{`leanspec_requests_total{direction="inbound",protocol="blocks_by_range",result="refused"}`: 1},
	},
	{
		name: "agreement",
		send: func(o *Observer) {
			o.Agreement(Agreement{Heads: map[string]int{RelationSame: 2, RelationFork: 1}, Finalized: map[string]int{RelationSame: 3}})
		},
		want: deltas{
			`leanspec_peers_by_head{relation="same"}`: 2, `leanspec_peers_by_head{relation="fork"}`: 1,
			`leanspec_peers_by_finalized{relation="same"}`: 3,
		},
	},
	{
		name: "attestation committee",
		send: func(o *Observer) { o.AttestationCommittee(AttestationCommittee{Subnet: 2, Count: 4}) },
		want: deltas{"lean_attestation_committee_subnet": 2, "lean_attestation_committee_count": 4},
	},
}

func TestEventsMoveExactlyTheirMetrics(t *testing.T) {
	for _, test := range eventCases {
		t.Run(test.name, func(t *testing.T) {
			m := newTestMetrics()
			var out bytes.Buffer
			log, _ := NewLogger(LogOptions{Format: FormatJSON, Level: slog.LevelDebug, Writer: &out})
			o := NewObserver(m, log)

			before := values(t, m)
			test.send(o)
			if got := moved(before, values(t, m)); !maps.Equal(got, test.want) {
				t.Errorf("moved\n  %v\nwant\n  %v", got, test.want)
			}

			lines := parseLines(t, out.Bytes())
			switch {
			case test.level == "" && len(lines) != 0:
				t.Errorf("wrote %v, want no line", lines)
			case test.level != "" && (len(lines) != 1 || lines[0]["level"] != test.level):
				t.Errorf("wrote %v, want one line at %s", lines, test.level)
			}
		})
	}
}

// TestNilObserver: whoever wants no telemetry gives none.
func TestNilObserver(t *testing.T) {
	none := reflect.ValueOf((*Observer)(nil))
	for i := range none.NumMethod() {
		method := none.Method(i)
		method.Call([]reflect.Value{reflect.Zero(method.Type().In(0))})
	}
}

// TestEveryMetricMoves holds that no metric is registered which no event moves.
func TestEveryMetricMoves(t *testing.T) {
	fixed := []string{
		"lean_node_info", "lean_node_start_time_seconds", "leanspec_process_start_time_seconds",
		"leanspec_slot_current", "leanspec_epoch_current", "lean_current_slot", "leanspec_finality_lag_slots", // moved by the clock
		"leanspec_queue_length", "leanspec_queue_capacity", // looked at
		"lean_attestation_aggregate_coverage_validators", "lean_attestation_aggregate_coverage_subnets",
		"lean_attestation_aggregate_coverage_diff_validators",          // leanSpec's node moves them no more than this one
		"leanspec_log_lines_total", "leanspec_log_lines_dropped_total", // by the log
	}
	moves := map[string]bool{}
	for _, test := range eventCases {
		for series := range test.want {
			name, _, _ := strings.Cut(series, "{")
			moves[name] = true
			moves[strings.TrimSuffix(name, "_count")] = true
		}
	}
	families, err := newTestMetrics().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		name := family.GetName()
		if strings.HasPrefix(name, "lean") && !moves[name] && !slices.Contains(fixed, name) {
			t.Errorf("no event in the table moves %s", name)
		}
	}
}

func TestSyncStateIsLoggedOnChange(t *testing.T) {
	var out bytes.Buffer
	log, _ := NewLogger(LogOptions{Format: FormatJSON, Level: slog.LevelInfo, Writer: &out})
	o := NewObserver(nil, log)
	for _, reason := range []string{"known_gap", "known_gap", "", "", "", "known_gap", "missing_ancestor", "missing_ancestor"} {
		o.SyncState(SyncState{Synced: reason == "", Distance: 9, Reason: reason})
	}
	var got []string
	for _, line := range parseLines(t, out.Bytes()) {
		got = append(got, fmt.Sprintf("%v %v", line["msg"], line["reason"]))
	}
	if want := []string{"syncing known_gap", "synced <nil>", "syncing known_gap", "syncing missing_ancestor"}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v", got, want)
	}
}

// TestScrapeWhileEventsRun is for the race detector, and holds that no count is lost.
func TestScrapeWhileEventsRun(t *testing.T) {
	const workers, rounds = 4, 50
	m := newTestMetrics()
	log, _ := NewLogger(LogOptions{Format: FormatJSON, Level: slog.LevelDebug, Writer: io.Discard})
	o := NewObserver(m, log)
	handler := m.Handler()

	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for range rounds {
				for _, test := range eventCases {
					test.send(o)
				}
			}
		})
	}
	wait.Go(func() {
		for i := range 20 {
			m.SetClock(func() uint64 { return uint64(i) })
			scrape(t, handler)
		}
	})
	wait.Wait()

	if got, want := values(t, m).of(t, "leanspec_blocks_imported_total"), float64(3*workers*rounds); got != want {
		t.Errorf("leanspec_blocks_imported_total = %v, want %v", got, want)
	}
}

func BenchmarkAttestationAccepted(b *testing.B) {
	log, _ := NewLogger(LogOptions{Format: FormatJSON, Level: slog.LevelInfo, Writer: io.Discard})
	o := NewObserver(newTestMetrics(), log)
	e := AttestationAccepted{Slot: 3, Validator: 9, PeerID: "peer", Duration: time.Millisecond, SignatureVerification: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		o.AttestationAccepted(e)
	}
}

func BenchmarkBlockImported(b *testing.B) {
	for _, format := range []string{FormatJSON, FormatText} {
		b.Run(format, func(b *testing.B) {
			log, _ := NewLogger(LogOptions{Format: format, Writer: io.Discard})
			o := NewObserver(newTestMetrics(), log)
			d := time.Millisecond
			e := BlockImported{Slot: 3, PeerID: "peer", Gossip: true, Slots: 1, Attestations: 2, Participants: 5, Delay: d, Stages: Stages{
				Wait: d, SignatureVerification: d, StateTransition: d, Slots: d, Block: d, Attestations: d, ForkChoice: d, Save: d, Total: d, Elapsed: d}}
			b.ReportAllocs()
			for b.Loop() {
				o.BlockImported(e)
			}
		})
	}
}
