package syncer

import (
	"runtime"
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/xmss"
)

func (f *world) wantVerdict(what string, got, want p2p.Verdict) {
	f.t.Helper()
	if got != want {
		f.t.Errorf("%s: verdict %d, want %d", what, got, want)
	}
}

// fake returns a block on a parent that does not exist.
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
	f := newWorld(t, validators, 10)
	for slot := lstar.Slot(1); slot <= 8; slot++ {
		f.wantVerdict("next block", f.OnBlock("a", c.at(slot)), p2p.Accept)
	}
	finalized := f.snap.LatestFinalized.Slot
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
		f.wantVerdict(tt.what, f.OnBlock("a", tt.b), tt.want)
	}
	if f.parked.queue.Len() != 0 {
		t.Errorf("%d blocks are parked, want none", f.parked.queue.Len())
	}
}

// TestGossipOrder receives blocks in the wrong order, and forged copies before them.
func TestGossipOrder(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newWorld(t, validators, 40)
	for slot := lstar.Slot(40); slot >= 2; slot-- {
		f.wantVerdict("forged orphan", f.OnBlock("liar", forgedCopy(c.at(slot))), p2p.Ignore)
		f.wantVerdict("orphan", f.OnBlock("a", c.at(slot)), p2p.Ignore)
	}
	if f.parked.queue.Len() != 78 {
		t.Errorf("%d blocks are parked, want 39 and their copies", f.parked.queue.Len())
	}
	f.wantVerdict("first", f.OnBlock("a", c.at(1)), p2p.Accept)
	f.want("all of them", hasHead(c))
	f.want("an empty cache", func(*lstar.Snapshot) bool { return f.parked.queue.Len() == 0 })
	f.want("the arrival of all blocks", func(*lstar.Snapshot) bool { return count[events.MessageSeen](f) == 40 })
	f.wantNoPenalty("a")
}

// TestRejectedUnseen checks that a block that is rejected before it reaches the chain is counted.
func TestRejectedUnseen(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 3, true)
	f := newWorld(t, validators, 3)
	twice := *c.at(3)
	vote := twice.Block.Body.Attestations
	if len(vote) == 0 {
		t.Fatal("block 3 has no votes, want some to double")
	}
	twice.Block.Body.Attestations = append(slices.Clone(vote), vote[0])
	f.wantVerdict("the same votes twice", f.OnBlock("a", &twice), p2p.Reject)
	if got := count[events.BlockRejected](f); got != 1 {
		t.Errorf("%v blocks with doubled votes rejected, want 1", got)
	}
}

// TestGossipGap receives one block and fetches those before it.
func TestGossipGap(t *testing.T) {
	validators := registry(4)
	for _, gap := range []lstar.Slot{3, 70} {
		c := newSource(t, validators)
		f := newWorld(t, validators, gap)
		f.connect("a", &fakePeer{chain: c}) // at genesis
		c.grow(1, gap, true)
		f.wantVerdict("orphan", f.OnBlock("a", c.at(gap)), p2p.Ignore)
		f.within(20, "the head", hasHead(c))
		f.wantNoPenalty("a")
	}
}

// TestFarFuture floods the node with blocks far ahead of the clock. They must not move the clock,
// and must not be kept.
func TestFarFuture(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 10, true)
	f := newWorld(t, validators, 5)
	before := f.snap.Time
	for n := range 5000 {
		f.wantVerdict("far ahead", f.OnBlock("liar", fake(lstar.Slot(7+n*1000), 4, n)), p2p.Ignore)
	}
	f.connect("liar", &fakePeer{chain: c, status: func() p2p.Status {
		return p2p.Status{Finalized: lstar.Checkpoint{Root: lstar.Root{1}, Slot: 1 << 62}, Head: lstar.Checkpoint{Root: lstar.Root{1}, Slot: 1 << 63}}
	}})
	if snap := f.snap; snap.Time != before || f.parked.queue.Len() != 0 { // the clock has not moved
		t.Errorf("time = %d and %d blocks are parked, want %d and 0", snap.Time, f.parked.queue.Len(), before)
	}
	f.steps(2)
	if n := f.requestsTo("liar", byRange) + f.requestsTo("liar", byRoot); n > 0 || f.view.Distance > 0 {
		t.Errorf("%d requests and distance %d, want 0 and 0", n, f.view.Distance)
	}
	f.wantVerdict("an honest block", f.OnBlock("b", c.at(1)), p2p.Accept)
}

// TestUnsignedFlood checks that unsigned blocks without parents are not kept, cause no requests,
// and leave the node healthy.
func TestUnsignedFlood(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newWorld(t, validators, 40)
	f.connect("honest", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	before := f.requestsTo("honest", byRoot)
	for n := range 500 {
		b := fake(40, 4, n)
		b.Proof.Proof = []byte(prooftest.Unsigned)
		f.wantVerdict("a block that its proposer did not sign", f.OnBlock("liar", b), p2p.Reject)
	}
	f.steps(10)
	if n := f.parked.queue.Len(); n != 0 {
		t.Errorf("%d blocks are parked, want 0", n)
	}
	if n := f.requestsTo("honest", byRoot) - before; n != 0 {
		t.Errorf("%d requests by root for parents that do not exist, want 0", n)
	}
	if synced, reason := f.synced(); !synced || f.view.Gap || f.view.Distance != 0 {
		t.Errorf("synced = %v (%s), gap %v, distance %d; want a synced node", synced, reason, f.view.Gap, f.view.Distance)
	}
}

// TestOrphanFlood receives thousands of signed blocks without parents from one peer. Only proposers
// that sign several blocks for a slot can make them.
func TestOrphanFlood(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 40, true)
	f := newWorld(t, validators, 40)
	for slot := lstar.Slot(1); slot < 38; slot++ {
		f.wantVerdict("next block", f.OnBlock("honest", c.at(slot)), p2p.Accept)
	}
	f.wantVerdict("an honest orphan", f.OnBlock("honest", c.at(39)), p2p.Ignore)
	f.wantVerdict("an honest orphan", f.OnBlock("honest", c.at(40)), p2p.Ignore)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const flood = 3000
	for n := range flood {
		b := fake(40, 4, n)
		b.Proof.Proof = make([]byte, 256<<10)
		f.wantVerdict("flood", f.OnBlock("liar", b), p2p.Ignore)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > maxParkedBytes*5/4 {
		t.Errorf("the heap grew by %d MiB during a flood of %d MiB, want little more than %d", grown>>20, flood/4, maxParkedBytes>>20)
	}
	// The honest blocks are still parked.
	f.wantVerdict("the missing block", f.OnBlock("honest", c.at(38)), p2p.Accept)
	f.want("the head", hasHead(c))

	// The node requests the missing parents, within bounds and without success.
	f.connect("honest", &fakePeer{chain: c})
	f.connect("liar", &fakePeer{chain: c})
	f.steps(2 * 80)
	if !f.penalized("liar") {
		t.Error("the peer that sent the flood was not penalized")
	}
	f.wantNoPenalty("honest")
	if n := f.requestsTo("honest", byRoot); n > 3*maxParked/maxRoots {
		t.Errorf("%d requests to the honest peer, want at most %d", n, 3*maxParked/maxRoots)
	}
	if synced, reason := f.synced(); synced || reason != UnsyncedAncestor {
		t.Errorf("synced = %v (%s) while signed blocks wait, want false (%s)", synced, reason, UnsyncedAncestor)
	}

	// Once finality has passed the blocks, the node is synced.
	now := f.slot()
	c.grow(now, now+3, true)
	f.steps(4 * lstar.IntervalsPerSlot)
	f.within(10, "the head", hasHead(c))
	if finalized := f.snap.LatestFinalized; finalized.Slot < 39 {
		t.Fatalf("finalized %s, want slot 39 or later", finalized)
	}
	f.within(10, "an empty cache", func(*lstar.Snapshot) bool { return f.parked.queue.Len() == 0 && !f.view.Gap })
	if f.view.Distance != 0 {
		t.Errorf("distance %d, want 0", f.view.Distance)
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
	f := newWorld(t, validators, 8)
	sign := func(validator int, data lstar.AttestationData) *lstar.SignedAttestation {
		signature, err := keys[validator].SignUnguarded(uint64(data.Slot), data.Root())
		if err != nil {
			t.Fatal(err)
		}
		return &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(validator), Data: data, Signature: signature}
	}
	for slot := lstar.Slot(1); slot <= 6; slot++ {
		f.wantVerdict("block", f.OnBlock("a", c.at(slot)), p2p.Accept)
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

	good := sign(0, known)
	f.wantVerdict("a vote", f.OnAttestation("a", good), p2p.Accept)
	f.wantVerdict("the same", f.OnAttestation("b", good), p2p.Ignore)
	stolen := *good
	stolen.ValidatorIndex = 1
	f.wantVerdict("signature of another", f.OnAttestation("a", &stolen), p2p.Reject)
	f.wantVerdict("the real one, in spite of it", f.OnAttestation("a", sign(1, known)), p2p.Accept)
	stranger := *good
	stranger.ValidatorIndex = 4
	f.wantVerdict("the vote of no validator", f.OnAttestation("a", &stranger), p2p.Reject)
	future := known
	future.Slot = 10
	f.wantVerdict("a vote for the future", f.OnAttestation("a", sign(0, future)), p2p.Ignore)
	mismatch := known
	mismatch.Head.Slot = 7
	f.wantVerdict("a head that is elsewhere", f.OnAttestation("a", sign(0, mismatch)), p2p.Reject)

	// Votes for blocks that are yet to come.
	early := sign(2, data)
	f.wantVerdict("an early vote", f.OnAttestation("a", early), p2p.Ignore)
	forged := *early
	forged.ValidatorIndex = 3
	f.wantVerdict("an early forged vote", f.OnAttestation("liar", &forged), p2p.Ignore)
	bits, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{0, 1})
	agg := &lstar.SignedAggregatedAttestation{Data: data, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte{1}}}
	f.wantVerdict("an early aggregate", f.OnAggregate("a", agg), p2p.Ignore)
	bad := *agg
	others, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{2, 3})
	bad.Proof = lstar.SingleMessageAggregate{Participants: others, Proof: []byte(prooftest.Forged)}
	f.wantVerdict("an early forged aggregate", f.OnAggregate("last", &bad), p2p.Ignore)
	for n := range 2000 {
		flood := *early
		flood.Data.Target = known.Target
		flood.Data.Head.Root = lstar.Root{byte(n), byte(n >> 8), 1}
		f.wantVerdict("flood", f.OnAttestation("liar", &flood), p2p.Ignore)
	}
	if n := f.pendingAttestations.queue.Len(); n != maxPendingVotes {
		t.Errorf("%d votes are put aside, want %d", n, maxPendingVotes)
	}
	if n := len(f.pendingAttestations.byMissing[data.Head.Root]); n != 1 {
		t.Errorf("%d early votes wait for the head, want the honest one", n)
	}

	f.wantVerdict("block", f.OnBlock("a", c.at(7)), p2p.Accept)
	f.wantVerdict("block", f.OnBlock("a", c.at(8)), p2p.Accept)
	f.want("the early votes", func(*lstar.Snapshot) bool { return f.penalized("last") })
	f.wantVerdict("the early vote, once more", f.OnAttestation("b", early), p2p.Ignore)
	f.wantVerdict("the aggregate, once more", f.OnAggregate("b", agg), p2p.Ignore)
	f.wantNoPenalty("a")
	forged.ValidatorIndex = 3
	f.wantVerdict("the forged vote, once more", f.OnAttestation("liar", &forged), p2p.Reject)
}
