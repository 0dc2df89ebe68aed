package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/leanEthereum/leanspec-node/internal/porttest"
)

// fetch returns the status and the body of a page.
func fetch(ctx context.Context, url string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// get returns the status and the body of a page. The test fails if there is no answer.
func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	status, body, err := fetch(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

type health struct {
	Status string
	Slot   uint64
	Synced bool
}

func getHealth(t *testing.T, port string) (int, health) {
	t.Helper()
	status, body := get(t, "http://127.0.0.1:"+port+"/health")
	var h health
	if err := json.Unmarshal(body, &h); err != nil {
		t.Fatalf("/health: %v in %q", err, body)
	}
	return status, h
}

// scrape returns the metric families that a port serves.
func scrape(t *testing.T, port string) map[string]*dto.MetricFamily {
	t.Helper()
	_, page := get(t, "http://127.0.0.1:"+port+"/metrics")
	return parseMetrics(t, page)
}

// parseMetrics parses a page with the parser that Prometheus uses.
func parseMetrics(t *testing.T, page []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatalf("/metrics: %v", err)
	}
	return families
}

// value returns the value of a gauge or a counter, which must have exactly one series.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string) float64 {
	t.Helper()
	f := families[name]
	if f == nil || len(f.Metric) != 1 {
		t.Fatalf("%s = %v, want one series", name, f)
	}
	if c := f.Metric[0].Counter; c != nil {
		return c.GetValue()
	}
	return f.Metric[0].Gauge.GetValue()
}

// TestOneNode checks that a network of one node with production signatures finalizes, and that API, health, metrics and log
// show this.
func TestOneNode(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for a minute")
	}
	_, args := makeNetwork(t, "--validators", "4", "--active-slots", "256", "--genesis-time", "+3s")
	ports := []string{porttest.Reserve(t), porttest.Reserve(t), porttest.Reserve(t)}
	args = append(args, "--is-aggregator", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
		"--api-port", ports[0], "--metrics-port", ports[1], "--rpc-port", ports[2], "--log-format", "json", "--log-level", "debug")
	node := start(t, args...)
	started := time.Now()

	node.await(t, "waiting for genesis", 10*time.Second, func(l line) bool { return l["msg"] == "waiting for genesis" })
	if status, h := getHealth(t, ports[1]); status != 200 || !h.Synced || h.Slot != 0 {
		t.Errorf("/health before genesis = %d %+v, want 200, synced, slot 0", status, h)
	}

	node.await(t, "finalized slot", 120*time.Second, message("finalized", 1))
	t.Logf("slot 1 is final %s after the start", time.Since(started).Round(time.Second))
	last := node.await(t, "slot 10", 60*time.Second, message("slot", 10))
	for key, want := range map[string]uint64{"head_slot": 10, "justified_slot": 7, "finalized_slot": 6} {
		if got := last.number(t, key); got < want {
			t.Errorf("%s at the end of slot 10 = %d, want at least %d", key, got, want)
		}
	}
	if status, h := getHealth(t, ports[2]); status != 200 || h.Status != "ok" || !h.Synced || h.Slot < 10 {
		t.Errorf("/health on the RPC port = %d %+v, want 200, ok, synced, slot 10 or later", status, h)
	}
	checkMetrics(t, ports)
	node.stop(t, syscall.SIGTERM)
	checkLog(t, node)

	// A restarted node has an old head and no peers, so it is not synced until it has made a block.
	node = start(t, args...)
	node.await(t, "start", 10*time.Second, func(l line) bool { return l["msg"] == "started" && l["component"] == "node" }) // libp2p also logs this message
	if status, h := getHealth(t, ports[1]); status != 503 || h.Status != "syncing" || h.Synced {
		t.Errorf("/health with a stale head = %d %+v, want 503, syncing, not synced", status, h)
	}
	block := node.await(t, "own block", 30*time.Second, message("block imported", 1))
	if status, h := getHealth(t, ports[1]); status != 200 || !h.Synced || h.Slot < block.number(t, "slot") {
		t.Errorf("/health after the first block = %d %+v, want 200, synced, slot %d", status, h, block.number(t, "slot"))
	}
	node.stop(t, syscall.SIGTERM)
}

// checkMetrics compares metrics of a network of one node with each other, with the API, and with the values that such a network
// must have.
func checkMetrics(t *testing.T, ports []string) {
	t.Helper()
	families := scrape(t, ports[1])
	api := func(path string, into any) {
		t.Helper()
		status, body := get(t, "http://127.0.0.1:"+ports[0]+path)
		if err := json.Unmarshal(body, into); status != 200 || err != nil {
			t.Fatalf("%s = %d %q (error %v), want 200 and JSON", path, status, body, err)
		}
	}
	var tree struct {
		Nodes     []struct{ Slot uint64 }
		Justified struct{ Slot uint64 }
		Finalized struct{ Slot uint64 }
	}
	api("/lean/v0/fork_choice", &tree)
	head := uint64(0)
	for _, n := range tree.Nodes {
		head = max(head, n.Slot)
	}

	slot := value(t, families, "leanspec_slot_current")
	for name, want := range map[string][2]float64{ // lowest and highest value; a slot may start between two requests
		"leanspec_slot_current":                 {float64(head), float64(head + 1)},
		"leanspec_epoch_current":                {float64(uint64(slot) / 3), float64(uint64(slot) / 3)},
		"leanspec_peers_connected":              {0, 0},
		"leanspec_blocks_imported_total":        {float64(head - 1), float64(head)},
		"leanspec_attestations_processed_total": {4 * 2 * float64(head-2), 4 * 3 * float64(head+1)},
		"leanspec_sync_distance":                {0, 0},
		"leanspec_process_start_time_seconds":   {float64(time.Now().Add(-5 * time.Minute).Unix()), float64(time.Now().Unix())},
		"lean_head_slot":                        {float64(head - 1), float64(head)},
		"lean_latest_justified_slot":            {float64(tree.Justified.Slot) - 1, float64(tree.Justified.Slot)},
		"lean_latest_finalized_slot":            {float64(tree.Finalized.Slot) - 1, float64(tree.Finalized.Slot)},
		"lean_validators_count":                 {4, 4},
		"lean_node_start_time_seconds":          {float64(time.Now().Add(-5 * time.Minute).Unix()), float64(time.Now().Unix())},
		"process_open_fds":                      {1, 1 << 20},
		"go_goroutines":                         {1, 1000},
	} {
		if got := value(t, families, name); got < want[0] || got > want[1] {
			t.Errorf("%s = %v, want %v to %v", name, got, want[0], want[1])
		}
	}
	for _, name := range []string{"lean_attestations_invalid_total", "leanspec_blocks_rejected_total"} {
		family := families[name]
		if family == nil {
			t.Errorf("%s is missing", name)
		}
		if got := amount(family); got != 0 {
			t.Errorf("%s = %v on a network of one honest node, want 0", name, got)
		}
	}
	if scrape(t, ports[0])["leanspec_blocks_imported_total"] == nil {
		t.Error("/metrics on the API port has no leanspec_blocks_imported_total")
	}
}

// checkLog checks every line of the log of a node.
func checkLog(t *testing.T, p *process) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bad) > 0 {
		t.Errorf("%d lines are not JSON, want 0; the first is %q", len(p.bad), p.bad[0])
	}
	aboutSlots := map[string]int{}
	for _, l := range p.lines {
		for _, key := range []string{"time", "level", "msg", "component"} {
			if _, ok := l[key].(string); !ok {
				t.Fatalf("line = %v, want a string %s", l, key)
			}
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", l["time"].(string)); err != nil {
			t.Fatalf("line = %v, want a time in milliseconds: %v", l, err)
		}
		if l["level"] == "error" || l["level"] == "warn" && l["component"] != "node" {
			t.Errorf("line = %v, want no errors and warnings on a network of one honest node", l)
		}
		msg := l["msg"].(string)
		if strings.HasPrefix(msg, "block ") || strings.HasPrefix(msg, "vote ") || msg == "slot" {
			aboutSlots[msg]++
			slot, hasSlot := l["slot"].(float64)
			epoch, hasEpoch := l["epoch"].(float64)
			if !hasSlot || !hasEpoch || uint64(epoch) != uint64(slot)/3 {
				t.Fatalf("line = %v, want a slot and its epoch", l)
			}
		}
	}
	for _, msg := range []string{"block imported", "block produced", "vote accepted", "vote produced", "slot"} {
		if aboutSlots[msg] < 8 {
			t.Errorf("%d lines %q in ten slots, want at least 8", aboutSlots[msg], msg)
		}
	}
}

// TestBadInput checks that a mistake in the input causes one line, which names the flag or file and the value, and exit code 2.
func TestBadInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	mustRun(t, "genesis", "--nodes", "2", "--validators", "2", "--scheme", "test", "--out", dir)
	genesis := filepath.Join(dir, "config.yaml")
	hold, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Close() }()
	_, busy, _ := net.SplitHostPort(hold.Addr().String())
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, busyUDP, _ := net.SplitHostPort(conn.LocalAddr().String())
	ports := []string{porttest.Reserve(t), porttest.Reserve(t)}
	valid := []string{"--genesis", genesis, "--scheme", "test", "--api-port", ports[0], "--metrics-port", ports[1],
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}

	for name, tt := range map[string]struct {
		args []string
		want []string // parts of the line
	}{
		"no genesis":           {[]string{"run"}, []string{"--genesis"}},
		"missing genesis":      {[]string{"--genesis", "nowhere.yaml"}, []string{"nowhere.yaml", "not found"}},
		"genesis not YAML":     {[]string{"--genesis", binary}, []string{binary}},
		"unknown flag":         {[]string{"--genesis", genesis, "--nope"}, []string{"--nope"}},
		"unknown scheme":       {append(valid, "--scheme", "falcon"), []string{"--scheme", "falcon"}},
		"unknown proofs":       {append(valid, "--proof-scheme", "magic"), []string{"--proof-scheme", "magic"}},
		"unknown level":        {append(valid, "--log-level", "loud"), []string{"--log-level", "loud"}},
		"unknown format":       {append(valid, "--log-format", "xml"), []string{"--log-format", "xml"}},
		"port out of range":    {append(valid, "--rpc-port", "70000"), []string{"--rpc-port", "70000"}},
		"port not a number":    {append(valid, "--rpc-port", "http"), []string{"--rpc-port", "http"}},
		"two servers, 1 port":  {append(valid, "--rpc-port", ports[1]), []string{"--rpc-port", ports[1], "--metrics-port"}},
		"port in use":          {append(valid, "--rpc-port", busy), []string{"--rpc-port", busy, "in use"}},
		"listen not QUIC":      {append(valid, "--listen", "/ip4/127.0.0.1/tcp/1"), []string{"--listen", "/tcp/1", "QUIC"}},
		"UDP port in use":      {append(valid, "--listen", "/ip4/127.0.0.1/udp/"+busyUDP+"/quic-v1"), []string{"--listen", busyUDP, "in use"}},
		"bootnode invalid":     {append(valid, "--bootnode", "enr:-abc"), []string{"--bootnode", "enr:-abc"}},
		"checkpoint not a URL": {append(valid, "--checkpoint-sync-url", "http://u:s3cret@127.0.0.1:"+ports[0]+"x"), []string{"--checkpoint-sync-url", "REDACTED", "base URL"}},
		"node key missing":     {append(valid, "--node-key", "no.key"), []string{"no.key", "not found"}},
		"aggregator, no keys":  {append(valid, "--is-aggregator"), []string{"--is-aggregator", "--validator-keys"}},
		"subnets, no role":     {append(valid, "--aggregate-subnet-ids", "0"), []string{"--aggregate-subnet-ids", "--is-aggregator"}},
		"subnets not a list":   {append(valid, "--validator-keys", dir, "--is-aggregator", "--aggregate-subnet-ids", "0,x"), []string{"--aggregate-subnet-ids", "0,x"}},
		"keys missing":         {append(valid, "--validator-keys", filepath.Join(dir, "none")), []string{"none", "no such folder"}},
		"aggregator, no duty":  {append(valid, "--validator-keys", dir, "--is-aggregator", "--node-id", "stranger"), []string{"--node-id", "stranger", "lean_spec_0"}},
		"keys of other scheme": {append(valid, "--validator-keys", dir, "--scheme", "prod"), []string{"manifest", "scheme"}},
		"too many validators":  {[]string{"genesis", "--nodes", "1", "--validators", "5000", "--out", filepath.Join(dir, "x")}, []string{"--validators", "5000"}},
		"genesis over genesis": {[]string{"genesis", "--nodes", "1", "--validators", "1", "--scheme", "test", "--out", dir}, []string{dir}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(t.Context(), tt.args...)
			var errs strings.Builder
			cmd.Stderr = &errs
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != 2 {
				t.Errorf("exit code %d, want 2", got)
			}
			text := strings.TrimSpace(errs.String())
			if strings.Count(text, "\n") != 0 || strings.Contains(text, "goroutine") {
				t.Errorf("stderr =\n%s\nwant one line", text)
			}
			for _, part := range tt.want {
				if !strings.Contains(text, part) {
					t.Errorf("stderr = %q, want %q in it", text, part)
				}
			}
		})
	}
}

// TestCheckpointUnreachable checks that a start with an unreachable checkpoint server ends with exit code 1 after five attempts,
// each of which is logged without secrets, and that a signal ends the wait for the next attempt.
func TestCheckpointUnreachable(t *testing.T) {
	t.Parallel()
	dir, _ := makeNetwork(t, "--validators", "1", "--scheme", "test")
	start := func() (*exec.Cmd, *bufio.Scanner) {
		unused := porttest.Reserve(t)
		cmd := command(t.Context(), "--genesis", filepath.Join(dir, "config.yaml"), "--scheme", "test", "--api-port", "0", "--metrics-port", "0",
			"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--checkpoint-sync-url", "http://u5er:s3cret@127.0.0.1:"+unused+"/?key=t0ken")
		out, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewScanner(out)
	}
	rest := func(lines *bufio.Scanner) (text string) {
		for lines.Scan() {
			text += lines.Text() + "\n"
		}
		return text
	}
	began := time.Now()
	cmd, lines := start()
	text := rest(lines)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
	if took := time.Since(began); took < 25*time.Second || took > 50*time.Second {
		t.Errorf("the start took %v, want about 30s", took)
	}
	if got := strings.Count(text, "checkpoint sync attempt failed"); got != 5 || !strings.Contains(text, "refused") {
		t.Errorf("%d attempts in the log, want 5 with a refused connection:\n%s", got, text)
	}
	for _, secret := range []string{"u5er", "s3cret", "t0ken"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log shows %s:\n%s", secret, text)
		}
	}

	cmd, lines = start()
	for lines.Scan() && !strings.Contains(lines.Text(), "next_attempt_in") {
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text = rest(lines)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 0 {
		t.Errorf("stopped while waiting: exit code %d, want 0:\n%s", got, text)
	}
}

// TestKeyWindow checks that a node does not start if its keys cannot sign the current slot.
func TestKeyWindow(t *testing.T) {
	dir, args := makeNetwork(t, "--validators", "1", "--scheme", "test", "--active-slots", "32")
	// The genesis command rejects a time at which the keys have expired, so the test changes the file.
	path := filepath.Join(dir, "config.yaml")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	past := fmt.Sprintf("GENESIS_TIME: %d", time.Now().Add(-2*time.Hour).Unix())
	if err := os.WriteFile(path, regexp.MustCompile(`GENESIS_TIME: \d+`).ReplaceAll(file, []byte(past)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), append(args, "--scheme", "test")...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit code %d, want 2", got)
	}
	if text := string(out); !strings.Contains(text, "slots 0 to 31") || !strings.Contains(text, "_sk.ssz") {
		t.Errorf("stderr = %q, want the key file and its window", text)
	}
}

// TestEnvironment checks that a variable sets a flag, and that the command line takes precedence.
func TestEnvironment(t *testing.T) {
	cmd := command(t.Context(), "--genesis", "nowhere.yaml")
	cmd.Env = append(cmd.Env, "LEANSPEC_LOG_LEVEL=loud")
	out, _ := cmd.CombinedOutput()
	if !strings.Contains(string(out), `"loud"`) {
		t.Errorf("with LEANSPEC_LOG_LEVEL=loud: stderr = %q, want \"loud\" rejected", out)
	}
	cmd = command(t.Context(), "--genesis", "nowhere.yaml", "--log-level", "info")
	cmd.Env = append(cmd.Env, "LEANSPEC_LOG_LEVEL=loud")
	out, _ = cmd.CombinedOutput()
	if !strings.Contains(string(out), "nowhere.yaml") {
		t.Errorf("with LEANSPEC_LOG_LEVEL=loud and --log-level info: stderr = %q, want only nowhere.yaml rejected", out)
	}
}
