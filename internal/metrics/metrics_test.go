package metrics

import (
	"bytes"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

const (
	gauge     = dto.MetricType_GAUGE
	counter   = dto.MetricType_COUNTER
	histogram = dto.MetricType_HISTOGRAM
)

// definition describes a metric as leanMetrics' metrics.md does. labels holds, for each label, the
// values that must be present before any event; nil if values appear with events.
type definition struct {
	kind    dto.MetricType
	labels  map[string][]string
	buckets []float64
}

// leanMetrics is copied by hand from metrics.md of leanEthereum/leanMetrics at c1b3ef8.
var leanMetrics = map[string]definition{
	"lean_node_info":               {kind: gauge, labels: map[string][]string{"name": {"node-a"}, "version": {"v1.2.3"}}},
	"lean_node_start_time_seconds": {kind: gauge},

	"lean_pq_sig_attestation_signatures_total":                    {kind: counter},
	"lean_pq_sig_attestation_signatures_valid_total":              {kind: counter},
	"lean_pq_sig_attestation_signatures_invalid_total":            {kind: counter},
	"lean_pq_sig_attestation_signing_time_seconds":                {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},
	"lean_pq_sig_attestation_verification_time_seconds":           {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},
	"lean_pq_sig_aggregated_signatures_total":                     {kind: counter},
	"lean_pq_sig_aggregated_signatures_valid_total":               {kind: counter},
	"lean_pq_sig_aggregated_signatures_invalid_total":             {kind: counter},
	"lean_pq_sig_attestations_in_aggregated_signatures_total":     {kind: counter},
	"lean_pq_sig_aggregated_signatures_building_time_seconds":     {kind: histogram, buckets: []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}},
	"lean_pq_sig_aggregated_signatures_verification_time_seconds": {kind: histogram, buckets: []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4}},

	"lean_block_aggregated_payloads":                       {kind: histogram, buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128}},
	"lean_block_building_payload_aggregation_time_seconds": {kind: histogram, buckets: []float64{0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4}},
	"lean_block_building_time_seconds":                     {kind: histogram, buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}},
	"lean_block_building_success_total":                    {kind: counter},
	"lean_block_building_failures_total":                   {kind: counter},

	"lean_head_slot":        {kind: gauge},
	"lean_current_slot":     {kind: gauge},
	"lean_safe_target_slot": {kind: gauge},
	"lean_fork_choice_block_processing_time_seconds":     {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1, 1.25, 1.5, 2, 4}},
	"lean_attestations_valid_total":                      {kind: counter},
	"lean_attestations_invalid_total":                    {kind: counter},
	"lean_attestation_validation_time_seconds":           {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},
	"lean_fork_choice_reorgs_total":                      {kind: counter},
	"lean_fork_choice_reorg_depth":                       {kind: histogram, buckets: []float64{1, 2, 3, 5, 7, 10, 20, 30, 50, 100}},
	"lean_gossip_signatures":                             {kind: gauge},
	"lean_latest_new_aggregated_payloads":                {kind: gauge},
	"lean_latest_known_aggregated_payloads":              {kind: gauge},
	"lean_committee_signatures_aggregation_time_seconds": {kind: histogram, buckets: []float64{0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4}},
	"lean_node_sync_status":                              {kind: gauge, labels: map[string][]string{"status": {"idle", "syncing", "synced"}}},

	"lean_tick_interval_duration_seconds": {kind: histogram,
		buckets: []float64{0.4, 0.6, 0.75, 0.8, 0.805, 0.81, 0.815, 0.82, 0.825, 0.85, 0.9, 1.0, 1.2, 1.6}},

	"lean_latest_justified_slot":                                 {kind: gauge},
	"lean_latest_finalized_slot":                                 {kind: gauge},
	"lean_justified_slot":                                        {kind: gauge},
	"lean_finalized_slot":                                        {kind: gauge},
	"lean_finalizations_total":                                   {kind: counter, labels: map[string][]string{"result": {"success", "error"}}},
	"lean_state_transition_time_seconds":                         {kind: histogram, buckets: []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4}},
	"lean_state_transition_slots_processed_total":                {kind: counter},
	"lean_state_transition_slots_processing_time_seconds":        {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},
	"lean_state_transition_block_processing_time_seconds":        {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},
	"lean_state_transition_attestations_processed_total":         {kind: counter},
	"lean_state_transition_attestations_processing_time_seconds": {kind: histogram, buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 1}},

	"lean_validators_count":                     {kind: gauge},
	"lean_is_aggregator":                        {kind: gauge},
	"lean_attestations_production_time_seconds": {kind: histogram, buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1}},
	"lean_aggregator_skipped_total": {kind: counter, labels: map[string][]string{
		"reason": {"not_aggregator", "not_synced", "missing_state", "spawn_failed", "other"},
	}},

	"lean_connected_peers": {kind: gauge, labels: map[string][]string{"client": {"unknown", "zeam_0"}}},
	"lean_peer_connection_events_total": {kind: counter, labels: map[string][]string{
		"direction": {"inbound", "outbound"}, "result": {"success", "timeout", "error"},
	}},
	"lean_peer_disconnection_events_total": {kind: counter, labels: map[string][]string{
		"direction": {"inbound", "outbound"}, "reason": {"timeout", "remote_close", "local_close", "error"},
	}},
	"lean_gossip_mesh_peers":            {kind: gauge, labels: map[string][]string{"client": {"unknown", "zeam_0"}}},
	"lean_attestation_committee_subnet": {kind: gauge},
	"lean_attestation_committee_count":  {kind: gauge},
	"lean_gossip_block_size_bytes": {kind: histogram,
		buckets: []float64{10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000}},
	"lean_gossip_attestation_size_bytes": {kind: histogram,
		buckets: []float64{512, 1024, 2048, 4096, 8192, 16384}},
	"lean_gossip_aggregation_size_bytes": {kind: histogram,
		buckets: []float64{1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576}},
}

// coverageMetrics are leanSpec's own, from node/metrics/registry.py.
var coverageMetrics = map[string]definition{
	"lean_attestation_aggregate_coverage_validators": {kind: gauge, labels: map[string][]string{
		"section": {"timely", "late", "block", "combined", "aggregate_start_new", "proposal_payloads", "proposal_gossip", "proposal_combined"},
		"subnet":  {"combined"},
	}},
	"lean_attestation_aggregate_coverage_subnets": {kind: gauge, labels: map[string][]string{
		"section": {"timely", "late", "block", "combined", "aggregate_start_new", "proposal_payloads", "proposal_gossip", "proposal_combined"},
	}},
	"lean_attestation_aggregate_coverage_diff_validators": {kind: gauge, labels: map[string][]string{
		"direction": {"block_only", "timely_only"},
	}},
}

// ownMetrics lists the metrics whose names and types must not change.
var ownMetrics = map[string]definition{
	"leanspec_slot_current":                 {kind: gauge},
	"leanspec_epoch_current":                {kind: gauge},
	"leanspec_peers_connected":              {kind: gauge},
	"leanspec_blocks_imported_total":        {kind: counter},
	"leanspec_attestations_processed_total": {kind: counter},
	"leanspec_sync_distance":                {kind: gauge},
	"leanspec_process_start_time_seconds":   {kind: gauge},
}

func newTestMetrics() *Metrics {
	return New(Info{
		Name: "node-a", Version: "v1.2.3", StartTime: time.Unix(1_700_000_000, 500_000_000), PeerNames: []string{"zeam_0"},
	})
}

// scrape reads the metrics as Prometheus does.
func scrape(t *testing.T, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: status %d, want 200: %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatalf("scrape does not parse: %v", err)
	}
	return families
}

func TestDefinitions(t *testing.T) {
	m := newTestMetrics()
	families := scrape(t, m.Handler())
	want := map[string]definition{}
	for _, table := range []map[string]definition{leanMetrics, coverageMetrics, ownMetrics} {
		for name, def := range table {
			want[name] = def
		}
	}
	for name := range families {
		if _, ok := want[name]; !ok && strings.HasPrefix(name, "lean_") {
			t.Errorf("%s is exposed but not in the tables", name)
		}
	}
	for name, def := range want {
		family := families[name]
		if family == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if family.GetType() != def.kind {
			t.Errorf("%s is a %v, want %v", name, family.GetType(), def.kind)
		}
		if family.GetHelp() == "" {
			t.Errorf("%s has no help text", name)
		}
		values := map[string][]string{}
		for _, metric := range family.Metric {
			for _, pair := range metric.Label {
				values[pair.GetName()] = append(values[pair.GetName()], pair.GetValue())
			}
			if len(metric.Label) != len(def.labels) {
				t.Errorf("%s has labels %v, want the %d of %v", name, metric.Label, len(def.labels), def.labels)
			}
			if def.kind == histogram {
				var bounds []float64
				for _, bucket := range metric.GetHistogram().Bucket {
					if !math.IsInf(bucket.GetUpperBound(), 1) {
						bounds = append(bounds, bucket.GetUpperBound())
					}
				}
				if !slices.Equal(bounds, def.buckets) {
					t.Errorf("%s has buckets %v, want %v", name, bounds, def.buckets)
				}
			}
		}
		for label, present := range def.labels {
			got := slices.Compact(slices.Sorted(slices.Values(values[label])))
			if len(got) == 0 {
				t.Errorf("%s lacks label %s", name, label)
			}
			if present != nil && !slices.Equal(got, slices.Sorted(slices.Values(present))) {
				t.Errorf("%s{%s} has values %v, want %v", name, label, got, present)
			}
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if families[name] == nil {
			t.Errorf("%s of the Go and process collectors is missing", name)
		}
	}
}

// TestDefinitionsAreTrue compares the definitions, from which the documentation is generated, with
// the exposed metrics.
func TestDefinitionsAreTrue(t *testing.T) {
	m := newTestMetrics()
	m.Watch(events.Queue{Name: events.QueueChainRequests, Capacity: 1, Length: func() int { return 0 }})
	m.Fold(events.KeyWindow{Role: events.SignatureProposal}) // appears with its event
	m.Fold(events.Disk{})
	families := scrape(t, m.Handler())
	defined := map[string]bool{}
	for _, def := range m.Definitions() {
		if defined[def.Name] {
			t.Errorf("%s is defined twice", def.Name)
		}
		defined[def.Name] = true
		family := families[def.Name]
		if family == nil {
			t.Errorf("%s is defined, but not exposed", def.Name)
			continue
		}
		if got := strings.ToLower(family.GetType().String()); got != def.Type || family.GetHelp() != def.Help || def.Section == "" {
			t.Errorf("%s is exposed as a %s, %q; want the definition in section %q: %s, %q", def.Name, got, family.GetHelp(), def.Section, def.Type, def.Help)
		}
		for _, metric := range family.Metric {
			if len(metric.Label) != len(def.Labels) {
				t.Errorf("%s has labels %v, want those of its definition, %v", def.Name, metric.Label, def.Labels)
			}
			for _, pair := range metric.Label {
				i := slices.IndexFunc(def.Labels, func(l Label) bool { return l.Name == pair.GetName() })
				if i < 0 || def.Labels[i].Values != nil && pair.GetValue() != "" && !slices.Contains(def.Labels[i].Values, pair.GetValue()) {
					t.Errorf("%s has %s=%q, want a label value of its definition: %v", def.Name, pair.GetName(), pair.GetValue(), def.Labels)
				}
			}
			if buckets := metric.GetHistogram().GetBucket(); len(buckets) != 0 && len(buckets) != len(def.Buckets)+1 {
				t.Errorf("%s has %d buckets, want the %d of its definition and +Inf", def.Name, len(buckets), len(def.Buckets))
			}
		}
	}
	for name := range families {
		if strings.HasPrefix(name, "lean") && !defined[name] {
			t.Errorf("%s is exposed, but has no definition", name)
		}
	}
}

// TestNativeHistograms checks that histograms have native and classic buckets in protobuf.
func TestNativeHistograms(t *testing.T) {
	m := newTestMetrics()
	m.Fold(events.ChainSaved{Duration: 3 * time.Millisecond})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
	histograms := 0
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("decode a protobuf response of type %q: %v", w.Header().Get("Content-Type"), err)
		}
		if family.GetType() != histogram || !strings.HasPrefix(family.GetName(), "lean") {
			continue
		}
		for _, metric := range family.Metric {
			histograms++
			h := metric.GetHistogram()
			if h.Schema == nil || len(h.Bucket) == 0 {
				t.Errorf("%s has native buckets %v and %d classic ones, want both", family.GetName(), h.Schema != nil, len(h.Bucket))
			}
			if family.GetName() == "leanspec_storage_save_time_seconds" && len(h.PositiveSpan) != 1 {
				t.Errorf("%s has %d native spans after one observation, want 1", family.GetName(), len(h.PositiveSpan))
			}
		}
	}
	if histograms == 0 {
		t.Error("no histogram in the response")
	}
}

func TestStaticValues(t *testing.T) {
	m := newTestMetrics()
	got := values(t, m)
	for series, want := range map[string]float64{
		`lean_node_info{name="node-a",version="v1.2.3"}`: 1,
		"lean_node_start_time_seconds":                   1_700_000_000.5,
		"leanspec_process_start_time_seconds":            1_700_000_000.5,
		`lean_node_sync_status{status="idle"}`:           1,
		`lean_node_sync_status{status="synced"}`:         0,
	} {
		if got.of(t, series) != want {
			t.Errorf("%s = %v, want %v", series, got.of(t, series), want)
		}
	}

	before := time.Now()
	started := values(t, New(Info{})).of(t, "leanspec_process_start_time_seconds")
	if started < float64(before.Unix()) {
		t.Errorf("start time without Info.StartTime = %v, want now (%v)", started, before.Unix())
	}
}

func TestClockIsReadAtScrape(t *testing.T) {
	if got := values(t, newTestMetrics()).of(t, "leanspec_slot_current"); got != 0 {
		t.Errorf("slot without a clock = %v, want 0", got)
	}
	var slot lstar.Slot
	m := New(Info{Slot: func() lstar.Slot { return slot }})
	for _, slot = range []lstar.Slot{0, 2, 3, 12345} {
		got := values(t, m)
		if got.of(t, "leanspec_slot_current") != float64(slot) || got.of(t, "lean_current_slot") != float64(slot) {
			t.Errorf("at slot %d: leanspec_slot_current = %v, lean_current_slot = %v",
				slot, got.of(t, "leanspec_slot_current"), got.of(t, "lean_current_slot"))
		}
		if want := float64(slot / 3); got.of(t, "leanspec_epoch_current") != want {
			t.Errorf("at slot %d: leanspec_epoch_current = %v, want %v", slot, got.of(t, "leanspec_epoch_current"), want)
		}
	}
}

// countedLog is a log with 1 line at debug, 2 at info, 3 at warn and 4 at error.
type countedLog struct{}

func (countedLog) Lines(level slog.Level) uint64 { return uint64(level-slog.LevelDebug)/4 + 1 }
func (countedLog) Dropped() uint64               { return 7 }

func TestLogLines(t *testing.T) {
	got := values(t, New(Info{Log: countedLog{}}))
	for series, want := range map[string]float64{
		`leanspec_log_lines_total{level="debug"}`: 1, `leanspec_log_lines_total{level="info"}`: 2,
		`leanspec_log_lines_total{level="warn"}`: 3, `leanspec_log_lines_total{level="error"}`: 4,
		"leanspec_log_lines_dropped_total": 7,
	} {
		if got.of(t, series) != want {
			t.Errorf("%s = %v, want %v", series, got.of(t, series), want)
		}
	}
}

func TestMetricsHandlerNegotiation(t *testing.T) {
	const text = "text/plain; version=0.0.4; charset=utf-8"
	tests := []struct {
		name, method, accept string
		status               int
		contentType          string
	}{
		{"plain GET", "GET", "", 200, text},
		{"any type", "GET", "*/*", 200, text},
		{"a browser", "GET", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", 200, text},
		{"unknown type", "GET", "application/json", 200, text},
		{"text with parameters", "GET", "text/plain; version=0.0.4; escaping=underscores", 200, text},
		{"HEAD", "HEAD", "", 200, text},
		{"OpenMetrics", "GET", "application/openmetrics-text; version=1.0.0", 200,
			"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"},
	}
	handler := newTestMetrics().Handler()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/metrics", nil)
			if test.accept != "" {
				r.Header.Set("Accept", test.accept)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Content-Type"); got != test.contentType {
				t.Errorf("content type %q, want %q", got, test.contentType)
			}
			if om := strings.Contains(test.contentType, "openmetrics"); om != bytes.HasSuffix(w.Body.Bytes(), []byte("# EOF\n")) {
				t.Errorf("body ends like OpenMetrics: %v, want %v", !om, om)
			}
		})
	}
}

func TestMetricsCompression(t *testing.T) {
	server := httptest.NewServer(newTestMetrics().Handler())
	defer server.Close()
	// The transport requests gzip and decompresses the response.
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !response.Uncompressed {
		t.Error("the response is not compressed, want gzip")
	}
	if !bytes.Contains(body, []byte("\nlean_head_slot 0\n")) {
		t.Error("the compressed response lacks lean_head_slot")
	}
}

func TestLabelsAreBounded(t *testing.T) {
	m := newTestMetrics()
	before := scrape(t, m.Handler())
	for i := range 1000 {
		junk := "peer\n" + strings.Repeat("x", i)
		m.Fold(events.BlockRejected{Reason: junk})
		m.Fold(events.AttestationRejected{Reason: junk})
		m.Fold(events.AggregateRejected{Reason: junk})
		m.Fold(events.DutyEnded{Duty: junk, Outcome: junk, Reason: junk})
		m.Fold(events.DutyEnded{Duty: events.DutyBlock, Outcome: events.OutcomeMissed, Reason: junk})
		m.Fold(events.QueueDropped{Queue: junk})
		m.Fold(events.GossipJudged{Kind: junk, Verdict: junk})
		m.Fold(events.RequestEnded{Protocol: junk, Direction: junk, Result: junk})
		m.Fold(events.Agreement{Heads: map[string]int{junk: 1}, Finalized: map[string]int{junk: 1}})
		m.Fold(events.Peers{Connected: 1, ByName: map[string]int{junk: 1}})
	}
	for name, family := range scrape(t, m.Handler()) {
		if was := len(before[name].GetMetric()); strings.HasPrefix(name, "lean") && len(family.GetMetric()) != was {
			t.Errorf("%s has %d series after events with unknown values, want %d", name, len(family.GetMetric()), was)
		}
	}
	got := values(t, m)
	if series := `leanspec_blocks_rejected_total{reason="other",source="sync"}`; got.of(t, series) != 1000 {
		t.Errorf("%s = %v, want 1000", series, got.of(t, series))
	}
}

// TestPeerCalledUnknown checks that a peer may have the name that stands for peers without a name.
func TestPeerCalledUnknown(t *testing.T) {
	m := New(Info{PeerNames: []string{"a", unknownPeer}})
	m.Fold(events.Peers{Connected: 4, ByName: map[string]int{"a": 1, unknownPeer: 1}})
	for series, want := range map[string]float64{`lean_connected_peers{client="a"}`: 1, `lean_connected_peers{client="unknown"}`: 3} {
		if got := values(t, m).of(t, series); got != want {
			t.Errorf("%s = %v, want %v", series, got, want)
		}
	}
}

// BenchmarkScrape scrapes a node with 256 validators that uses all series. The goal is 10 ms.
func BenchmarkScrape(b *testing.B) {
	m := newTestMetrics()
	for _, test := range eventCases {
		m.Fold(test.event)
	}
	for v := range uint64(256) {
		m.Fold(events.KeyWindow{Validator: lstar.ValidatorIndex(v), Role: events.SignatureAttestation, SlotsLeft: v})
		m.Fold(events.KeyWindow{Validator: lstar.ValidatorIndex(v), Role: events.SignatureProposal, SlotsLeft: v})
	}
	for i := range 10_000 {
		d := time.Duration(i) * 100 * time.Microsecond
		m.Fold(events.BlockImported{Gossip: true, Delay: d, Stages: events.Stages{
			Wait: d, SignatureVerification: d, StateTransition: d, Slots: d, Block: d, Attestations: d, ForkChoice: d, Save: d, Total: d, Elapsed: d}})
		for _, kind := range gossipKinds {
			m.Fold(events.MessageSeen{Kind: kind, Peer: peer.ID(strconv.Itoa(i % 64)), Delay: d, Offset: d})
		}
	}
	handler := m.Handler()
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}
}
