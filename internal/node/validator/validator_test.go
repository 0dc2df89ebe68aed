package validator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const genesis = 1_000_000

// fixture is a chain with its clock, and the keys of all validators.
type fixture struct {
	clock   *clocktest.Fake
	slots   clock.Clock
	chain   *chain.Chain
	crypto  lstar.Crypto
	keys    []Keys
	metrics *metrics.Metrics
	bus     *events.Bus
	log     *slog.Logger
	lines   *lines
	dir     string // of the keys
	files   []guard.KeyFile
	secrets []*xmss.SecretKey // in the order of files
	// aggregated receives an element when the chain has made aggregates.
	aggregated chan struct{}
	guard      *guard.Guard
}

// lines is a log that is safe for concurrent use.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// newFixture starts a chain one second before genesis.
func newFixture(t *testing.T, validators int) *fixture {
	t.Helper()
	n := &fixture{clock: clocktest.New(time.Unix(genesis-1, 0)), lines: new(lines), aggregated: make(chan struct{}, 1)}
	n.slots = clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis}, Time: n.clock}
	n.log, _ = logging.New(logging.Options{Level: slog.LevelDebug, Writer: n.lines})
	n.metrics = metrics.New(metrics.Info{Name: "test", StartTime: time.Unix(genesis, 0)})
	n.bus = events.NewBus(n.metrics.Fold, logging.Events(n.log))

	n.dir = t.TempDir()
	var files []guard.KeyFile
	var secrets []*xmss.SecretKey
	list := make([]lstar.Validator, validators)
	for i := range list {
		for role := range 2 {
			key, err := xmss.Test.GenerateKey(t.Context(), xmss.KeyGenOptions{NumActiveSlots: 64, Short: true})
			if err != nil {
				t.Fatal(err)
			}
			public := key.PublicKey()
			if role == 0 {
				list[i].AttestationPublicKey = public.Bytes()
			} else {
				list[i].ProposalPublicKey = public.Bytes()
			}
			secrets = append(secrets, key)
			files = append(files, guard.KeyFile{
				Path: filepath.Join(n.dir, fmt.Sprintf("%d_%d", i, role)), PublicKey: public.Bytes(), Validator: uint64(i), Role: config.Role(role),
			})
			if err := os.WriteFile(files[len(files)-1].Path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.files, n.secrets = files, secrets
	n.keys = make([]Keys, validators)
	n.openGuard(t)
	verifier := chain.NewVerifier(xmss.Test)
	n.crypto = lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, verifier.Verify)}
	state := lstar.GenesisState(genesis, lstar.NewValidators(list))
	store, err := lstar.NewStore(n.crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	n.chain = chain.New(chain.Config{
		Store: store, Verifier: verifier, Clock: n.slots, Bus: n.bus, Log: n.log, IsAggregator: true,
		OnSlotEnd: func(events.SlotSummary) {},
		PublishAggregates: func([]*lstar.SignedAggregatedAttestation) {
			select {
			case n.aggregated <- struct{}{}:
			default:
			}
		},
	})
	run(t, n.chain.Run)
	return n
}

// openGuard opens the guard of the keys, as after a restart.
func (n *fixture) openGuard(t *testing.T) {
	t.Helper()
	if n.guard != nil {
		n.guard.Close()
	}
	var err error
	if n.guard, err = guard.Open(guard.Options{
		Keys: n.files, Log: n.log, Now: func() (uint64, bool) { return uint64(n.slots.Slot()), !n.slots.BeforeGenesis() },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.guard.Close)
	guarded := func(i int) Key {
		ledger := n.guard.Key(n.files[i].PublicKey)
		signer := xmss.NewSigner(n.secrets[i], ledger)
		t.Cleanup(signer.Close)
		return Key{signer, ledger}
	}
	for i := range n.keys {
		n.keys[i] = Keys{lstar.ValidatorIndex(i), guarded(2 * i), guarded(2*i + 1)}
	}
}

// run runs a service until the test ends, and then waits for its return.
func run(t *testing.T, service func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("service returned %v, want no error", err)
		}
	})
}

// service returns a service for the given keys.
func (n *fixture) service(keys ...Keys) *Service {
	return New(Config{Chain: n.chain, Clock: n.slots, Crypto: n.crypto, Keys: keys, Bus: n.bus, Log: n.log})
}

// setTo advances the clock to an interval, and waits until the chain reaches it.
func (n *fixture) setTo(t *testing.T, i lstar.Interval) {
	t.Helper()
	n.clock.Advance(n.slots.StartOf(i).Sub(n.clock.Now()))
	n.await(t, func(s *lstar.Snapshot) bool { return s.Time >= i })
}

// step advances the clock to an interval and performs the duties of a service. In interval 2 it
// waits for the aggregates, so there must be votes.
func (n *fixture) step(t *testing.T, s *Service, i lstar.Interval) {
	t.Helper()
	select {
	case <-n.aggregated: // of an earlier slot
	default:
	}
	n.setTo(t, i)
	s.interval(t.Context(), i)
	if i.InSlot() == 2 {
		select {
		case <-n.aggregated:
		case <-time.After(10 * time.Second):
			t.Fatalf("no aggregates after 10 s in interval %d", i)
		}
	}
}

// await waits until a snapshot satisfies ok, and fails after 10 s.
func (n *fixture) await(t *testing.T, ok func(*lstar.Snapshot) bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		snap, newer := n.chain.Watch()
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

// metric returns the sum of the series of a metric that have all label values.
func (n *fixture) metric(t *testing.T, name string, values ...string) float64 {
	t.Helper()
	return metricstest.Sum(t, n.metrics, name, values...)
}

// TestDuties performs all duties of a network of one node for twelve slots.
func TestDuties(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("run", func(t *testing.T) {
		n := newFixture(t, 3)
		s := n.service(n.keys...)
		for i := range 12 * lstar.Interval(lstar.IntervalsPerSlot) {
			n.step(t, s, i)
		}
		snap := n.chain.Snapshot()
		if snap.Head.Slot != 11 || snap.LatestJustified.Slot < 8 || snap.LatestFinalized.Slot < 7 {
			t.Errorf("after slot 11: head = %d, justified = %d, finalized = %d, want 11, at least 8, at least 7",
				snap.Head.Slot, snap.LatestJustified.Slot, snap.LatestFinalized.Slot)
		}
		for name, want := range map[string]float64{
			"leanspec_blocks_imported_total": 11,
			// Each vote alone and in a block. The vote for genesis justifies nothing and is in each
			// block until it is behind finality.
			"leanspec_attestations_processed_total":       12*3 + 11*3 + 3*3,
			"lean_attestations_invalid_total":             0,
			"lean_validators_count":                       0, // Run was not called
			"lean_state_transition_slots_processed_total": 11,
		} {
			if got := n.metric(t, name); got != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
		for outcome, want := range map[string]float64{
			// A block in each slot except the first, three votes and an aggregation in each.
			events.OutcomeMade: 11 + 12*3 + 12, events.OutcomeLate: 0, events.OutcomeMissed: 0, events.OutcomeSkipped: 0,
		} {
			if got := n.metric(t, "leanspec_duties_total", outcome); got != want {
				t.Errorf("duties with outcome %s = %v, want %v", outcome, got, want)
			}
		}
		if t.Failed() {
			t.Log(n.lines.String())
		}
	})
}

// TestMissedAndLate checks that duties are reported as missed after a suspension, and as late if
// they are done in a later interval.
func TestMissedAndLate(t *testing.T) {
	n := newFixture(t, 2)
	s := n.service(n.keys...)
	at := func(slot lstar.Slot, interval lstar.Interval) {
		n.setTo(t, slot.Interval()+interval)
		s.interval(t.Context(), slot.Interval()+interval)
	}
	at(0, 1)
	at(1, 0)
	// The node is suspended: it misses the votes of slot 1 and all duties of slots 2 and 3.
	at(4, 3)
	for _, want := range []struct {
		labels []string
		count  float64
	}{
		{[]string{events.DutyAttestation, events.OutcomeMade}, 2},
		{[]string{events.DutyBlock, events.OutcomeMade}, 1},
		{[]string{events.DutyAttestation, events.OutcomeMissed, events.ReasonClockSkipped}, 6},
		{[]string{events.DutyBlock, events.OutcomeMissed, events.ReasonClockSkipped}, 3}, // includes that of slot 4
		{[]string{events.DutyAttestation, events.OutcomeLate}, 2},
	} {
		if got := n.metric(t, "leanspec_duties_total", want.labels...); got != want.count {
			t.Errorf("duties %v = %v, want %v", want.labels, got, want.count)
		}
	}
	if t.Failed() {
		t.Log(n.lines.String())
	}
}

// votePublisher sends the published votes to a channel.
type votePublisher chan *lstar.SignedAttestation

func (p votePublisher) PublishAttestation(vote *lstar.SignedAttestation) { p <- vote }
func (votePublisher) PublishBlock(*lstar.SignedBlock)                    {}

// TestRun checks that Run follows the clock, and can start in the middle of a slot.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("run", func(t *testing.T) {
		n := newFixture(t, 1)
		n.setTo(t, lstar.Slot(3).Interval()+1)
		s := n.service(n.keys...)
		votes := make(votePublisher, 8)
		s.Publisher = votes
		run(t, s.Run)
		select {
		case vote := <-votes:
			if vote.Data.Slot != 3 {
				t.Errorf("slot of the first vote = %d, want 3", vote.Data.Slot)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no vote after 10 s")
		}
		n.setTo(t, lstar.Slot(3).Interval()+4)
		n.setTo(t, lstar.Slot(4).Interval())
		n.await(t, func(s *lstar.Snapshot) bool { return s.Head.Slot == 4 })
		if got := n.metric(t, "lean_validators_count"); got != 1 {
			t.Errorf("lean_validators_count = %v, want 1", got)
		}
		if got := len(n.chain.Snapshot().Blocks()); got != 2 {
			t.Errorf("blocks = %d, want 2: genesis and that of the slot after the start", got)
		}
	})
}

// TestRestartWithinInterval checks that a node that restarts in interval 0 after it has proposed
// does not propose again.
func TestRestartWithinInterval(t *testing.T) {
	n := newFixture(t, 1)
	slot := lstar.Slot(1).Interval()
	n.setTo(t, slot)
	for range 2 {
		n.service(n.keys...).interval(t.Context(), slot)
		if head := n.chain.Snapshot().Head.Slot; head != 1 {
			t.Fatalf("head slot = %d, want 1", head)
		}
	}
	if log := n.lines.String(); strings.Contains(log, "ERR") || n.metric(t, "leanspec_duties_total", events.DutyBlock, events.OutcomeSkipped) != 1 {
		t.Errorf("want one skipped block duty and no error, log:\n%s", log)
	}
}

// TestDoneBefore checks that a refused signature is not reported as a failure if an earlier run
// signed in the slot of the start.
func TestDoneBefore(t *testing.T) {
	n := newFixture(t, 1)
	slot := lstar.Slot(20)
	n.setTo(t, slot.Interval())
	s := n.service(n.keys...)
	slot++
	earlier := &guard.RefusedError{Slot: uint64(slot), EarlierRun: true}
	if s.doneBefore(slot, earlier) || !s.doneBefore(s.started, earlier) || s.doneBefore(s.started, &guard.RefusedError{}) {
		t.Error("doneBefore: want true only for a refusal because of an earlier run in the slot of the start")
	}
}

// TestVoteWaitsForTheBlock checks that a vote in interval 1 waits for a late block of its slot.
func TestVoteWaitsForTheBlock(t *testing.T) {
	n := newFixture(t, 2)
	proposer, voter := n.service(n.keys[1]), n.service(n.keys[0])
	n.setTo(t, lstar.Slot(1).Interval()+1)
	voted := make(chan struct{})
	go func() {
		defer close(voted)
		voter.interval(t.Context(), lstar.Slot(1).Interval()+1)
	}()
	if _, err := proposer.propose(t.Context(), 1, proposer.Keys[0]); err != nil {
		t.Fatal(err)
	}
	<-voted
	data, err := n.chain.AttestationData(t.Context(), 1)
	if err != nil || data.Head.Slot != 1 {
		t.Fatalf("AttestationData = %+v, %v, want the block of slot 1 as head", data, err)
	}
	if voter.Keys[0].Attestation.Guard.Record().Message != data.Root() {
		t.Errorf("recorded message = %x, want the vote for the block of slot 1, %s", voter.Keys[0].Attestation.Guard.Record().Message, data.Root())
	}
}

// TestFailedProposals checks that a missed block duty is counted once with its reason, and that a
// block that was built counts as built even if the chain rejects it.
func TestFailedProposals(t *testing.T) {
	for name, tt := range map[string]struct {
		slot                   lstar.Slot
		proofs                 proof.Scheme // of the service; nil for those of the chain
		reason                 string
		built, failed, refused float64
	}{
		"the chain rejects the block": {1, prooftest.Trusting{Max: 8}, "other", 1, 0, 1},
		"the key cannot sign":         {70, nil, events.ReasonSigningFailed, 0, 1, 0},
		"the slot is over":            {1, nil, events.ReasonProductionFailed, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, 1)
			s := n.service(n.keys...)
			if tt.proofs != nil {
				s.Crypto.Proofs = tt.proofs
			}
			now := tt.slot.Interval()
			if tt.reason == events.ReasonProductionFailed {
				now = (tt.slot + 2).Interval()
			}
			n.setTo(t, now)
			s.blockDuty(t.Context(), tt.slot)
			for _, want := range []struct {
				name   string
				labels []string
				value  float64
			}{
				{"leanspec_duties_total", []string{events.DutyBlock}, 1},
				{"leanspec_duties_total", []string{events.DutyBlock, events.OutcomeMissed, tt.reason}, 1},
				{"lean_block_building_success_total", nil, tt.built},
				{"lean_block_building_failures_total", nil, tt.failed},
				{"leanspec_blocks_rejected_total", []string{"own"}, tt.refused},
				{"leanspec_blocks_imported_total", nil, 0},
			} {
				if got := n.metric(t, want.name, want.labels...); got != want.value {
					t.Errorf("%s %v = %v, want %v", want.name, want.labels, got, want.value)
				}
			}
			if t.Failed() {
				t.Log(n.lines)
			}
		})
	}
}

// TestStoppedWhileSigning checks that a signature that ends because the node stops is not logged as
// a failure.
func TestStoppedWhileSigning(t *testing.T) {
	n := newFixture(t, 1)
	s := n.service(n.keys...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.sign(ctx, s.Keys[0].Index, s.Keys[0].Attestation, events.SignatureAttestation, 5, lstar.Root{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("sign = %v, want %v", err, context.Canceled)
	}
	if lines := n.lines.String(); strings.Contains(lines, "ERR") || strings.Contains(lines, "signing failed") {
		t.Errorf("want no failure in the log, got:\n%s", lines)
	}
}

// TestSign checks that sign uses the guard, and counts and logs refusals.
func TestSign(t *testing.T) {
	n := newFixture(t, 1)
	s := n.service(n.keys...)
	sign := func(slot lstar.Slot, message lstar.Root) (*xmss.Signature, error) {
		return s.sign(t.Context(), s.Keys[0].Index, s.Keys[0].Attestation, events.SignatureAttestation, slot, message)
	}
	first, err := sign(5, lstar.Root{1})
	if err != nil {
		t.Fatal(err)
	}
	again, err := sign(5, lstar.Root{1})
	if err != nil || !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Errorf("sign with the same message = %v, want the same signature", err)
	}
	for name, tt := range map[string]struct {
		slot    lstar.Slot
		message lstar.Root
	}{"another message": {5, lstar.Root{2}}, "an earlier slot": {4, lstar.Root{1}}} {
		var refused *guard.RefusedError
		if _, err := sign(tt.slot, tt.message); !errors.As(err, &refused) || reason(err) != events.ReasonAlreadySigned {
			t.Errorf("%s: sign = %v, want a refusal", name, err)
		}
	}
	if got := n.metric(t, "leanspec_validator_signatures_refused_total"); got != 2 {
		t.Errorf("leanspec_validator_signatures_refused_total = %v, want 2", got)
	}
	if got := strings.Count(n.lines.String(), "signature refused"); got != 2 {
		t.Errorf("logged refusals = %d, want 2:\n%s", got, n.lines)
	}
	// A slot outside of the key's window must not close the slots before it.
	if _, err := sign(1000, lstar.Root{2}); !errors.Is(err, xmss.ErrOutsideWindow) {
		t.Errorf("sign outside of the window = %v, want %v", err, xmss.ErrOutsideWindow)
	}
	if _, err := sign(6, lstar.Root{2}); err != nil {
		t.Errorf("sign for the next slot = %v, want no error", err)
	}
}

// TestUnrecorded checks that Run returns an error if a signature cannot be recorded, and that
// nothing is signed.
func TestUnrecorded(t *testing.T) {
	n := newFixture(t, 1)
	records, err := filepath.Glob(filepath.Join(n.dir, "*.guard"))
	if err != nil || len(records) != 2 {
		t.Fatalf("records = %v, %v, want two", records, err)
	}
	for _, r := range records { // a folder instead of the file makes the write fail
		if err := errors.Join(os.Remove(r), os.Mkdir(r, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	n.setTo(t, lstar.Slot(1).Interval())
	err = n.service(n.keys...).Run(t.Context())
	var failure *guard.WriteError
	if !errors.As(err, &failure) || !slices.Contains(records, failure.File) {
		t.Errorf("Run = %v, want a WriteError for one of %v", err, records)
	}
	if head := n.chain.Snapshot().Head.Slot; head != 0 {
		t.Errorf("head slot = %d, want 0", head)
	}
	if lines := n.lines.String(); !strings.Contains(lines, "signing failed") {
		t.Errorf("want \"signing failed\" in the log, got:\n%s", lines)
	}
}

// TestLostRecords checks that keys without a record skip the slot of the start and the next one,
// also after another restart, and that keys with a record do not.
func TestLostRecords(t *testing.T) {
	n := newFixture(t, 3)
	s := n.service(n.keys...)
	slot := func(slot lstar.Slot) {
		for i := slot.Interval(); i < (slot + 1).Interval(); i++ {
			n.step(t, s, i)
		}
	}
	for i := range lstar.Slot(3) {
		slot(i)
	}
	// In slot 3 the node votes, stops, loses the records of validators 0 and 1, and restarts.
	n.setTo(t, lstar.Slot(3).Interval())
	s.interval(t.Context(), lstar.Slot(3).Interval())
	n.setTo(t, lstar.Slot(3).Interval()+1)
	s.interval(t.Context(), lstar.Slot(3).Interval()+1)
	for _, file := range n.files[:4] {
		if err := os.Remove(fmt.Sprintf("%s.%x.guard", file.Path, file.PublicKey[:4])); err != nil {
			t.Fatal(err)
		}
	}
	for restart := range 2 {
		n.openGuard(t)
		if got, want := len(n.guard.Missing().Keys), 4*(1-restart); got != want {
			t.Errorf("start %d: missing keys = %d, want %d", restart, got, want)
		}
		s = n.service(n.keys...)
		s.interval(t.Context(), lstar.Slot(3).Interval()+1) // validator 2 signed before
	}
	slot(4) // its proposer is validator 1
	closed := guard.Record{Kind: guard.Closed, Slot: 4}
	for i, want := range []guard.Record{closed, closed, closed, closed} {
		if got := n.guard.Key(n.files[i].PublicKey).Record(); got != want {
			t.Errorf("record of key %d after slot 4 = %s, want %s", i, got, want)
		}
	}
	if got := n.guard.Key(n.files[4].PublicKey).Record(); got.Kind != guard.Signed || got.Slot != 4 {
		t.Errorf("record of the key with a record after slot 4 = %s, want a vote for slot 4", got)
	}
	if head := n.chain.Snapshot().Head.Slot; head != 3 {
		t.Errorf("head slot = %d, want 3, because the key of the proposer of slot 4 is closed", head)
	}
	for duty, want := range map[string]float64{events.DutyAttestation: 2 + 2 + 2, events.DutyBlock: 1} {
		if got := n.metric(t, "leanspec_duties_total", duty, events.OutcomeSkipped, events.ReasonSlotClosed); got != want {
			t.Errorf("duties %s skipped with reason %s = %v, want %v", duty, events.ReasonSlotClosed, got, want)
		}
	}
	slot(5)
	slot(6) // its proposer is validator 0
	for i, want := range []uint64{6, 6, 6, 4} {
		if got := n.guard.Key(n.files[i].PublicKey).Record(); got.Slot != want {
			t.Errorf("record of key %d after slot 6 = %s, want slot %d", i, got, want)
		}
	}
	if head := n.chain.Snapshot().Head.Slot; head != 6 {
		t.Errorf("head slot = %d, want 6", head)
	}
	if got := n.metric(t, "leanspec_validator_signatures_refused_total"); got != 0 {
		t.Errorf("leanspec_validator_signatures_refused_total = %v, want 0", got)
	}
	if got := n.metric(t, "leanspec_duties_total", events.OutcomeMissed); got != 0 {
		t.Errorf("missed duties = %v, want 0", got)
	}
	if t.Failed() {
		t.Log(n.lines.String())
	}
}

// TestWindows checks that a key that runs out causes one warning for each lost percent.
func TestWindows(t *testing.T) {
	n := newFixture(t, 1)
	s := n.service(n.keys...)
	warnings := func() int { return strings.Count(n.lines.String(), "key runs out") }
	for _, step := range []struct {
		slot     lstar.Slot
		left     float64 // of both keys
		warnings int     // so far
	}{
		{0, 128, 0},
		{57, 14, 0}, // each key has 7 of 64 slots left, 10.9 %
		{58, 12, 2},
		{58, 12, 2},
		{59, 10, 4},
		{64, 0, 5}, // the last slot of one key was already signed
		{100, 0, 5},
	} {
		if step.slot == 59 {
			if err := n.keys[0].Proposal.Guard.Reserve(63, lstar.Root{1}); err != nil {
				t.Fatal(err)
			}
			step.left -= 5
		}
		s.reportWindows(step.slot)
		if got := n.metric(t, "leanspec_validator_key_slots_left"); got != step.left {
			t.Errorf("slot %d: leanspec_validator_key_slots_left = %v, want %v", step.slot, got, step.left)
		}
		if got := warnings(); got != step.warnings {
			t.Errorf("slot %d: warnings so far = %d, want %d", step.slot, got, step.warnings)
		}
	}
}

// TestClosedGate checks that a node performs no duties while the duty gate is closed, and reports
// once that it closed and that it opened.
func TestClosedGate(t *testing.T) {
	n := newFixture(t, 2)
	s := n.service(n.keys...)
	open := false
	s.Gate = func(slot lstar.Slot) events.DutyGate {
		return events.DutyGate{Open: open, Slot: slot, Reason: "stale_head"}
	}
	n.setTo(t, 6*lstar.IntervalsPerSlot)
	s.interval(t.Context(), 6*lstar.IntervalsPerSlot)
	for i := lstar.Interval(1); i < lstar.IntervalsPerSlot; i++ {
		n.setTo(t, 6*lstar.IntervalsPerSlot+i)
		s.interval(t.Context(), 6*lstar.IntervalsPerSlot+i)
	}
	if head := n.chain.Snapshot().Head.Slot; head != 0 {
		t.Errorf("a block at slot %d was made with a lag of six slots", head)
	}
	if got := n.metric(t, "leanspec_duties_total", "skipped", "not_synced"); got != 3 {
		t.Errorf("%v duties skipped, want a block and two votes", got)
	}
	open = true
	n.setTo(t, 7*lstar.IntervalsPerSlot)
	s.interval(t.Context(), 7*lstar.IntervalsPerSlot)
	if head := n.chain.Snapshot().Head.Slot; head != 7 {
		t.Errorf("head slot = %d after the gate opened, want 7", head)
	}
	if lines := n.lines.String(); strings.Count(lines, "duties paused") != 1 || strings.Count(lines, "duties resumed") != 1 {
		t.Errorf("log:\n%s\nwant one line each that duties are paused and resumed", lines)
	}
}
