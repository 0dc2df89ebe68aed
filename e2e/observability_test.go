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

// What an operator was promised, and the test that holds it:
//
//	the seven leanspec_ metrics              TestObservability; their values: TestOneNode
//	leanMetrics' names, types, buckets       TestObservability, by the table leanMetrics
//	promtool check metrics                   TestObservability
//	--metrics-port, the API port's /metrics  TestOneNode
//	JSON logs, line by line                  TestOneNode, noErrors after every network
//	/health 200 and 503                      TestOneNode, TestNoAggregator, and the node that is cut off below
//	flags from the environment               TestEnvironment
//	dashboards and rules have data           TestObservability
//	faults raise alerts, and no others       TestObservability

// deploy is where the rules and dashboards are.
const deploy = "../deploy"

const (
	// faultTimeout bounds how long a fault may take to raise its alerts: up to 80 s
	// until a fingerprint of the chain is new, a minute for which the rule waits, and
	// as much again for a machine that is busy.
	faultTimeout = 4 * time.Minute
	// calmTimeout bounds how long alerts may last when their cause is gone.
	calmTimeout = 3 * time.Minute
)

// watched is a network that a Prometheus watches.
type watched struct {
	*devnet.Network
	prometheus *prometheus
	hosts      []*host
	report     bytes.Buffer // the table at the end
}

// TestObservability runs a network under a real Prometheus with the rules and
// dashboards of this repository. While the network is well every metric and every
// expression has data and no alert is active; then three faults raise the alerts
// that they should, and no others.
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
		options = append(options, devnet.NodeOptions{Prefix: []string{"ip", "netns", "exec", h.name}, IP: h.ip})
	}
	// Four validators on a node each, of which three are enough for finality. (Two of
	// three are as well. But without every third block it can happen that for twenty
	// slots all blocks that could be justified are those that are missing.) The fifth
	// node only follows.
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

// calm waits until no alert is active, and returns the moment.
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

// staysCalm wants no alert for a while since a moment, also none that is pending for
// more than an instant, and none that fired before.
func (w *watched) staysCalm(t *testing.T, since time.Time, hold time.Duration) {
	t.Helper()
	until := since.Add(hold)
	w.prometheus.await(t, hold+10*time.Second, "a while without alerts", func() (bool, string) { return time.Now().After(until), "" })
	for state, from := range map[string]time.Time{"pending": since.Add(scrapeInterval), "firing": w.prometheus.started} {
		seen, err := w.prometheus.history(t.Context(), state, from, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range seen {
			// What rules wait for before they fire: a node that answers a scrape too late on
			// a busy machine, or a new fingerprint of the chain, which Prometheus gets from
			// one node after the other.
			if state == "pending" && s.longest <= 5*scrapeInterval {
				continue
			}
			t.Errorf("on a network that is well: %s was %s for %s", name, state, s.longest)
		}
	}
	fmt.Fprintf(&w.report, "no alert pending for %s, none firing for %s\n",
		time.Since(since).Round(time.Second), time.Since(w.prometheus.started).Round(time.Second))
}

// checkMetrics looks at the pages of all nodes.
func (w *watched) checkMetrics(t *testing.T) {
	t.Helper()
	for _, n := range w.Nodes {
		status, page, err := fetch(t.Context(), n.MetricsURL())
		if status != 200 || err != nil {
			t.Fatalf("%s: /metrics: %d %v", n.Name, status, err)
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
		fmt.Fprintf(&w.report, "%s shows %d metrics: %d lean_, %d leanspec_, others %d\n", n.Name, len(families),
			own["lean"], own["leanspec"], len(families)-own["lean"]-own["leanspec"])
	}
	fmt.Fprintf(&w.report, "%d of leanMetrics' table, %d of the promised ones checked on each\n", len(leanMetrics), len(leanspecMetrics))
}

// checkSeries looks at what has come to Prometheus, with the labels by which leanMetrics'
// own dashboards, which ask for nothing that is not in the table, tell nodes apart.
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
			t.Errorf("Prometheus has %s of %v nodes, want %v", name, nodes[name], want)
		}
	}
}

// checkWithPromtool has Prometheus' own linter look at a page.
func checkWithPromtool(t *testing.T, node string, page []byte) {
	t.Helper()
	// It takes these two for parts of histograms. The names are leanMetrics'.
	fixed := []string{"lean_attestation_committee_count", "lean_validators_count"}
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(page)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for finding := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(finding), " ")
		if !slices.Contains(fixed, name) || !strings.Contains(rest, `"_count" suffix`) {
			t.Errorf("%s: promtool check metrics: %s", node, finding)
		}
	}
}

// expression is a question to Prometheus, of a dashboard, a rule or a runbook.
type expression struct {
	where string
	text  string // with Grafana's variables, and on one line
	kind  string
	// single is set for those of a dashboard that shows one node at a time.
	single bool
}

const (
	ofPanel   = "panel"   // has data, unless it is listed as one that has none
	ofRule    = "rule"    // an alert: has data only where something is wrong
	ofRunbook = "runbook" // or of an annotation: is for when something is wrong
)

func oneLine(expr string) string { return strings.Join(strings.Fields(expr), " ") }

// variable is one of Grafana's, in any of its notations.
var variable = regexp.MustCompile(`\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]`)

// inGrafana puts values in the place of Grafana's variables.
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
		default: // of the dashboard: All
			return ".+"
		}
	})
}

// readDashboards returns the expressions of all panels, also of those in rows, of the
// variables and of the annotations.
func readDashboards(t *testing.T) []expression {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deploy, "grafana", "dashboards", "*.json"))
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards: %v %v, want two or more", files, err)
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

// readRunbooks returns the expressions that the runbooks have people ask.
func readRunbooks(t *testing.T) []expression {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "docs", "runbooks", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("runbooks: %v %v, want one for each alert", files, err)
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
		t.Fatal("the runbooks ask nothing")
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
				t.Errorf("%s: %s", r.Name, r.LastError)
			}
			all = append(all, expression{r.Name, oneLine(r.Query), kind, false})
		}
	}
	if len(all) == 0 {
		t.Fatal("Prometheus has no rules")
	}
	return all
}

// empty says why an expression has no data on a network that is well.
type empty struct {
	Expr, Reason string
	// Nodes is "some" where it has none for some nodes only.
	Nodes string
}

// readNoData returns the expressions that have no data on a network that is well, or
// none on some of its nodes.
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

// selector is a metric with what is asked of its labels, in an expression.
var selector = regexp.MustCompile(`\b(?:up|(?:leanspec|lean|process|go)_\w+)\b(?:\s*\{[^}]*\})?`)

// selectors are the questions that an expression is made of. When nothing is wrong an
// alert has no answer, but each of these must have one: with a name that nobody
// exports it would be silent for ever.
func (e expression) selectors() []string {
	all := selector.FindAllString(e.text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// checkExpressions evaluates what the dashboards, rules and runbooks ask.
func (w *watched) checkExpressions(t *testing.T) {
	t.Helper()
	numbers := func(where, expr string) (n int) {
		t.Helper()
		samples, err := w.prometheus.query(t.Context(), expr)
		if err != nil {
			t.Errorf("%s: %s: %v", where, expr, err)
		}
		for _, s := range samples {
			if !math.IsNaN(s.Value.value) { // a quantile of nothing, or a mean
				n++
			}
		}
		return n
	}
	// without returns the nodes for which an expression has no data, of those that have
	// validators, or ".+" for all of them together.
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
		// What some nodes have is there where all are shown.
		if e.kind == ofPanel && listed && (entry.Nodes == "" || e.single) {
			count["listed"]++
			// A busy machine may have made a block late: that is over after a minute.
			has := w.prometheus.wait(2*time.Minute, func() (bool, string) { return len(without(e, "1m")) > 0, "data" })
			if has != "" {
				t.Errorf("%s: %s on a network that is well, although it is listed as one without (%s): %s", e.where, has, entry.Reason, e.text)
			}
			continue
		}
		missing := without(e, "5m") // what happened at the start is in there
		if e.kind == ofPanel {
			if len(missing) > 0 {
				t.Errorf("%s: no data for %s on a network that is well: %s", e.where, missing, e.text)
			}
			continue
		}
		if e.kind == ofRule && len(missing) == 0 {
			t.Errorf("%s is raised on a network that is well", e.where)
		}
		for _, s := range e.selectors() {
			if count["selector"]++; numbers(e.where, inGrafana(s, ".+", "5m")) == 0 {
				t.Errorf("%s: there is no %s", e.where, s)
			}
		}
		if e.kind == ofRule && len(e.selectors()) == 0 {
			t.Errorf("%s asks for no metric: %s", e.where, e.text)
		}
	}
	fmt.Fprintf(&w.report, "expressions evaluated: %d of panels (%d listed as empty), %d of alerts and %d of runbooks with %d selectors\n",
		count[ofPanel], count["listed"], count[ofRule], count[ofRunbook], count["selector"])
}

// fault is something that goes wrong, and what is to be said of it.
type fault struct {
	name    string
	inflict func()
	raises  []alert
	holds   func() // what is so while the alerts fire
	undo    func()
}

// checkFaults brings faults upon the network one after the other.
func (w *watched) checkFaults(t *testing.T) {
	t.Helper()
	victim, follower := w.Nodes[3], w.Nodes[4]
	cut := func(verb string) { // each of the two from all others
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
			// The three others finalize. A node with one of four validators has a block of
			// its own every fourth slot, so that its head never gets old and it takes itself
			// for synced: only the fingerprints tell that it is on a chain of its own. One
			// without validators has an old head, and knows that it does not know.
			name:    "cut off",
			inflict: func() { cut("add") },
			raises: []alert{
				alert("LeanNoPeers{" + victim.Name + "}"), alert("LeanNoPeers{" + follower.Name + "}"),
				alert("LeanNotSynced{" + follower.Name + "}"), "LeanHeadsDiverge",
			},
			holds: func() {
				if status, _, err := fetch(t.Context(), follower.HealthURL()); status != 503 {
					t.Errorf("/health of a node that is cut off and has no validators: %d %v, want 503", status, err)
				}
			},
			undo: func() { cut("del") },
		},
		{
			// Blocks go on, and votes; but no votes get into blocks.
			name:    "no aggregator",
			inflict: func() { setAggregator(t, w.Nodes[0], false) },
			raises:  []alert{"LeanNoAggregates", "LeanNotFinalizing"},
			undo:    func() { setAggregator(t, w.Nodes[0], true) },
		},
		{
			// Three of four validators are enough for finality, so nothing else is wrong.
			// It comes last, as a node that has begun anew has done few duties: one that it
			// misses is then many.
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
		if f.holds != nil {
			f.holds()
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
				t.Errorf("%s: Prometheus has no record of %s", f.name, name)
			}
			fires, resolved := fired[name].first.Sub(began).Seconds(), max(0, fired[name].last.Sub(undone).Seconds())
			t.Logf("%s: %s fired after %.0f s, and was resolved after %.0f s", f.name, name, fires, resolved)
			fmt.Fprintf(table, "%s\t%s\t%.0f s\t%.0f s\n", f.name, name, fires, resolved)
			delete(fired, name)
		}
		if len(fired) > 0 {
			t.Errorf("%s: %s fired as well, want %s alone", f.name, names(fired), f.raises)
		}
	}
	_ = table.Flush()
}
