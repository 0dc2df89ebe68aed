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

// exported returns the names of all series that a node exports, including those of histograms with their suffixes.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		metrics.New(metrics.Info{}).Registry().Describe(descs)
		close(descs)
	}()
	names := map[string]bool{
		"up": true, "ALERTS": true, // made by Prometheus
		"process_cpu_seconds_total": true, "process_resident_memory_bytes": true, "process_open_fds": true, // only on Linux
	}
	fqName := regexp.MustCompile(`^Desc\{fqName: "([^"]+)"`)
	for desc := range descs {
		match := fqName.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("description = %s, want a name in it", desc)
		}
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			names[match[1]+suffix] = true
		}
	}
	return names
}

// metricName matches names of metrics.
var metricName = regexp.MustCompile(`\b(?:leanspec|lean|process|go)_[a-z0-9_]+|\bup\b|\bALERTS\b`)

// namesIn returns the names of metrics in a text, but not those in quotation marks, which are label values.
func namesIn(text string) []string {
	text = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(text, `""`)
	return metricName.FindAllString(text, -1)
}

// query is an expression and its source.
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

// TestMetricsExist checks that the node exports all metrics that the queries and the runbooks name.
func TestMetricsExist(t *testing.T) {
	names := exported(t)
	for _, q := range queries(t) {
		named := namesIn(q.expr)
		if len(named) == 0 && q.expr != "" { // the variable of the data source has no expression
			t.Errorf("%s: metrics in %q = 0, want more", q.where, q.expr)
		}
		for _, name := range named {
			if !names[name] {
				t.Errorf("%s: unknown metric %s, want one that the node exports", q.where, name)
			}
		}
	}
	// The text of the runbooks names metrics in backticks.
	code := regexp.MustCompile("`[^`\n]+`")
	for _, path := range glob(t, "../docs/runbooks/*.md") {
		for _, span := range code.FindAllString(readText(t, path), -1) {
			for _, name := range namesIn(span) {
				if !names[name] && !strings.HasPrefix(name, "lean_spec_") { // names of nodes
					t.Errorf("%s: unknown metric %s, want one that the node exports", path, name)
				}
			}
		}
	}
}

// TestNoData checks that the entries of prometheus/tests/no-data.yml are complete, and that a rule, dashboard or runbook has their
// expressions.
func TestNoData(t *testing.T) {
	var list []struct{ Expr, Reason, Nodes string }
	readYAML(t, "prometheus/tests/no-data.yml", &list)
	used := make(map[string]bool)
	for _, q := range queries(t) {
		used[strings.Join(strings.Fields(q.expr), " ")] = true
	}
	if len(list) == 0 {
		t.Error("entries of prometheus/tests/no-data.yml = 0, want more")
	}
	for _, entry := range list {
		if entry.Reason == "" {
			t.Errorf("%s: reason is empty, want a text", entry.Expr)
		}
		if entry.Nodes != "" && entry.Nodes != "some" {
			t.Errorf("%s: nodes = %q, want \"some\" or \"\"", entry.Expr, entry.Nodes)
		}
		if !used[strings.Join(strings.Fields(entry.Expr), " ")] {
			t.Errorf("%s: not used, want it in a rule, dashboard or runbook", entry.Expr)
		}
	}
}

// glob returns the files that match a pattern, at least one.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("files that match %s = 0 (error %v), want more", pattern, err)
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

// readYAML decodes a file into v. Unknown fields fail the test.
func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(readText(t, path)), v, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// indented returns JSON with an indent of two spaces. It keeps the order of the fields.
func indented(t *testing.T, path, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b.String()
}
