package e2e

import (
	"bufio"
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

// get returns status and body of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
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
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatalf("/health: %v in %q", err, body)
	}
	return status, h
}

// scrape reads /metrics with the parser that Prometheus uses.
func scrape(t *testing.T, port string) map[string]*dto.MetricFamily {
	t.Helper()
	_, body := get(t, "http://127.0.0.1:"+port+"/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("/metrics: %v", err)
	}
	return families
}

// value returns the one sample of a gauge or a counter.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string) float64 {
	t.Helper()
	f := families[name]
	if f == nil || len(f.Metric) != 1 {
		t.Fatalf("%s: %v, want one sample", name, f)
	}
	if c := f.Metric[0].Counter; c != nil {
		return c.GetValue()
	}
	return f.Metric[0].Gauge.GetValue()
}

// TestOneNode is the main job: a network of one node, with production
// signatures, finalizes; and says so wherever it is asked.
func TestOneNode(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for a minute")
	}
	dir := filepath.Join(t.TempDir(), "net")
	mustRun(t, "genesis", "--nodes", "1", "--validators", "4", "--active-slots", "256", "--genesis-time", "+3s", "--out", dir)
	ports := []string{porttest.Reserve(t), porttest.Reserve(t), porttest.Reserve(t)}
	args := []string{
		"--genesis", filepath.Join(dir, "config.yaml"), "--validator-keys", dir, "--node-id", "lean_spec_0", "--is-aggregator",
		"--api-port", ports[0], "--metrics-port", ports[1], "--rpc-port", ports[2], "--log-format", "json", "--log-level", "debug",
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
	}
	node := start(t, args...)
	started := time.Now()

	node.await(t, "waiting for genesis", 10*time.Second, func(l line) bool { return l["msg"] == "waiting for genesis" })
	if status, h := getHealth(t, ports[1]); status != 200 || !h.Synced || h.Slot != 0 {
		t.Errorf("/health before genesis: %d %+v, want 200, synced, slot 0", status, h)
	}

	// Finality within two minutes of genesis.
	node.await(t, "finalized slot", 120*time.Second, message("finalized", 1))
	t.Logf("slot 1 is final %s after the start", time.Since(started).Round(time.Second))
	last := node.await(t, "slot 10", 60*time.Second, message("slot", 10))
	for key, want := range map[string]uint64{"head_slot": 10, "justified_slot": 7, "finalized_slot": 6} {
		if got := last.number(t, key); got < want {
			t.Errorf("%s is %d at the end of slot 10, want %d or more", key, got, want)
		}
	}
	if status, h := getHealth(t, ports[2]); status != 200 || h.Status != "ok" || !h.Synced || h.Slot < 10 {
		t.Errorf("/health on the RPC port: %d %+v, want 200, ok, synced, slot 10 or more", status, h)
	}
	checkMetrics(t, ports)
	node.stop(t, syscall.SIGTERM)
	checkLog(t, node)

	// A node that starts again knows nothing newer than its head, and has nobody
	// to ask: it is not synced until its own first block.
	node = start(t, args...)
	node.await(t, "start", 10*time.Second, func(l line) bool { return l["msg"] == "started" && l["component"] == "node" }) // libp2p has such a line too
	if status, h := getHealth(t, ports[1]); status != 503 || h.Status != "syncing" || h.Synced {
		t.Errorf("/health with a stale head: %d %+v, want 503, syncing, not synced", status, h)
	}
	block := node.await(t, "own block", 30*time.Second, message("block imported", 1))
	if status, h := getHealth(t, ports[1]); status != 200 || !h.Synced || h.Slot < block.number(t, "slot") {
		t.Errorf("/health after the first block: %d %+v, want 200, synced, slot %d", status, h, block.number(t, "slot"))
	}
	node.stop(t, syscall.SIGTERM)
}

// checkMetrics compares the seven metrics with each other, with the API and with
// what a network of one must show.
func checkMetrics(t *testing.T, ports []string) {
	t.Helper()
	families := scrape(t, ports[1])
	api := func(path string, into any) {
		t.Helper()
		status, body := get(t, "http://127.0.0.1:"+ports[0]+path)
		if err := json.Unmarshal([]byte(body), into); status != 200 || err != nil {
			t.Fatalf("%s: %d %v in %q", path, status, err, body)
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
	for name, want := range map[string][2]float64{ // at least, at most; a slot may begin between two reads
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
			t.Errorf("%s is %v, want %v to %v", name, got, want[0], want[1])
		}
	}
	for _, name := range []string{"lean_attestations_invalid_total", "leanspec_blocks_rejected_total"} {
		family := families[name]
		if family == nil {
			t.Errorf("%s is not exposed", name)
		}
		if got := amount(family); got != 0 {
			t.Errorf("%s is %v on a network of one honest node, want 0", name, got)
		}
	}
	if _, body := get(t, "http://127.0.0.1:"+ports[0]+"/metrics"); !strings.Contains(body, "leanspec_blocks_imported_total") {
		t.Error("the API port does not serve /metrics")
	}
}

// checkLog looks at every line of a node's life.
func checkLog(t *testing.T, p *process) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bad) > 0 {
		t.Errorf("%d lines are no JSON, such as %q", len(p.bad), p.bad[0])
	}
	aboutSlots := map[string]int{}
	for _, l := range p.lines {
		for _, key := range []string{"time", "level", "msg", "component"} {
			if _, ok := l[key].(string); !ok {
				t.Fatalf("line %v has no %s", l, key)
			}
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", l["time"].(string)); err != nil {
			t.Fatalf("line %v: %v", l, err)
		}
		if l["level"] == "error" || l["level"] == "warn" && l["component"] != "node" {
			t.Errorf("line %v on a network of one honest node", l)
		}
		msg := l["msg"].(string)
		if strings.HasPrefix(msg, "block ") || strings.HasPrefix(msg, "vote ") || msg == "slot" {
			aboutSlots[msg]++
			slot, hasSlot := l["slot"].(float64)
			epoch, hasEpoch := l["epoch"].(float64)
			if !hasSlot || !hasEpoch || uint64(epoch) != uint64(slot)/3 {
				t.Fatalf("line %v: want a slot, and its epoch", l)
			}
		}
	}
	for _, msg := range []string{"block imported", "block produced", "vote accepted", "vote produced", "slot"} {
		if aboutSlots[msg] < 8 {
			t.Errorf("%d lines %q in ten slots", aboutSlots[msg], msg)
		}
	}
}

// TestBadInput: one line that says what is wrong, code 2, nothing written.
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
		"genesis is no YAML":   {[]string{"--genesis", binary}, []string{binary}},
		"unknown flag":         {[]string{"--genesis", genesis, "--nope"}, []string{"--nope"}},
		"unknown scheme":       {append(valid, "--scheme", "falcon"), []string{"--scheme", "falcon"}},
		"unknown proofs":       {append(valid, "--proof-scheme", "magic"), []string{"--proof-scheme", "magic"}},
		"unknown level":        {append(valid, "--log-level", "loud"), []string{"--log-level", "loud"}},
		"unknown format":       {append(valid, "--log-format", "xml"), []string{"--log-format", "xml"}},
		"port out of range":    {append(valid, "--rpc-port", "70000"), []string{"--rpc-port", "70000"}},
		"port is no number":    {append(valid, "--rpc-port", "http"), []string{"--rpc-port", "http"}},
		"two servers, a port":  {append(valid, "--rpc-port", ports[1]), []string{"--rpc-port", ports[1], "--metrics-port"}},
		"port in use":          {append(valid, "--rpc-port", busy), []string{"--rpc-port", busy, "in use"}},
		"listen is no QUIC":    {append(valid, "--listen", "/ip4/127.0.0.1/tcp/1"), []string{"--listen", "/tcp/1", "QUIC"}},
		"UDP port in use":      {append(valid, "--listen", "/ip4/127.0.0.1/udp/"+busyUDP+"/quic-v1"), []string{"--listen", busyUDP, "in use"}},
		"bootnode is nothing":  {append(valid, "--bootnode", "enr:-abc"), []string{"--bootnode", "enr:-abc"}},
		"checkpoint is no API": {append(valid, "--checkpoint-sync-url", "http://u:s3cret@127.0.0.1:"+ports[0]+"x"), []string{"--checkpoint-sync-url", "REDACTED", "base URL"}},
		"node key not there":   {append(valid, "--node-key", "no.key"), []string{"no.key", "not found"}},
		"aggregator, no keys":  {append(valid, "--is-aggregator"), []string{"--is-aggregator", "--validator-keys"}},
		"subnets, no role":     {append(valid, "--aggregate-subnet-ids", "0"), []string{"--aggregate-subnet-ids", "--is-aggregator"}},
		"subnets are no list":  {append(valid, "--validator-keys", dir, "--is-aggregator", "--aggregate-subnet-ids", "0,x"), []string{"--aggregate-subnet-ids", "0,x"}},
		"keys are not there":   {append(valid, "--validator-keys", filepath.Join(dir, "none")), []string{"none", "no such folder"}},
		"aggregator, no duty":  {append(valid, "--validator-keys", dir, "--is-aggregator", "--node-id", "nobody"), []string{"--node-id", "nobody", "lean_spec_0"}},
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
				t.Errorf("more than one line:\n%s", text)
			}
			for _, part := range tt.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q does not mention %q", text, part)
				}
			}
		})
	}
}

// TestCheckpointNowhere: a checkpoint's server that does not answer ends the start
// after five attempts, each of which is logged, with code 1 and without secrets. A
// signal ends the wait.
func TestCheckpointNowhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	mustRun(t, "genesis", "--nodes", "1", "--validators", "1", "--scheme", "test", "--out", dir)
	start := func() (*exec.Cmd, *bufio.Scanner) {
		nobody := porttest.Reserve(t)
		cmd := command(t.Context(), "--genesis", filepath.Join(dir, "config.yaml"), "--scheme", "test", "--api-port", "0", "--metrics-port", "0",
			"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--checkpoint-sync-url", "http://u5er:s3cret@127.0.0.1:"+nobody+"/?key=t0ken")
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
		t.Errorf("%d attempts are logged, want 5 that say that the connection was refused:\n%s", got, text)
	}
	for _, secret := range []string{"u5er", "s3cret", "t0ken"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown:\n%s", secret, text)
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
		t.Errorf("stopped while it waits: exit code %d, want 0:\n%s", got, text)
	}
}

// TestKeyWindow: a key that cannot sign now ends the start.
func TestKeyWindow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	mustRun(t, "genesis", "--nodes", "1", "--validators", "1", "--scheme", "test", "--active-slots", "32", "--out", dir)
	// genesis refuses a time at which the keys are of no use any more, so the file is changed.
	path := filepath.Join(dir, "config.yaml")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	past := fmt.Sprintf("GENESIS_TIME: %d", time.Now().Add(-2*time.Hour).Unix())
	if err := os.WriteFile(path, regexp.MustCompile(`GENESIS_TIME: \d+`).ReplaceAll(file, []byte(past)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), "--genesis", path, "--validator-keys", dir, "--scheme", "test")
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit code %d, want 2", got)
	}
	if text := string(out); !strings.Contains(text, "slots 0 to 31") || !strings.Contains(text, "_sk.ssz") {
		t.Errorf("%q does not name the file and its window", text)
	}
}

// TestEnvironment: a flag can come from the environment, and wins over it.
func TestEnvironment(t *testing.T) {
	cmd := command(t.Context(), "--genesis", "nowhere.yaml")
	cmd.Env = append(cmd.Env, "LEANSPEC_LOG_LEVEL=loud")
	out, _ := cmd.CombinedOutput()
	if !strings.Contains(string(out), `"loud"`) {
		t.Errorf("LEANSPEC_LOG_LEVEL has no effect: %q", out)
	}
	cmd = command(t.Context(), "--genesis", "nowhere.yaml", "--log-level", "info")
	cmd.Env = append(cmd.Env, "LEANSPEC_LOG_LEVEL=loud")
	out, _ = cmd.CombinedOutput()
	if !strings.Contains(string(out), "nowhere.yaml") {
		t.Errorf("the flag does not win over the environment: %q", out)
	}
}
