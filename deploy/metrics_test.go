package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leanEthereum/leanspec-node/internal/metrics"
)

// exported returns the names of all series that a node exports, as they are
// written in a query: a histogram has three.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		metrics.New(metrics.Info{}).Registry().Describe(descs)
		close(descs)
	}()
	names := map[string]bool{
		"up": true, "ALERTS": true, // Prometheus' own
		"process_cpu_seconds_total": true, "process_resident_memory_bytes": true, "process_open_fds": true, // of Linux only
	}
	fqName := regexp.MustCompile(`^Desc\{fqName: "([^"]+)"`)
	for desc := range descs {
		match := fqName.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("no name in %s", desc)
		}
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			names[match[1]+suffix] = true
		}
	}
	return names
}

// metricName finds what can only be the name of a metric.
var metricName = regexp.MustCompile(`\b(?:leanspec|lean|process|go)_[a-z0-9_]+|\bup\b|\bALERTS\b`)

// namesIn returns the metrics that a text names. In a query, names are not looked for in label values and
// not among labels.
func namesIn(text string) []string {
	text = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(text, `""`)
	return metricName.FindAllString(text, -1)
}

// query is an expression, and where it is from.
type query struct{ where, expr string }

// queries returns every expression of the rules, dashboards and runbooks.
func queries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, r := range rules(t) {
		all = append(all, query{"rule " + r.Alert, r.Expr})
	}
	for _, path := range glob(t, "grafana/dashboards/*.json") {
		d := readDashboard(t, path)
		for _, p := range d.panels() {
			for _, target := range p.Targets {
				all = append(all, query{path + ": " + p.Title, target.Expr})
			}
		}
		for _, v := range d.Templating.List {
			all = append(all, query{path + ": variable " + v.Name, v.Definition})
		}
		for _, a := range d.Annotations.List {
			all = append(all, query{path + ": annotation " + a.Name, a.Expr})
		}
	}
	promql := regexp.MustCompile("(?s)```promql\n(.*?)```")
	for _, path := range glob(t, "../docs/runbooks/*.md") {
		for _, block := range promql.FindAllStringSubmatch(readText(t, path), -1) {
			for line := range strings.Lines(block[1]) {
				all = append(all, query{path, strings.TrimSpace(line)})
			}
		}
	}
	return all
}

// TestMetricsExist: no query asks for what the node does not export.
func TestMetricsExist(t *testing.T) {
	names := exported(t)
	for _, q := range queries(t) {
		named := namesIn(q.expr)
		if len(named) == 0 && q.expr != "" { // empty: the choice of the data source
			t.Errorf("%s: found no metric in %q", q.where, q.expr)
		}
		for _, name := range named {
			if !names[name] {
				t.Errorf("%s: the node exports no %s", q.where, name)
			}
		}
	}
	// The prose of the runbooks.
	code := regexp.MustCompile("`[^`\n]+`")
	for _, path := range glob(t, "../docs/runbooks/*.md") {
		for _, span := range code.FindAllString(readText(t, path), -1) {
			for _, name := range namesIn(span) {
				if !names[name] && !strings.HasPrefix(name, "lean_spec_") { // names of nodes
					t.Errorf("%s: the node exports no %s", path, name)
				}
			}
		}
	}
}

// TestNoData holds prometheus/tests/no-data.yml to the dashboards: what is said to have no data in a
// healthy network is asked for somewhere.
func TestNoData(t *testing.T) {
	var list []struct{ Expr, Reason, Nodes string }
	readYAML(t, "prometheus/tests/no-data.yml", &list)
	asked := make(map[string]bool)
	for _, q := range queries(t) {
		asked[strings.Join(strings.Fields(q.expr), " ")] = true
	}
	if len(list) == 0 {
		t.Error("prometheus/tests/no-data.yml lists nothing")
	}
	for _, entry := range list {
		if entry.Reason == "" {
			t.Errorf("%s: no reason", entry.Expr)
		}
		if entry.Nodes != "" && entry.Nodes != "some" {
			t.Errorf("%s: nodes is %q, want some, or nothing for all", entry.Expr, entry.Nodes)
		}
		if !asked[strings.Join(strings.Fields(entry.Expr), " ")] {
			t.Errorf("nothing asks for %s", entry.Expr)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: found nothing (%v)", pattern, err)
	}
	return paths
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readYAML reads a file that has no fields but those of v.
func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(readText(t, path)), v, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// indented returns JSON with its fields in order and an indent of two spaces.
func indented(t *testing.T, path, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b.String()
}
