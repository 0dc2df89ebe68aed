package chain

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const genesis = 1_000_000

// fixture is a running chain with a fake clock.
type fixture struct {
	*Chain
	fake    *clocktest.Fake
	metrics *metrics.Metrics
	crypto  lstar.Crypto
	keys    []*xmss.SecretKey // attestation keys
	props   []*xmss.SecretKey // proposal keys
	stop    func()
	ended   int // number of summaries; only the chain's owner may access it before stop

	storage *disk
	prover  *slowProver
}

// slowProver is a proof scheme whose Aggregate waits while mu is locked.
type slowProver struct {
	proof.Scheme
	mu sync.Mutex
}

func (p *slowProver) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, slot uint64) ([]uint64, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Scheme.Aggregate(children, signatures, message, slot)
}

// disk is a storage that can fail. While the chain runs, only its owner may access it.
type disk struct {
	err    error
	onSave func(*lstar.Changes)
}

func (d *disk) Save(c *lstar.Changes) error {
	if d.onSave != nil {
		d.onSave(c)
	}
	return d.err
}

func newFixture(t *testing.T, validators int) *fixture {
	t.Helper()
	return newFixtureAt(t, validators, 0, false)
}

// newFixtureAt starts a chain at an interval.
func newFixtureAt(t *testing.T, validators int, start lstar.Interval, aggregator bool) *fixture {
	t.Helper()
	return newFixtureWith(t, validators, start, aggregator, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

func newFixtureWith(t *testing.T, validators int, start lstar.Interval, aggregator bool, log *slog.Logger) *fixture {
	t.Helper()
	begin := clock.SlotClock{GenesisTime: genesis}.StartOf(start)
	f := &fixture{fake: clocktest.New(begin), metrics: metrics.New(metrics.Info{})}
	list := make([]lstar.Validator, validators)
	key := func() *xmss.SecretKey {
		k, err := xmss.Test.GenerateKey(t.Context(), xmss.KeyGenOptions{NumActiveSlots: 32, Short: true})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for i := range list {
		f.keys, f.props = append(f.keys, key()), append(f.props, key())
		list[i].AttestationPublicKey = f.keys[i].PublicKey().Bytes()
		list[i].ProposalPublicKey = f.props[i].PublicKey().Bytes()
	}
	verifier := NewVerifier(xmss.Test)
	f.prover = &slowProver{Scheme: proof.NewSigList(xmss.Test, verifier.Verify)}
	f.crypto = lstar.Crypto{Signatures: xmss.Test, Proofs: f.prover}
	state := lstar.GenesisState(genesis, lstar.NewValidators(list))
	store, err := lstar.NewStore(f.crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	f.storage = &disk{}
	f.Chain = New(Config{
		Store: store, Storage: f.storage, Verifier: verifier, Log: log,
		Clock: clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis}, Time: f.fake},
		Bus:   events.NewBus(f.metrics.Fold, logging.Events(log)), OnSlotEnd: func(events.SlotSummary) { f.ended++ },
		IsAggregator: aggregator,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f.Run(ctx); !errors.Is(err, f.storage.err) {
			t.Errorf("Run = %v, want %v", err, f.storage.err)
		}
	}()
	f.stop = func() { cancel(); <-done }
	t.Cleanup(f.stop)
	return f
}

// setTo advances the clock to an interval, and waits until the store reaches it.
func (f *fixture) setTo(t *testing.T, i lstar.Interval) {
	t.Helper()
	f.fake.Advance(f.cfg.Clock.StartOf(i).Sub(f.fake.Now()))
	f.await(t, func(s *lstar.Snapshot) bool { return s.Time >= i })
}

// await waits until a snapshot satisfies ok, and fails after 10 s.
func (f *fixture) await(t *testing.T, ok func(*lstar.Snapshot) bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		snap, newer := f.Watch()
		if ok(snap) {
			return
		}
		select {
		case <-newer:
		case <-timeout:
			t.Fatalf("condition not reached after 10 s: time = %d, head = %s", snap.Time, snap.Head)
		}
	}
}

// block returns a signed block for a slot.
func (f *fixture) block(t *testing.T, slot lstar.Slot) *lstar.SignedBlock {
	t.Helper()
	proposer := lstar.ValidatorIndex(uint64(slot) % uint64(len(f.keys)))
	p, _, err := f.ProduceBlock(t.Context(), slot, proposer)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := f.props[proposer].SignUnguarded(uint64(slot), p.Root)
	if err != nil {
		t.Fatal(err)
	}
	proofs, err := f.crypto.AggregatePayloads(p)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := f.crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
	if err != nil {
		t.Fatal(err)
	}
	return &lstar.SignedBlock{Block: *p.Block, Proof: merged}
}

// vote returns the signed vote of a validator for a slot.
func (f *fixture) vote(t *testing.T, slot lstar.Slot, validator int) *lstar.SignedAttestation {
	t.Helper()
	data, err := f.AttestationData(t.Context(), slot)
	if err != nil {
		t.Fatal(err)
	}
	return f.signed(t, data, validator)
}

// signed returns the signed vote of a validator with the given data.
func (f *fixture) signed(t *testing.T, data lstar.AttestationData, validator int) *lstar.SignedAttestation {
	t.Helper()
	signature, err := f.keys[validator].SignUnguarded(uint64(data.Slot), data.Root())
	if err != nil {
		t.Fatal(err)
	}
	return &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(validator), Data: data, Signature: signature}
}

func wantReason(t *testing.T, what string, err error, want lstar.RejectionReason) {
	t.Helper()
	var r *lstar.Rejection
	if !errors.As(err, &r) || r.Reason != want {
		t.Errorf("%s: error = %v, want %s", what, err, want)
	}
}

// TestSnapshots checks that requests that do not change the snapshot neither publish one nor wake
// readers.
func TestSnapshots(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFixture(t, 3)
	f.SetAggregator(true)
	f.setTo(t, lstar.Slot(1).Interval()+1)
	before, changed := f.Watch()
	unchanged := func(what string) {
		t.Helper()
		select {
		case <-changed:
			t.Errorf("%s: the channel of Watch is closed, want open", what)
		default:
		}
		if f.Snapshot() != before {
			t.Errorf("%s: a new snapshot was published, want none", what)
		}
	}
	vote := f.vote(t, 1, 0)
	if err := f.AddAttestation(t.Context(), vote, Origin{}); err != nil {
		t.Fatal(err)
	}
	unchanged("vote that waits for aggregation")
	refused := *vote
	refused.Data.Head.Root[0]++
	wantReason(t, "unknown head", f.AddAttestation(t.Context(), &refused, Origin{}), lstar.UnknownHeadBlock)
	unchanged("refused vote")

	f.stop()
	if err := f.AddAttestation(t.Context(), f.signed(t, vote.Data, 1), Origin{}); !errors.Is(err, ErrStopped) {
		t.Errorf("AddAttestation after the end = %v, want %v", err, ErrStopped)
	}
}

func TestBlocks(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFixture(t, 3)
	f.setTo(t, lstar.Slot(1).Interval())
	block := f.block(t, 1)
	if f.Snapshot().Head.Slot != 0 {
		t.Errorf("head slot after a proposal = %d, want 0", f.Snapshot().Head.Slot)
	}

	forged := *block
	forged.Proof.Proof = append([]byte(nil), block.Proof.Proof...)
	forged.Proof.Proof[len(forged.Proof.Proof)-4] ^= 1
	wantReason(t, "forged proof", f.ImportBlock(t.Context(), &forged, Origin{Peer: "p"}), lstar.InvalidBlockProof)
	orphan := *block
	orphan.Block.ParentRoot[0]++
	wantReason(t, "unknown parent", f.ImportBlock(t.Context(), &orphan, Origin{Peer: "p"}), lstar.UnknownParentBlock)
	early := *block
	early.Block.Slot = 4
	wantReason(t, "far ahead", f.ImportBlock(t.Context(), &early, Origin{Peer: "p"}), lstar.BlockTooFarInFuture)

	if err := f.ImportBlock(t.Context(), block, Origin{Own: true}); err != nil {
		t.Fatalf("ImportBlock = %v, want no error", err)
	}
	if got := f.Snapshot().Head.Root; got != block.Block.Root() {
		t.Errorf("head after the import = %s, want %s", got, block.Block.Root())
	}
	if err := f.ImportBlock(t.Context(), block, Origin{}); !errors.Is(err, lstar.ErrKnown) {
		t.Errorf("second ImportBlock = %v, want %v", err, lstar.ErrKnown)
	}
	next := f.block(t, 2)
	f.stop()
	if err := f.ImportBlock(t.Context(), next, Origin{}); !errors.Is(err, ErrStopped) {
		t.Errorf("ImportBlock after the end = %v, want %v", err, ErrStopped)
	}
}

// TestFingerprint checks canonicalAt, and that the fingerprint is the canonical block at the last
// multiple of 16 slots that is 4 slots old.
func TestFingerprint(t *testing.T) {
	f := newFixture(t, 3)
	roots := map[lstar.Slot]lstar.Root{0: f.Snapshot().Head.Root}
	for _, slot := range []lstar.Slot{1, 2, 14, 17, 18} { // no block at slot 16
		f.setTo(t, slot.Interval())
		b := f.block(t, slot)
		if err := f.ImportBlock(t.Context(), b, Origin{}); err != nil {
			t.Fatal(err)
		}
		roots[slot] = b.Block.Root()
	}
	f.setTo(t, lstar.Slot(20).Interval())
	f.stop()
	for at, want := range map[lstar.Slot]lstar.Slot{0: 0, 1: 1, 3: 2, 14: 14, 16: 14, 17: 17, 18: 18, 30: 18} {
		if got := canonicalAt(f.cfg.Store, at); got != roots[want] {
			t.Errorf("canonicalAt(%d) = %s, want the block of slot %d", at, got, want)
		}
	}
	var want uint64
	root := roots[14]
	for _, b := range root[:6] {
		want = want<<8 | uint64(b)
	}
	if got := f.metric(t, "leanspec_chain_fingerprint"); got != float64(want) {
		t.Errorf("fingerprint at slot 20 = %v, want %d, the block of slot 14", got, want)
	}
}

// metric returns the sum of the series of a metric that have all label values.
func (f *fixture) metric(t *testing.T, name string, values ...string) float64 {
	t.Helper()
	return metricstest.Sum(t, f.metrics, name, values...)
}

// TestAggregationsAreCountedOnce checks that each slot whose aggregation began while the node ran
// is counted once, for each interval of the start and with late ticks.
func TestAggregationsAreCountedOnce(t *testing.T) {
	const slot = lstar.Interval(lstar.IntervalsPerSlot)
	for name, tt := range map[string]struct {
		start           lstar.Interval
		aggregator      bool
		ticks           []lstar.Interval
		ended           int
		missed, skipped float64
	}{
		"started at the aggregation":     {7*slot + 2, true, []lstar.Interval{7*slot + 3}, 0, 0, 0},
		"started at the end of a slot":   {7*slot + 4, true, []lstar.Interval{8 * slot}, 1, 0, 0},
		"every interval":                 {7*slot + 1, true, []lstar.Interval{7*slot + 2, 7*slot + 3, 7*slot + 4, 8 * slot}, 1, 0, 1},
		"a late tick":                    {7*slot + 1, true, []lstar.Interval{7*slot + 3}, 0, 0, 1},
		"suspended for three slots":      {7 * slot, true, []lstar.Interval{10*slot + 1}, 0, 3, 0},
		"suspended, not an aggregator":   {7 * slot, false, []lstar.Interval{10*slot + 1}, 0, 0, 3},
		"suspended until an aggregation": {7 * slot, true, []lstar.Interval{9*slot + 2}, 0, 3, 0},
		"suspended for one slot":         {7*slot + 3, true, []lstar.Interval{8*slot + 3}, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureAt(t, 1, tt.start, tt.aggregator)
			f.await(t, func(s *lstar.Snapshot) bool { return s.Time >= tt.start })
			<-f.fake.Waiting() // for the next interval
			for _, i := range tt.ticks {
				f.setTo(t, i)
				<-f.fake.Waiting()
			}
			f.stop()
			if f.ended != tt.ended {
				t.Errorf("reported slots = %d, want %d", f.ended, tt.ended)
			}
			for outcome, want := range map[string]float64{
				events.OutcomeMade: 0, events.OutcomeLate: 0, events.OutcomeMissed: tt.missed, events.OutcomeSkipped: tt.skipped,
			} {
				if got := f.metric(t, "leanspec_duties_total", events.DutyAggregation, outcome); got != want {
					t.Errorf("aggregations with outcome %s = %v, want %v", outcome, got, want)
				}
			}
			if got := f.metric(t, "lean_aggregator_skipped_total"); got != tt.skipped {
				t.Errorf("lean_aggregator_skipped_total = %v, want %v", got, tt.skipped)
			}
		})
	}
}

// BenchmarkFingerprint searches for the canonical block before a gap of nine days.
func BenchmarkFingerprint(b *testing.B) {
	list := lstar.NewValidators([]lstar.Validator{{}})
	state := lstar.GenesisState(genesis, list)
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, func([]xmss.Verification) bool { return true })}
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		b.Fatal(err)
	}
	const slot = 200_000
	store.SkipTo(lstar.Slot(slot).Interval())
	p, err := store.ProduceBlock(slot, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	task, err := store.Snapshot().PrepareBlock(&lstar.SignedBlock{Block: *p.Block}, p.Root)
	if err != nil {
		b.Fatal(err)
	}
	if err := task.Transition(nil); err != nil {
		b.Fatal(err)
	}
	if err := store.ImportBlock(task); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		canonicalAt(store, slot-4)
	}
}

// TestVotes checks that valid votes are aggregated and included in the next block, and that invalid
// ones are rejected.
func TestVotes(t *testing.T) {
	f := newFixture(t, 3)
	f.SetAggregator(true)
	f.setTo(t, 1)
	for v := range 3 {
		if err := f.AddAttestation(t.Context(), f.vote(t, 0, v), Origin{}); err != nil {
			t.Errorf("vote of validator %d: error = %v, want none", v, err)
		}
	}
	stolen := f.vote(t, 0, 1)
	stolen.ValidatorIndex = 2
	wantReason(t, "signature of another validator", f.AddAttestation(t.Context(), stolen, Origin{}), lstar.InvalidSignature)
	stolen.ValidatorIndex = 3
	wantReason(t, "unknown validator", f.AddAttestation(t.Context(), stolen, Origin{}), lstar.ValidatorNotInState)

	// The votes are aggregated at interval 2, count from interval 4 on and are in the next block.
	f.setTo(t, 2)
	f.background.wg.Wait() // for the proof
	f.setTo(t, lstar.Slot(1).Interval())
	block := f.block(t, 1)
	if n := len(block.Block.Body.Attestations); n != 1 || block.Block.Body.Attestations[0].AggregationBits.Count() != 3 {
		t.Errorf("attestations in the block = %d, want one of three validators", n)
	}
}

// TestSlowProver checks that imports and ticks do not wait for a proof, that the next aggregation
// is missed, and that the proofs are added when they are finished.
func TestSlowProver(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFixture(t, 3)
	f.SetAggregator(true)
	f.setTo(t, lstar.Slot(1).Interval())
	block := f.block(t, 1)
	f.setTo(t, lstar.Slot(1).Interval()+1)
	vote := f.vote(t, 1, 0)
	for _, v := range []*lstar.SignedAttestation{vote, f.signed(t, vote.Data, 1)} {
		if err := f.AddAttestation(t.Context(), v, Origin{}); err != nil {
			t.Fatal(err)
		}
	}

	f.prover.mu.Lock()
	f.setTo(t, lstar.Slot(1).Interval()+2)
	if err := f.ImportBlock(t.Context(), block, Origin{}); err != nil {
		t.Errorf("ImportBlock while a proof is being made = %v, want no error", err)
	}
	if err := f.AddAttestation(t.Context(), f.signed(t, vote.Data, 2), Origin{}); err != nil {
		t.Errorf("AddAttestation while a proof is being made = %v, want no error", err)
	}
	f.setTo(t, lstar.Slot(2).Interval()+2)
	if got := f.metric(t, "leanspec_duties_total", events.DutyAggregation, events.OutcomeMissed, events.ReasonProverBusy); got != 1 {
		t.Errorf("aggregations missed with reason %s = %v, want 1", events.ReasonProverBusy, got)
	}
	f.prover.mu.Unlock()
	f.background.wg.Wait()
	if got := f.metric(t, "leanspec_duties_total", events.DutyAggregation, events.OutcomeLate); got != 1 {
		t.Errorf("late aggregations = %v, want 1", got)
	}

	// The third vote arrived after the start of the first proof, and is in the next one.
	f.setTo(t, lstar.Slot(3).Interval()+2)
	f.background.wg.Wait()
	f.setTo(t, lstar.Slot(3).Interval()+4)
	var sizes lstar.Sizes
	var participants int
	if err := f.do(t.Context(), func(s *lstar.Store) {
		sizes = s.Sizes()
		for _, entry := range s.LatestKnownAggregatedPayloads() {
			for _, p := range entry.Proofs {
				participants = max(participants, p.Participants.Count())
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if sizes.Signatures != 0 || participants != 3 {
		t.Errorf("signatures left = %d, largest known aggregate = %d validators, want 0 and 3", sizes.Signatures, participants)
	}
	f.stop()
}

// TestRecoveryAfterContext checks that the votes of an imported block are recovered even if the
// context of the import ends when the block is saved. Many slots, because the end of the context
// raced with the start of the recovery.
func TestRecoveryAfterContext(t *testing.T) {
	f := newFixture(t, 3)
	f.SetAggregator(true)
	wanted := 0
	for slot := lstar.Slot(1); slot <= 12; slot++ {
		f.setTo(t, slot.Interval())
		block := f.block(t, slot)
		ctx, cancel := context.WithCancel(t.Context())
		if err := f.do(t.Context(), func(*lstar.Store) { f.storage.onSave = func(*lstar.Changes) { cancel() } }); err != nil {
			t.Fatal(err)
		}
		if err := f.ImportBlock(ctx, block, Origin{}); err != nil {
			t.Fatal(err)
		}
		f.background.wg.Wait()
		var pending int
		if err := f.do(t.Context(), func(s *lstar.Store) { pending = s.Sizes().Pending }); err != nil {
			t.Fatal(err)
		}
		want := 0
		for i := range block.Block.Body.Attestations {
			if block.Block.Body.Attestations[i].Data.Target.Slot > f.Snapshot().LatestJustified.Slot {
				want++
			}
		}
		if pending != want {
			t.Errorf("slot %d: recovered votes = %d, want %d", slot, pending, want)
		}
		wanted += want
		f.setTo(t, slot.Interval()+1)
		if err := f.AddAttestation(t.Context(), f.vote(t, slot, 0), Origin{}); err != nil {
			t.Fatal(err)
		}
		f.setTo(t, slot.Interval()+2)
		f.background.wg.Wait()
	}
	if wanted < 10 {
		t.Errorf("votes to recover = %d, want at least 10 for this test", wanted)
	}
}

// TestAggregates checks which aggregates AddAggregate accepts.
func TestAggregates(t *testing.T) {
	f := newFixture(t, 3)
	f.setTo(t, 1)
	data, err := f.AttestationData(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	aggregate := func(named, signed int) *lstar.SignedAggregatedAttestation {
		t.Helper()
		signature, err := f.keys[signed].SignUnguarded(0, data.Root())
		if err != nil {
			t.Fatal(err)
		}
		_, single, err := f.crypto.Proofs.Aggregate(nil, []proof.Signature{{Validator: 0, Signature: signature}}, data.Root(), 0)
		if err != nil {
			t.Fatal(err)
		}
		bits, err := lstar.BitsFromIndices([]lstar.ValidatorIndex{lstar.ValidatorIndex(named)})
		if err != nil {
			t.Fatal(err)
		}
		return &lstar.SignedAggregatedAttestation{Data: data, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: single}}
	}
	if err := f.AddAggregate(t.Context(), aggregate(0, 0), Origin{}); err != nil {
		t.Errorf("AddAggregate = %v, want no error", err)
	}
	if err := f.AddAggregate(t.Context(), aggregate(0, 0), Origin{}); !errors.Is(err, lstar.ErrNothingNew) {
		t.Errorf("second AddAggregate = %v, want %v", err, lstar.ErrNothingNew)
	}
	wantReason(t, "aggregate that names another validator", f.AddAggregate(t.Context(), aggregate(1, 0), Origin{}), lstar.InvalidSignature)
	wantReason(t, "aggregate of an unknown validator", f.AddAggregate(t.Context(), aggregate(5, 0), Origin{}), lstar.ValidatorNotInState)
}

// TestFallsBehind checks that the store follows a clock that jumps by hours.
func TestFallsBehind(t *testing.T) {
	f := newFixture(t, 1)
	f.setTo(t, 3)
	f.setTo(t, lstar.Slot(10_000).Interval()+2)
	if got, want := f.Snapshot().Time, lstar.Slot(10_000).Interval()+2; got != want {
		t.Errorf("interval of the store = %d, want %d", got, want)
	}
	if _, _, err := f.ProduceBlock(t.Context(), 9_999, 0); err == nil {
		t.Error("ProduceBlock for a slot that is over succeeded, want an error")
	}
}

// TestConcurrency calls the methods of a chain concurrently, for the race detector.
func TestConcurrency(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFixture(t, 4)
	f.SetAggregator(true)
	f.setTo(t, lstar.Slot(1).Interval()+1)
	block := f.block(t, 1)
	var wg sync.WaitGroup
	for v := range 4 {
		vote := f.vote(t, 1, v)
		for range 3 {
			wg.Go(func() {
				if err := f.AddAttestation(context.Background(), vote, Origin{}); err != nil {
					t.Errorf("AddAttestation = %v, want no error", err)
				}
			})
		}
		wg.Go(func() {
			if err := f.ImportBlock(context.Background(), block, Origin{}); err != nil && !errors.Is(err, lstar.ErrKnown) {
				t.Errorf("ImportBlock = %v, want no error or %v", err, lstar.ErrKnown)
			}
		})
		wg.Go(func() {
			for range 100 {
				snap := f.Snapshot()
				_ = snap.Blocks()
				_ = snap.HeadState.Root()
				f.SetAggregator(true)
			}
		})
	}
	wg.Wait()
	if got := f.Snapshot().Head.Slot; got != 1 {
		t.Errorf("head slot = %d, want 1", got)
	}
	f.stop()
}

// TestVerifier checks that valid signatures are remembered and invalid ones are not.
func TestVerifier(t *testing.T) {
	f := newFixture(t, 1)
	v := NewVerifier(xmss.Test)
	pub := f.keys[0].PublicKey()
	items := make([]xmss.Verification, 40)
	for i := range items {
		message := [32]byte{byte(i)}
		sig, err := f.keys[0].SignUnguarded(uint64(i%32), message)
		if err != nil {
			t.Fatal(err)
		}
		items[i] = xmss.Verification{PublicKey: &pub, Slot: uint64(i % 32), Message: message, Signature: sig}
	}
	if !v.Verify(items) || !v.Verify(items[:1]) || !v.Verify(nil) {
		t.Error("Verify of valid signatures = false, want true")
	}
	for i := range items {
		if !v.known(digest(&items[i])) {
			t.Errorf("known(valid signature %d) = false, want true", i)
		}
	}
	items[33].Message[9]++
	for range 2 {
		if v.Verify(items) {
			t.Error("Verify with a signature of another message = true, want false")
		}
	}
	if v.known(digest(&items[33])) {
		t.Error("known(invalid signature) = true, want false")
	}
}

// TestSavedBeforeShown checks that the chain saves each change before it publishes it, and stops if
// it cannot save.
func TestSavedBeforeShown(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("run", func(t *testing.T) {
		f := newFixture(t, 2)
		f.setTo(t, lstar.Slot(1).Interval())
		block := f.block(t, 1)
		saved := 0
		if err := f.do(t.Context(), func(*lstar.Store) {
			f.storage.onSave = func(c *lstar.Changes) {
				saved += len(c.Blocks)
				if f.Snapshot().Head == c.View.Head {
					t.Errorf("published head while it is being saved = %s, want the previous one", c.View.Head)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := f.ImportBlock(t.Context(), block, Origin{}); err != nil {
			t.Fatal(err)
		}
		shown := f.Snapshot()
		if saved != 1 || shown.Head.Root != block.Block.Root() {
			t.Fatalf("saved blocks = %d, head = %s, want 1 and the block", saved, shown.Head)
		}
		if err := f.do(t.Context(), func(*lstar.Store) { f.storage.onSave = nil }); err != nil {
			t.Fatal(err)
		}
		f.setTo(t, lstar.Slot(2).Interval())
		block = f.block(t, 2)
		if err := f.do(t.Context(), func(*lstar.Store) { f.storage.err = errors.New("disk failed") }); err != nil {
			t.Fatal(err)
		}
		if err := f.ImportBlock(t.Context(), block, Origin{}); !errors.Is(err, ErrStopped) {
			t.Errorf("ImportBlock with a failed disk = %v, want %v", err, ErrStopped)
		}
		if got := f.Snapshot().Head; got != shown.Head {
			t.Errorf("published head = %s, want %s, because the new one is not saved", got, shown.Head)
		}
		f.stop()
	})
}

// TestReportSlotOnce checks that a slot is reported once if its last interval is ticked twice.
func TestReportSlotOnce(t *testing.T) {
	f := newFixture(t, 1)
	f.stop()
	var ended []lstar.Slot
	f.cfg.OnSlotEnd = func(s events.SlotSummary) { ended = append(ended, s.Slot) }
	for _, slot := range []lstar.Slot{0, 3, 3, 4} {
		f.reportSlot(f.cfg.Store, slot)
	}
	if want := []lstar.Slot{0, 3, 4}; !slices.Equal(ended, want) {
		t.Errorf("reported slots = %d, want %d", ended, want)
	}
}

// stalledWriter is a writer whose Write blocks until release is closed.
type stalledWriter struct {
	stalls  chan struct{} // has an element after a Write has begun
	release chan struct{}
}

func (w stalledWriter) Write(p []byte) (int, error) {
	select {
	case w.stalls <- struct{}{}:
	default:
	}
	<-w.release
	return len(p), nil
}

// TestStalledLog checks that a blocked log does not delay the owner, also when the queue of lines
// is full.
func TestStalledLog(t *testing.T) {
	w := stalledWriter{make(chan struct{}, 1), make(chan struct{})}
	sink := logging.NewSink(w)
	log, control := logging.New(logging.Options{Level: slog.LevelDebug, Writer: sink})
	defer func() {
		close(w.release)
		if !sink.Flush(30 * time.Second) {
			t.Error("log is not flushed 30 s after its release")
		}
	}()
	f := newFixtureWith(t, 2, 0, true, log)
	log.Info("filler")
	<-w.stalls
	for control.Dropped() == 0 {
		log.Info("filler")
	}
	before := control.Dropped()
	for slot := lstar.Slot(1); slot <= 4; slot++ {
		f.setTo(t, slot.Interval())
		imported := make(chan error, 1)
		block := f.block(t, slot)
		go func() { imported <- f.ImportBlock(t.Context(), block, Origin{}) }()
		select {
		case err := <-imported:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("block of slot %d not imported after 10 s with a blocked log", slot)
		}
	}
	if got := f.Snapshot().Head.Slot; got != 4 {
		t.Errorf("head slot = %d, want 4", got)
	}
	if got := control.Dropped() - before; got < 4 {
		t.Errorf("dropped lines = %d, want at least 4", got)
	}
}

// TestVerifyProposer checks VerifyProposer with valid and invalid blocks whose parents are known or not.
func TestVerifyProposer(t *testing.T) {
	f := newFixture(t, 4)
	f.setTo(t, lstar.Slot(1).Interval())
	first := f.block(t, 1)
	if err := f.ImportBlock(t.Context(), first, Origin{}); err != nil {
		t.Fatal(err)
	}
	f.setTo(t, lstar.Slot(2).Interval())
	block := f.block(t, 2)

	orphan := *block
	orphan.Block.ParentRoot = lstar.Root{1}
	root := orphan.Block.Root()
	signature, err := f.props[orphan.Block.ProposerIndex].SignUnguarded(2, root)
	if err != nil {
		t.Fatal(err)
	}
	if orphan.Proof, err = f.crypto.MergeBlockProof(&orphan.Block, nil, f.Snapshot().HeadState.Validators, signature); err != nil {
		t.Fatal(err)
	}
	changed := orphan
	changed.Block.StateRoot[0]++
	other := orphan
	other.Proof = block.Proof
	empty := orphan
	empty.Proof = lstar.MultiMessageAggregate{}
	unknown := orphan
	unknown.Block.ProposerIndex = 4
	for _, tt := range []struct {
		what  string
		block *lstar.SignedBlock
		want  lstar.RejectionReason
	}{
		{"a block on the head", block, ""},
		{"a block whose parent is unknown", &orphan, ""},
		{"a block that was changed after the signature", &changed, lstar.InvalidBlockProof},
		{"a block with the proof of another one", &other, lstar.InvalidBlockProof},
		{"a block with an empty proof", &empty, lstar.InvalidBlockProof},
		{"a proposer that does not exist", &unknown, lstar.ProposerIndexOutOfRange},
	} {
		err := f.VerifyProposer(t.Context(), tt.block, tt.block.Block.Root())
		var rejection *lstar.Rejection
		if got := errors.As(err, &rejection); got != (tt.want != "") || got && rejection.Reason != tt.want {
			t.Errorf("%s: error = %v, want reason %q", tt.what, err, tt.want)
		}
	}
}
