package node

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// hungDisk is a storage whose Save blocks while hang is set.
type hungDisk struct {
	next    chain.Storage
	hang    atomic.Bool
	hanging chan struct{} // receives an element when a Save blocks
	release chan struct{} // when it is closed, Save returns
}

func (d *hungDisk) Save(c *lstar.Changes) error {
	if d.hang.Load() {
		d.hanging <- struct{}{}
		<-d.release
	}
	return d.next.Save(c)
}

// lines is a log that is safe for concurrent use. It sends an element to new at each line.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.new <- struct{}{}:
		default:
		}
	}()
	return l.buf.Write(p)
}

// String returns the log so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// await waits until the log contains text, and fails after 30 s.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		if strings.Contains(l.String(), text) {
			return
		}
		select {
		case <-l.new:
		case <-timeout:
			t.Fatalf("no %q in the log after 30 s:\n%s", text, l.String())
		}
	}
}

// probe requests a route of the RPC port, and fails without a response after 10 s.
func probe(t *testing.T, n *Node, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() {
		api.New(api.Config{Metrics: n.metrics.Handler(), Health: n.health}).RPC.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		close(answered)
	}()
	select {
	case <-answered:
		return w.Code, w.Body.String()
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no answer after 10 s", path)
		return 0, ""
	}
}

// TestStuckOwner blocks the disk of the chain, and checks that /livez and the log report the stuck
// event loop, and its end.
func TestStuckOwner(t *testing.T) {
	c := newCluster(t, xmss.Test, 2, 16)
	nodeKey, err := config.GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64 // of the clock of the pulses, before the real time, in nanoseconds
	start := time.Now()
	log := &lines{new: make(chan struct{}, 1)}
	logger, _ := logging.New(logging.Options{Writer: log})
	disk := &hungDisk{hanging: make(chan struct{}), release: make(chan struct{})}
	n, err := New(t.Context(), Config{
		Version: "test", NodeID: "0", Genesis: c.genesis, Keys: c.keys, Scheme: c.scheme, IsAggregator: true,
		NodeKey: nodeKey, Listen: "/ip4/127.0.0.1/udp/0/quic-v1", NetworkName: "test", Committees: 1,
		Log: logger, Time: c.clock, StartTime: start,
		now: func() time.Time { return start.Add(time.Duration(ahead.Load())) },
		storage: func(s chain.Storage) chain.Storage {
			disk.next = s
			return disk
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.nodes = append(c.nodes, n)

	// Before Run the node is live but not ready.
	if code, body := probe(t, n, "/livez"); code != 200 {
		t.Errorf("/livez before Run = %d %s, want 200", code, body)
	}
	if code, body := probe(t, n, "/readyz"); code != 503 || !strings.Contains(body, "[-]network failed: not started\n") || !strings.Contains(body, "[-]synced failed: not_ready: ") {
		t.Errorf("/readyz before Run = %d\n%s\nwant 503 for network and synced", code, body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	awaitProbe := func(path string, want int) string {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			code, body := probe(t, n, path)
			if code == want {
				return body
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s = %d\n%s\nwant %d", path, code, body, want)
			}
			time.Sleep(5 * time.Millisecond) // there is no event for a beat
		}
	}
	awaitProbe("/readyz", 200)

	// A node that waits for genesis is live, because the event loops run without events.
	for range 3 {
		ahead.Add(int64(stuckAfter + time.Second))
		awaitProbe("/livez", 200)
	}

	for slot := range lstar.Slot(2) {
		c.slot(t, slot)
	}
	disk.hang.Store(true)
	c.clock.Advance(n.clock.StartOf(lstar.Slot(2).Interval()).Sub(c.clock.Now()))
	select {
	case <-disk.hanging:
	case <-time.After(30 * time.Second):
		t.Fatal("no Save in slot 2 after 30 s")
	}
	if code, body := probe(t, n, "/livez?verbose"); code != 200 {
		t.Errorf("/livez before the limit = %d %s, want 200", code, body)
	}
	ahead.Add(int64(stuckAfter + time.Second))
	code, body := probe(t, n, "/livez")
	if code != 503 || !strings.Contains(body, "[-]chain failed: event loop has not run for 13s (limit 12s)\n") || !strings.HasSuffix(body, "livez check failed\n") {
		t.Errorf("/livez while the disk hangs = %d\n%s\nwant 503 for the chain", code, body)
	}
	if code, body := probe(t, n, "/livez?exclude=chain"); code != 200 {
		t.Errorf("/livez without the chain = %d %s, want 200, because sync is not stuck and duties have a longer limit", code, body)
	}
	if code, body := probe(t, n, "/readyz"); code != 503 || !strings.Contains(body, "[-]chain failed: ") {
		t.Errorf("/readyz while the disk hangs = %d\n%s\nwant 503 for the chain", code, body)
	}
	log.await(t, "event loop stuck")

	disk.hang.Store(false)
	close(disk.release)
	if body := awaitProbe("/livez", 200); body != "ok" {
		t.Errorf("/livez after the disk is released = %q, want ok", body)
	}
	log.await(t, "event loop runs again")
}

// TestWatchdog checks that the watchdog logs one line when a loop is stuck and one when no loop is
// stuck any more, and none after the whole process was suspended.
func TestWatchdog(t *testing.T) {
	stuck := errors.New("stuck")
	for name, test := range map[string]struct {
		live  []error         // results of live
		after []time.Duration // since the check before; one second if missing
		lines string          // first letters of the levels
	}{
		"never stuck":           {[]error{nil, nil, nil}, nil, ""},
		"stuck permanently":     {[]error{nil, stuck, stuck, stuck}, nil, "E"},
		"stuck for a while":     {[]error{nil, stuck, errors.New("for longer"), nil, nil}, nil, "EI"},
		"twice":                 {[]error{stuck, nil, stuck, nil}, nil, "EIEI"},
		"suspended":             {[]error{nil, stuck, stuck, nil, nil}, []time.Duration{time.Second, time.Minute}, ""},
		"suspended and stuck":   {[]error{nil, stuck, stuck, stuck, stuck, nil}, []time.Duration{time.Second, time.Minute}, "EI"},
		"suspended while stuck": {[]error{stuck, stuck, nil, nil, nil}, []time.Duration{time.Second, time.Minute}, "EI"},
		"late checks":           {[]error{nil, stuck, nil}, []time.Duration{2 * time.Second, 2 * time.Second, 2 * time.Second}, "EI"},
	} {
		var out bytes.Buffer
		logger, _ := logging.New(logging.Options{Writer: &out})
		at := time.Unix(1, 0)
		var now error
		w := watchdog{log: logger, live: func() error { return now }, last: at}
		for i, result := range test.live {
			step := time.Second
			if i < len(test.after) {
				step = test.after[i]
			}
			at, now = at.Add(step), result
			w.check(at)
		}
		var lines string
		for line := range strings.Lines(out.String()) {
			lines += strings.Fields(line)[1][:1]
		}
		if lines != test.lines {
			t.Errorf("%s: lines = %q\n%s\nwant %q", name, lines, out.String(), test.lines)
		}
	}
}
