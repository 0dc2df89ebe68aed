package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// scrapeInterval is the time between two scrapes, and between two evaluations of the rules.
const scrapeInterval = 2 * time.Second

// prometheus is a running Prometheus that scrapes a network.
type prometheus struct {
	base    string // URL
	started time.Time
	exited  chan struct{}
}

// needsPrometheus skips a test if Prometheus is not installed.
func needsPrometheus(t *testing.T) {
	t.Helper()
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		unavailable(t, "%s is not installed. It is in Debian's package prometheus.", program)
	}
}

// prometheusLog keeps the log of Prometheus, and sends the address that it listens on.
type prometheusLog struct {
	text    bytes.Buffer
	read    int // offset of the first line that has not been parsed
	address chan string
}

func (l *prometheusLog) Write(b []byte) (int, error) {
	l.text.Write(b)
	for {
		line, _, whole := bytes.Cut(l.text.Bytes()[l.read:], []byte("\n"))
		if !whole {
			return len(b), nil
		}
		l.read += len(line) + 1
		var entry struct{ Msg, Address string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "Listening on" {
			select {
			case l.address <- entry.Address:
			default:
			}
		}
	}
}

// startPrometheus starts a Prometheus that scrapes the nodes, with their names as instances, and evaluates the rule files. It is
// stopped when the test ends.
func startPrometheus(t *testing.T, nodes []*devnet.Node, rules []string) *prometheus {
	t.Helper()
	type object = map[string]any
	var targets []object
	for _, n := range nodes {
		targets = append(targets, object{
			"targets": []string{strings.TrimSuffix(strings.TrimPrefix(n.MetricsURL(), "http://"), "/metrics")},
			"labels":  object{"instance": n.Name, "network": "devnet"},
		})
	}
	config, err := json.Marshal(object{ // JSON is valid YAML
		"global":         object{"scrape_interval": scrapeInterval.String(), "scrape_timeout": scrapeInterval.String(), "evaluation_interval": scrapeInterval.String()},
		"rule_files":     rules,
		"scrape_configs": []object{{"job_name": "leanspec-node", "static_configs": targets}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")
	log := &prometheusLog{address: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, killedWithParent()
	p := &prometheus{started: time.Now(), exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // killedWithParent kills the process when the thread ends
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-p.exited
		}
		if t.Failed() {
			t.Logf("Prometheus:\n%s", log.text.String())
		}
	})
	select {
	case address := <-log.address:
		p.base = "http://" + address
	case <-p.exited:
		t.Fatal("Prometheus exited")
	case <-time.After(30 * time.Second):
		t.Fatal("Prometheus did not log its address within 30 s")
	}
	p.await(t, 30*time.Second, "Prometheus to be ready", func() (bool, string) {
		_, err := p.page(t.Context(), "/-/ready")
		return err == nil, fmt.Sprint(err)
	})
	return p
}

// await polls ok once a second until it returns true. ok also returns what it has found instead, for the failure message.
func (p *prometheus) await(t *testing.T, timeout time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	if instead := p.wait(timeout, ok); instead != "" {
		t.Fatalf("waiting for %s: got %s", what, instead)
	}
}

// wait is like await, but returns what ok has found instead, or "" if ok has returned true.
func (p *prometheus) wait(timeout time.Duration, ok func() (bool, string)) string {
	deadline, again := time.NewTimer(timeout), time.NewTicker(time.Second)
	defer deadline.Stop()
	defer again.Stop()
	for {
		done, instead := ok()
		if done {
			return ""
		}
		select {
		case <-again.C:
		case <-p.exited:
			return "Prometheus exited"
		case <-deadline.C:
			return fmt.Sprintf("%s, after %s", instead, timeout)
		}
	}
}

// page returns the body of a page of Prometheus.
func (p *prometheus) page(ctx context.Context, path string) ([]byte, error) {
	status, body, err := fetch(ctx, p.base+path)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, bytes.TrimSpace(body))
	}
	return body, err
}

// api decodes the data of a response of the HTTP API.
func (p *prometheus) api(ctx context.Context, path string, data any) error {
	body, err := p.page(ctx, "/api/v1/"+path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, &struct{ Data any }{data})
}

// sample is a series with one or more values.
type sample struct {
	Metric map[string]string
	Value  point   // the result of an instant query
	Values []point // the result of a range query
}

// point is a time and a value.
type point struct {
	time  time.Time
	value float64
}

// UnmarshalJSON decodes a point in the format of Prometheus: a number of seconds and a string.
func (p *point) UnmarshalJSON(b []byte) error {
	var seconds float64
	var text string
	parts := []any{&seconds, &text}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("point = %s, want a time and a value", b)
	}
	p.time = time.UnixMilli(int64(seconds * 1000))
	var err error
	p.value, err = strconv.ParseFloat(text, 64)
	return err
}

// query evaluates an expression at the current time.
func (p *prometheus) query(ctx context.Context, expr string) ([]sample, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.api(ctx, "query?query="+url.QueryEscape(expr), &data); err != nil {
		return nil, err
	}
	var samples []sample
	switch data.ResultType {
	case "scalar", "string":
		var at point
		err := json.Unmarshal(data.Result, &at)
		return []sample{{Value: at}}, err
	default:
		err := json.Unmarshal(data.Result, &samples)
		return samples, err
	}
}

// alert is the name of an alert, with its node if it has one, such as LeanNodeDown{lean_spec_2}.
type alert string

func alertOf(labels map[string]string) alert {
	if node := labels["instance"]; node != "" {
		return alert(labels["alertname"] + "{" + node + "}")
	}
	return alert(labels["alertname"])
}

// alerts returns the active alerts and their states, pending or firing.
func (p *prometheus) alerts(ctx context.Context) (map[alert]string, error) {
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	err := p.api(ctx, "alerts", &data)
	active := make(map[alert]string)
	for _, a := range data.Alerts {
		if name := alertOf(a.Labels); active[name] != "firing" {
			active[name] = a.State
		}
	}
	return active, err
}

// span is the time during which an alert was in a state: the first and the last sample, and the longest uninterrupted time.
type span struct {
	first, last time.Time
	longest     time.Duration
}

// history returns the alerts that were in a state between two times. It queries the series ALERTS, which has a sample for each
// evaluation, so it misses none.
func (p *prometheus) history(ctx context.Context, state string, from, to time.Time) (map[alert]span, error) {
	const step = time.Second // of the range query
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	var data struct{ Result []sample }
	// last_over_time limits how long a sample counts to one interval; the default is five minutes.
	expr := fmt.Sprintf("last_over_time(ALERTS{alertstate=%q}[%s])", state, scrapeInterval)
	err := p.api(ctx, "query_range?"+url.Values{
		"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {"1"},
	}.Encode(), &data)
	seen := make(map[alert]span)
	for _, series := range data.Result {
		name := alertOf(series.Metric)
		var begin, before time.Time
		for _, v := range series.Values {
			at := v.time
			if at.Sub(before) > 2*step {
				begin = at
			}
			before = at
			s, known := seen[name]
			if !known || at.Before(s.first) {
				s.first = at
			}
			if at.After(s.last) {
				s.last = at
			}
			s.longest = max(s.longest, at.Sub(begin)+step)
			seen[name] = s
		}
	}
	return seen, err
}

// names formats alerts in alphabetical order.
func names[V any](alerts map[alert]V) string {
	var all []string
	for name, v := range alerts {
		if state, ok := any(v).(string); ok {
			all = append(all, string(name)+" "+state)
		} else {
			all = append(all, string(name))
		}
	}
	if sort.Strings(all); len(all) == 0 {
		return "no alerts"
	}
	return strings.Join(slices.Compact(all), ", ")
}
