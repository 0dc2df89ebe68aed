package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const metricsDocument = "../../docs/metrics.md"

// TestMetricsDocument holds that docs/metrics.md is what the definitions say.
func TestMetricsDocument(t *testing.T) {
	want := document(New(Info{}).Definitions())
	if *update {
		if err := os.WriteFile(metricsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(metricsDocument)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/metrics.md is not what the definitions say: make docs writes it anew")
	}
}

const documentHead = `# Metrics

<!-- Made by "make docs" of the definitions in internal/metrics. A test fails where it is stale. -->

The node serves its metrics on ` + "`/metrics`" + ` of the metrics port (8008) and of the API port (5052): as text, as OpenMetrics, and
as protobuf, in which histograms have native buckets too. It also has the metrics of the Go runtime (` + "`go_*`" + `) and of the process
(` + "`process_*`" + `).

A counter whose labels are listed here is there from the first scrape, at zero. No label value is made of what a peer sent.
` + "`lean_*`" + ` metrics are those of [leanMetrics](https://github.com/leanEthereum/leanMetrics) at c1b3ef8, with its names, labels and
buckets; ` + "`leanspec_*`" + ` are this node's own.
`

func document(definitions []Definition) string {
	var b strings.Builder
	b.WriteString(documentHead)
	section := ""
	for _, d := range definitions {
		if d.Section != section {
			section = d.Section
			fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", section)
		}
		var labels []string
		for _, l := range d.Labels {
			values := l.Note
			if values == "" {
				values = strings.Join(l.Values, ", ")
			}
			labels = append(labels, fmt.Sprintf("`%s`: %s", l.Name, values))
		}
		help := d.Help
		if d.Buckets != nil {
			help += " Buckets: " + strings.Trim(strings.ReplaceAll(fmt.Sprint(d.Buckets), " ", ", "), "[]") + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(labels, "; "), help)
	}
	return b.String()
}

// TestDrift: every peer has one voice, however much it sends.
func TestDrift(t *testing.T) {
	var d drift
	now := time.Unix(1, 0)
	if got := d.median(now); got != 0 {
		t.Errorf("drift without messages is %v, want 0", got)
	}
	for i := range 10_000 {
		d.add(now, "liar", -30*time.Second)
		if i < 3 {
			d.add(now, "honest", 100*time.Millisecond)
			d.add(now, "also honest", 200*time.Millisecond)
		}
	}
	if got := d.median(now); got != 0.1 {
		t.Errorf("drift with one liar of three is %v, want 0.1", got)
	}
	for range driftMessages {
		d.add(now, "honest", -2*time.Second)
		d.add(now, "also honest", -3*time.Second)
	}
	if got := d.median(now); got != -3 {
		t.Errorf("drift after the clock was set is %v, want -3: the median of the latest messages", got)
	}
	now = now.Add(driftTime)
	d.add(now, "honest", -2*time.Second)
	now = now.Add(time.Second)
	if got := d.median(now); got != -2 {
		t.Errorf("drift with one peer left is %v, want -2: the others were not heard lately", got)
	}
	for i := range 2 * driftPeers {
		d.add(now, peer.ID(fmt.Sprint(i)), 0)
	}
	if len(d.peers) > driftPeers {
		t.Errorf("%d peers are remembered, want at most %d", len(d.peers), driftPeers)
	}
	// Messages are judged after their peers are gone as well: what is left of those
	// must not keep the others out.
	now = now.Add(driftTime + time.Second)
	d.add(now, "another", time.Second)
	if got := d.median(now); got != 1 {
		t.Errorf("drift with one peer after many is %v, want 1", got)
	}
}
