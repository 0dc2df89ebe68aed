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

// nodeEnv makes the test binary the program itself, or one that dies: the processes of a devnet are the running
// program.
const nodeEnv = "DEVNET_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(nodeEnv) {
	case "node":
		main()
	case "die":
		fmt.Fprintln(os.Stderr, `{"time":"2026-01-02T03:04:05.678Z","level":"error","msg":"no more","component":"chain"}`)
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

// The nodes are real processes, and make a chain that finalizes.
func TestDevnet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Setenv(nodeEnv, "node")
	t.Setenv("LEANSPEC_LOG_LEVEL", "nonsense") // is not for the nodes
	dir := filepath.Join(t.TempDir(), "net")
	c := newTestConsole(0)
	args := strings.Fields("devnet --nodes 1 --validators 2 --scheme test --until-finalized 3 --timeout 2m --json --dir " + dir)
	if code := run(t.Context(), &c.console, args); code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, c.err.String(), c.out.String())
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
	if types = slices.Compact(types); !slices.Equal(types, []string{"network", "slot", "result"}) {
		t.Errorf("objects are of the types %q", types)
	}
	if !result.OK || *result.Slot != 3 || len(result.Root) != 66 || result.Dir != dir || len(result.LogErrors) > 0 {
		t.Errorf("the result is %+v", result)
	}
	if v := result.Last.Nodes[0]; v.State != devnet.Up || !v.Synced || v.Finalized.Slot < 3 || v.Head.Slot <= v.Justified.Slot {
		t.Errorf("the node shows %+v", v)
	}
	for _, file := range []string{"config.yaml", "lean_spec_0/log.jsonl"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	checkFailure(t, t.Context(), 2, filepath.Join(dir, "config.yaml")+": already there; a devnet wants a folder without a network", args...)
}

// cancelOn is a writer that cancels when it sees a text.
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

// Where the default ports are taken, nodes.yaml has the real ones: a node joins with what it says.
func TestDevnetJoin(t *testing.T) {
	t.Setenv(nodeEnv, "node")
	if conn, err := net.ListenPacket("udp", ":9001"); err == nil { // otherwise it is taken anyhow
		defer conn.Close()
	}
	dir := filepath.Join(t.TempDir(), "net")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestConsole(0)
	begun, begin := context.WithCancel(t.Context())
	c.console.out = &lockedCancel{cancelOn: cancelOn{text: `"type":"network"`, cancel: begin}}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &c.console, strings.Fields("devnet --nodes 1 --validators 1 --scheme test --active-slots 64 --json --dir "+dir))
		begin()
	}()
	<-begun.Done()
	nodes, err := os.ReadFile(filepath.Join(dir, "nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	record := strings.TrimPrefix(strings.TrimSpace(string(nodes)), "- ")
	if bootnode, err := p2p.ParseBootnode(record); err != nil || strings.Contains(bootnode.Addr.String(), "/udp/9001/") {
		t.Errorf("nodes.yaml has %s (error %v), want the address of the node, whose port cannot be 9001", bootnode.Addr, err)
	}

	joining, joined := context.WithTimeout(t.Context(), time.Minute)
	defer joined()
	log := &lockedCancel{cancelOn: cancelOn{text: "peer connected", cancel: joined}}
	joiner := newTestConsole(0)
	joiner.console.err = log
	code := run(joining, &joiner.console, append(strings.Fields("run --scheme test --log-format json --api-port 0 --metrics-port 0 --genesis "+
		filepath.Join(dir, "config.yaml")+" --bootnode "+record), "--listen", ""))
	if code != 0 || !strings.Contains(log.String(), "peer connected") {
		t.Errorf("exit code %d, want 0, and a connection in the log:\n%s", code, log)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("devnet: exit code %d, want 0: %s", code, c.err.String())
	}
}

// Ctrl-C leaves nothing: no process and no file.
func TestDevnetInterrupted(t *testing.T) {
	t.Setenv(nodeEnv, "node")
	for _, test := range []struct {
		more, err string
		code      int
	}{
		{"", "", 0},
		{" --until-finalized 3", "leanspec-node: interrupted before every node had finalized slot 3\n", 1},
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
			t.Fatalf("no network (error %v): %s", err, out.String())
		}
		for _, node := range network.Nodes {
			if err := syscall.Kill(node.PID, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d is still there (%v)", node.PID, err)
			}
		}
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		if kept := len(entries) > 0; kept != (code != 0) {
			t.Errorf("exit code %d: the folder is kept: %t", code, kept)
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
		t.Errorf("left behind: %v (error %v)", entries, err)
	}
}

func TestDevnetDeath(t *testing.T) {
	t.Setenv(nodeEnv, "die")
	t.Setenv("TMPDIR", t.TempDir())
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("devnet --nodes 1 --validators 1 --scheme test --active-slots 16 --until-finalized 3")); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.HasSuffix(c.err.String(), "leanspec-node: all nodes are gone\n") {
		t.Errorf("stderr is\n%s", c.err.String())
	}
	_, got, _ := strings.Cut(c.out.String(), "\n\nnode ")
	_, got, _ = strings.Cut(got, "\n\n")
	got = regexp.MustCompile(`\S*leanspec-devnet-\d+`).ReplaceAllString(got, "DIR")
	const want = `lean_spec_0 died: exit status 3. The end of DIR/lean_spec_0/log.jsonl:
  03:04:05.678 error chain: no more

Stopped.
lean_spec_0 logged errors (1 line):
  03:04:05.678 error chain: no more
The files and logs are in DIR.
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDevnetTable(t *testing.T) {
	t.Setenv(nodeEnv, "node")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestConsole(0)
	out := &cancelOn{text: "16Uiu2", cancel: cancel}
	c.console.out = out
	if code := run(ctx, &c.console, strings.Fields("devnet --nodes 2 --validators 3 --scheme test --active-slots 16")); code != 0 {
		t.Fatalf("exit code %d: %s", code, c.err.String())
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
		"--nodes: 0: want 1 to 1000":                                                                  "--nodes 0",
		"--validators: 4097: want 1 to 4096":                                                          "--validators 4097",
		`--scheme: "best": want prod or test`:                                                         "--scheme best",
		"--active-slots: 257: want 1 to 256, the lifetime of the test scheme":                         "--scheme test --active-slots 257",
		`--log-level: "loud": want debug, info, warn or error`:                                        "--log-level loud",
		"--until-finalized: 256: want less than 256, the number of slots for which the keys can sign": "--scheme test --until-finalized 256",
		"--timeout: needs --until-finalized":                                                          "--timeout 5m",
		"--timeout: -1s: want more than nothing":                                                      "--until-finalized 3 --timeout=-1s",
		`"--colour": no such flag; see leanspec-node devnet --help`:                                   "--colour red",
	} {
		checkFailure(t, t.Context(), 2, want, append([]string{"devnet"}, strings.Fields(flags)...)...)
	}
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
		t.Errorf("something was written: %v (error %v)", entries, err)
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
		{devnetResult{OK: true, Last: last, Dir: "net"}, "\nStopped.\nThe files and logs are in net.\n"},
		{devnetResult{Slot: &slot, Last: last, Dir: "net", LogErrors: []logErrors{{"lean_spec_10", 4, []string{"one", "two"}}}}, `
What the nodes saw last, at slot 75:
  lean_spec_0   head 75 1a2b3c4d, justified 0, finalized 0, peers 1
  lean_spec_10  silent (connection refused)
lean_spec_10 logged errors (4 lines):
  one
  two
The files and logs are in net.
`},
	} {
		c := newTestConsole(0)
		devnetText{&c.console}.end(&test.result)
		if got := c.out.String(); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

// Once those that live are through, a devnet with a dead node need not wait for the time to be up.
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
			t.Errorf("slot %d: got %t, want %t", test.slot, got, test.want)
		}
	}
}
