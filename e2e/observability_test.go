package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// The tests of the properties that the documents promise to operators:
//
//	the seven leanspec_ metrics              TestObservability; their values TestOneNode
//	names, types, buckets of leanMetrics     TestObservability, with the table leanMetrics
//	promtool check metrics                   TestObservability
//	--metrics-port, the API port's /metrics  TestOneNode
//	JSON logs, line by line                  TestOneNode; noErrors after each network
//	/health 200 and 503                      TestOneNode, TestNoAggregator, TestObservability
//	flags from the environment               TestEnvironment
//	dashboards and rules have data           TestObservability
//	faults raise the right alerts            TestObservability

// deploy is the folder of the rules and dashboards.
const deploy = "../deploy"

const (
	// faultTimeout limits the time from a fault to its alerts: up to 80 s until the fingerprint of the chain changes, the
	// minute for which the rule waits, and as much again for a busy machine.
	faultTimeout = 4 * time.Minute
	// calmTimeout limits the time from the end of a fault to the end of its alerts.
	calmTimeout = 3 * time.Minute
)

// watched is a network with a Prometheus that scrapes it.
type watched struct {
	*devnet.Network
	prometheus *prometheus
	hosts      []*host
	report     bytes.Buffer // logged at the end of the test
}

// TestObservability runs a network with a real Prometheus and the rules and dashboards of this repository. While the network is
// healthy, every metric and every expression must have data, and no alert may be active. Then each of three faults must raise
// its alerts, and no others.
func TestObservability(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	needsPrometheus(t)
	t.Parallel()
	rules, err := filepath.Abs(filepath.Join(deploy, "prometheus", "rules", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{hosts: newHosts(t, 5)}
	var options []devnet.NodeOptions
	for _, h := range w.hosts {
		options = append(options, devnet.NodeOptions{Prefix: []string{"ip", "netns", "exec", h.name}, IP: h.ip, Args: []string{"--admin-open"}})
	}
	// Four nodes have one validator each, and three validators suffice for finality. Two of three would also suffice, but
	// without every third block, all blocks that can be justified may be missing for twenty slots. The fifth node has no
	// validators.
	w.Network = launch(t, devnet.Options{Nodes: 5, Validators: 4, NodeOptions: options, Scheme: xmss.Prod, ActiveSlots: 1024})
	w.prometheus = startPrometheus(t, w.Nodes, []string{rules})

	awaitFinalized(t, w.Network, 4, 2*time.Minute)
	calm := w.calm(t, calmTimeout)
	w.checkMetrics(t)
	w.checkSeries(t)
	w.checkExpressions(t)
	w.staysCalm(t, calm, time.Minute)
	w.checkFaults(t)

	noErrors(t, w.Network)
	t.Logf("\n%s", w.report.String())
}

// calm waits until no alert is active, and returns the time at which this is so.
func (w *watched) calm(t *testing.T, timeout time.Duration) time.Time {
	t.Helper()
	w.prometheus.await(t, timeout, "all alerts to end", func() (bool, string) {
		active, err := w.prometheus.alerts(t.Context())
		if err != nil {
			return false, err.Error()
		}
		return len(active) == 0, names(active)
	})
	return time.Now()
}

// staysCalm fails the test if an alert is pending for longer than a moment until hold after since, or has fired since the start
// of Prometheus.
func (w *watched) staysCalm(t *testing.T, since time.Time, hold time.Duration) {
	t.Helper()
	until := since.Add(hold)
	w.prometheus.await(t, hold+10*time.Second, "time without alerts to pass", func() (bool, string) { return time.Now().After(until), "" })
	for state, from := range map[string]time.Time{"pending": since.Add(scrapeInterval), "firing": w.prometheus.started} {
		seen, err := w.prometheus.history(t.Context(), state, from, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range seen {
			// An alert may be pending for a moment: on a busy machine a node may answer a scrape too late, and Prometheus
			// scrapes a new fingerprint from one node after the other.
			if state == "pending" && s.longest <= 5*scrapeInterval {
				continue
			}
			t.Errorf("healthy network: %s was %s for %s, want no alert", name, state, s.longest)
		}
	}
	fmt.Fprintf(&w.report, "no alert pending for %s, none firing for %s\n",
		time.Since(since).Round(time.Second), time.Since(w.prometheus.started).Round(time.Second))
}

// checkMetrics checks /metrics of all nodes.
func (w *watched) checkMetrics(t *testing.T) {
	t.Helper()
	for _, n := range w.Nodes {
		status, page, err := fetch(t.Context(), n.MetricsURL())
		if status != 200 || err != nil {
			t.Fatalf("%s: /metrics = %d (error %v), want 200", n.Name, status, err)
		}
		checkWithPromtool(t, n.Name, page)
		families := parseMetrics(t, page)
		for _, table := range [][]leanMetric{leanMetrics, leanspecMetrics} {
			for i := range table {
				table[i].check(t, n, families)
			}
		}
		own := map[string]int{}
		for name := range families {
			prefix, _, _ := strings.Cut(name, "_")
			own[prefix]++
		}
		fmt.Fprintf(&w.report, "%s has %d metrics: %d lean_, %d leanspec_, %d others\n", n.Name, len(families),
			own["lean"], own["leanspec"], len(families)-own["lean"]-own["leanspec"])
	}
	fmt.Fprintf(&w.report, "%d metrics of leanMetrics and %d leanspec_ metrics checked on each node\n", len(leanMetrics), len(leanspecMetrics))
}

// checkSeries checks that Prometheus has the metrics of leanMetrics from all nodes, with the labels by which the dashboards of
// leanMetrics distinguish nodes. These dashboards use only metrics of the table.
func (w *watched) checkSeries(t *testing.T) {
	t.Helper()
	samples, err := w.prometheus.query(t.Context(),
		`count by (__name__) (count by (__name__, job, network, instance) ({__name__=~"lean_.+", job!="", network!="", instance!=""}))`)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]float64{}
	for _, s := range samples {
		nodes[s.Metric["__name__"]] = s.Value.value
	}
	for _, m := range leanMetrics {
		name := m.name
		if m.kind == histogram {
			name += "_bucket"
		}
		if want := float64(len(w.Nodes)); nodes[name] != want {
			t.Errorf("nodes with %s in Prometheus = %v, want %v", name, nodes[name], want)
		}
	}
}

// checkWithPromtool checks a page with promtool check metrics.
func checkWithPromtool(t *testing.T, node string, page []byte) {
	t.Helper()
	// promtool takes these two metrics of leanMetrics for parts of histograms.
	allowed := []string{"lean_attestation_committee_count", "lean_validators_count"}
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(page)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for finding := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(finding), " ")
		if !slices.Contains(allowed, name) || !strings.Contains(rest, `"_count" suffix`) {
			t.Errorf("%s: promtool check metrics = %s, want no finding", node, finding)
		}
	}
}

// expression is a PromQL expression of a dashboard, a rule or a runbook.
type expression struct {
	where  string
	text   string // on one line, with variables of Grafana
	kind   string
	single bool // of a dashboard that shows one node at a time
}

const (
	ofPanel   = "panel"   // has data, unless no-data.yml lists it
	ofRule    = "rule"    // an alert: has data only during a fault
	ofRunbook = "runbook" // of a runbook or an annotation: has data only during a fault
)

func oneLine(expr string) string { return strings.Join(strings.Fields(expr), " ") }

// variable matches a variable of Grafana in any notation.
var variable = regexp.MustCompile(`\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]`)

// inGrafana replaces the variables of Grafana with values.
func inGrafana(expr, instance, rateInterval string) string {
	return variable.ReplaceAllStringFunc(expr, func(v string) string {
		m := variable.FindStringSubmatch(v)
		switch name := m[1] + m[2] + m[3]; name {
		case "instance":
			return instance
		case "__rate_interval":
			return rateInterval
		case "__interval":
			return "15s"
		case "__range":
			return "5m"
		case "__range_s":
			return "300"
		default: // a variable of the dashboard: all values
			return ".+"
		}
	})
}

// readDashboards returns the expressions of all panels, variables and annotations.
func readDashboards(t *testing.T) []expression {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deploy, "grafana", "dashboards", "*.json"))
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards = %v (error %v), want at least two", files, err)
	}
	type panel struct {
		Title   string
		Targets []struct{ Expr string }
		Panels  []panel
	}
	ofVariable := regexp.MustCompile(`^label_values\((.*),\s*\w+\)$`)
	var all []expression
	for _, file := range files {
		var dashboard struct {
			Panels      []panel
			Annotations struct {
				List []struct{ Name, Expr string }
			}
			Templating struct {
				List []struct {
					Name, Definition string
					Multi            bool
				}
			}
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(content, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name, single := filepath.Base(file), false
		for _, v := range dashboard.Templating.List {
			single = single || v.Name == "instance" && !v.Multi
		}
		var add func([]panel)
		add = func(panels []panel) {
			for _, p := range panels {
				for _, target := range p.Targets {
					all = append(all, expression{name + ": " + p.Title, oneLine(target.Expr), ofPanel, single})
				}
				add(p.Panels)
			}
		}
		add(dashboard.Panels)
		for _, v := range dashboard.Templating.List {
			if m := ofVariable.FindStringSubmatch(v.Definition); m != nil {
				all = append(all, expression{name + ": variable " + v.Name, oneLine(m[1]), ofPanel, single})
			}
		}
		for _, a := range dashboard.Annotations.List {
			all = append(all, expression{name + ": annotation " + a.Name, oneLine(a.Expr), ofRunbook, single})
		}
	}
	return all
}

// readRunbooks returns the expressions in the runbooks.
func readRunbooks(t *testing.T) []expression {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "docs", "runbooks", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("runbooks = %v (error %v), want one for each alert", files, err)
	}
	blocks := regexp.MustCompile("(?s)```promql\n(.*?)```")
	var all []expression
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks.FindAllStringSubmatch(string(content), -1) {
			for line := range strings.Lines(block[1]) {
				if line = strings.TrimSpace(line); line != "" {
					all = append(all, expression{filepath.Base(file), oneLine(line), ofRunbook, false})
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("expressions in the runbooks = 0, want more")
	}
	return all
}

// readRules returns the expressions of all rules that Prometheus has loaded.
func (w *watched) readRules(t *testing.T) []expression {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Type, LastError string }
		}
	}
	if err := w.prometheus.api(t.Context(), "rules", &data); err != nil {
		t.Fatal(err)
	}
	var all []expression
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			kind := ofRule
			if r.Type == "recording" {
				kind = ofPanel
			}
			if r.LastError != "" {
				t.Errorf("rule %s: error %q, want none", r.Name, r.LastError)
			}
			all = append(all, expression{r.Name, oneLine(r.Query), kind, false})
		}
	}
	if len(all) == 0 {
		t.Fatal("rules in Prometheus = 0, want more")
	}
	return all
}

// empty is an expression that has no data on a healthy network, with the reason.
type empty struct {
	Expr, Reason string
	Nodes        string // "some" if the expression has data on some nodes, otherwise ""
}

// readNoData returns the expressions in no-data.yml.
func readNoData(t *testing.T) map[string]empty {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deploy, "prometheus", "tests", "no-data.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var list []empty
	if err := yaml.Unmarshal(content, &list); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]empty)
	for _, entry := range list {
		all[oneLine(entry.Expr)] = entry
	}
	return all
}

// selector matches a metric with its label matchers in an expression.
var selector = regexp.MustCompile(`\b(?:up|(?:leanspec|lean|process|go)_\w+)\b(?:\s*\{[^}]*\})?`)

// selectors returns the selectors of an expression. On a healthy network the expression of an alert has no data, but each of its
// selectors must have data: an alert on a metric that does not exist would never fire.
func (e expression) selectors() []string {
	all := selector.FindAllString(e.text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// checkExpressions evaluates the expressions of the dashboards, rules and runbooks.
func (w *watched) checkExpressions(t *testing.T) {
	t.Helper()
	// numbers returns the number of series that have a number as value.
	numbers := func(where, expr string) (n int) {
		t.Helper()
		samples, err := w.prometheus.query(t.Context(), expr)
		if err != nil {
			t.Errorf("%s: %s: %v", where, expr, err)
		}
		for _, s := range samples {
			if !math.IsNaN(s.Value.value) { // a quantile or a mean of no samples
				n++
			}
		}
		return n
	}
	// without returns the nodes with validators for which an expression has no data. If the dashboard shows all nodes
	// together, it returns ".+" for all of them.
	without := func(e expression, rateInterval string) (nodes []string) {
		selections := []string{".+"}
		if e.single && strings.Contains(e.text, "$instance") {
			selections = nil
			for _, n := range w.Nodes {
				if len(n.Validators) > 0 {
					selections = append(selections, n.Name)
				}
			}
		}
		for _, selection := range selections {
			if numbers(e.where, inGrafana(e.text, selection, rateInterval)) == 0 {
				nodes = append(nodes, selection)
			}
		}
		return nodes
	}
	noData, count := readNoData(t), map[string]int{}
	for _, e := range slices.Concat(readDashboards(t), w.readRules(t), readRunbooks(t)) {
		count[e.kind]++
		entry, listed := noData[e.text]
		// An expression with data on some nodes has data in a dashboard of all nodes.
		if e.kind == ofPanel && listed && (entry.Nodes == "" || e.single) {
			count["listed"]++
			// On a busy machine a block may be late, which affects one minute.
			has := w.prometheus.wait(2*time.Minute, func() (bool, string) { return len(without(e, "1m")) > 0, "data" })
			if has != "" {
				t.Errorf("%s: got %s on a healthy network, want no data as listed in no-data.yml (%s): %s", e.where, has, entry.Reason, e.text)
			}
			continue
		}
		missing := without(e, "5m") // includes the start of the network
		if e.kind == ofPanel {
			if len(missing) > 0 {
				t.Errorf("%s: no data for %s on a healthy network, want data: %s", e.where, missing, e.text)
			}
			continue
		}
		if e.kind == ofRule && len(missing) == 0 {
			t.Errorf("%s fires on a healthy network", e.where)
		}
		for _, s := range e.selectors() {
			if count["selector"]++; numbers(e.where, inGrafana(s, ".+", "5m")) == 0 {
				t.Errorf("%s: no data for %s, want data", e.where, s)
			}
		}
		if e.kind == ofRule && len(e.selectors()) == 0 {
			t.Errorf("%s: metrics in the expression = 0, want more: %s", e.where, e.text)
		}
	}
	fmt.Fprintf(&w.report, "expressions evaluated: %d of panels (%d listed without data), %d of alerts and %d of runbooks with %d selectors\n",
		count[ofPanel], count["listed"], count[ofRule], count[ofRunbook], count["selector"])
}

// fault is a fault of the network and its expected alerts.
type fault struct {
	name    string
	inflict func()
	raises  []alert
	check   func() // called while the alerts fire
	undo    func()
}

// checkFaults inflicts the faults one after the other.
func (w *watched) checkFaults(t *testing.T) {
	t.Helper()
	victim, follower := w.Nodes[3], w.Nodes[4]
	cut := func(verb string) { // disconnects the last two nodes from all others
		for i, a := range w.hosts {
			for j, b := range w.hosts {
				if i != j && max(i, j) >= 3 {
					a.run(t, "ip", "route", verb, "blackhole", b.ip.String()+"/32")
				}
			}
		}
	}
	table := tabwriter.NewWriter(&w.report, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "fault\talert\tfires after\tresolved after")
	for _, f := range []fault{
		{
			// The three other nodes finalize. The victim proposes every fourth block, so its head is never old and it
			// reports that it is synced. Only its fingerprint shows that it is on another chain. The follower proposes
			// nothing, so its head becomes old and it reports that it is not synced.
			name:    "cut off",
			inflict: func() { cut("add") },
			raises: []alert{
				alert("LeanNoPeers{" + victim.Name + "}"), alert("LeanNoPeers{" + follower.Name + "}"),
				alert("LeanNotSynced{" + follower.Name + "}"), "LeanHeadsDiverge",
			},
			check: func() {
				if status, _, err := fetch(t.Context(), follower.HealthURL()); status != 503 {
					t.Errorf("/health of a disconnected node without validators = %d (error %v), want 503", status, err)
				}
			},
			undo: func() { cut("del") },
		},
		{
			// The validators still make blocks and votes, but the blocks contain no votes.
			name:    "no aggregator",
			inflict: func() { setAggregator(t, w.Nodes[0], false) },
			raises:  []alert{"LeanNoAggregates", "LeanNotFinalizing"},
			undo:    func() { setAggregator(t, w.Nodes[0], true) },
		},
		{
			// Three of four validators suffice for finality, so there are no other alerts. This fault is the last one,
			// because for a restarted node with few duties a single missed one would be a large share.
			name: "stopped",
			inflict: func() {
				if err := victim.Stop(); err != nil {
					t.Fatal(err)
				}
			},
			raises: []alert{alert("LeanNodeDown{" + victim.Name + "}")},
			undo: func() {
				if err := victim.Start(); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		began := time.Now()
		f.inflict()
		w.prometheus.await(t, faultTimeout, fmt.Sprintf("%s to fire (%s)", f.raises, f.name), func() (bool, string) {
			active, err := w.prometheus.alerts(t.Context())
			if err != nil {
				return false, err.Error()
			}
			missing := slices.ContainsFunc(f.raises, func(a alert) bool { return active[a] != "firing" })
			return !missing, names(active)
		})
		if f.check != nil {
			f.check()
		}
		f.undo()
		undone := time.Now()
		awaitFinalized(t, w.Network, uint64(w.Clock.Slot())+1, calmTimeout) // before the next fault
		calm := w.calm(t, calmTimeout)
		fired, err := w.prometheus.history(t.Context(), "firing", began, calm)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range f.raises {
			if _, known := fired[name]; !known {
				t.Errorf("%s: %s is missing in Prometheus' history of alerts", f.name, name)
			}
			fires, resolved := fired[name].first.Sub(began).Seconds(), max(0, fired[name].last.Sub(undone).Seconds())
			t.Logf("%s: %s fired after %.0f s and was resolved after %.0f s", f.name, name, fires, resolved)
			fmt.Fprintf(table, "%s\t%s\t%.0f s\t%.0f s\n", f.name, name, fires, resolved)
			delete(fired, name)
		}
		if len(fired) > 0 {
			t.Errorf("%s: other alerts = %s, want only %s", f.name, names(fired), f.raises)
		}
	}
	_ = table.Flush()
}
