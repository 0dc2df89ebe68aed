package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// values flattens all lean metrics into series and value; a histogram gives its count and its sum.
func values(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	all := map[string]float64{}
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
func moved(before, after map[string]float64) map[string]float64 {
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
				PeerID: "peer",
				Stages: Stages{SignatureVerification: 250 * time.Millisecond, StateTransition: 500 * time.Millisecond,
					ForkChoice: 125 * time.Millisecond, Total: time.Second},
			})
		},
		want: deltas{
			"leanspec_blocks_imported_total":                                    1,
			"leanspec_attestations_processed_total":                             7,
			"lean_state_transition_time_seconds_count":                          1,
			"lean_state_transition_time_seconds_sum":                            0.5,
			"lean_state_transition_attestations_processed_total":                2,
			"lean_fork_choice_block_processing_time_seconds_count":              1,
			"lean_fork_choice_block_processing_time_seconds_sum":                1,
			"lean_pq_sig_aggregated_signatures_valid_total":                     1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_count": 1,
			"lean_pq_sig_aggregated_signatures_verification_time_seconds_sum":   0.25,
		},
		level: "debug",
	},
	{
		name: "own block imported",
		send: func(o *Observer) {
			o.BlockImported(BlockImported{Slot: 12, Own: true, Stages: Stages{Total: time.Second}})
		},
		want: deltas{
			"leanspec_blocks_imported_total":                       1,
			"lean_fork_choice_block_processing_time_seconds_count": 1,
			"lean_fork_choice_block_processing_time_seconds_sum":   1,
		},
		level: "debug",
	},
	{
		name:  "block rejected",
		send:  func(o *Observer) { o.BlockRejected(BlockRejected{Slot: 1, Reason: "WRONG_PROPOSER", Err: errTest}) },
		want:  deltas{`leanspec_blocks_rejected_total{reason="WRONG_PROPOSER"}`: 1},
		level: "warn",
	},
	{
		name: "block rejected for its proof",
		send: func(o *Observer) { o.BlockRejected(BlockRejected{Reason: "INVALID_BLOCK_PROOF"}) },
		want: deltas{
			`leanspec_blocks_rejected_total{reason="INVALID_BLOCK_PROOF"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":              1,
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
			"lean_attestations_invalid_total":                                   1,
			`leanspec_attestations_rejected_total{reason="UNKNOWN_HEAD_BLOCK"}`: 1,
		},
		level: "debug",
	},
	{
		name: "vote rejected for its signature",
		send: func(o *Observer) {
			o.AttestationRejected(AttestationRejected{Reason: "INVALID_SIGNATURE", SignatureVerification: time.Second})
		},
		want: deltas{
			"lean_attestations_invalid_total":                                  1,
			`leanspec_attestations_rejected_total{reason="INVALID_SIGNATURE"}`: 1,
			"lean_pq_sig_attestation_signatures_invalid_total":                 1,
			"lean_pq_sig_attestation_verification_time_seconds_count":          1,
			"lean_pq_sig_attestation_verification_time_seconds_sum":            1,
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
		want:  deltas{`leanspec_aggregates_rejected_total{reason="DECODE_ERROR"}`: 1},
		level: "debug",
	},
	{
		name: "aggregate rejected for its proof",
		send: func(o *Observer) { o.AggregateRejected(AggregateRejected{Reason: "INVALID_SIGNATURE"}) },
		want: deltas{
			`leanspec_aggregates_rejected_total{reason="INVALID_SIGNATURE"}`: 1,
			"lean_pq_sig_aggregated_signatures_invalid_total":                1,
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
			o.BlockProduced(BlockProduced{Slot: 9, Validator: 1, Attestations: 3, Duration: 500 * time.Millisecond})
		},
		want: deltas{
			"lean_block_building_success_total":      1,
			"lean_block_building_time_seconds_count": 1,
			"lean_block_building_time_seconds_sum":   0.5,
			"lean_block_aggregated_payloads_count":   1,
			"lean_block_aggregated_payloads_sum":     3,
		},
		level: "debug",
	},
	{
		name:  "block production failed",
		send:  func(o *Observer) { o.BlockProductionFailed(BlockProductionFailed{Slot: 9, Err: errTest}) },
		want:  deltas{"lean_block_building_failures_total": 1},
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
		name:  "duty skipped for want of sync",
		send:  func(o *Observer) { o.DutySkipped(DutySkipped{Duty: DutyBlock, Slot: 9, Reason: ReasonNotSynced}) },
		want:  deltas{`leanspec_duties_skipped_total{duty="block",reason="not_synced"}`: 1},
		level: "debug",
	},
	{
		name: "duty skipped for a signature already made",
		send: func(o *Observer) {
			o.DutySkipped(DutySkipped{Duty: DutyAttestation, Slot: 9, Reason: ReasonAlreadySigned})
		},
		want:  deltas{`leanspec_duties_skipped_total{duty="attestation",reason="already_signed"}`: 1},
		level: "warn",
	},
	{
		name: "aggregation skipped",
		send: func(o *Observer) { o.DutySkipped(DutySkipped{Duty: DutyAggregation, Reason: ReasonNotAggregator}) },
		want: deltas{
			`leanspec_duties_skipped_total{duty="aggregation",reason="not_aggregator"}`: 1,
			`lean_aggregator_skipped_total{reason="not_aggregator"}`:                    1,
		},
		level: "debug",
	},
	{
		name: "aggregation skipped for a reason leanMetrics does not know",
		send: func(o *Observer) { o.DutySkipped(DutySkipped{Duty: DutyAggregation, Reason: ReasonNoSignatures}) },
		want: deltas{
			`leanspec_duties_skipped_total{duty="aggregation",reason="no_signatures"}`: 1,
			`lean_aggregator_skipped_total{reason="other"}`:                            1,
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
		name: "slot summary",
		send: func(o *Observer) {
			o.SlotSummary(SlotSummary{Slot: 10, HeadSlot: 9, JustifiedSlot: 8, FinalizedSlot: 7, SafeTargetSlot: 6, Peers: 5})
		},
		want: deltas{
			"lean_head_slot": 9, "lean_safe_target_slot": 6,
			"lean_latest_justified_slot": 8, "lean_justified_slot": 8,
			"lean_latest_finalized_slot": 7, "lean_finalized_slot": 7,
		},
		level: "info",
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
		name: "aggregate coverage",
		send: func(o *Observer) { o.AggregateCoverage(AggregateCoverage{Section: "timely", BySubnet: []int{3, 0, 4}}) },
		want: deltas{
			`lean_attestation_aggregate_coverage_validators{section="timely",subnet="combined"}`: 7,
			`lean_attestation_aggregate_coverage_validators{section="timely",subnet="subnet_0"}`: 3,
			`lean_attestation_aggregate_coverage_validators{section="timely",subnet="subnet_2"}`: 4,
			`lean_attestation_aggregate_coverage_subnets{section="timely"}`:                      2,
		},
	},
	{
		name: "coverage of an unknown section",
		send: func(o *Observer) { o.AggregateCoverage(AggregateCoverage{Section: "other", BySubnet: []int{3}}) },
	},
	{
		name: "aggregate coverage diff",
		send: func(o *Observer) { o.AggregateCoverageDiff(AggregateCoverageDiff{BlockOnly: 2, TimelyOnly: 3}) },
		want: deltas{
			`lean_attestation_aggregate_coverage_diff_validators{direction="block_only"}`:  2,
			`lean_attestation_aggregate_coverage_diff_validators{direction="timely_only"}`: 3,
		},
	},
	{
		name:  "queue dropped",
		send:  func(o *Observer) { o.QueueDropped(QueueDropped{Queue: "verify"}) },
		want:  deltas{`leanspec_queue_dropped_total{queue="verify"}`: 1},
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
		name: "peer at fault",
		send: func(o *Observer) {
			o.PeerFault(PeerFault{PeerID: "peer", Reason: "bad bytes", Faults: 1, Err: errTest})
		},
		level: "debug",
	},
	{
		name:  "peer banned",
		send:  func(o *Observer) { o.PeerBanned(PeerBanned{PeerID: "peer", Reason: "bad bytes"}) },
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
		send: func(o *Observer) { o.MeshPeers(MeshPeers{Count: 5}) },
		want: deltas{`lean_gossip_mesh_peers{client="unknown"}`: 5},
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

// TestEveryMetricMoves holds that no metric is registered which no event moves.
func TestEveryMetricMoves(t *testing.T) {
	fixed := []string{
		"lean_node_info", "lean_node_start_time_seconds", "leanspec_process_start_time_seconds",
		"leanspec_slot_current", "leanspec_epoch_current", "lean_current_slot", // moved by the clock
		"leanspec_log_lines_total", // by the log
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
	for _, synced := range []bool{false, false, true, true, true, false} {
		o.SyncState(SyncState{Synced: synced, Distance: 9})
	}
	var got []any
	for _, line := range parseLines(t, out.Bytes()) {
		got = append(got, line["msg"])
	}
	if want := []any{"syncing", "synced", "syncing"}; !slices.Equal(got, want) {
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

	if got, want := values(t, m)["leanspec_blocks_imported_total"], float64(2*workers*rounds); got != want {
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
			e := BlockImported{Slot: 3, PeerID: "peer", Attestations: 2, Participants: 5, Stages: Stages{Total: time.Millisecond}}
			b.ReportAllocs()
			for b.Loop() {
				o.BlockImported(e)
			}
		})
	}
}
