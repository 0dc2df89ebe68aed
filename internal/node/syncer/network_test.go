package syncer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const genesisTime = 1_000_000

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry returns validators that can sign nothing.
func registry(n int) *lstar.Validators {
	list := make([]lstar.Validator, n)
	for i := range list {
		list[i].AttestationPublicKey[0] = byte(i)
	}
	return lstar.NewValidators(list)
}

var testCrypto = lstar.Crypto{Signatures: xmss.Test, Proofs: prooftest.Trusting{Max: 1 << 20}}

func newStore(t testing.TB, validators *lstar.Validators) *lstar.Store {
	t.Helper()
	state := lstar.GenesisState(genesisTime, validators)
	store, err := lstar.NewStore(testCrypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// source is a chain that peers have.
type source struct {
	t      testing.TB
	store  *lstar.Store
	byRoot map[lstar.Root]*lstar.SignedBlock
}

func newSource(t testing.TB, validators *lstar.Validators) *source {
	return &source{t, newStore(t, validators), make(map[lstar.Root]*lstar.SignedBlock)}
}

// fork returns a chain that is the same so far.
func (c *source) fork() *source {
	f := &source{c.t, c.store.Clone(), make(map[lstar.Root]*lstar.SignedBlock)}
	for root, b := range c.byRoot {
		f.byRoot[root] = b
	}
	return f
}

// grow lets the chain run from one slot to another, with every validator voting
// or none.
func (c *source) grow(from, to lstar.Slot, votes bool) *source {
	c.t.Helper()
	validators := c.store.HeadState().Validators.Len()
	for slot := from; slot <= to; slot++ {
		c.store.SkipTo(slot.Interval())
		proposer, _ := lstar.ProposerForSlot(slot, validators)
		p, err := c.store.ProduceBlock(slot, proposer, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		b := &lstar.SignedBlock{Block: *p.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte{1}}}
		if err := c.store.OnBlock(b); err != nil {
			c.t.Fatal(err)
		}
		c.byRoot[p.Root] = b
		if !votes {
			continue
		}
		c.tick(slot.Interval() + 1)
		data, err := c.store.AttestationData(slot)
		if err != nil {
			c.t.Fatal(err)
		}
		indices := make([]lstar.ValidatorIndex, validators)
		for i := range indices {
			indices[i] = lstar.ValidatorIndex(i)
		}
		bits, err := lstar.BitsFromIndices(indices)
		if err != nil {
			c.t.Fatal(err)
		}
		agg := &lstar.SignedAggregatedAttestation{Data: data, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte{1}}}
		if err := c.store.OnGossipAggregatedAttestation(agg); err != nil {
			c.t.Fatal(err)
		}
		c.tick(slot.Interval() + 4)
	}
	return c
}

func (c *source) tick(to lstar.Interval) {
	if _, err := c.store.OnTick(to, false, false); err != nil {
		c.t.Fatal(err)
	}
}

// at returns the block of a slot on the chain.
func (c *source) at(slot lstar.Slot) *lstar.SignedBlock {
	if head := c.store.Head(); slot == head.Slot {
		return c.byRoot[head.Root]
	}
	return c.byRoot[c.store.HeadState().HistoricalBlockHash(slot)]
}

func (c *source) status() p2p.Status {
	return p2p.Status{Finalized: c.store.LatestFinalized(), Head: c.store.Head()}
}

// fakePeer is a peer with a chain. Where its functions are set, they answer
// instead.
type fakePeer struct {
	chain   *source
	status  func() p2p.Status
	byRange func(ctx context.Context, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error)
	byRoot  func(ctx context.Context, roots []lstar.Root) ([]*lstar.SignedBlock, error)

	requests [methods]int // it got
}

func (p *fakePeer) says() p2p.Status {
	if p.status != nil {
		return p.status()
	}
	return p.chain.status()
}

func (p *fakePeer) blocks(start lstar.Slot, count uint64) (blocks []*lstar.SignedBlock) {
	for slot := start; slot < start+lstar.Slot(count); slot++ {
		if b := p.chain.at(slot); b != nil {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

func (p *fakePeer) roots(roots []lstar.Root) (blocks []*lstar.SignedBlock) {
	for _, r := range roots {
		if b := p.chain.byRoot[r]; b != nil {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

var errUnsupported = errors.New("protocols not supported")

func noRange(context.Context, lstar.Slot, uint64) ([]*lstar.SignedBlock, error) {
	return nil, errUnsupported
}

func noRoots(context.Context, []lstar.Root) ([]*lstar.SignedBlock, error) { return nil, errUnsupported }

// fixture is a service with a chain, and peers that are fakes.
type fixture struct {
	t     testing.TB
	fake  *clocktest.Fake
	chain *chain.Chain
	*Service
	metrics *metrics.Metrics
	broken  atomic.Pointer[error] // that imports return, if any
	stop    func()

	warnings lines

	mu        sync.Mutex
	fakes     map[peer.ID]*fakePeer
	penalties map[peer.ID][]string
	inFlight  map[peer.ID]int
	most      int // requests in flight to one peer
	hanging   int // requests that are not answered
}

// lines is what was logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newFixture starts a service at a slot.
func newFixture(t testing.TB, validators *lstar.Validators, slot lstar.Slot) *fixture {
	t.Helper()
	store := newStore(t, validators)
	return newFixtureOn(t, store, storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *store.Block(store.Head().Root)}), slot)
}

// kept is where a chain is kept.
type kept interface {
	chain.Storage
	Blocks
}

func newFixtureOn(t testing.TB, store *lstar.Store, blocks kept, slot lstar.Slot) *fixture {
	t.Helper()
	f := &fixture{
		t: t, metrics: metrics.New(metrics.Info{}), fake: clocktest.New(time.Unix(genesisTime+int64(slot)*lstar.SecondsPerSlot, 0)),
		fakes: make(map[peer.ID]*fakePeer), penalties: make(map[peer.ID][]string), inFlight: make(map[peer.ID]int),
	}
	log := slog.New(slog.NewTextHandler(&f.warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
	bus := events.NewBus(f.metrics.Fold, logging.Events(log))
	c := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesisTime}, Time: f.fake}
	f.chain = chain.New(chain.Config{
		Store: store, Storage: blocks, Verifier: chain.NewVerifier(xmss.Test), Clock: c, Bus: bus, Log: log,
		OnSlotEnd: func(events.SlotSummary) {},
	})
	f.Service = New(Config{Chain: breakable{f.chain, f}, Blocks: blocks, Clock: c, Bus: bus, Log: log, VerifyProof: func(b *lstar.SignedBlock) error {
		return lstar.VerifyBlockProof(testCrypto, b, f.chain.Snapshot().HeadState.Validators)
	}})
	f.SetNetwork(network{f})
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

// breakable is the fixture's chain, whose imports can fail.
type breakable struct {
	*chain.Chain
	f *fixture
}

func (c breakable) ImportBlock(ctx context.Context, b *lstar.SignedBlock, from chain.Origin) error {
	if err := c.f.broken.Load(); err != nil {
		return *err
	}
	return c.Chain.ImportBlock(ctx, b, from)
}

// blockAt returns what peers are served for a slot, or nil.
func (f *fixture) blockAt(slot lstar.Slot) *lstar.SignedBlock {
	if root, ok := f.CanonicalRoot(slot); ok {
		return f.BlockByRoot(root)
	}
	return nil
}

// settle waits until the chain and the service have done the current interval.
func (f *fixture) settle() {
	f.t.Helper()
	now := f.cfg.Clock.Interval()
	f.await("the clock", func(s *lstar.Snapshot) bool { return s.Time >= now && f.view.Load().interval >= now })
}

// await waits until the chain or the view of the service are as they should be.
func (f *fixture) await(what string, ok func(*lstar.Snapshot) bool) {
	f.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		view := f.view.Load()
		snap, newer := f.chain.Watch()
		if ok(snap) {
			return
		}
		select {
		case <-newer:
		case <-view.outdated:
		case <-time.After(time.Millisecond): // idleness is no event
		case <-timeout:
			f.t.Fatalf("waiting for %s: head %s, finalized %s, view %+v", what, snap.Head, snap.LatestFinalized, *f.view.Load())
		}
	}
}

// steps moves the clock by some intervals, one by one, and each only when nothing
// is left to be done in the one before.
func (f *fixture) steps(n int) {
	f.t.Helper()
	for range n {
		f.rest("rest", func(*lstar.Snapshot) bool { return false })
		f.fake.Advance(lstar.MillisecondsPerInterval * time.Millisecond)
		f.settle()
	}
}

// rest waits until there is nothing to do, or the condition holds, which it
// reports.
func (f *fixture) rest(what string, ok func(*lstar.Snapshot) bool) (done bool) {
	f.t.Helper()
	idle := 0
	f.await(what, func(s *lstar.Snapshot) bool {
		if done = ok(s); f.idle() {
			idle++
		} else {
			idle = 0
		}
		return done || idle == 3 // not just between two things
	})
	return done
}

// within moves the clock by at most some intervals until the condition holds.
func (f *fixture) within(intervals int, what string, ok func(*lstar.Snapshot) bool) {
	f.t.Helper()
	for range intervals {
		if f.rest(what, ok) {
			return
		}
		f.steps(1)
	}
	if !f.rest(what, ok) {
		snap := f.chain.Snapshot()
		f.t.Fatalf("%s: not within %d intervals: head %s, finalized %s, view %+v", what, intervals, snap.Head, snap.LatestFinalized, *f.view.Load())
	}
}

// idle reports whether the service waits for nothing but time and peers that hang.
func (f *fixture) idle() bool {
	f.Service.mu.Lock()
	defer f.Service.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	batch := f.broken.Load() == nil && f.run != nil && len(f.run.batches) > 0 && f.run.batches[0].done
	return len(f.requests) == f.hanging && len(f.ready) == 0 && len(f.importing) == 0 && len(f.planned) == 0 && !batch
}

// hang waits until a request is given up.
func (f *fixture) hang(ctx context.Context) error {
	f.mu.Lock()
	f.hanging++
	f.mu.Unlock()
	f.wake()
	<-ctx.Done()
	f.mu.Lock()
	f.hanging--
	f.mu.Unlock()
	return ctx.Err()
}

// connect adds a peer and exchanges status with it.
func (f *fixture) connect(id peer.ID, p *fakePeer) *fakePeer {
	f.t.Helper()
	f.mu.Lock()
	f.fakes[id] = p
	f.mu.Unlock()
	if err := f.OnStatus(id, p.says()); err != nil {
		f.t.Fatalf("status of %s: %v", id, err)
	}
	return p
}

// replace lets a connected peer behave in another way from now on.
func (f *fixture) replace(id peer.ID, p *fakePeer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.requests = f.fakes[id].requests
	f.fakes[id] = p
}

func (f *fixture) disconnect(id peer.ID) {
	f.mu.Lock()
	delete(f.fakes, id)
	f.mu.Unlock()
	f.OnDisconnect(id)
}

func hasHead(c *source) func(*lstar.Snapshot) bool {
	head := c.store.Head()
	return func(s *lstar.Snapshot) bool { return s.Head == head }
}

func (f *fixture) wantNoPenalty(ids ...peer.ID) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if p := f.penalties[id]; len(p) > 0 {
			f.t.Errorf("honest peer %s was penalized: %q", id, p)
		}
	}
}

func (f *fixture) penalized(id peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.penalties[id]) > 0
}

// ask finds a peer for a request, and counts it.
func (f *fixture) ask(id peer.ID, m method) (p *fakePeer, done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p = f.fakes[id]
	if p == nil {
		return nil, nil, errors.New("not connected")
	}
	p.requests[m]++
	f.inFlight[id]++
	f.most = max(f.most, f.inFlight[id])
	return p, func() {
		f.mu.Lock()
		f.inFlight[id]--
		f.mu.Unlock()
	}, nil
}

func (f *fixture) requestsTo(id peer.ID, m method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fakes[id].requests[m]
}

// network is the fixture's p2p.Requester.
type network struct{ *fixture }

func (f network) BlocksByRoot(ctx context.Context, from peer.ID, roots []lstar.Root) ([]*lstar.SignedBlock, error) {
	p, done, err := f.ask(from, byRoot)
	if err != nil {
		return nil, err
	}
	defer done()
	if p.byRoot != nil {
		return p.byRoot(ctx, roots)
	}
	return p.roots(roots), nil
}

func (f network) BlocksByRange(ctx context.Context, from peer.ID, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error) {
	if count == 0 || count > p2p.MaxRequestBlocks {
		f.t.Errorf("request for %d slots from %d", count, start)
	}
	p, done, err := f.ask(from, byRange)
	if err != nil {
		return nil, err
	}
	defer done()
	if p.byRange != nil {
		return p.byRange(ctx, start, count)
	}
	return p.blocks(start, count), nil
}

func (f network) Status(_ context.Context, id peer.ID) (p2p.Status, error) {
	f.mu.Lock()
	p := f.fakes[id]
	f.mu.Unlock()
	if p == nil {
		return p2p.Status{}, errors.New("not connected")
	}
	return p.says(), f.OnStatus(id, p.says())
}

func (f network) Penalize(id peer.ID, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.penalties[id] = append(f.penalties[id], reason)
}

func (f network) Disconnect(peer.ID, string) {}
