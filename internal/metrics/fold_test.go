package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// readings holds the values of series, by name and labels.
type readings map[string]float64

// of returns the value of a series. The test fails if the series is not exposed.
func (r readings) of(t *testing.T, series string) float64 {
	t.Helper()
	value, exposed := r[series]
	if !exposed {
		t.Fatalf("no series %s is exposed", series)
	}
	return value
}

// values returns the values of all lean metrics. A histogram has two: its count and its sum.
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

// moved returns the differences between two readings.
func moved(before, after readings) map[string]float64 {
	changes := map[string]float64{}
	for series, value := range after {
		if delta := value - before[series]; delta != 0 {
			changes[series] = delta
		}
	}
	return changes
}

// at is a checkpoint at a slot.
func at(slot lstar.Slot) lstar.Checkpoint { return lstar.Checkpoint{Slot: slot} }

// eventCase is an event, the metrics that it moves and by how much, and the level of its line,
// empty if it has none.
type eventCase struct {
	name  string
	event events.Event
	want  map[string]float64
	level string
}

type deltas = map[string]float64

var errTest = errors.New("broken")

var eventCases = []eventCase{
	{
		name:  "a consumer panicked",
		event: events.ConsumerPanicked{Err: errTest, Stack: []byte("goroutine 1")},
		level: "error",
	},
	{
		name: "block imported from a peer",
		event: events.BlockImported{
			Slot: 12, ProposerIndex: 3, Root: [32]byte{1}, ParentRoot: [32]byte{2}, Attestations: 2, Participants: 7,
			Slots: 3, Gossip: true, Peer: "peer", Delay: 2 * time.Second,
			Stages: events.Stages{SignatureVerification: 250 * time.Millisecond, StateTransition: 500 * time.Millisecond,
				Slots: 125 * time.Millisecond, Block: 250 * time.Millisecond, Attestations: 62500 * time.Microsecond,
				ForkChoice: 125 * time.Millisecond, Total: time.Second, Wait: 500 * time.Millisecond,
				Save: 31250 * time.Microsecond, Elapsed: 4 * time.Second},
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
		name:  "own block imported",
		event: events.BlockImported{Slot: 12, Own: true, Delay: -time.Second, Stages: events.Stages{Total: time.Second}},
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
		event: events.BlockImported{Slot: 12, Peer: "peer", Delay: time.Hour},
		want:  deltas{"leanspec_blocks_imported_total": 1, "lean_pq_sig_aggregated_signatures_valid_total": 1},
		level: "debug",
	},
	{
		name:  "block seen",
		event: events.MessageSeen{Kind: events.GossipBlock, Peer: "peer", Delay: 500 * time.Millisecond, Offset: 500 * time.Millisecond},
		want: deltas{
			"leanspec_block_seen_delay_seconds_count": 1, "leanspec_block_seen_delay_seconds_sum": 0.5, "leanspec_clock_drift_seconds": 0.5,
		},
	},
	{
		name:  "vote seen before its slot",
		event: events.MessageSeen{Kind: events.GossipAttestation, Peer: "peer", Delay: -time.Second, Offset: -1800 * time.Millisecond},
		want:  deltas{"leanspec_attestation_seen_delay_seconds_count": 1, "leanspec_clock_drift_seconds": -1.8},
	},
	{
		name:  "aggregate seen",
		event: events.MessageSeen{Kind: events.GossipAggregation, Peer: "peer", Delay: 2 * time.Second, Offset: 250 * time.Millisecond},
		want: deltas{
			"leanspec_aggregate_seen_delay_seconds_count": 1, "leanspec_aggregate_seen_delay_seconds_sum": 2, "leanspec_clock_drift_seconds": 0.25,
		},
	},
	{
		name:  "block far ahead of the clock",
		event: events.MessageEarly{Kind: events.GossipBlock, Peer: "peer", Delay: -9 * time.Second, Offset: -9 * time.Second},
		want:  deltas{"leanspec_clock_drift_seconds": -9},
	},
	{
		name:  "message of another day",
		event: events.MessageEarly{Kind: events.GossipBlock, Peer: "peer", Offset: -24 * time.Hour},
	},
	{
		name:  "block rejected",
		event: events.BlockRejected{Slot: 1, Reason: "WRONG_PROPOSER", Gossip: true, Err: errTest},
		want:  deltas{`leanspec_blocks_rejected_total{reason="WRONG_PROPOSER",source="gossip"}`: 1},
		level: "warn",
	},
	{
		name:  "own block rejected",
		event: events.BlockRejected{Slot: 1, Reason: "STATE_ROOT_MISMATCH", Own: true},
		want:  deltas{`leanspec_blocks_rejected_total{reason="STATE_ROOT_MISMATCH",source="own"}`: 1},
		level: "warn",
	},
	{
		name:  "block rejected for its proof",
		event: events.BlockRejected{Reason: "INVALID_BLOCK_PROOF"},
		want: deltas{
			`leanspec_blocks_rejected_total{reason="INVALID_BLOCK_PROOF",source="sync"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":                            1,
		},
		level: "warn",
	},
	{
		name:  "block gossiped",
		event: events.BlockGossiped{Slot: 3, Peer: "peer"},
	},
	{
		name:  "block pending",
		event: events.BlockPending{Slot: 3},
		level: "debug",
	},
	{
		name: "vote accepted",
		event: events.AttestationAccepted{Slot: 3, Validator: 9, Peer: "peer",
			Duration: 500 * time.Millisecond, SignatureVerification: 250 * time.Millisecond},
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
		name:  "own vote accepted",
		event: events.AttestationAccepted{Slot: 3, Own: true},
		want: deltas{
			"leanspec_attestations_processed_total": 1,
			"lean_attestations_valid_total":         1,
		},
		level: "debug",
	},
	{
		name:  "vote rejected",
		event: events.AttestationRejected{Slot: 3, Reason: "UNKNOWN_HEAD_BLOCK", Err: errTest},
		want: deltas{
			"lean_attestations_invalid_total":                                                 1,
			`leanspec_attestations_rejected_total{reason="UNKNOWN_HEAD_BLOCK",source="sync"}`: 1,
		},
		level: "debug",
	},
	{
		name:  "vote rejected for its signature",
		event: events.AttestationRejected{Reason: "INVALID_SIGNATURE", SignatureVerification: time.Second},
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
		name:  "aggregate accepted",
		event: events.AggregateAccepted{Slot: 3, Participants: 5, Duration: time.Second},
		want: deltas{
			"leanspec_attestations_processed_total":                             5,
			"lean_pq_sig_aggregated_signatures_valid_total":                     1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_count": 1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_sum":   1,
		},
		level: "debug",
	},
	{
		name:  "own aggregate accepted",
		event: events.AggregateAccepted{Slot: 3, Participants: 5, Own: true, Duration: time.Second},
		want:  deltas{"leanspec_attestations_processed_total": 5},
		level: "debug",
	},
	{
		name:  "aggregate with a negative count",
		event: events.AggregateAccepted{Participants: -1, Own: true},
		want:  deltas{}, level: "debug",
	},
	{
		name:  "aggregate rejected",
		event: events.AggregateRejected{Slot: 3, Reason: "DECODE_ERROR"},
		want:  deltas{`leanspec_aggregates_rejected_total{reason="DECODE_ERROR",source="sync"}`: 1},
		level: "debug",
	},
	{
		name:  "aggregate rejected for its proof",
		event: events.AggregateRejected{Reason: "INVALID_SIGNATURE"},
		want: deltas{
			`leanspec_aggregates_rejected_total{reason="INVALID_SIGNATURE",source="sync"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":                              1,
		},
		level: "debug",
	},
	{
		name:  "aggregate produced",
		event: events.AggregateProduced{Slot: 3, Participants: 6, Duration: 500 * time.Millisecond},
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
		event: events.HeadChanged{Old: at(4), New: at(5)},
		want:  deltas{"lean_head_slot": 5},
		level: "debug",
	},
	{
		name:  "head changed by reorg",
		event: events.HeadChanged{Old: at(4), New: at(5), ReorgDepth: 2},
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
		event: events.Justified{Checkpoint: at(8)},
		want:  deltas{"lean_latest_justified_slot": 8, "lean_justified_slot": 8},
		level: "debug",
	},
	{
		name:  "finalized",
		event: events.Finalized{Checkpoint: at(7)},
		want: deltas{
			"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7,
			`lean_finalizations_total{result="success"}`: 1,
		},
		level: "debug",
	},
	{
		name:  "safe target",
		event: events.SafeTarget{Checkpoint: at(6)},
		want:  deltas{"lean_safe_target_slot": 6},
		level: "debug",
	},
	{
		name: "block produced",
		event: events.BlockProduced{Slot: 9, Validator: 1, Attestations: 3, Payloads: 250 * time.Millisecond,
			Duration: 500 * time.Millisecond},
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
		name:  "block production failed",
		event: events.BlockProductionFailed{Slot: 9, Err: errTest},
		want: deltas{
			"lean_block_building_failures_total": 1, `leanspec_duties_total{duty="block",outcome="missed",reason="other"}`: 1,
		},
		level: "error",
	},
	{
		name:  "own block refused",
		event: events.BlockProductionFailed{Slot: 9, Built: true, Reason: events.ReasonProductionFailed, Err: errTest},
		want:  deltas{`leanspec_duties_total{duty="block",outcome="missed",reason="production_failed"}`: 1},
		level: "error",
	},
	{
		name:  "vote produced",
		event: events.AttestationProduced{Slot: 9, Validator: 1, Duration: 500 * time.Millisecond},
		want: deltas{
			"lean_attestations_production_time_seconds_count": 1,
			"lean_attestations_production_time_seconds_sum":   0.5,
		},
		level: "debug",
	},
	{
		name:  "duty skipped while not synced",
		event: events.DutyEnded{Duty: events.DutyBlock, Outcome: events.OutcomeSkipped, Slot: 9, Reason: events.ReasonNotSynced},
		want:  deltas{`leanspec_duties_total{duty="block",outcome="skipped",reason="not_synced"}`: 1},
		level: "debug",
	},
	{
		name:  "duty skipped for a signature already made",
		event: events.DutyEnded{Duty: events.DutyAttestation, Outcome: events.OutcomeSkipped, Slot: 9, Reason: events.ReasonAlreadySigned},
		want:  deltas{`leanspec_duties_total{duty="attestation",outcome="skipped",reason="already_signed"}`: 1},
		level: "warn",
	},
	{
		name:  "votes made",
		event: events.DutyEnded{Duty: events.DutyAttestation, Outcome: events.OutcomeMade, Slot: 9, Count: 3},
		want:  deltas{`leanspec_duties_total{duty="attestation",outcome="made",reason=""}`: 3},
	},
	{
		name:  "block late",
		event: events.DutyEnded{Duty: events.DutyBlock, Outcome: events.OutcomeLate, Slot: 9},
		want:  deltas{`leanspec_duties_total{duty="block",outcome="late",reason=""}`: 1},
		level: "info",
	},
	{
		name:  "aggregation missed",
		event: events.DutyEnded{Duty: events.DutyAggregation, Outcome: events.OutcomeMissed, Reason: events.ReasonAggregationFailed},
		want:  deltas{`leanspec_duties_total{duty="aggregation",outcome="missed",reason="aggregation_failed"}`: 1},
		level: "warn",
	},
	{
		name:  "aggregation skipped",
		event: events.DutyEnded{Duty: events.DutyAggregation, Outcome: events.OutcomeSkipped, Reason: events.ReasonNotAggregator},
		want: deltas{
			`leanspec_duties_total{duty="aggregation",outcome="skipped",reason="not_aggregator"}`: 1,
			`lean_aggregator_skipped_total{reason="not_aggregator"}`:                              1,
		},
		level: "debug",
	},
	{
		name:  "aggregation skipped for a reason that leanMetrics does not have",
		event: events.DutyEnded{Duty: events.DutyAggregation, Outcome: events.OutcomeSkipped, Reason: events.ReasonNoSignatures},
		want: deltas{
			`leanspec_duties_total{duty="aggregation",outcome="skipped",reason="no_signatures"}`: 1,
			`lean_aggregator_skipped_total{reason="other"}`:                                      1,
		},
		level: "debug",
	},
	{
		name:  "duties paused",
		event: events.DutyGate{Duty: events.DutyBlock, Slot: 9, HeadSlot: 4, Lag: 5},
		level: "warn",
	},
	{
		name:  "duties resumed",
		event: events.DutyGate{Open: true, Duty: events.DutyBlock, Slot: 9},
		level: "info",
	},
	{
		name:  "vote signed",
		event: events.SignatureMade{Kind: events.SignatureAttestation, Duration: 500 * time.Millisecond},
		want: deltas{
			"lean_pq_sig_attestation_signatures_total":           1,
			"lean_pq_sig_attestation_signing_time_seconds_count": 1,
			"lean_pq_sig_attestation_signing_time_seconds_sum":   0.5,
		},
		level: "debug",
	},
	{
		name:  "proposal signed",
		event: events.SignatureMade{Kind: events.SignatureProposal, Duration: time.Second},
		level: "debug",
	},
	{
		name:  "signature refused",
		event: events.SignatureRefused{Kind: events.SignatureProposal, Slot: 3, LatestSlot: 4, Err: errTest},
		want:  deltas{`leanspec_validator_signatures_refused_total{role="proposal"}`: 1},
		level: "error",
	},
	{
		name:  "signing records missing",
		event: events.SigningRecordsMissing{Keys: 4, File: "a.ssz", Slot: 3, NextSlot: 5},
		want:  deltas{"leanspec_validator_signing_records_missing": 4},
		level: "error",
	},
	{
		name:  "key window",
		event: events.KeyWindow{Validator: 7, Role: events.SignatureAttestation, SlotsLeft: 50},
		want:  deltas{`leanspec_validator_key_slots_left{role="attestation",validator="7"}`: 50},
	},
	{
		name:  "key window, low",
		event: events.KeyWindow{Validator: 7, Role: events.SignatureProposal, SlotsLeft: 5, Low: true},
		want:  deltas{`leanspec_validator_key_slots_left{role="proposal",validator="7"}`: 5},
		level: "warn",
	},
	{
		name:  "signing failed",
		event: events.SignatureMade{Kind: events.SignatureAttestation, Err: errTest},
		level: "error",
	},
	{
		name:  "slot summary",
		event: events.SlotSummary{Slot: 10, Head: at(9), Finalized: at(7)},
		want:  deltas{"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7},
		level: "info",
	},
	{
		name:  "chain loaded",
		event: events.ChainLoaded{Head: at(9), Justified: at(8), Finalized: at(7), SafeTarget: at(6)},
		want: deltas{
			"lean_head_slot": 9, "lean_safe_target_slot": 6,
			"lean_latest_justified_slot": 8, "lean_justified_slot": 8,
			"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7,
		},
	},
	{
		name:  "tick",
		event: events.Tick{Elapsed: 500 * time.Millisecond},
		want:  deltas{"lean_tick_interval_duration_seconds_count": 1, "lean_tick_interval_duration_seconds_sum": 0.5},
	},
	{
		name:  "the clock set back",
		event: events.Tick{Elapsed: -time.Second},
	},
	{
		name:  "fingerprint",
		event: events.Fingerprint{Root: [32]byte{0, 0, 0, 0, 1, 2, 3}},
		want:  deltas{"leanspec_chain_fingerprint": 0x102},
	},
	{
		name:  "disk",
		event: events.Disk{Used: 5, Free: 7},
		want:  deltas{"leanspec_storage_used_bytes": 5, "leanspec_storage_free_bytes": 7},
	},
	{
		name:  "pool sizes",
		event: events.PoolSizes{AttestationSignatures: 1, NewPayloads: 2, KnownPayloads: 3, Blocks: 4, States: 5},
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
		event: events.QueueDropped{Queue: events.QueueOrphanBlocks},
		want:  deltas{`leanspec_queue_dropped_total{queue="orphan_blocks"}`: 1},
		level: "warn",
	},
	{
		name:  "chain saved",
		event: events.ChainSaved{Duration: 2 * time.Millisecond},
		want:  deltas{`leanspec_storage_save_time_seconds_count`: 1, `leanspec_storage_save_time_seconds_sum`: 0.002},
	},
	{
		name:  "syncing",
		event: events.SyncState{Distance: 20, Reason: "known_gap"},
		want: deltas{
			"leanspec_sync_distance":                  20,
			`lean_node_sync_status{status="idle"}`:    -1,
			`lean_node_sync_status{status="syncing"}`: 1,
		},
		level: "info",
	},
	{
		name:  "synced",
		event: events.SyncState{Synced: true, Distance: 2},
		want: deltas{
			`lean_node_sync_status{status="idle"}`:   -1,
			`lean_node_sync_status{status="synced"}`: 1,
		},
		level: "info",
	},
	{
		name:  "validators loaded",
		event: events.ValidatorsLoaded{Count: 4},
		want:  deltas{"lean_validators_count": 4},
		level: "info",
	},
	{
		name:  "aggregator role",
		event: events.AggregatorRole{Enabled: true},
		want:  deltas{"lean_is_aggregator": 1},
		level: "info",
	},
	{
		name:  "peers",
		event: events.Peers{Connected: 6},
		want:  deltas{"leanspec_peers_connected": 6, `lean_connected_peers{client="unknown"}`: 6},
		level: "debug",
	},
	{
		name:  "peer connected",
		event: events.PeerConnection{Peer: "peer", Direction: events.DirectionInbound, Result: events.ResultSuccess},
		want:  deltas{`lean_peer_connection_events_total{direction="inbound",result="success"}`: 1},
		level: "info",
	},
	{
		name:  "peer did not connect",
		event: events.PeerConnection{Direction: events.DirectionOutbound, Result: events.ResultTimeout, Err: errTest},
		want:  deltas{`lean_peer_connection_events_total{direction="outbound",result="timeout"}`: 1},
		level: "debug",
	},
	{
		name:  "peer disconnected",
		event: events.PeerDisconnection{Peer: "peer", Direction: events.DirectionOutbound, Reason: events.DisconnectRemoteClose},
		want:  deltas{`lean_peer_disconnection_events_total{direction="outbound",reason="remote_close"}`: 1},
		level: "info",
	},
	{
		name:  "second connection of a peer",
		event: events.PeerConnection{Peer: "peer", Direction: events.DirectionInbound, Result: events.ResultSuccess, Further: true},
		level: "debug",
	},
	{
		name:  "end of one of several connections",
		event: events.PeerDisconnection{Peer: "peer", Direction: events.DirectionOutbound, Reason: events.DisconnectRemoteClose, Further: true},
		level: "debug",
	},
	{
		name:  "subscriptions lost",
		event: events.SubscriptionsLost{Peer: "peer", Reset: true},
		want:  deltas{"leanspec_gossip_subscriptions_lost_total": 1},
		level: "warn",
	},
	{
		name:  "duplicate identity",
		event: events.DuplicateIdentity{Peer: "peer", Address: "/ip4/192.0.2.1/udp/9001/quic-v1"},
		want:  deltas{"leanspec_duplicate_identity_total": 1},
		level: "warn",
	},
	{
		name:  "foreign peer",
		event: events.ForeignPeer{Peer: "peer", Ours: []string{"a"}, Theirs: []string{"b"}},
		level: "warn",
	},
	{
		name:  "foreign peers",
		event: events.ForeignPeers{Count: 2},
		want:  deltas{"leanspec_peers_without_common_topic": 2},
	},
	{
		name:  "peer at fault",
		event: events.PeerFault{Peer: "peer", Reason: "bad bytes", Faults: 1, Err: errTest},
		want:  deltas{"leanspec_peer_faults_total": 1},
		level: "debug",
	},
	{
		name:  "peer banned",
		event: events.PeerBanned{Peer: "peer", Reason: "bad bytes"},
		want:  deltas{"leanspec_peers_banned_total": 1},
		level: "warn",
	},
	{
		name:  "gossiped block",
		event: events.GossipReceived{Kind: events.GossipBlock, Bytes: 700},
		want:  deltas{"lean_gossip_block_size_bytes_count": 1, "lean_gossip_block_size_bytes_sum": 700},
	},
	{
		name:  "gossiped vote",
		event: events.GossipReceived{Kind: events.GossipAttestation, Bytes: 600},
		want:  deltas{"lean_gossip_attestation_size_bytes_count": 1, "lean_gossip_attestation_size_bytes_sum": 600},
	},
	{
		name:  "gossiped aggregate",
		event: events.GossipReceived{Kind: events.GossipAggregation, Bytes: 500},
		want:  deltas{"lean_gossip_aggregation_size_bytes_count": 1, "lean_gossip_aggregation_size_bytes_sum": 500},
	},
	{
		name:  "gossip of another kind",
		event: events.GossipReceived{Kind: "other", Bytes: 500},
	},
	{
		name:  "mesh peers",
		event: events.MeshPeers{Count: 5, ByName: map[string]int{"zeam_0": 1}},
		want:  deltas{`lean_gossip_mesh_peers{client="unknown"}`: 4, `lean_gossip_mesh_peers{client="zeam_0"}`: 1},
	},
	{
		name:  "gossip judged",
		event: events.GossipJudged{Kind: events.GossipAttestation, Verdict: events.VerdictIgnore},
		want:  deltas{`leanspec_gossip_messages_total{kind="attestation",verdict="ignore"}`: 1},
	},
	{
		name:  "gossip that cannot be decoded",
		event: events.GossipJudged{Kind: events.GossipAggregation, Verdict: events.VerdictReject, Undecodable: true},
		want: deltas{
			`leanspec_gossip_messages_total{kind="aggregation",verdict="reject"}`:       1,
			`leanspec_aggregates_rejected_total{reason="DECODE_ERROR",source="gossip"}`: 1,
		},
	},
	{
		name:  "request of ours answered",
		event: events.RequestEnded{Protocol: events.RequestStatus, Direction: events.DirectionOutbound, Result: events.ResultSuccess, Duration: 250 * time.Millisecond},
		want: deltas{
			`leanspec_requests_total{direction="outbound",protocol="status",result="success"}`: 1,
			`leanspec_request_time_seconds_count{protocol="status"}`:                           1,
			`leanspec_request_time_seconds_sum{protocol="status"}`:                             0.25,
		},
	},
	{
		name:  "request of a peer refused",
		event: events.RequestEnded{Protocol: events.RequestBlocksByRange, Direction: events.DirectionInbound, Result: events.ResultRefused, Duration: time.Second},
		want:  deltas{`leanspec_requests_total{direction="inbound",protocol="blocks_by_range",result="refused"}`: 1},
	},
	{
		name:  "agreement",
		event: events.Agreement{Heads: map[string]int{events.RelationSame: 2, events.RelationFork: 1}, Finalized: map[string]int{events.RelationSame: 3}},
		want: deltas{
			`leanspec_peers_by_head{relation="same"}`: 2, `leanspec_peers_by_head{relation="fork"}`: 1,
			`leanspec_peers_by_finalized{relation="same"}`: 3,
		},
	},
	{
		name:  "attestation committee",
		event: events.AttestationCommittee{Subnet: 2, Count: 4},
		want:  deltas{"lean_attestation_committee_subnet": 2, "lean_attestation_committee_count": 4},
	},
}

// TestEvents checks that each event moves exactly its metrics, and that it writes one line at its
// level, or none.
func TestEvents(t *testing.T) {
	for _, test := range eventCases {
		t.Run(test.name, func(t *testing.T) {
			m := newTestMetrics()
			var out bytes.Buffer
			log, _ := logging.New(logging.Options{Format: logging.FormatJSON, Level: slog.LevelDebug, Writer: &out})
			bus := events.NewBus(m.Fold, logging.Events(log))

			before := values(t, m)
			bus.Report(test.event)
			if got := moved(before, values(t, m)); !maps.Equal(got, test.want) {
				t.Errorf("moved\n  %v\nwant\n  %v", got, test.want)
			}

			got := ""
			for line := range bytes.Lines(out.Bytes()) {
				var fields struct{ Level string }
				if err := json.Unmarshal(line, &fields); err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				got += fields.Level
			}
			if got != test.level {
				t.Errorf("wrote a line at %q, want %q: %s", got, test.level, &out)
			}
		})
	}
}

// TestEveryEvent checks that eventCases has every type of event.
func TestEveryEvent(t *testing.T) {
	source, err := os.ReadFile("../events/bus.go")
	if err != nil {
		t.Fatal(err)
	}
	types := regexp.MustCompile(`(?m)^func \((\w+)\) event\(\)`).FindAllSubmatch(source, -1)
	if len(types) < 40 {
		t.Fatalf("found %d types of events, want at least 40", len(types))
	}
	for _, match := range types {
		name := "events." + string(match[1])
		if !slices.ContainsFunc(eventCases, func(c eventCase) bool { return fmt.Sprintf("%T", c.event) == name }) {
			t.Errorf("eventCases has no %s", name)
		}
	}
}

// TestEveryMetricMoves checks that an event moves every metric, except those that are read at the scrape.
func TestEveryMetricMoves(t *testing.T) {
	fixed := []string{
		"lean_node_info", "lean_node_start_time_seconds", "leanspec_process_start_time_seconds",
		"leanspec_slot_current", "leanspec_epoch_current", "lean_current_slot", "leanspec_finality_lag_slots", // by the clock
		"leanspec_queue_length", "leanspec_queue_capacity",
		"lean_attestation_aggregate_coverage_validators", "lean_attestation_aggregate_coverage_subnets",
		"lean_attestation_aggregate_coverage_diff_validators",          // never set
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
			t.Errorf("no event in eventCases moves %s", name)
		}
	}
}

// TestScrapeWhileEventsRun runs under the race detector, and checks that no count is lost.
func TestScrapeWhileEventsRun(t *testing.T) {
	const workers, rounds = 4, 50
	m := newTestMetrics()
	log, _ := logging.New(logging.Options{Format: logging.FormatJSON, Level: slog.LevelDebug, Writer: io.Discard})
	bus := events.NewBus(m.Fold, logging.Events(log))
	handler := m.Handler()

	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for range rounds {
				for _, test := range eventCases {
					bus.Report(test.event)
				}
			}
		})
	}
	wait.Go(func() {
		for range 20 {
			scrape(t, handler)
		}
	})
	wait.Wait()

	if got, want := values(t, m).of(t, "leanspec_blocks_imported_total"), float64(3*workers*rounds); got != want {
		t.Errorf("leanspec_blocks_imported_total = %v, want %v", got, want)
	}
}

func BenchmarkReport(b *testing.B) {
	d := time.Millisecond
	for name, event := range map[string]events.Event{
		"vote": events.AttestationAccepted{Slot: 3, Validator: 9, Peer: "peer", Duration: d, SignatureVerification: d},
		"block": events.BlockImported{Slot: 3, Peer: "peer", Gossip: true, Slots: 1, Attestations: 2, Participants: 5, Delay: d, Stages: events.Stages{
			Wait: d, SignatureVerification: d, StateTransition: d, Slots: d, Block: d, Attestations: d, ForkChoice: d, Save: d, Total: d, Elapsed: d}},
		"slot": events.SlotSummary{Slot: 3},
	} {
		b.Run(name, func(b *testing.B) {
			log, _ := logging.New(logging.Options{Format: logging.FormatJSON, Writer: io.Discard})
			bus := events.NewBus(newTestMetrics().Fold, logging.Events(log))
			b.ReportAllocs()
			for b.Loop() {
				bus.Report(event)
			}
		})
	}
}
