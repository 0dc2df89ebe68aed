package deploy

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const runbooks = "https://github.com/leanEthereum/leanspec-node/blob/main/docs/runbooks/"

// rule is an alert.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, path := range glob(t, "prometheus/rules/*.yml") {
		var file struct {
			Groups []struct {
				Name  string
				Rules []rule
			}
		}
		readYAML(t, path, &file)
		before := len(all)
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
		if len(all) == before {
			t.Fatalf("%s: no rules", path)
		}
	}
	return all
}

// TestAlertsAreComplete checks that every alert has a severity, a summary, a description with its value, and a runbook.
func TestAlertsAreComplete(t *testing.T) {
	index := readText(t, "../docs/runbooks/README.md")
	pages := []string{"README.md"}
	for _, r := range rules(t) {
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity = %q, want critical or warning", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s: summary is empty, want a text", r.Alert)
		}
		if !strings.Contains(r.Annotations["description"], "$value") && r.Alert != "LeanNodeDown" && r.Alert != "LeanNoPeers" && r.Alert != "LeanNoAggregates" {
			t.Errorf("%s: description = %q, want $value in it", r.Alert, r.Annotations["description"])
		}
		page := r.Alert + ".md"
		if got := r.Annotations["runbook_url"]; got != runbooks+page {
			t.Errorf("%s: runbook_url = %q, want %s", r.Alert, got, runbooks+page)
		}
		if _, err := os.Stat("../docs/runbooks/" + page); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if !strings.Contains(index, "("+page+") | ") {
			t.Errorf("%s: want a row in docs/runbooks/README.md", r.Alert)
		}
		pages = append(pages, page)
	}
	for _, path := range glob(t, "../docs/runbooks/*.md") {
		if !slices.Contains(pages, path[strings.LastIndexByte(path, '/')+1:]) {
			t.Errorf("%s: want an alert of this name", path)
		}
	}
}

// TestAlertsAreTested checks that every alert has a test in which it fires, for each severity, and one in which it does not.
func TestAlertsAreTested(t *testing.T) {
	type alertTest struct {
		Alertname string
		EvalTime  string `yaml:"eval_time"`
		ExpAlerts []struct {
			ExpLabels      map[string]string `yaml:"exp_labels"`
			ExpAnnotations map[string]string `yaml:"exp_annotations"`
		} `yaml:"exp_alerts"`
	}
	fires, silent := make(map[string]bool), make(map[string]bool)
	for _, path := range glob(t, "prometheus/tests/*.yml") {
		if strings.HasSuffix(path, "no-data.yml") {
			continue
		}
		var file struct {
			RuleFiles          []string `yaml:"rule_files"`
			EvaluationInterval string   `yaml:"evaluation_interval"`
			Tests              []struct {
				Name, Interval string
				InputSeries    []struct{ Series, Values string } `yaml:"input_series"`
				AlertRuleTest  []alertTest                       `yaml:"alert_rule_test"`
				PromqlExprTest []any                             `yaml:"promql_expr_test"`
			}
		}
		readYAML(t, path, &file)
		for _, test := range file.Tests {
			for _, a := range test.AlertRuleTest {
				silent[a.Alertname] = silent[a.Alertname] || len(a.ExpAlerts) == 0
				for _, e := range a.ExpAlerts {
					fires[a.Alertname+" "+e.ExpLabels["severity"]] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if severity := r.Labels["severity"]; !fires[r.Alert+" "+severity] {
			t.Errorf("%s: want a test in which it fires with severity %s", r.Alert, severity)
		}
		if !silent[r.Alert] {
			t.Errorf("%s: want a test in which it does not fire", r.Alert)
		}
	}
}

var update = flag.Bool("update", false, "write kubernetes/monitoring/prometheusrule.yaml")

// TestPrometheusRule checks that the object of the Prometheus Operator has the rules of the rule file. With -update, it writes the
// object.
func TestPrometheusRule(t *testing.T) {
	const path = "kubernetes/monitoring/prometheusrule.yaml"
	want := `# Made from ../../prometheus/rules/leanspec-node.yml by "make docs".
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: leanspec-node
  labels:
    app.kubernetes.io/name: leanspec-node
spec:
` + regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(AlertRules, "  $1")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readText(t, path); got != want {
		t.Errorf("%s differs from the rule file. Run make docs.", path)
	}
}

// needPromtool skips a test if promtool is not installed. In CI it fails the test.
func needPromtool(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err == nil {
		return
	}
	const problem = "promtool is not installed. It is in Debian's package prometheus."
	if os.Getenv("CI") != "" {
		t.Fatal(problem)
	}
	t.Skip(problem)
}

// TestPromtool checks the rules and runs their tests with promtool.
func TestPromtool(t *testing.T) {
	needPromtool(t)
	tests := slices.DeleteFunc(glob(t, "prometheus/tests/*.yml"), func(path string) bool { return strings.HasSuffix(path, "no-data.yml") })
	for _, args := range [][]string{
		append([]string{"check", "rules"}, glob(t, "prometheus/rules/*.yml")...),
		append([]string{"test", "rules"}, tests...),
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestExpressionsParse checks with promtool that all queries are valid. promtool reads them as rules of a file.
func TestExpressionsParse(t *testing.T) {
	needPromtool(t)
	var file strings.Builder
	file.WriteString("groups: [{name: queries, rules: [\n")
	count := 0
	for _, q := range queries(t) {
		if strings.HasPrefix(q.expr, "label_values(") || q.expr == "" {
			continue
		}
		count++
		expr := strings.ReplaceAll(q.expr, "$__rate_interval", "1m")
		fmt.Fprintf(&file, "  {record: 'query:%d', expr: '%s'},\n", count, strings.ReplaceAll(expr, "'", "''"))
	}
	file.WriteString("]}]\n")
	path := t.TempDir() + "/queries.yml"
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if count < 100 {
		t.Errorf("%d queries found, want at least 100", count)
	}
}
