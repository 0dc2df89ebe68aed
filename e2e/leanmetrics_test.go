package e2e

import (
	"math"
	"regexp"
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// leanMetric is a row of metrics.md of leanMetrics, and the nodes on which the metric moves in a healthy network.
type leanMetric struct {
	name    string
	kind    dto.MetricType
	labels  labels
	buckets []float64 // in the order of metrics.md, without +Inf
	moves   mover
}

// labels are the names of the labels of a metric, and regular expressions for the values that metrics.md allows.
type labels map[string]string

// mover names the nodes with validators on which a metric is not zero after some slots of a healthy network. It applies to the sum
// of all series; for histograms, to the sum of their counts.
type mover string

const (
	everywhere   mover = "on every node"
	onAggregator mover = "on the aggregator only"
	onOthers     mover = "on every node but the aggregator"
	nowhere      mover = "on no node"
	anywhere     mover = "" // not checked
)

const (
	counter   = dto.MetricType_COUNTER
	gauge     = dto.MetricType_GAUGE
	histogram = dto.MetricType_HISTOGRAM
)

// leanMetrics is the table in metrics.md of leanEthereum/leanMetrics at c1b3ef8. It was copied from there, not from the
// definitions of this repository.
var leanMetrics = []leanMetric{
	// Node Info Metrics
	{"lean_node_info", gauge, labels{"name": ".+", "version": ".+"}, nil, everywhere},
	{"lean_node_start_time_seconds", gauge, nil, nil, everywhere},

	// PQ Signature Metrics
	{"lean_pq_sig_attestation_signatures_total", counter, nil, nil, everywhere},
	{"lean_pq_sig_attestation_signatures_valid_total", counter, nil, nil, everywhere},
	{"lean_pq_sig_attestation_signatures_invalid_total", counter, nil, nil, nowhere},
	{"lean_pq_sig_attestation_signing_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},
	{"lean_pq_sig_attestation_verification_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},
	{"lean_pq_sig_aggregated_signatures_total", counter, nil, nil, onAggregator},
	{"lean_pq_sig_aggregated_signatures_valid_total", counter, nil, nil, everywhere}, // includes proofs of blocks
	{"lean_pq_sig_aggregated_signatures_invalid_total", counter, nil, nil, nowhere},
	{"lean_pq_sig_attestations_in_aggregated_signatures_total", counter, nil, nil, onAggregator},
	{"lean_pq_sig_aggregated_signatures_building_time_seconds", histogram, nil, []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}, onAggregator},
	{"lean_pq_sig_aggregated_signatures_verification_time_seconds", histogram, nil, []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}, everywhere},

	// Block Production Metrics
	{"lean_block_aggregated_payloads", histogram, nil, []float64{1, 2, 4, 8, 16, 32, 64, 128}, everywhere},
	{"lean_block_building_payload_aggregation_time_seconds", histogram, nil, []float64{0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4}, everywhere},
	{"lean_block_building_time_seconds", histogram, nil, []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}, everywhere},
	{"lean_block_building_success_total", counter, nil, nil, everywhere},
	{"lean_block_building_failures_total", counter, nil, nil, nowhere},

	// Fork-Choice Metrics
	{"lean_head_slot", gauge, nil, nil, everywhere},
	{"lean_current_slot", gauge, nil, nil, everywhere},
	{"lean_safe_target_slot", gauge, nil, nil, everywhere},
	{"lean_fork_choice_block_processing_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1, 1.25, 1.5, 2, 4}, everywhere},
	{"lean_attestations_valid_total", counter, nil, nil, everywhere},
	{"lean_attestations_invalid_total", counter, nil, nil, nowhere},
	{"lean_attestation_validation_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},
	// On a busy machine a block may be late and cause a reorg.
	{"lean_fork_choice_reorgs_total", counter, nil, nil, anywhere},
	{"lean_fork_choice_reorg_depth", histogram, nil, []float64{1, 2, 3, 5, 7, 10, 20, 30, 50, 100}, anywhere},
	// Filled during one interval of each slot.
	{"lean_gossip_signatures", gauge, nil, nil, anywhere},
	{"lean_latest_new_aggregated_payloads", gauge, nil, nil, anywhere},
	{"lean_latest_known_aggregated_payloads", gauge, nil, nil, everywhere},
	{"lean_committee_signatures_aggregation_time_seconds", histogram, nil, []float64{0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4}, onAggregator},
	{"lean_node_sync_status", gauge, labels{"status": "idle|syncing|synced"}, nil, everywhere},
	{"lean_tick_interval_duration_seconds", histogram, nil, []float64{0.4, 0.6, 0.75, 0.8, 0.805, 0.81, 0.815, 0.82, 0.825, 0.85, 0.9, 1.0, 1.2, 1.6}, everywhere},

	// State Transition Metrics
	{"lean_latest_justified_slot", gauge, nil, nil, everywhere},
	{"lean_latest_finalized_slot", gauge, nil, nil, everywhere},
	{"lean_justified_slot", gauge, nil, nil, everywhere},
	{"lean_finalized_slot", gauge, nil, nil, everywhere},
	{"lean_finalizations_total", counter, labels{"result": "success|error"}, nil, everywhere},
	{"lean_state_transition_time_seconds", histogram, nil, []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4}, everywhere},
	{"lean_state_transition_slots_processed_total", counter, nil, nil, everywhere},
	{"lean_state_transition_slots_processing_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},
	{"lean_state_transition_block_processing_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},
	{"lean_state_transition_attestations_processed_total", counter, nil, nil, everywhere},
	{"lean_state_transition_attestations_processing_time_seconds", histogram, nil, []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}, everywhere},

	// Validator Metrics
	{"lean_validators_count", gauge, nil, nil, everywhere},
	{"lean_is_aggregator", gauge, nil, nil, onAggregator},
	{"lean_attestations_production_time_seconds", histogram, nil, []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}, everywhere},
	{"lean_aggregator_skipped_total", counter, labels{"reason": "not_aggregator|not_synced|missing_state|spawn_failed|other"}, nil, onOthers},

	// Network Metrics
	{"lean_connected_peers", gauge, labels{"client": `[a-zA-Z][a-zA-Z_-]*_[0-9]+|unknown`}, nil, everywhere},
	{"lean_peer_connection_events_total", counter, labels{"direction": "inbound|outbound", "result": "success|timeout|error"}, nil, everywhere},
	{"lean_peer_disconnection_events_total", counter, labels{"direction": "inbound|outbound", "reason": "timeout|remote_close|local_close|error"}, nil, anywhere},
	{"lean_gossip_mesh_peers", gauge, labels{"client": `[a-zA-Z][a-zA-Z_-]*_[0-9]+|unknown`}, nil, everywhere},
	{"lean_attestation_committee_subnet", gauge, nil, nil, nowhere}, // the only subnet is 0
	{"lean_attestation_committee_count", gauge, nil, nil, everywhere},
	{"lean_gossip_block_size_bytes", histogram, nil, []float64{10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000}, everywhere},
	{"lean_gossip_attestation_size_bytes", histogram, nil, []float64{512, 1024, 2048, 4096, 8192, 16384}, everywhere},
	// A node does not receive its own messages.
	{"lean_gossip_aggregation_size_bytes", histogram, nil, []float64{1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576}, onOthers},
}

// leanspecMetrics are the seven metrics that every leanspec-node exports, besides those of leanMetrics.
var leanspecMetrics = []leanMetric{
	{"leanspec_slot_current", gauge, nil, nil, everywhere},
	{"leanspec_epoch_current", gauge, nil, nil, everywhere},
	{"leanspec_peers_connected", gauge, nil, nil, everywhere},
	{"leanspec_blocks_imported_total", counter, nil, nil, everywhere},
	{"leanspec_attestations_processed_total", counter, nil, nil, everywhere},
	{"leanspec_sync_distance", gauge, nil, nil, anywhere}, // 1 before the block of the slot arrives
	{"leanspec_process_start_time_seconds", gauge, nil, nil, everywhere},
}

// amount returns the sum of the values of a family, for histograms the sum of the counts.
func amount(family *dto.MetricFamily) float64 {
	sum := 0.0
	for _, m := range family.GetMetric() {
		switch family.GetType() {
		case counter:
			sum += m.GetCounter().GetValue()
		case gauge:
			sum += m.GetGauge().GetValue()
		case histogram:
			sum += float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// check compares the metric of a node with the row.
func (m *leanMetric) check(t *testing.T, n *devnet.Node, families map[string]*dto.MetricFamily) {
	t.Helper()
	node := n.Name
	family := families[m.name]
	if family == nil {
		t.Errorf("%s: %s is missing", node, m.name)
		return
	}
	if family.GetType() != m.kind {
		t.Errorf("%s: type of %s = %v, want %v", node, m.name, family.GetType(), m.kind)
		return
	}
	for _, series := range family.Metric {
		names := make([]string, 0, len(m.labels))
		for _, label := range series.Label {
			names = append(names, label.GetName())
			allowed, known := m.labels[label.GetName()]
			if known && !regexp.MustCompile("^(?:"+allowed+")$").MatchString(label.GetValue()) {
				t.Errorf("%s: %s{%s=%q}, want %s", node, m.name, label.GetName(), label.GetValue(), allowed)
			}
		}
		for name := range m.labels {
			if !slices.Contains(names, name) {
				t.Errorf("%s: labels of %s = %v, want %s", node, m.name, names, name)
			}
		}
		if len(names) != len(m.labels) {
			t.Errorf("%s: labels of %s = %v, want %d", node, m.name, names, len(m.labels))
		}
		if m.kind == histogram {
			var bounds []float64
			for _, bucket := range series.Histogram.Bucket {
				bounds = append(bounds, bucket.GetUpperBound())
			}
			if want := append(slices.Clone(m.buckets), math.Inf(1)); !slices.Equal(bounds, want) {
				t.Errorf("%s: buckets of %s = %v, want %v", node, m.name, bounds, want)
			}
		}
	}
	if len(n.Validators) == 0 && m.moves != nowhere {
		return
	}
	moved := amount(family) != 0
	switch m.moves {
	case anywhere:
	case everywhere:
		if !moved {
			t.Errorf("%s: %s = 0, want more than 0 %s", node, m.name, m.moves)
		}
	case nowhere:
		if moved {
			t.Errorf("%s: %s = %v, want more than 0 %s", node, m.name, amount(family), m.moves)
		}
	default:
		if want := (m.moves == onAggregator) == n.IsAggregator; moved != want {
			t.Errorf("%s: %s = %v, want more than 0 %s", node, m.name, amount(family), m.moves)
		}
	}
}
