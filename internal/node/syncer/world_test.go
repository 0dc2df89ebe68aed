package syncer

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
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

// grow lets the chain run from one slot to another, with every validator voting or none.
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

// fakePeer is a peer with a chain. If its functions are set, they answer instead.
type fakePeer struct {
	chain   *source
	status  func() p2p.Status
	byRange func(start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error)
	byRoot  func(roots []lstar.Root) ([]*lstar.SignedBlock, error)

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

var (
	errUnsupported = errors.New("protocols not supported")
	errHang        = errors.New("the peer does not answer")
)

func noRange(lstar.Slot, uint64) ([]*lstar.SignedBlock, error)   { return nil, errUnsupported }
func noRoots([]lstar.Root) ([]*lstar.SignedBlock, error)         { return nil, errUnsupported }
func hangRange(lstar.Slot, uint64) ([]*lstar.SignedBlock, error) { return nil, errHang }
func hangRoots([]lstar.Root) ([]*lstar.SignedBlock, error)       { return nil, errHang }

// world is a planner with its environment: a chain, a fake clock and peers. It carries out effects
// immediately and in order, on the goroutine of the test.
type world struct {
	t testing.TB
	*planner
	time   time.Time
	store  *lstar.Store
	blocks kept
	broken error // the result of all imports, if set

	fakes     map[peer.ID]*fakePeer
	penalties map[peer.ID][]string
	hanging   map[*request]bool
	most      int // requests in flight to one peer
	verdicts  map[any]p2p.Verdict
	statuses  map[*statusMessage]error
	reports   []events.Event
	warnings  []string

	pending []func() event // effects that are being carried out
	running bool
	manual  bool // effects wait in pending until the test carries them out

	// For checkInvariants: the imports and replays in progress, the blocks that were parked,
	// those that were found invalid, and the number of reports that it has looked at.
	imports     map[lstar.Root]bool
	replays     int
	were        map[copyKey]*candidate
	refuted     map[*candidate]bool
	seenReports int
	trace       func(effect) // may be nil
}

// kept is the storage of a chain.
type kept interface {
	Save(*lstar.Changes) error
	Blocks
}

func newWorld(t testing.TB, validators *lstar.Validators, slot lstar.Slot) *world {
	t.Helper()
	store := newStore(t, validators)
	return newWorldOn(t, store, storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *store.Block(store.Head().Root)}), slot)
}

func newWorldOn(t testing.TB, store *lstar.Store, blocks kept, slot lstar.Slot) *world {
	w := &world{
		t: t, store: store, blocks: blocks, time: time.Unix(genesisTime+int64(slot)*lstar.SecondsPerSlot, 0),
		fakes: make(map[peer.ID]*fakePeer), penalties: make(map[peer.ID][]string), hanging: make(map[*request]bool),
		verdicts: make(map[any]p2p.Verdict), statuses: make(map[*statusMessage]error), refuted: make(map[*candidate]bool),
		imports: make(map[lstar.Root]bool),
	}
	w.tickStore(slot.Interval())
	w.planner = newPlanner(clock.SlotClock{GenesisTime: genesisTime}, w.time, store.Snapshot(), 1)
	if at, missing := blocks.MissingAnchor(); missing {
		w.step(anchorMissing{at})
	}
	w.step(ticked{})
	return w
}

// tickStore moves the store to an interval, as the chain's owner does.
func (w *world) tickStore(to lstar.Interval) {
	if to <= w.store.Time() {
		return
	}
	if to > w.store.Time()+lstar.IntervalsPerSlot {
		w.store.SkipTo(to - lstar.IntervalsPerSlot)
	}
	if _, err := w.store.OnTick(to, false, false); err != nil {
		w.t.Fatal(err)
	}
}

// step passes an event to the planner and carries out all that follows.
func (w *world) step(e event) {
	if w.manual {
		w.take(e)
		return
	}
	w.pending = append(w.pending, func() event { return e })
	if w.running {
		return
	}
	w.running = true
	for w.running = true; len(w.pending) > 0; {
		f := w.pending[0]
		w.pending = w.pending[1:]
		w.take(f())
	}
	w.running = false
}

// take passes an event to the planner, and starts its effects.
func (w *world) take(e event) {
	if e == nil {
		return
	}
	if changes := w.store.TakeChanges(); changes != nil {
		if err := w.blocks.Save(changes); err != nil {
			w.t.Fatal(err)
		}
	}
	if snap := w.store.Snapshot(); snap != w.snap {
		w.planner.Step(w.time, chainChanged{snap})
	}
	w.planner.Step(w.time, e)
	for _, e := range w.planner.Effects() {
		if w.trace != nil {
			w.trace(e)
		}
		w.start(e)
	}
	w.checkInvariants()
}

func (w *world) start(e effect) {
	later := func(f func() event) { w.pending = append(w.pending, f) }
	switch e := e.(type) {
	case verdict:
		if v, ok := w.verdicts[e.message]; ok {
			w.t.Fatalf("a message got the verdicts %v and %v, want one", v, e.verdict)
		}
		w.verdicts[e.message] = e.verdict
	case statusJudged:
		w.statuses[e.message] = e.err
	case judgeVote:
		replay := !e.waiting
		if replay {
			w.replays++
		}
		later(func() event {
			if replay {
				w.replays--
			}
			return voteJudged{e.vote, w.judge(e.vote)}
		})
	case importBlock:
		if w.imports[e.root] {
			w.t.Fatalf("block %s is imported twice at once", e.root)
		}
		w.imports[e.root] = true
		later(func() event {
			delete(w.imports, e.root)
			return blockImported{e.candidate, w.importBlock(e.candidate)}
		})
	case checkProposers:
		later(func() event {
			errs := make([]error, len(e.blocks))
			for i, c := range e.blocks {
				errs[i] = w.snap.VerifyProposer(c.block, c.root)
			}
			return proposersChecked{e, errs}
		})
	case checkAnchor:
		later(func() event {
			err := lstar.VerifyBlockProof(testCrypto, e.block, w.snap.HeadState.Validators)
			if err == nil {
				err = w.blocks.AddAnchor(e.block)
			}
			return anchorChecked{e.request, err}
		})
	case send:
		inFlight := 0
		for _, r := range w.requests {
			if r.peer == e.peer && r.kind < methods && !r.answered {
				inFlight++
			}
		}
		w.most = max(w.most, inFlight)
		if w.fakes[e.peer] == nil {
			w.t.Errorf("request to %s, which is not connected", e.peer)
		}
		later(func() event { return w.send(e.request) })
	case cancel:
		delete(w.hanging, e.request)
	case penalize:
		w.penalties[e.peer] = append(w.penalties[e.peer], e.reason)
	case report:
		w.reports = append(w.reports, e.event)
	case logLine:
		if e.level >= slog.LevelWarn {
			w.warnings = append(w.warnings, e.message+fmt.Sprint(e.fields...))
		}
	}
}

func (w *world) importBlock(c *candidate) error {
	if w.broken != nil {
		return w.broken
	}
	if w.store.Block(c.root) != nil {
		return lstar.ErrKnown
	}
	err := w.store.OnBlock(c.block)
	w.refuted[c] = causeOf(err).invalid()
	return err
}

func (w *world) judge(v *vote) error {
	if v.attestation != nil {
		return w.store.OnGossipAttestation(v.attestation, true)
	}
	task, err := w.store.Snapshot().PrepareAggregate(v.aggregate)
	if err == nil {
		err = w.store.CheckNew(task)
	}
	if err == nil {
		err = task.VerifyProof()
	}
	if err == nil {
		err = w.store.AddAggregate(task)
	}
	return err
}

// send asks a peer and returns its answer, or nil if the peer does not answer.
func (w *world) send(r *request) event {
	p := w.fakes[r.peer]
	if p == nil {
		return answered{request: r, err: p2p.ErrNotConnected}
	}
	var blocks []*lstar.SignedBlock
	var err error
	switch r.kind {
	case statusRequest:
		m := &statusMessage{r.peer, p.says()}
		w.take(statusReceived{m})
		return answered{request: r, err: w.statuses[m]}
	case byRange:
		p.requests[byRange]++
		count := uint64(r.batch.last-r.batch.first) + 1
		if count > p2p.MaxRequestBlocks {
			w.t.Errorf("request for %d slots from %d", count, r.batch.first)
		}
		if p.byRange != nil {
			blocks, err = p.byRange(r.batch.first, count)
		} else {
			blocks = p.blocks(r.batch.first, count)
		}
	default:
		p.requests[byRoot]++
		if p.byRoot != nil {
			blocks, err = p.byRoot(r.roots)
		} else {
			blocks = p.roots(r.roots)
		}
	}
	if errors.Is(err, errHang) {
		if slices.Contains(w.requests, r) {
			w.hanging[r] = true
		}
		return nil
	}
	candidates := make([]*candidate, len(blocks))
	for i, b := range blocks {
		candidates[i] = &candidate{block: b, root: b.Block.Root(), from: r.peer}
	}
	return answered{r, candidates, err}
}

// kept returns a block of the storage.
func (w *world) kept(root lstar.Root) *lstar.SignedBlock {
	b, err := w.blocks.Block(root)
	if err != nil {
		w.t.Error(err)
	}
	return b
}

// OnBlock passes a block by gossip to the planner and returns the verdict.
func (w *world) OnBlock(from peer.ID, b *lstar.SignedBlock) p2p.Verdict {
	c, refused, why := received(w.clock, w.time, from, b)
	if c == nil {
		w.reports = append(w.reports, why)
		return refused
	}
	w.step(blockGossiped{c})
	return w.verdictOf(c)
}

func (w *world) OnAttestation(from peer.ID, a *lstar.SignedAttestation) p2p.Verdict {
	v := newVote(w.time, from, a)
	w.step(voteGossiped{v})
	return w.verdictOf(v)
}

func (w *world) OnAggregate(from peer.ID, a *lstar.SignedAggregatedAttestation) p2p.Verdict {
	v := &vote{from: from, came: w.time, aggregate: a}
	w.step(voteGossiped{v})
	return w.verdictOf(v)
}

// verdictOf returns the verdict on a message and forgets it.
func (w *world) verdictOf(message any) p2p.Verdict {
	w.t.Helper()
	v, ok := w.verdicts[message]
	if !ok {
		w.t.Error("a message got no verdict")
	}
	delete(w.verdicts, message)
	return v
}

// connect adds a peer, which immediately reports its status.
func (w *world) connect(id peer.ID, p *fakePeer) *fakePeer {
	w.t.Helper()
	again := w.fakes[id] != nil
	w.fakes[id] = p
	if !again {
		w.step(peerConnected{id, false})
	}
	m := &statusMessage{id, p.says()}
	w.step(statusReceived{m})
	if err := w.statuses[m]; err != nil {
		w.t.Fatalf("status of %s: %v", id, err)
	}
	return p
}

// meet connects a peer that reports a status, and returns the error.
func (w *world) meet(id peer.ID, s p2p.Status) error {
	w.fakes[id] = &fakePeer{status: func() p2p.Status { return s }, byRange: hangRange, byRoot: hangRoots}
	w.step(peerConnected{id, false})
	m := &statusMessage{id, s}
	w.step(statusReceived{m})
	return w.statuses[m]
}

// together lets the events of f come before any effect of them is carried out.
func (w *world) together(f func()) {
	w.running = true
	f()
	w.running = false
	w.step(ticked{})
}

// replace lets a connected peer behave in another way from now on.
func (w *world) replace(id peer.ID, p *fakePeer) {
	p.requests = w.fakes[id].requests
	w.fakes[id] = p
}

func (w *world) disconnect(id peer.ID) {
	delete(w.fakes, id)
	w.step(peerGone{id})
}

// advance moves the clock in one step.
func (w *world) advance(d time.Duration) {
	w.time = w.time.Add(d)
	w.tickStore(w.clock.TotalIntervals(w.time.UnixMilli()))
	w.step(ticked{})
}

// steps moves the clock by some intervals, one by one.
func (w *world) steps(n int) {
	for range n {
		w.advance(intervalTime)
	}
}

// within moves the clock by at most some intervals until the condition holds.
func (w *world) within(intervals int, what string, ok func(*lstar.Snapshot) bool) {
	w.t.Helper()
	for range intervals {
		if ok(w.snap) {
			return
		}
		w.steps(1)
	}
	w.want(what, ok)
}

// want fails unless the condition holds now.
func (w *world) want(what string, ok func(*lstar.Snapshot) bool) {
	w.t.Helper()
	if !ok(w.snap) {
		w.t.Fatalf("want %s, got head %s, finalized %s, view %+v", what, w.snap.Head, w.snap.LatestFinalized, w.view)
	}
}

func hasHead(c *source) func(*lstar.Snapshot) bool {
	head := c.store.Head()
	return func(s *lstar.Snapshot) bool { return s.Head == head }
}

func (w *world) wantNoPenalty(ids ...peer.ID) {
	w.t.Helper()
	for _, id := range ids {
		if p := w.penalties[id]; len(p) > 0 {
			w.t.Errorf("honest peer %s was penalized: %q", id, p)
		}
	}
}

func (w *world) penalized(id peer.ID) bool { return len(w.penalties[id]) > 0 }

func (w *world) requestsTo(id peer.ID, m method) int { return w.fakes[id].requests[m] }

// synced returns whether the current view is synced, and the reason if it is not.
func (w *world) synced() (bool, string) { return w.view.Synced(w.slot()) }

// count returns the number of events of the type of e that were reported.
func count[E any](w *world) (n int) {
	for _, e := range w.reports {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}
