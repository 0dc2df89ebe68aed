package syncer

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/xmss"
)

func (f *fixture) wantVerdict(what string, got, want p2p.Verdict) {
	f.t.Helper()
	if got != want {
		f.t.Errorf("%s: verdict %d, want %d", what, got, want)
	}
}

func (f *fixture) orphaned() int {
	f.Service.mu.Lock()
	defer f.Service.mu.Unlock()
	return f.orphans.store.Len()
}

// fake returns a block that nobody made, on a parent that does not exist.
func fake(slot lstar.Slot, validators, n int) *lstar.SignedBlock {
	return &lstar.SignedBlock{
		Block: lstar.Block{
			Slot: slot, ProposerIndex: lstar.ValidatorIndex(uint64(slot) % uint64(validators)),
			ParentRoot: lstar.Root{0xff, byte(n), byte(n >> 8), byte(n >> 16)},
		},
		Proof: lstar.MultiMessageAggregate{Proof: []byte{1}},
	}
}

func forgedCopy(b *lstar.SignedBlock) *lstar.SignedBlock {
	return &lstar.SignedBlock{Block: b.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte(prooftest.Forged)}}
}

func TestGossipBlocks(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 13, true)
	f := newFixture(t, validators, 10)
	ctx := t.Context()
	for slot := lstar.Slot(1); slot <= 8; slot++ {
		f.wantVerdict("next block", f.OnBlock(ctx, "a", c.at(slot)), p2p.Accept)
	}
	finalized := f.chain.Snapshot().LatestFinalized.Slot
	if finalized < 2 {
		t.Fatalf("finalized slot %d, want a chain that finalizes", finalized)
	}
	wrongState := *c.at(9)
	wrongState.Block.StateRoot[0]++
	onWrongState := *c.at(10)
	onWrongState.Block.ParentRoot = wrongState.Block.Root()
	wrongProposer := *c.at(9)
	wrongProposer.Block.ProposerIndex++
	orphanWrongProposer := fake(10, 4, 1)
	orphanWrongProposer.Block.ProposerIndex++
	for _, tt := range []struct {
		what string
		b    *lstar.SignedBlock
		want p2p.Verdict
	}{
		{"known", c.at(8), p2p.Ignore},
		{"of a slot that is final", fake(finalized, 4, 1), p2p.Ignore},
		{"two slots ahead of the clock", c.at(12), p2p.Ignore},
		{"far ahead of the clock", fake(1<<63, 4, 2), p2p.Ignore},
		{"at the end of all numbers", fake(1<<64-1, 4, 3), p2p.Ignore},
		{"wrong proposer", &wrongProposer, p2p.Reject},
		{"wrong proposer, parent unknown", orphanWrongProposer, p2p.Reject},
		{"forged proof", forgedCopy(c.at(9)), p2p.Reject},
		{"wrong state", &wrongState, p2p.Reject},
		{"wrong state again", &wrongState, p2p.Reject},
		{"child of an invalid one", &onWrongState, p2p.Reject},
		{"the real one, in spite of its forged copy", c.at(9), p2p.Accept},
		{"the clock's slot", c.at(10), p2p.Accept},
		{"one slot ahead of the clock", c.at(11), p2p.Accept},
	} {
		f.wantVerdict(tt.what, f.OnBlock(ctx, "a", tt.b), tt.want)
	}
	if f.orphaned() != 0 {
		t.Errorf("%d blocks are parked, want none", f.orphaned())
	}
}

// TestGossipOrder gets blocks in the wrong order, among them forged copies that
// come first.
func TestGossipOrder(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newFixture(t, validators, 40)
	for slot := lstar.Slot(40); slot >= 2; slot-- {
		f.wantVerdict("forged orphan", f.OnBlock(t.Context(), "liar", forgedCopy(c.at(slot))), p2p.Ignore)
		f.wantVerdict("orphan", f.OnBlock(t.Context(), "a", c.at(slot)), p2p.Ignore)
	}
	if f.orphaned() != 78 {
		t.Errorf("%d blocks are parked, want 39 and their copies", f.orphaned())
	}
	f.wantVerdict("first", f.OnBlock(t.Context(), "a", c.at(1)), p2p.Accept)
	f.await("all of them", hasHead(c))
	f.await("an empty cache", func(*lstar.Snapshot) bool { return f.orphaned() == 0 })
	f.await("the arrival of all blocks", func(*lstar.Snapshot) bool { return f.count("leanspec_block_seen_delay_seconds") == 40 })
	f.wantNoPenalty("a")
}

// count returns the sum of the series of a metric that have all of the label values, or the number of a histogram's
// observations.
func (f *fixture) count(name string, values ...string) float64 {
	f.t.Helper()
	return metricstest.Sum(f.t, f.metrics, name, values...)
}

// TestRejectedUnseen: what is refused before the chain sees it is counted too.
func TestRejectedUnseen(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 3, true)
	f := newFixture(t, validators, 3)
	twice := *c.at(3)
	vote := twice.Block.Body.Attestations
	if len(vote) == 0 {
		t.Fatal("block 3 has no votes, want some to double")
	}
	twice.Block.Body.Attestations = append(slices.Clone(vote), vote[0])
	f.wantVerdict("the same votes twice", f.OnBlock(t.Context(), "a", &twice), p2p.Reject)
	if got := f.count("leanspec_blocks_rejected_total", string(lstar.DuplicateAttestationData), "gossip"); got != 1 {
		t.Errorf("%v blocks with doubled votes rejected, want 1", got)
	}
}

// TestStoreBehind: a block that has to wait until the store's clock is where the
// wall clock is was not rejected.
func TestStoreBehind(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 1, true).grow(8, 8, true)
	f := newFixture(t, validators, 5)
	cfg := f.cfg
	cfg.Clock.Time = clocktest.New(f.cfg.Clock.StartOf(lstar.Slot(8).Interval()))
	ahead := New(cfg)
	f.wantVerdict("a block", ahead.OnBlock(t.Context(), "a", c.at(1)), p2p.Accept)
	verdict := make(chan p2p.Verdict)
	go func() { verdict <- ahead.OnBlock(t.Context(), "a", c.at(8)) }()
	select {
	case v := <-verdict:
		t.Errorf("verdict %v while the store is behind, want none yet", v)
	case <-time.After(20 * time.Millisecond): // waiting is no event
	}
	f.fake.Advance(3 * lstar.SecondsPerSlot * time.Second)
	f.wantVerdict("a block that had to wait", <-verdict, p2p.Accept)
	if got := f.count("leanspec_blocks_rejected_total"); got != 0 {
		t.Errorf("%v blocks rejected, want none", got)
	}
}

// TestGossipGap gets one block and fetches those before it.
func TestGossipGap(t *testing.T) {
	validators := registry(4)
	for _, gap := range []lstar.Slot{3, 70} {
		c := newSource(t, validators)
		f := newFixture(t, validators, gap)
		f.connect("a", &fakePeer{chain: c}) // at genesis
		c.grow(1, gap, true)
		f.wantVerdict("orphan", f.OnBlock(t.Context(), "a", c.at(gap)), p2p.Ignore)
		f.within(20, "the head", hasHead(c))
		f.wantNoPenalty("a")
	}
}

// TestFarFuture floods the node with blocks far ahead of the clock: nothing may
// move, and nothing be kept.
func TestFarFuture(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 10, true)
	f := newFixture(t, validators, 5)
	before := f.chain.Snapshot().Time
	for n := range 5000 {
		f.wantVerdict("far ahead", f.OnBlock(t.Context(), "liar", fake(lstar.Slot(7+n*1000), 4, n)), p2p.Ignore)
	}
	f.connect("liar", &fakePeer{chain: c, status: func() p2p.Status {
		return p2p.Status{Finalized: lstar.Checkpoint{Root: lstar.Root{1}, Slot: 1 << 62}, Head: lstar.Checkpoint{Root: lstar.Root{1}, Slot: 1 << 63}}
	}})
	if snap := f.chain.Snapshot(); snap.Time != before || f.orphaned() != 0 { // the clock has not moved
		t.Errorf("time went from %d to %d, %d blocks are kept; want nothing of it", before, snap.Time, f.orphaned())
	}
	f.steps(2)
	if n := f.requestsTo("liar", byRange) + f.requestsTo("liar", byRoot); n > 0 || f.Distance() > 0 {
		t.Errorf("%d requests, distance %d for blocks that cannot be; want none", n, f.Distance())
	}
	f.wantVerdict("an honest block", f.OnBlock(t.Context(), "b", c.at(1)), p2p.Accept)
}

// TestUnsignedFlood has one peer send blocks without parents that no proposer
// signed: nothing is kept of them, no peer is asked for anything, and the node stays
// healthy.
func TestUnsignedFlood(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newFixture(t, validators, 40)
	f.connect("honest", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	before := f.requestsTo("honest", byRoot)
	for n := range 500 {
		b := fake(40, 4, n)
		b.Proof.Proof = []byte(prooftest.Unsigned)
		f.wantVerdict("a block that its proposer did not sign", f.OnBlock(t.Context(), "liar", b), p2p.Reject)
	}
	f.steps(10)
	if n := f.orphaned(); n != 0 {
		t.Errorf("%d blocks are parked, want 0", n)
	}
	if n := f.requestsTo("honest", byRoot) - before; n != 0 {
		t.Errorf("%d requests by root for parents that do not exist, want 0", n)
	}
	if synced, reason := f.health(); !synced || f.View().Gap || f.Distance() != 0 {
		t.Errorf("synced = %v (%s), gap %v, distance %d; want a synced node", synced, reason, f.View().Gap, f.Distance())
	}
}

// TestOrphanFlood has one peer send thousands of signed blocks without parents, as
// only a proposer can that signs more than one block of its slot.
func TestOrphanFlood(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newFixture(t, validators, 40)
	for slot := lstar.Slot(1); slot < 38; slot++ {
		f.wantVerdict("next block", f.OnBlock(t.Context(), "honest", c.at(slot)), p2p.Accept)
	}
	f.wantVerdict("an honest orphan", f.OnBlock(t.Context(), "honest", c.at(39)), p2p.Ignore)
	f.wantVerdict("an honest orphan", f.OnBlock(t.Context(), "honest", c.at(40)), p2p.Ignore)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const flood = 3000
	for n := range flood {
		b := fake(40, 4, n)
		b.Proof.Proof = make([]byte, 256<<10)
		f.wantVerdict("flood", f.OnBlock(t.Context(), "liar", b), p2p.Ignore)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > maxOrphanBytes*5/4 {
		t.Errorf("the heap grew by %d MiB during a flood of %d MiB, want little more than %d", grown>>20, flood/4, maxOrphanBytes>>20)
	}
	// The honest blocks are still there.
	f.wantVerdict("the missing block", f.OnBlock(t.Context(), "honest", c.at(38)), p2p.Accept)
	f.await("the head", hasHead(c))

	// The flood is followed up, within bounds, to no avail.
	f.connect("honest", &fakePeer{chain: c})
	f.connect("liar", &fakePeer{chain: c})
	f.steps(2 * 80)
	if !f.penalized("liar") {
		t.Error("the peer that flooded us was not penalized")
	}
	f.wantNoPenalty("honest")
	if n := f.requestsTo("honest", byRoot); n > 3*maxOrphans/maxRoots {
		t.Errorf("%d requests to the honest peer, want at most %d", n, 3*maxOrphans/maxRoots)
	}
	if synced, reason := f.health(); synced || reason != health.UnsyncedAncestor {
		t.Errorf("synced = %v (%s) while signed blocks wait, want false (%s)", synced, reason, health.UnsyncedAncestor)
	}

	// Finality passes the flood, and ends it.
	now := f.CurrentSlot()
	c.grow(now, now+3, true)
	f.steps(4 * lstar.IntervalsPerSlot)
	f.within(10, "the head", hasHead(c))
	if finalized := f.chain.Snapshot().LatestFinalized; finalized.Slot < 39 {
		t.Fatalf("finalized %s, want slot 39 or later", finalized)
	}
	f.within(10, "an empty cache", func(*lstar.Snapshot) bool { return f.orphaned() == 0 && !f.View().Gap })
	if f.Distance() != 0 {
		t.Errorf("distance %d, want 0", f.Distance())
	}
}

// signers are validators that can sign votes.
func signers(t *testing.T, n int) (keys []*xmss.SecretKey, validators *lstar.Validators) {
	t.Helper()
	list := make([]lstar.Validator, n)
	for i := range list {
		key, err := xmss.Test.GenerateKey(t.Context(), xmss.KeyGenOptions{NumActiveSlots: 32, Short: true})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		list[i].AttestationPublicKey = key.PublicKey().Bytes()
		list[i].ProposalPublicKey[0] = byte(i)
	}
	return keys, lstar.NewValidators(list)
}

func TestVotes(t *testing.T) {
	keys, validators := signers(t, 4)
	c := newSource(t, validators).grow(1, 8, true)
	f := newFixture(t, validators, 8)
	f.chain.SetAggregator(true)
	sign := func(validator int, data lstar.AttestationData) *lstar.SignedAttestation {
		signature, err := keys[validator].SignUnguarded(uint64(data.Slot), data.Root())
		if err != nil {
			t.Fatal(err)
		}
		return &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(validator), Data: data, Signature: signature}
	}
	for slot := lstar.Slot(1); slot <= 6; slot++ {
		f.wantVerdict("block", f.OnBlock(t.Context(), "a", c.at(slot)), p2p.Accept)
	}
	data, err := c.store.AttestationData(8)
	if err != nil {
		t.Fatal(err)
	}
	if data.Head.Slot != 8 {
		t.Fatalf("vote for head %s, want slot 8", data.Head)
	}
	known := data
	known.Head = lstar.Checkpoint{Root: c.at(6).Block.Root(), Slot: 6}
	known.Target = known.Source
	ctx := t.Context()

	good := sign(0, known)
	f.wantVerdict("a vote", f.OnAttestation(ctx, "a", good), p2p.Accept)
	f.wantVerdict("the same", f.OnAttestation(ctx, "b", good), p2p.Ignore)
	stolen := *good
	stolen.ValidatorIndex = 1
	f.wantVerdict("signature of another", f.OnAttestation(ctx, "a", &stolen), p2p.Reject)
	f.wantVerdict("the real one, in spite of it", f.OnAttestation(ctx, "a", sign(1, known)), p2p.Accept)
	nobody := *good
	nobody.ValidatorIndex = 4
	f.wantVerdict("nobody's vote", f.OnAttestation(ctx, "a", &nobody), p2p.Reject)
	future := known
	future.Slot = 10
	f.wantVerdict("a vote for the future", f.OnAttestation(ctx, "a", sign(0, future)), p2p.Ignore)
	mismatch := known
	mismatch.Head.Slot = 7
	f.wantVerdict("a head that is elsewhere", f.OnAttestation(ctx, "a", sign(0, mismatch)), p2p.Reject)

	// Votes for blocks that are yet to come.
	early := sign(2, data)
	f.wantVerdict("an early vote", f.OnAttestation(ctx, "a", early), p2p.Ignore)
	forged := *early
	forged.ValidatorIndex = 3
	f.wantVerdict("an early forged vote", f.OnAttestation(ctx, "liar", &forged), p2p.Ignore)
	bits, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{0, 1})
	agg := &lstar.SignedAggregatedAttestation{Data: data, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte{1}}}
	f.wantVerdict("an early aggregate", f.OnAggregate(ctx, "a", agg), p2p.Ignore)
	bad := *agg
	others, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{2, 3})
	bad.Proof = lstar.SingleMessageAggregate{Participants: others, Proof: []byte(prooftest.Forged)}
	f.wantVerdict("an early forged aggregate", f.OnAggregate(ctx, "last", &bad), p2p.Ignore)
	for n := range 2000 {
		flood := *early
		flood.Data.Target = known.Target
		flood.Data.Head.Root = lstar.Root{byte(n), byte(n >> 8), 1}
		f.wantVerdict("flood", f.OnAttestation(ctx, "liar", &flood), p2p.Ignore)
	}
	f.Service.mu.Lock()
	if n := f.pendingAttestations.store.Len(); n != maxPendingVotes {
		t.Errorf("%d votes are put aside, want %d", n, maxPendingVotes)
	}
	if n := len(f.pendingAttestations.byMissing[data.Head.Root]); n != 1 {
		t.Errorf("%d early votes wait for the head, want the honest one", n)
	}
	f.Service.mu.Unlock()

	f.wantVerdict("block", f.OnBlock(ctx, "a", c.at(7)), p2p.Accept)
	f.wantVerdict("block", f.OnBlock(ctx, "a", c.at(8)), p2p.Accept)
	f.await("the early votes", func(*lstar.Snapshot) bool { return f.penalized("last") })
	f.wantVerdict("the early vote, once more", f.OnAttestation(ctx, "b", early), p2p.Ignore)
	f.wantVerdict("the aggregate, once more", f.OnAggregate(ctx, "b", agg), p2p.Ignore)
	f.wantNoPenalty("a")
	forged.ValidatorIndex = 3
	f.wantVerdict("the forged vote, once more", f.OnAttestation(ctx, "liar", &forged), p2p.Reject)
}

// TestStopped asks a service whose chain has stopped.
func TestStopped(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 2, true)
	f := newFixture(t, validators, 2)
	f.stop()
	f.wantVerdict("a block", f.OnBlock(t.Context(), "a", c.at(1)), p2p.Ignore)
	f.wantVerdict("an aggregate", f.OnAggregate(context.Background(), "a", &lstar.SignedAggregatedAttestation{}), p2p.Ignore)
}

func TestOwnBlock(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 3, true)
	f := newFixture(t, validators, 3)
	f.wantVerdict("orphan", f.OnBlock(t.Context(), "a", c.at(2)), p2p.Ignore)
	if err := f.chain.ImportBlock(t.Context(), c.at(1), ownOrigin); err != nil {
		t.Fatal(err)
	}
	f.OnOwnBlock(c.at(1))
	f.await("the child of our block", func(s *lstar.Snapshot) bool { return s.Head.Slot == 2 })
	if b := f.blockAt(1); b == nil || len(b.Proof.Proof) == 0 {
		t.Errorf("our block is not served: %v", b)
	}
	if b := f.BlockByRoot(lstar.Root{1}); b != nil {
		t.Errorf("block %v for an unknown root", b)
	}
	if b := f.blockAt(1 << 63); b != nil {
		t.Errorf("block %v for a slot to come", b)
	}
}

var ownOrigin = chain.Origin{Own: true}
