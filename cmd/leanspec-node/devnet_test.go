package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// programEnv makes the test binary run leanspec-node, or a program that exits with an error. A
// devnet starts its nodes with the binary of the running program.
const programEnv = "DEVNET_TEST_PROGRAM"

// TestMain runs the tests, or the program that programEnv selects.
func TestMain(m *testing.M) {
	switch os.Getenv(programEnv) {
	case "node":
		main()
	case "die":
		fmt.Fprintln(os.Stderr, `{"time":"2026-01-02T03:04:05.678Z","level":"error","msg":"state lost","component":"chain"}`)
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

// TestDevnet checks that a network of one process finalizes.
func TestDevnet(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for half a minute")
	}
	t.Setenv(programEnv, "node")
	t.Setenv("LEANSPEC_LOG_LEVEL", "nonsense") // must not reach the nodes
	dir := filepath.Join(t.TempDir(), "net")
	c := newTestConsole(0)
	args := strings.Fields("devnet --nodes 1 --validators 2 --scheme test --until-finalized 3 --timeout 2m --json --dir " + dir)
	if code := run(t.Context(), &c.console, args); code != 0 {
		t.Fatalf("exit code %d, want 0: %s\n%s", code, c.err.String(), c.out.String())
	}
	var types []string
	var result devnetResult
	for line := range bytes.Lines(c.out.Bytes()) {
		result = devnetResult{}
		if err := json.Unmarshal(line, &result); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		types = append(types, result.Type)
	}
	if want := []string{"network", "slot", "result"}; !slices.Equal(slices.Compact(types), want) {
		t.Errorf("types of the JSON objects = %q, want %q", types, want)
	}
	if !result.OK || *result.Slot != 3 || len(result.Root) != 66 || result.Dir != dir || len(result.LogErrors) > 0 {
		t.Errorf("result = %+v, want slot 3 finalized, the folder %s and no errors", result, dir)
	}
	if v := result.Last.Nodes[0]; v.State != devnet.Up || !v.Synced || v.Finalized.Slot < 3 || v.Head.Slot <= v.Justified.Slot {
		t.Errorf("view of the node = %+v, want it synced, with slot 3 finalized and a head after the justified slot", v)
	}
	for _, file := range []string{"config.yaml", "lean_spec_0/log.jsonl"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	checkFailure(t, t.Context(), 2, filepath.Join(dir, "config.yaml")+": already exists; want a folder without a network for --dir", args...)
}

// cancelOn is a writer that calls cancel when a text is written to it.
type cancelOn struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (w *cancelOn) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.cancel()
	}
	return w.Buffer.Write(b)
}

// TestDevnetJoin checks that nodes.yaml and prometheus.yml have the ports in use if the default
// ones are taken, so that a node can join and Prometheus finds the nodes.
func TestDevnetJoin(t *testing.T) {
	t.Setenv(programEnv, "node")
	if conn, err := net.ListenPacket("udp", ":9001"); err == nil { // an error means that another process uses the port
		defer conn.Close()
	}
	dir := filepath.Join(t.TempDir(), "net")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestConsole(0)
	started, start := context.WithCancel(t.Context())
	out := &lockedCancel{cancelOn: cancelOn{text: `"type":"network"`, cancel: start}}
	c.console.out = out
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &c.console, strings.Fields("devnet --nodes 1 --validators 1 --scheme test --active-slots 64 --json --dir "+dir))
		start()
	}()
	<-started.Done()
	nodes, err := os.ReadFile(filepath.Join(dir, "nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	record := strings.TrimPrefix(strings.TrimSpace(string(nodes)), "- ")
	if bootnode, err := p2p.ParseBootnode(record); err != nil || strings.Contains(bootnode.Addr.String(), "/udp/9001/") {
		t.Errorf("nodes.yaml has %s (error %v), want another port than 9001", bootnode.Addr, err)
	}

	var network struct{ Nodes []struct{ Metrics string } }
	if err := json.NewDecoder(strings.NewReader(out.String())).Decode(&network); err != nil || len(network.Nodes) != 1 {
		t.Fatalf("network (error %v) = %s\nwant one node", err, out)
	}
	scraped, err := os.ReadFile(filepath.Join(dir, "prometheus.yml"))
	target := strings.TrimSuffix(strings.TrimPrefix(network.Nodes[0].Metrics, "http://"), "/metrics")
	if err != nil || !strings.Contains(string(scraped), fmt.Sprintf("- targets: [%q]\n", target)) || strings.Contains(target, ":8008") {
		t.Errorf("prometheus.yml (error %v) =\n%s\nwant the target %s, with another port than 8008", err, scraped, target)
	}

	joining, joined := context.WithTimeout(t.Context(), time.Minute)
	defer joined()
	log := &lockedCancel{cancelOn: cancelOn{text: "peer connected", cancel: joined}}
	joiner := newTestConsole(0)
	joiner.console.err = log
	code := run(joining, &joiner.console, append(strings.Fields("run --scheme test --log-format json --api-port 0 --metrics-port 0 --genesis "+
		filepath.Join(dir, "config.yaml")+" --bootnode "+record), "--listen", ""))
	if code != 0 || !strings.Contains(log.String(), "peer connected") {
		t.Errorf("exit code %d, want 0 and a connection in the log:\n%s", code, log)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("devnet: exit code %d, want 0: %s", code, c.err.String())
	}
}

// TestDevnetInterrupted checks that an interrupted devnet leaves no process, and no file unless it
// has failed.
func TestDevnetInterrupted(t *testing.T) {
	t.Setenv(programEnv, "node")
	for _, test := range []struct {
		more, err string
		code      int
	}{
		{"", "", 0},
		{" --until-finalized 3", "leanspec-node: interrupted before every node finalized slot 3\n", 1},
	} {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newTestConsole(0)
		out := &cancelOn{text: `"type":"network"`, cancel: cancel}
		c.console.out = out
		code := run(ctx, &c.console, strings.Fields("devnet --nodes 2 --validators 1 --scheme test --active-slots 16 --json"+test.more))
		if code != test.code || !strings.HasSuffix(c.err.String(), test.err) {
			t.Errorf("exit code %d and\n%s\nwant %d and\n%s", code, c.err.String(), test.code, test.err)
		}
		var network struct{ Nodes []struct{ PID int } }
		if err := json.NewDecoder(&out.Buffer).Decode(&network); err != nil || len(network.Nodes) != 2 {
			t.Fatalf("network (error %v) = %s\nwant two nodes", err, out.String())
		}
		for _, node := range network.Nodes {
			if err := syscall.Kill(node.PID, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("signal to process %d: error %v, want ESRCH", node.PID, err)
			}
		}
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(entries) > 0, code != 0; got != want {
			t.Errorf("exit code %d: folder exists = %t, want %t", code, got, want)
		}
	}
}

func TestDevnetInterruptedAtKeys(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkFailure(t, ctx, 1, "interrupted, nothing was written: context canceled", strings.Fields("devnet --scheme test")...)
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
		t.Errorf("folder = %v (error %v), want it empty", entries, err)
	}
}

func TestDevnetDeath(t *testing.T) {
	t.Setenv(programEnv, "die")
	t.Setenv("TMPDIR", t.TempDir())
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("devnet --nodes 1 --validators 1 --scheme test --active-slots 16 --until-finalized 3")); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got, want := c.err.String(), "leanspec-node: all nodes are gone\n"; !strings.HasSuffix(got, want) {
		t.Errorf("stderr =\n%s\nwant %q at the end", got, want)
	}
	_, got, _ := strings.Cut(c.out.String(), "\n\nnode ")
	_, got, _ = strings.Cut(got, "\n\n")
	got = regexp.MustCompile(`\S*leanspec-devnet-\d+`).ReplaceAllString(got, "DIR")
	const want = `lean_spec_0 died: exit status 3. The end of DIR/lean_spec_0/log.jsonl:
  03:04:05.678 error chain: state lost

Stopped.
lean_spec_0 logged errors (1 line):
  03:04:05.678 error chain: state lost
Files and logs are in DIR.
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDevnetTable(t *testing.T) {
	t.Setenv(programEnv, "node")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestConsole(0)
	out := &cancelOn{text: "16Uiu2", cancel: cancel}
	c.console.out = out
	if code := run(ctx, &c.console, strings.Fields("devnet --nodes 2 --validators 3 --scheme test --active-slots 16")); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
	}
	got := out.String()
	for _, r := range []struct{ pattern, with string }{
		{`\S*leanspec-devnet-\d+`, "DIR"}, {`16Uiu2\w+`, "ID"}, {`127.0.0.1:\d+`, "HOST"}, {`\d{4}-\d\d-\d\dT[\d:]+Z`, "TIME"}, {`in (\d+ days|[\dhms]+)\n`, "in DELAY\n"}, {`  +`, "  "},
	} {
		got = regexp.MustCompile(r.pattern).ReplaceAllString(got, r.with)
	}
	const want = `network  2 nodes, 3 validators, in DIR
genesis  TIME, in DELAY
keys  test scheme, slots 0 to 15 (until TIME)

node  validators  api  metrics  health  peer id
lean_spec_0  0,2 (aggregator)  HOST  HOST/metrics  HOST/health  ID
lean_spec_1  1  HOST  HOST/metrics  HOST/health  ID


Stopped.
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDevnetUsage(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for want, flags := range map[string]string{
		"--nodes: 0: want 1 to 1000":                                                             "--nodes 0",
		"--validators: 4097: want 1 to 4096":                                                     "--validators 4097",
		`--scheme: "best": want prod or test`:                                                    "--scheme best",
		"--active-slots: 257: want 1 to 256, the lifetime of the test scheme":                    "--scheme test --active-slots 257",
		`--log-level: "loud": want debug, info, warn or error`:                                   "--log-level loud",
		"--until-finalized: 256: want less than 256, the number of slots that the keys can sign": "--scheme test --until-finalized 256",
		"--timeout: needs --until-finalized":                                                     "--timeout 5m",
		"--timeout: -1s: want more than 0s":                                                      "--until-finalized 3 --timeout=-1s",
		`"--colour": no such flag; see leanspec-node devnet --help`:                              "--colour red",
	} {
		checkFailure(t, t.Context(), 2, want, append([]string{"devnet"}, strings.Fields(flags)...)...)
	}
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
		t.Errorf("folder = %v (error %v), want it empty", entries, err)
	}
}

func TestStatusLine(t *testing.T) {
	seen := devnet.View{
		State: devnet.Up, Head: devnet.Checkpoint{Slot: 12, Root: "0x1a2b3c4d5e6f"}, Justified: devnet.Checkpoint{Slot: 11},
		Finalized: devnet.Checkpoint{Slot: 10}, Peers: 3, Synced: true,
	}
	other := seen
	other.Head.Root, other.Peers = "0xffeeddccbb", 1
	fewer, unsynced := seen, seen
	fewer.Peers, unsynced.Synced = 2, false
	for _, test := range []struct {
		status devnet.Status
		want   string
	}{
		{devnet.Status{Slot: 12, Nodes: []devnet.View{seen}},
			"slot  12  node 0: head 12 1a2b3c4d, justified 11, finalized 10, peers 3"},
		{devnet.Status{Slot: 1000, Nodes: []devnet.View{seen, seen, seen, seen}},
			"slot 1000  nodes 0-3: head 12 1a2b3c4d, justified 11, finalized 10, peers 3"},
		{devnet.Status{Slot: 12, Nodes: []devnet.View{seen, fewer, seen}},
			"slot  12  nodes 0-2: head 12 1a2b3c4d, justified 11, finalized 10, peers 3/2/3"},
		{devnet.Status{Slot: 12, Nodes: []devnet.View{seen, other, seen, other}, Disagreements: []devnet.Disagreement{{About: "head", Slot: 12}}},
			"slot  12  nodes 0,2: head 12 1a2b3c4d, justified 11, finalized 10, peers 3 | " +
				"nodes 1,3: head 12 ffeeddcc, justified 11, finalized 10, peers 1  !! heads differ at slot 12"},
		{devnet.Status{Slot: 12, Nodes: []devnet.View{seen, unsynced, {State: devnet.Dead, Problem: "exit status 2"}, {State: devnet.Paused}}},
			"slot  12  node 0: head 12 1a2b3c4d, justified 11, finalized 10, peers 3 | " +
				"node 1: head 12 1a2b3c4d, justified 11, finalized 10, peers 3, not synced | node 2: dead (exit status 2) | node 3: paused"},
	} {
		if got := statusLine(&test.status); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

func TestDevnetEnd(t *testing.T) {
	slot := uint64(20)
	last := &devnet.Status{Slot: 75, Nodes: []devnet.View{
		{Name: "lean_spec_0", State: devnet.Up, Head: devnet.Checkpoint{Slot: 75, Root: "0x1a2b3c4d5e"}, Peers: 1, Synced: true},
		{Name: "lean_spec_10", State: devnet.Silent, Problem: "connection refused"},
	}}
	for _, test := range []struct {
		result devnetResult
		want   string
	}{
		{devnetResult{OK: true, Slot: &slot, Root: "0xabc", Last: last}, "\nEvery node has finalized slot 20: 0xabc\n"},
		{devnetResult{OK: true, Last: last, Dir: "net"}, "\nStopped.\nFiles and logs are in net.\n"},
		{devnetResult{Slot: &slot, Last: last, Dir: "net", LogErrors: []logErrors{{"lean_spec_10", 4, []string{"one", "two"}}}}, `
Latest status of the nodes, at slot 75:
  lean_spec_0   head 75 1a2b3c4d, justified 0, finalized 0, peers 1
  lean_spec_10  silent (connection refused)
lean_spec_10 logged errors (4 lines):
  one
  two
Files and logs are in net.
`},
	} {
		c := newTestConsole(0)
		devnetText{&c.console}.end(&test.result)
		if got := c.out.String(); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

// TestLivingFinalized checks that dead nodes do not count, so that a devnet need not wait for its
// timeout.
func TestLivingFinalized(t *testing.T) {
	dead := devnet.View{State: devnet.Dead}
	done := devnet.View{State: devnet.Up, Finalized: devnet.Checkpoint{Slot: 3, Root: "0xaa"}}
	for _, test := range []struct {
		slot  uint64
		nodes []devnet.View
		want  bool
	}{
		{3, []devnet.View{done, dead, done}, true},
		{4, []devnet.View{done, dead}, false},
		{3, []devnet.View{done, {State: devnet.Silent}, dead}, false},
		{3, []devnet.View{dead}, false},
	} {
		if got := livingFinalized(&devnet.Status{Nodes: test.nodes}, test.slot); got != test.want {
			t.Errorf("slot %d, nodes %+v: livingFinalized = %t, want %t", test.slot, test.nodes, got, test.want)
		}
	}
}
