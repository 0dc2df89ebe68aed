package syncer

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// fixture is a service that runs, with a real chain and peers that are fakes. The decisions are
// tested with world; fixture tests the shell.
type fixture struct {
	t     testing.TB
	fake  *clocktest.Fake
	chain *chain.Chain
	*Service
	metrics *metrics.Metrics
	stop    func()

	mu        sync.Mutex
	fakes     map[peer.ID]*fakePeer
	penalties map[peer.ID]int
	statuses  map[peer.ID]int // requests
}

func newFixture(t testing.TB, validators *lstar.Validators, slot lstar.Slot) *fixture {
	t.Helper()
	store := newStore(t, validators)
	return newFixtureOn(t, store, storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *store.Block(store.Head().Root)}), slot)
}

func newFixtureOn(t testing.TB, store *lstar.Store, blocks kept, slot lstar.Slot) *fixture {
	t.Helper()
	f := &fixture{
		t: t, metrics: metrics.New(metrics.Info{}), fake: clocktest.New(time.Unix(genesisTime+int64(slot)*lstar.SecondsPerSlot, 0)),
		fakes: make(map[peer.ID]*fakePeer), penalties: make(map[peer.ID]int), statuses: make(map[peer.ID]int),
	}
	log := slog.New(slog.DiscardHandler)
	bus := events.NewBus(f.metrics.Fold, logging.Events(log))
	c := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesisTime}, Time: f.fake}
	f.chain = chain.New(chain.Config{
		Store: store, Storage: blocks, Verifier: chain.NewVerifier(xmss.Test), Clock: c, Bus: bus, Log: log,
		OnSlotEnd: func(events.SlotSummary) {},
	})
	f.Service = New(Config{Chain: f.chain, Blocks: blocks, Clock: c, Bus: bus, Log: log, Network: network{f}, VerifyProof: func(b *lstar.SignedBlock) error {
		return lstar.VerifyBlockProof(testCrypto, b, f.chain.Snapshot().HeadState.Validators)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.chain.Run(ctx) })
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	f.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(f.stop)
	f.settle()
	return f
}

// settle waits until the chain and the planner have begun the current interval.
func (f *fixture) settle() {
	f.t.Helper()
	now := f.cfg.Clock.Interval()
	f.await("the clock", func(s *lstar.Snapshot) bool { return s.Time >= now && f.View().Ready && f.View().interval >= now })
}

// await waits until the condition holds, which may depend on the snapshot and the view.
func (f *fixture) await(what string, ok func(*lstar.Snapshot) bool) {
	f.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		view, changed := f.Watch()
		snap, newer := f.chain.Watch()
		if ok(snap) {
			return
		}
		select {
		case <-newer:
		case <-changed:
		case <-timeout:
			f.t.Fatalf("waiting for %s: head %s, finalized %s, view %+v", what, snap.Head, snap.LatestFinalized, view)
		}
	}
}

// eventually waits until a condition holds about which neither the chain nor the view notifies.
func (f *fixture) eventually(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waiting for %s", what)
		}
	}
}

// connect adds a peer that this node has dialed.
func (f *fixture) connect(id peer.ID, p *fakePeer) {
	f.mu.Lock()
	f.fakes[id] = p
	f.mu.Unlock()
	f.OnConnect(id, true)
}

func (f *fixture) wantVerdict(what string, got, want p2p.Verdict) {
	f.t.Helper()
	if got != want {
		f.t.Errorf("%s: verdict %v, want %v", what, got, want)
	}
}

func (f *fixture) synced() (bool, string) {
	v := f.View()
	return v.Synced(f.CurrentSlot())
}

func (f *fixture) blockAt(slot lstar.Slot) *lstar.SignedBlock {
	if root, ok := f.CanonicalRoot(slot); ok {
		return f.BlockByRoot(root)
	}
	return nil
}

// network is the fixture's p2p.Requester.
type network struct{ *fixture }

func (f network) peer(id peer.ID) (*fakePeer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.fakes[id]; p != nil {
		return p, nil
	}
	return nil, p2p.ErrNotConnected
}

func (f network) BlocksByRoot(ctx context.Context, from peer.ID, roots []lstar.Root) ([]*lstar.SignedBlock, error) {
	p, err := f.peer(from)
	if err != nil || p.byRoot == nil {
		if err == nil {
			return p.roots(roots), nil
		}
		return nil, err
	}
	blocks, err := p.byRoot(roots)
	return blocks, hang(ctx, err)
}

func (f network) BlocksByRange(ctx context.Context, from peer.ID, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error) {
	p, err := f.peer(from)
	if err != nil || p.byRange == nil {
		if err == nil {
			return p.blocks(start, count), nil
		}
		return nil, err
	}
	blocks, err := p.byRange(start, count)
	return blocks, hang(ctx, err)
}

// hang waits for the end of ctx if the peer does not answer.
func hang(ctx context.Context, err error) error {
	if errors.Is(err, errHang) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (f network) Status(_ context.Context, id peer.ID) (p2p.Status, error) {
	p, err := f.peer(id)
	if err != nil {
		return p2p.Status{}, err
	}
	f.mu.Lock()
	f.fixture.statuses[id]++
	f.mu.Unlock()
	return p.says(), f.OnStatus(id, p.says())
}

func (f network) Penalize(id peer.ID, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.penalties[id]++
}

func (f network) Isolated() bool { return false }

// TestServiceSyncs closes a gap of 400 slots and serves the blocks.
func TestServiceSyncs(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 400, true)
	f := newFixture(t, validators, 400)
	if synced, reason := f.synced(); synced || reason != UnsyncedNoPeers {
		t.Errorf("alone: synced = %v (%s), want false (%s)", synced, reason, UnsyncedNoPeers)
	}
	ids := []peer.ID{"a", "b", "c"}
	for _, id := range ids {
		f.connect(id, &fakePeer{chain: c})
	}
	f.await("the head", hasHead(c))
	f.await("synced", func(*lstar.Snapshot) bool { v := f.View(); return v.Agree == 3 && !v.Gap && v.HeadSlot == 400 })
	if synced, reason := f.synced(); !synced {
		t.Errorf("synced = false (%s) at the head, want true", reason)
	}
	for _, slot := range []lstar.Slot{0, 1, 200, 400} {
		if b := f.blockAt(slot); b == nil || b.Block.Slot != slot {
			t.Errorf("block of slot %d = %v, want it to be served", slot, b)
		}
	}
	f.eventually("the metrics", func() bool { return metricstest.Sum(t, f.metrics, "leanspec_peers_by_head") == 3 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.penalties) > 0 {
		t.Errorf("penalties %v, want none", f.penalties)
	}
}

// TestServiceTimeout ends the request to a peer that does not answer.
func TestServiceTimeout(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 60, true)
	f := newFixture(t, validators, 60)
	f.connect("a", &fakePeer{chain: c, byRange: hangRange, byRoot: hangRoots})
	f.await("a gap", func(*lstar.Snapshot) bool { return f.View().Gap })
	for range 2 * int(requestTimeout/intervalTime) {
		f.fake.Advance(intervalTime)
		f.settle()
	}
	f.eventually("the penalty", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.penalties["a"] > 0 })
}

// TestServiceGossip checks the verdicts on blocks, also on one whose parent is missing.
func TestServiceGossip(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 13, true)
	f := newFixture(t, validators, 10)
	ctx := t.Context()
	f.wantVerdict("first", f.OnBlock(ctx, "a", c.at(1)), p2p.Accept)
	f.wantVerdict("forged", f.OnBlock(ctx, "a", forgedCopy(c.at(2))), p2p.Reject)
	f.wantVerdict("early", f.OnBlock(ctx, "a", c.at(12)), p2p.Ignore)
	f.wantVerdict("without parent", f.OnBlock(ctx, "a", c.at(3)), p2p.Ignore)
	unsigned := fake(4, 4, 1)
	unsigned.Proof.Proof = []byte(prooftest.Unsigned)
	f.wantVerdict("unsigned", f.OnBlock(ctx, "a", unsigned), p2p.Reject)
	f.wantVerdict("parent", f.OnBlock(ctx, "a", c.at(2)), p2p.Accept)
	f.await("the child", func(s *lstar.Snapshot) bool { return s.Head.Slot == 3 })
	f.await("the view", func(*lstar.Snapshot) bool { return f.View().HeadSlot == 3 })
	for name, want := range map[string]float64{"leanspec_block_seen_delay_seconds": 3, "leanspec_blocks_rejected_total": 2} {
		f.eventually(name, func() bool { return metricstest.Sum(t, f.metrics, name) == want })
	}
}

// TestServiceVotes sends the votes of many validators at once, some twice, and one whose block
// comes later.
func TestServiceVotes(t *testing.T) {
	keys, validators := signers(t, 8)
	c := newSource(t, validators).grow(1, 2, false)
	f := newFixture(t, validators, 2)
	f.wantVerdict("block", f.OnBlock(t.Context(), "a", c.at(1)), p2p.Accept)
	head := lstar.Checkpoint{Root: c.at(1).Block.Root(), Slot: 1}
	genesis := lstar.Checkpoint{Root: c.at(1).Block.ParentRoot}
	vote := func(i int, head lstar.Checkpoint) *lstar.SignedAttestation {
		data := lstar.AttestationData{Slot: 2, Head: head, Target: genesis, Source: genesis}
		signature, err := keys[i].SignUnguarded(2, data.Root())
		if err != nil {
			t.Fatal(err)
		}
		return &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(i), Data: data, Signature: signature}
	}
	verdicts := make([]p2p.Verdict, 14)
	var senders sync.WaitGroup
	for i := range verdicts {
		v := vote(i%7, head)
		senders.Go(func() { verdicts[i] = f.OnAttestation(t.Context(), "a", v) })
	}
	senders.Wait()
	accepted := 0
	for _, v := range verdicts {
		if v == p2p.Accept {
			accepted++
		}
	}
	if accepted < 7 || slices.Contains(verdicts, p2p.Reject) {
		t.Errorf("verdicts %v, want all 7 votes accepted and none rejected", verdicts)
	}
	f.wantVerdict("again", f.OnAttestation(t.Context(), "b", vote(0, head)), p2p.Ignore)
	early := vote(7, lstar.Checkpoint{Root: c.at(2).Block.Root(), Slot: 2})
	f.wantVerdict("early", f.OnAttestation(t.Context(), "a", early), p2p.Ignore)
	f.wantVerdict("its block", f.OnBlock(t.Context(), "a", c.at(2)), p2p.Accept)
	seen := float64(accepted + 1)
	f.eventually("the early vote", func() bool { return metricstest.Sum(t, f.metrics, "leanspec_attestation_seen_delay_seconds") == seen })
}

// TestStoreBehind checks that a block waits until the store's clock has reached that of the wall,
// and is not rejected.
func TestStoreBehind(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 1, true).grow(8, 8, true)
	f := newFixture(t, validators, 5)
	cfg := f.cfg
	cfg.Clock.Time = clocktest.New(f.cfg.Clock.StartOf(lstar.Slot(8).Interval()))
	ahead := New(cfg)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running.Go(func() { _ = ahead.Run(ctx) })
	f.wantVerdict("a block", ahead.OnBlock(t.Context(), "a", c.at(1)), p2p.Accept)
	result := make(chan p2p.Verdict)
	go func() { result <- ahead.OnBlock(t.Context(), "a", c.at(8)) }()
	select {
	case v := <-result:
		t.Errorf("verdict %v while the store is behind, want none yet", v)
	case <-time.After(20 * time.Millisecond): // waiting is not an event
	}
	f.fake.Advance(3 * slotTime)
	f.wantVerdict("a block that had to wait", <-result, p2p.Accept)
}

// TestStopped asks a service that has stopped, and one that does not run yet.
func TestStopped(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 2, true)
	f := newFixture(t, validators, 2)
	f.stop()
	for range inputQueue + 1 { // more than there is room for
		f.OnDisconnect("a")
	}
	f.wantVerdict("a block", f.OnBlock(t.Context(), "a", c.at(1)), p2p.Ignore)
	f.wantVerdict("an aggregate", f.OnAggregate(t.Context(), "a", &lstar.SignedAggregatedAttestation{}), p2p.Ignore)
	if err := f.OnStatus("a", p2p.Status{}); err != nil {
		t.Errorf("OnStatus = %v, want nil", err)
	}
	idle := New(f.cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	f.wantVerdict("a block that nothing judges", idle.OnBlock(ctx, "a", c.at(1)), p2p.Ignore)
	if synced, reason := (&fixture{Service: idle}).synced(); synced || reason != UnsyncedNotReady {
		t.Errorf("synced = %v (%s) before Run, want false (%s)", synced, reason, UnsyncedNotReady)
	}
}

// TestClockSetBack checks that the planner notices a clock that is set back by an hour long before
// the hour is over.
func TestClockSetBack(t *testing.T) {
	f := newFixture(t, registry(4), 1000)
	before := f.View().interval
	f.fake.Advance(-time.Hour)
	f.await("a tick", func(*lstar.Snapshot) bool { return f.View().interval < before })
}

// TestDutiesBeforeRun checks that the duty gate is correct before the planner runs: closed for a
// node that starts far behind, which does not know yet whether the network produces blocks.
func TestDutiesBeforeRun(t *testing.T) {
	f := newFixture(t, registry(4), 4)
	for slot, want := range map[lstar.Slot]bool{4: true, 5: false, 100: false} {
		cfg := f.cfg
		cfg.Clock.Time = clocktest.New(cfg.Clock.StartOf(slot.Interval()))
		if gate := New(cfg).Duties(slot); gate.Open != want {
			t.Errorf("slot %d: duty gate %+v, want open = %v", slot, gate, want)
		}
	}
}

// TestStopWhileBusy stops a service whose methods are being called, and checks that all calls
// return.
func TestStopWhileBusy(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 20, true)
	f := newFixture(t, validators, 20)
	genesis := lstar.Checkpoint{Root: c.at(1).Block.ParentRoot}
	vote := &lstar.SignedAggregatedAttestation{Data: lstar.AttestationData{Slot: 20, Head: c.store.Head(), Target: genesis, Source: genesis}}
	var callers sync.WaitGroup
	done := make(chan struct{})
	for i := range 16 {
		id := peer.ID([]byte{byte('a' + i)})
		callers.Go(func() {
			for n := lstar.Slot(0); ; n++ {
				select {
				case <-done:
					return
				default:
				}
				f.connect(id, &fakePeer{chain: c, byRange: hangRange})
				_ = f.OnStatus(id, c.status())
				f.OnBlock(context.Background(), id, c.at(n%20+1))
				f.OnAggregate(context.Background(), id, vote)
				f.OnDisconnect(id)
			}
		})
	}
	f.await("a block", func(s *lstar.Snapshot) bool { return s.Head.Slot > 5 })
	f.stop()
	close(done)
	callers.Wait() // which hangs if a call does
}

func TestOwnBlock(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 3, true)
	f := newFixture(t, validators, 3)
	f.wantVerdict("orphan", f.OnBlock(t.Context(), "a", c.at(2)), p2p.Ignore)
	if err := f.chain.ImportBlock(t.Context(), c.at(1), chain.Origin{Own: true}); err != nil {
		t.Fatal(err)
	}
	f.OnOwnBlock(c.at(1))
	f.await("the child of our block", func(s *lstar.Snapshot) bool { return s.Head.Slot == 2 })
	if b := f.blockAt(1); b == nil || len(b.Proof.Proof) == 0 {
		t.Errorf("block of slot 1 = %v, want it to be served", b)
	}
	if b := f.BlockByRoot(lstar.Root{1}); b != nil {
		t.Errorf("block %v for an unknown root, want nil", b)
	}
	if b := f.blockAt(math.MaxUint64); b != nil {
		t.Errorf("block %v for a slot to come, want nil", b)
	}
}

// TestDutiesAtStart checks that the duty gate has the head of a chain that was loaded before the
// first turn of Run, so that a node that restarts does not pause its duties.
func TestDutiesAtStart(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 8, true)
	f := newFixture(t, validators, 7)
	for slot := range lstar.Slot(7) {
		if err := f.chain.ImportBlock(t.Context(), c.at(slot+1), chain.Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	if gate := New(f.cfg).Duties(8); !gate.Open || gate.HeadSlot != 7 || gate.Lag != 1 {
		t.Errorf("Duties(8) = %+v, want an open gate with head slot 7 and lag 1", gate)
	}
}

// TestBeforeGenesis checks that a node asks peers for their status and is ready before there are
// intervals.
func TestBeforeGenesis(t *testing.T) {
	validators := registry(4)
	f := newFixture(t, validators, 0)
	cfg := f.cfg
	start := clocktest.New(time.Unix(genesisTime-3, 0))
	cfg.Clock.Time = start
	early := New(cfg)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running.Go(func() { _ = early.Run(ctx) })
	early.OnConnect("a", false)
	f.mu.Lock()
	f.fakes["a"] = &fakePeer{chain: newSource(t, validators)}
	f.mu.Unlock()
	for range 6 { // which includes genesis
		<-start.Waiting()
		start.Advance(min(start.Left(), intervalTime))
	}
	f.eventually("a node that is synced at genesis", func() bool {
		synced, _ := (&fixture{Service: early}).synced()
		return synced && early.View().interval > 0
	})
}

// BenchmarkBackfill imports a chain of 1000 slots, with votes, from three peers.
func BenchmarkBackfill(b *testing.B) {
	const slots = 1000
	validators := registry(64)
	c := newSource(b, validators).grow(1, slots, true)
	b.ReportAllocs()
	for b.Loop() {
		f := newFixture(b, validators, slots)
		for _, id := range []peer.ID{"a", "b", "c"} {
			f.connect(id, &fakePeer{chain: c})
		}
		f.await("the head", func(s *lstar.Snapshot) bool { return s.Head.Slot > slots-rangeThreshold })
		f.stop()
	}
	b.ReportMetric(float64(slots)*float64(b.N)/b.Elapsed().Seconds(), "blocks/s")
}
