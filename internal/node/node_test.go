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

// world is a network of nodes in this process, over loopback, on a clock that
// stands still until it is moved.
type world struct {
	clock   *clocktest.Fake
	genesis *config.Genesis
	keys    []config.ValidatorKeys
	scheme  *xmss.Scheme
	nodes   []*Node
	logs    []*lines // of the nodes
	votes   int      // that were cast
	// allVotes has every slot wait until the first node has heard every vote.
	allVotes bool
}

func newWorld(t testing.TB, scheme *xmss.Scheme, validators int, slots uint64) *world {
	t.Helper()
	w := &world{
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
		w.keys = append(w.keys, k)
		w.genesis.Validators = append(w.genesis.Validators, config.GenesisValidator{
			AttestationPublicKey: k.Attestation.PublicKey().Bytes(), ProposalPublicKey: k.Proposal.PublicKey().Bytes(),
		})
	}
	return w
}

// keyFile makes a file to lock.
func keyFile(t testing.TB) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "key")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Name()
}

// start starts a node with some of the keys. It knows the nodes before it.
func (w *world) start(t testing.TB, keys []config.ValidatorKeys, isAggregator bool) *Node {
	t.Helper()
	nodeKey, err := config.GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	lines := &lines{new: make(chan struct{}, 1)}
	log, _ := logging.New(logging.Options{Level: slog.LevelInfo, Writer: lines})
	cfg := Config{
		Version: "test", NodeID: fmt.Sprint(len(w.nodes)), Genesis: w.genesis, Keys: keys, Scheme: w.scheme, IsAggregator: isAggregator,
		NodeKey: nodeKey, Listen: "/ip4/127.0.0.1/udp/0/quic-v1", NetworkName: "test", Committees: 1,
		Log: log, Time: w.clock, StartTime: time.Now(),
	}
	for _, n := range w.nodes {
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
			t.Errorf("node %s: %v", cfg.NodeID, err)
		}
		if t.Failed() {
			t.Logf("node %s:\n%s", cfg.NodeID, lines)
		}
	})
	w.nodes, w.logs = append(w.nodes, n), append(w.logs, lines)
	return n
}

// await waits until a node's chain is as wanted.
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
			t.Fatalf("node %s: no %s: time %d, head %s, finalized %s", n.cfg.NodeID, what, snap.Time, snap.Head, snap.LatestFinalized)
		}
	}
}

// connect waits until every node has that many peers, and gossips with them.
func (w *world) connect(t testing.TB, peers int) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	heartbeat := time.NewTicker(20 * time.Millisecond) // the mesh forms with the router's heartbeats, and nobody tells when
	defer heartbeat.Stop()
	for _, n := range w.nodes {
		for n.sync.View().Peers < peers {
			select {
			case <-n.sync.View().Outdated():
			case <-timeout:
				t.Fatalf("node %s has %d peers, want %d", n.cfg.NodeID, n.sync.View().Peers, peers)
			}
		}
		for metric(t, n, "lean_gossip_mesh_peers") < peers {
			select {
			case <-heartbeat.C:
			case <-timeout:
				t.Fatalf("node %s has %d peers in its mesh, want %d", n.cfg.NodeID, metric(t, n, "lean_gossip_mesh_peers"), peers)
			}
		}
	}
}

// slot lets all nodes live through a slot, interval by interval.
func (w *world) slot(t testing.TB, slot lstar.Slot) {
	t.Helper()
	for i := range lstar.Interval(lstar.IntervalsPerSlot) {
		at := slot.Interval() + i
		aggregations := metricstest.Sum(t, w.nodes[0].metrics, "leanspec_duties_total", events.DutyAggregation)
		w.clock.Advance(w.nodes[0].clock.StartOf(at).Sub(w.clock.Now()))
		for _, n := range w.nodes {
			await(t, n, fmt.Sprintf("interval %d", at), func(s *lstar.Snapshot) bool { return s.Time >= at })
		}
		switch {
		case i == 0 && slot > 0:
			for _, n := range w.nodes {
				await(t, n, fmt.Sprintf("block of slot %d", slot), func(s *lstar.Snapshot) bool { return s.HighestSlot >= slot })
			}
		case i == 1: // the aggregator, which is the first, hears every vote
			w.votes += len(w.genesis.Validators)
			for end := time.Now().Add(30 * time.Second); accepted(t, w.nodes[0]) < w.votes && w.allVotes; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("slot %d: accepted votes = %d, want %d", slot, accepted(t, w.nodes[0]), w.votes)
				}
			}
		case i == 2: // the proofs are made outside of the chain's owner
			for end := time.Now().Add(30 * time.Second); metricstest.Sum(t, w.nodes[0].metrics, "leanspec_duties_total", events.DutyAggregation) == aggregations; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("slot %d: the aggregation does not end", slot)
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

// TestNodes: two nodes in one process find each other, exchange blocks and votes,
// and a third that comes later gets to where they are. Nothing is left of them
// when they are stopped.
func TestNodes(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("run", func(t *testing.T) {
		w := newWorld(t, xmss.Test, 4, 64)
		w.start(t, w.keys[:2], true)
		w.start(t, w.keys[2:], false)
		w.connect(t, 1)
		for slot := range lstar.Slot(10) {
			w.slot(t, slot)
		}
		a, b := w.nodes[0].chain.Snapshot(), w.nodes[1].chain.Snapshot()
		if a.Head != b.Head || a.Head.Slot != 9 {
			t.Errorf("heads %s and %s, want the same at slot 9", a.Head, b.Head)
		}
		late := w.start(t, nil, false)
		await(t, late, "chain of the others", func(s *lstar.Snapshot) bool { return s.Head == a.Head })
		if late.chain.Snapshot().LatestFinalized != a.LatestFinalized {
			t.Error("the late node sees another finalized block")
		}
	})
}

// TestStalledChain: a chain that nobody aggregates for says so in the log, once, and so it does when it goes on.
func TestStalledChain(t *testing.T) {
	w := newWorld(t, xmss.Test, 2, 64)
	w.allVotes = true
	n := w.start(t, w.keys, false)
	check := func(slot lstar.Slot, want map[string]int) {
		t.Helper()
		log := w.logs[0].String()
		for text, count := range want {
			if got := strings.Count(log, text); got != count {
				t.Errorf("%d lines with %q after slot %d, want %d", got, text, slot, count)
			}
		}
	}
	slot := lstar.Slot(0)
	for ; slot <= 20; slot++ {
		w.slot(t, slot)
	}
	check(slot, map[string]int{"WRN chain     no aggregates received": 1, "finality stalled": 0})
	for ; slot <= 24; slot++ {
		w.slot(t, slot)
	}
	check(slot, map[string]int{"WRN chain     finality stalled         slot=21 epoch=7 finalized_slot=0 finality_lag=21 advice=": 1, " finality_lag=24 ": 1})
	n.chain.SetAggregator(true)
	for ; n.chain.Snapshot().LatestFinalized.Slot < 25; slot++ {
		if slot == 60 {
			t.Fatalf("finalized %s at slot %d, want slot 25 or more", n.chain.Snapshot().LatestFinalized, slot)
		}
		w.slot(t, slot)
	}
	check(slot, map[string]int{
		"WRN chain     no aggregates received": 1, "INF chain     aggregates received again": 1,
		"WRN chain     finality stalled": 1, "INF chain     finality resumed": 1,
	})
}

// BenchmarkGossip is the time from a proposer's import of its own block to the
// import at each of three other nodes, with production signatures.
func BenchmarkGossip(b *testing.B) {
	const nodes = 4
	slots := max(uint64(b.N), 1000) + 64
	w := newWorld(b, xmss.Prod, nodes, min(slots, 2048))
	for i := range nodes {
		w.start(b, w.keys[i:i+1], i == 0)
	}
	w.connect(b, nodes-1)
	for slot := range lstar.Slot(4) { // the mesh forms
		w.slot(b, slot)
	}
	var latencies []time.Duration
	slot := lstar.Slot(4)
	for b.Loop() {
		imported := make([]time.Time, nodes)
		done := make(chan int)
		for i, n := range w.nodes {
			go func() {
				await(b, n, "block", func(s *lstar.Snapshot) bool { return s.HighestSlot >= slot })
				imported[i] = time.Now()
				done <- i
			}()
		}
		w.slot(b, slot)
		for range w.nodes {
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

// BenchmarkBackfill is a new node that gets a chain of production signatures from
// another one over loopback.
func BenchmarkBackfill(b *testing.B) {
	const slots = 200
	w := newWorld(b, xmss.Prod, 4, slots+1)
	w.allVotes = true
	w.start(b, w.keys, true)
	for slot := range lstar.Slot(slots) {
		w.slot(b, slot)
	}
	head := w.nodes[0].chain.Snapshot().Head
	var took time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		late := w.start(b, nil, false)
		await(b, late, "head", func(s *lstar.Snapshot) bool { return s.Head == head })
		took += time.Since(start)
		n++
		w.nodes = w.nodes[:1]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n*(slots-1))/took.Seconds(), "blocks/s")
}
