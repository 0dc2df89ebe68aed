package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const genesisTime = 1_000_000

// cluster is a network of nodes in this process, over loopback, with one fake clock.
type cluster struct {
	clock   *clocktest.Fake
	genesis *config.Genesis
	keys    []config.ValidatorKeys
	scheme  *xmss.Scheme
	nodes   []*Node
	logs    []*lines // of the nodes
	votes   int      // number of votes of all validators so far
	// allVotes makes slot wait until the first node has accepted all votes.
	allVotes bool
}

func newCluster(t testing.TB, scheme *xmss.Scheme, validators int, slots uint64) *cluster {
	t.Helper()
	c := &cluster{
		clock:   clocktest.New(time.Unix(genesisTime-1, 0)),
		genesis: &config.Genesis{GenesisTime: genesisTime, AttestationCommitteeCount: 1},
		scheme:  scheme,
	}
	for i := range validators {
		key := func() *xmss.SecretKey {
			k, err := scheme.GenerateKey(t.Context(), xmss.KeyGenOptions{NumActiveSlots: slots, Short: true})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		k := config.ValidatorKeys{Index: uint64(i), Attestation: key(), Proposal: key(), AttestationPath: keyFile(t), ProposalPath: keyFile(t)}
		c.keys = append(c.keys, k)
		c.genesis.Validators = append(c.genesis.Validators, config.GenesisValidator{
			AttestationPublicKey: k.Attestation.PublicKey().Bytes(), ProposalPublicKey: k.Proposal.PublicKey().Bytes(),
		})
	}
	return c
}

// keyFile creates an empty file for the lock of a key.
func keyFile(t testing.TB) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "key")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Name()
}

// start starts a node with the given keys. Its bootnodes are the nodes before it.
func (c *cluster) start(t testing.TB, keys []config.ValidatorKeys, isAggregator bool) *Node {
	t.Helper()
	nodeKey, err := config.GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	lines := &lines{new: make(chan struct{}, 1)}
	log, _ := logging.New(logging.Options{Level: slog.LevelInfo, Writer: lines})
	cfg := Config{
		Version: "test", NodeID: fmt.Sprint(len(c.nodes)), Genesis: c.genesis, Keys: keys, Scheme: c.scheme, IsAggregator: isAggregator,
		NodeKey: nodeKey, Listen: "/ip4/127.0.0.1/udp/0/quic-v1", NetworkName: "test", Committees: 1,
		Log: log, Time: c.clock, StartTime: time.Now(),
	}
	for _, n := range c.nodes {
		cfg.Bootnodes = append(cfg.Bootnodes, n.identity().Addresses[0])
	}
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node %s: Run = %v, want no error", cfg.NodeID, err)
		}
		if t.Failed() {
			t.Logf("node %s:\n%s", cfg.NodeID, lines)
		}
	})
	c.nodes, c.logs = append(c.nodes, n), append(c.logs, lines)
	return n
}

// await waits until a snapshot of a node satisfies ok, and fails after 30 s.
func await(t testing.TB, n *Node, what string, ok func(*lstar.Snapshot) bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		snap, newer := n.chain.Watch()
		if ok(snap) {
			return
		}
		select {
		case <-newer:
		case <-timeout:
			t.Fatalf("node %s: no %s after 30 s: time = %d, head = %s, finalized = %s", n.cfg.NodeID, what, snap.Time, snap.Head, snap.LatestFinalized)
		}
	}
}

// connect waits until each node has the given number of peers in its gossip mesh.
func (c *cluster) connect(t testing.TB, peers int) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	heartbeat := time.NewTicker(20 * time.Millisecond) // the mesh forms at the heartbeats of the router, for which there is no event
	defer heartbeat.Stop()
	for _, n := range c.nodes {
		for view, newer := n.sync.Watch(); view.Peers < peers; view, newer = n.sync.Watch() {
			select {
			case <-newer:
			case <-timeout:
				t.Fatalf("node %s: peers = %d, want %d", n.cfg.NodeID, view.Peers, peers)
			}
		}
		for metric(t, n, "lean_gossip_mesh_peers") < peers {
			select {
			case <-heartbeat.C:
			case <-timeout:
				t.Fatalf("node %s: peers in the mesh = %d, want %d", n.cfg.NodeID, metric(t, n, "lean_gossip_mesh_peers"), peers)
			}
		}
	}
}

// slot advances the clock through a slot, and waits at each interval until all nodes have performed
// their duties.
func (c *cluster) slot(t testing.TB, slot lstar.Slot) {
	t.Helper()
	for i := range lstar.Interval(lstar.IntervalsPerSlot) {
		at := slot.Interval() + i
		aggregations := metricstest.Sum(t, c.nodes[0].metrics, "leanspec_duties_total", events.DutyAggregation)
		c.clock.Advance(c.nodes[0].clock.StartOf(at).Sub(c.clock.Now()))
		for _, n := range c.nodes {
			await(t, n, fmt.Sprintf("interval %d", at), func(s *lstar.Snapshot) bool { return s.Time >= at })
		}
		switch {
		case i == 0 && slot > 0:
			for _, n := range c.nodes {
				await(t, n, fmt.Sprintf("block of slot %d", slot), func(s *lstar.Snapshot) bool { return s.HighestSlot >= slot })
			}
		case i == 1: // the first node, the aggregator, accepts all votes
			c.votes += len(c.genesis.Validators)
			for end := time.Now().Add(30 * time.Second); accepted(t, c.nodes[0]) < c.votes && c.allVotes; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("slot %d: accepted votes = %d, want %d", slot, accepted(t, c.nodes[0]), c.votes)
				}
			}
		case i == 2: // the proofs are made outside of the chain's owner
			for end := time.Now().Add(30 * time.Second); metricstest.Sum(t, c.nodes[0].metrics, "leanspec_duties_total", events.DutyAggregation) == aggregations; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("slot %d: aggregation not finished after 30 s", slot)
				}
			}
		}
	}
}

// accepted returns the number of single votes that a node has accepted.
func accepted(t testing.TB, n *Node) int { return metric(t, n, "lean_attestations_valid_total") }

// metric returns the sum of the series of a metric.
func metric(t testing.TB, n *Node, name string) int {
	t.Helper()
	return int(metricstest.Sum(t, n.metrics, name))
}

// TestNodes checks that two nodes connect and exchange blocks and votes, that a third one that
// starts later syncs, and that no goroutine remains when they have stopped.
func TestNodes(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("run", func(t *testing.T) {
		c := newCluster(t, xmss.Test, 4, 64)
		c.start(t, c.keys[:2], true)
		c.start(t, c.keys[2:], false)
		c.connect(t, 1)
		for slot := range lstar.Slot(10) {
			c.slot(t, slot)
		}
		a, b := c.nodes[0].chain.Snapshot(), c.nodes[1].chain.Snapshot()
		if a.Head != b.Head || a.Head.Slot != 9 {
			t.Errorf("heads = %s and %s, want the same at slot 9", a.Head, b.Head)
		}
		late := c.start(t, nil, false)
		await(t, late, "synced head", func(s *lstar.Snapshot) bool { return s.Head == a.Head })
		if got := late.chain.Snapshot().LatestFinalized; got != a.LatestFinalized {
			t.Errorf("finalized of the late node = %s, want %s", got, a.LatestFinalized)
		}
	})
}

// TestStalledChain checks that a chain without aggregates logs that finality stalls, once, and logs
// when it resumes.
func TestStalledChain(t *testing.T) {
	c := newCluster(t, xmss.Test, 2, 64)
	c.allVotes = true
	n := c.start(t, c.keys, false)
	check := func(slot lstar.Slot, want map[string]int) {
		t.Helper()
		log := c.logs[0].String()
		for text, count := range want {
			if got := strings.Count(log, text); got != count {
				t.Errorf("after slot %d: lines with %q = %d, want %d", slot, text, got, count)
			}
		}
	}
	slot := lstar.Slot(0)
	for ; slot <= 20; slot++ {
		c.slot(t, slot)
	}
	check(slot, map[string]int{"WRN chain     no aggregates received": 1, "finality stalled": 0})
	for ; slot <= 24; slot++ {
		c.slot(t, slot)
	}
	check(slot, map[string]int{"WRN chain     finality stalled         slot=21 epoch=7 finalized_slot=0 finality_lag=21 advice=": 1, " finality_lag=24 ": 1})
	n.chain.SetAggregator(true)
	for ; n.chain.Snapshot().LatestFinalized.Slot < 25; slot++ {
		if slot == 60 {
			t.Fatalf("finalized = %s at slot %d, want at least slot 25", n.chain.Snapshot().LatestFinalized, slot)
		}
		c.slot(t, slot)
	}
	check(slot, map[string]int{
		"WRN chain     no aggregates received": 1, "INF chain     aggregates received again": 1,
		"WRN chain     finality stalled": 1, "INF chain     finality resumed": 1,
	})
}

// BenchmarkGossip measures the time from a proposer's import of its own block to the import at each
// of three other nodes, with the production scheme.
func BenchmarkGossip(b *testing.B) {
	const nodes = 4
	slots := max(uint64(b.N), 1000) + 64
	c := newCluster(b, xmss.Prod, nodes, min(slots, 2048))
	for i := range nodes {
		c.start(b, c.keys[i:i+1], i == 0)
	}
	c.connect(b, nodes-1)
	for slot := range lstar.Slot(4) { // the mesh forms
		c.slot(b, slot)
	}
	var latencies []time.Duration
	slot := lstar.Slot(4)
	for b.Loop() {
		imported := make([]time.Time, nodes)
		done := make(chan int)
		for i, n := range c.nodes {
			go func() {
				await(b, n, "block", func(s *lstar.Snapshot) bool { return s.HighestSlot >= slot })
				imported[i] = time.Now()
				done <- i
			}()
		}
		c.slot(b, slot)
		for range c.nodes {
			<-done
		}
		own := slices.MinFunc(imported, time.Time.Compare)
		for _, at := range imported {
			if at != own {
				latencies = append(latencies, at.Sub(own))
			}
		}
		slot++
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		return float64(latencies[int(q*float64(len(latencies)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

// BenchmarkBackfill measures how fast a new node syncs from another one over loopback, with the
// production scheme.
func BenchmarkBackfill(b *testing.B) {
	const slots = 200
	c := newCluster(b, xmss.Prod, 4, slots+1)
	c.allVotes = true
	c.start(b, c.keys, true)
	for slot := range lstar.Slot(slots) {
		c.slot(b, slot)
	}
	head := c.nodes[0].chain.Snapshot().Head
	var took time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		late := c.start(b, nil, false)
		await(b, late, "head", func(s *lstar.Snapshot) bool { return s.Head == head })
		took += time.Since(start)
		n++
		c.nodes = c.nodes[:1]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n*(slots-1))/took.Seconds(), "blocks/s")
}
