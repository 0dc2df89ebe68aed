package lstar

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

func reasonOf(err error) RejectionReason {
	var r *Rejection
	if errors.As(err, &r) {
		return r.Reason
	}
	return RejectionReason(fmt.Sprint(err))
}

func TestJustifiable(t *testing.T) {
	want := map[Slot]bool{}
	for i := Slot(0); i <= 5; i++ {
		want[i] = true
	}
	for i := Slot(0); i < 40; i++ {
		want[i*i], want[i*(i+1)] = true, true
	}
	for delta := Slot(0); delta < 1500; delta++ {
		if got := (delta + 7).IsJustifiableAfter(7); got != want[delta] {
			t.Errorf("distance %d: justifiable = %v, want %v", delta, got, want[delta])
		}
	}
	if Slot(6).IsJustifiableAfter(7) {
		t.Error("slot 6 is justifiable after slot 7, want not justifiable")
	}
	for _, n := range []uint64{1 << 31, math.MaxUint32 - 1, math.MaxUint32} {
		for delta, want := range map[uint64]bool{n * n: true, n*n - 1: false, n * (n - 1): true, n*(n-1) + 1: false} {
			if got := Slot(delta).IsJustifiableAfter(0); got != want {
				t.Errorf("distance %d: justifiable = %v, want %v", delta, got, want)
			}
		}
	}
}

// TestHonestChain runs a chain in which all validators vote. Justification and finality
// follow the head closely.
func TestHonestChain(t *testing.T) {
	const slots = 40
	s := newTestStore(t, 6)
	for slot := range Slot(slots) {
		runSlot(t, s, slot)
	}
	if got := s.Head().Slot; got != slots-1 {
		t.Errorf("head slot = %d, want %d", got, slots-1)
	}
	if got := s.LatestJustified().Slot; got < slots-5 {
		t.Errorf("justified slot = %d, want at least %d", got, slots-5)
	}
	if got := s.LatestFinalized().Slot; got < slots-6 {
		t.Errorf("finalized slot = %d, want at least %d", got, slots-6)
	}
	back, err := DecodeState(s.HeadState().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.Root(), s.HeadState().Root(); got != want {
		t.Errorf("root of the decoded state = %s, want %s", got, want)
	}
}

// TestDeterminism checks that the same inputs give the same store.
func TestDeterminism(t *testing.T) {
	run := func() (Checkpoint, Root, []WeighedBlock) {
		s := newTestStore(t, 5)
		for slot := range Slot(12) {
			runSlot(t, s, slot)
		}
		return s.Head(), s.HeadState().Root(), s.Snapshot().Blocks()
	}
	head1, root1, blocks1 := run()
	head2, root2, blocks2 := run()
	if head1 != head2 || root1 != root2 || len(blocks1) != len(blocks2) {
		t.Errorf("second run: head %s, state %s, %d blocks, want %s, %s, %d", head2, root2, len(blocks2), head1, root1, len(blocks1))
	}
}

// TestLongSilence imports a block after a gap of 200,000 slots.
func TestLongSilence(t *testing.T) {
	s := newTestStore(t, 4)
	genesis := s.Head().Root
	importOn(t, s, genesis, 1)
	late := importOn(t, s, s.Head().Root, 200_000)
	if got := s.Head().Root; got != late {
		t.Errorf("head = %s, want %s", got, late)
	}
	state := s.HeadState()
	back, err := DecodeState(state.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.Root(), state.Root(); got != want {
		t.Errorf("root of the decoded state = %s, want %s", got, want)
	}
	b := buildOn(t, s, late, HistoricalRootsLimit)
	s.SkipTo(b.Block.Slot.Interval())
	if err := s.OnBlock(b); err != nil {
		t.Errorf("block at slot %d, the last of the history: %v", b.Block.Slot, err)
	}
	last := b.Block
	proposer, _ := ProposerForSlot(HistoricalRootsLimit+1, 4)
	over := &SignedBlock{Block: Block{Slot: HistoricalRootsLimit + 1, ProposerIndex: proposer, ParentRoot: last.Root()}}
	s.SkipTo(over.Block.Slot.Interval())
	if got := reasonOf(s.OnBlock(over)); got != BlockSlotGapTooLarge {
		t.Errorf("block after the last slot of the history: %s, want %s", got, BlockSlotGapTooLarge)
	}
}

func TestBlockRejections(t *testing.T) {
	s := newTestStore(t, 4)
	genesis := s.Head().Root
	first := importOn(t, s, genesis, 1)
	data := AttestationData{Slot: 1, Head: s.Head(), Target: s.Head(), Source: Checkpoint{genesis, 0}}
	vote := func(bits AggregationBits) AggregatedAttestation { return AggregatedAttestation{bits, data} }
	manyVotes := make([]AggregatedAttestation, MaxAttestationsData+1)
	for i := range manyVotes {
		manyVotes[i] = vote(firstN(t, 4))
		manyVotes[i].Data.Slot += Slot(i)
	}
	for name, tt := range map[string]struct {
		edit func(b *Block)
		want RejectionReason
	}{
		"unknown parent":       {func(b *Block) { b.ParentRoot[0]++ }, UnknownParentBlock},
		"two slots ahead":      {func(b *Block) { b.Slot += 2 }, BlockTooFarInFuture},
		"far future":           {func(b *Block) { b.Slot = math.MaxUint64 }, BlockTooFarInFuture},
		"not after its parent": {func(b *Block) { b.Slot = 1; b.ProposerIndex = 3 }, BlockSlotNotInFuture},
		"wrong proposer":       {func(b *Block) { b.ProposerIndex = 3 }, WrongProposer},
		"no such proposer":     {func(b *Block) { b.ProposerIndex = 4 }, ProposerIndexOutOfRange},
		"wrong state root":     {func(b *Block) { b.StateRoot[5]++ }, StateRootMismatch},
		"repeated vote": {func(b *Block) {
			b.Body.Attestations = []AggregatedAttestation{vote(firstN(t, 2)), vote(firstN(t, 3))}
		}, DuplicateAttestationData},
		"too many votes": {func(b *Block) { b.Body.Attestations = manyVotes }, TooManyAttestationData},
		"voter outside of the registry": {func(b *Block) {
			b.Body.Attestations = []AggregatedAttestation{vote(bitsOf(t, 0, 4))}
		}, ValidatorIndexOutOfRange},
		"vote of no validator": {func(b *Block) {
			b.Body.Attestations = []AggregatedAttestation{vote(ssz.NewBitlist(3))}
		}, EmptyAggregationBits},
	} {
		b := buildOn(t, s, first, 2)
		tt.edit(&b.Block)
		before := s.Snapshot()
		if got := reasonOf(s.OnBlock(b)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if after := s.Snapshot(); after.Head != before.Head || len(after.tree.nodes) != len(before.tree.nodes) {
			t.Errorf("%s: head %s and %d blocks after the rejection, want %s and %d", name,
				after.Head, len(after.tree.nodes), before.Head, len(before.tree.nodes))
		}
	}
	if err := s.OnBlock(buildOn(t, s, first, 2)); err != nil {
		t.Errorf("block one slot ahead of the clock: %v", err)
	}
}

// TestMalformedJustifications applies a block to decoded states whose justifications
// contradict each other, as a peer could send them.
func TestMalformedJustifications(t *testing.T) {
	s := newTestStore(t, 4)
	importOn(t, s, s.Head().Root, 1)
	good := *s.HeadState()
	for name, tt := range map[string]struct {
		roots [][32]byte
		votes int
		want  RejectionReason
	}{
		"too few votes":  {[][32]byte{{1}, {2}}, 7, JustificationVotesLengthMismatch},
		"too many votes": {[][32]byte{{1}}, 5, JustificationVotesLengthMismatch},
		"no targets":     {nil, 4, JustificationVotesLengthMismatch},
		"zero hash":      {[][32]byte{{}, {2}}, 8, ZeroHashJustificationRoot},
	} {
		bad := good
		votes := ssz.NewBitlist(tt.votes)
		bad.justifications = justifications{ssz.Tree{}.Replace(tt.roots), ssz.NewBitTree(&votes)}
		state, err := DecodeState(bad.Encode())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		advanced, err := state.ProcessSlots(2)
		if err != nil {
			t.Fatal(err)
		}
		_, err = advanced.ProcessBlock(&Block{Slot: 2, ProposerIndex: 2, ParentRoot: ssz.HashTreeRoot(&advanced.LatestBlockHeader)})
		if got := reasonOf(err); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestFinalizationDropsStrayVotes checks that finalization drops votes for a root that is
// not on the chain, instead of rejecting the block (leanSpec PR 1180).
func TestFinalizationDropsStrayVotes(t *testing.T) {
	s := newTestStore(t, 4)
	state := s.HeadState()
	history := ssz.Tree{}.Replace([][32]byte{{10}, {11}, {12}, {13}})
	next := *state
	next.historicalBlockHashes = history
	next.justifiedSlots = next.justifiedSlots.Grow(3)
	left := next.finalize(Checkpoint{Root{11}, 1}, []justification{
		{target: Root{10}}, {target: Root{12}}, {target: Root{99}}, {target: Root{13}},
	})
	var targets []Root
	for _, j := range left {
		targets = append(targets, j.target)
	}
	if want := []Root{{12}, {13}}; !slices.Equal(targets, want) {
		t.Errorf("remaining targets = %v, want %v", targets, want)
	}
	if got := next.justifiedSlots.Len(); got != 2 {
		t.Errorf("tracked slots = %d, want 2", got)
	}
}

// TestEquivocation checks that of two votes for one slot the one with the larger data root
// counts, independent of their order (leanSpec PR 1181).
func TestEquivocation(t *testing.T) {
	for _, firstIsLarger := range []bool{true, false} {
		s := newTestStore(t, 4)
		genesis := s.Head()
		a, b := importOn(t, s, genesis.Root, 1), importOn(t, s, genesis.Root, 2)
		var votes []SignedAggregatedAttestation
		for _, c := range []Checkpoint{{a, 1}, {b, 2}} {
			votes = append(votes, SignedAggregatedAttestation{
				AttestationData{Slot: 2, Head: c, Target: genesis, Source: genesis},
				SingleMessageAggregate{firstN(t, 3), []byte{1}},
			})
		}
		slices.SortFunc(votes, func(x, y SignedAggregatedAttestation) int {
			return compareRoots(x.Data.Root(), y.Data.Root())
		})
		want := votes[1].Data.Head.Root
		if firstIsLarger {
			slices.Reverse(votes)
		}
		s.SkipTo(Slot(2).Interval() + 3)
		for i := range votes {
			if err := s.OnGossipAggregatedAttestation(&votes[i]); err != nil {
				t.Fatal(err)
			}
			s.AcceptNewAttestations()
		}
		if got := s.Head().Root; got != want {
			t.Errorf("larger root first = %v: head = %s, want %s", firstIsLarger, got, want)
		}
	}
}

// TestForkChoiceMatchesReference compares a store, with random trees and votes, with an
// implementation of fork choice that follows the specification word by word.
func TestForkChoiceMatchesReference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const validators = 5
		s := newTestStore(t, validators)
		genesis := s.Head()
		roots := []Root{genesis.Root}
		slot := Slot(0)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"block", "vote", "vote", "accept"}).Draw(rt, "op") {
			case "block":
				slot++
				parent := roots[rapid.IntRange(0, len(roots)-1).Draw(rt, "parent")]
				roots = append(roots, importOn(t, s, parent, slot))
			case "vote":
				head := s.checkpoint(roots[rapid.IntRange(0, len(roots)-1).Draw(rt, "head")])
				data := AttestationData{Slot: rapid.Custom(func(rt *rapid.T) Slot {
					return head.Slot + Slot(rapid.Uint64Range(0, uint64(slot-head.Slot)).Draw(rt, "ahead"))
				}).Draw(rt, "slot"), Head: head, Target: genesis, Source: genesis}
				bits := ssz.NewBitlist(validators)
				bits.Set(rapid.IntRange(0, validators-1).Draw(rt, "voter"))
				bits.Set(rapid.IntRange(0, validators-1).Draw(rt, "voter"))
				if err := s.OnGossipAggregatedAttestation(&SignedAggregatedAttestation{data, SingleMessageAggregate{bits, []byte{1}}}); err != nil {
					rt.Fatalf("vote rejected: %v", err)
				}
			case "accept":
				s.AcceptNewAttestations()
			}
			s.UpdateHead()
			s.UpdateSafeTarget()

			known := referenceVotes(s.known, s.latestFinalized.Slot)
			if want := referenceHead(s, known, 0); s.head != want {
				rt.Fatalf("head = %s, want %s", s.head, want)
			}
			pending := referenceVotes(s.pending, s.latestFinalized.Slot)
			if want := referenceHead(s, pending, (2*validators+2)/3); s.safeTarget != want {
				rt.Fatalf("safe target = %s, want %s", s.safeTarget, want)
			}
			for _, b := range s.Snapshot().Blocks() {
				want := 0
				for _, v := range known {
					if b.Block.Slot > s.latestFinalized.Slot && referenceDescends(s, v.Head.Root, b.Root) {
						want++
					}
				}
				if b.Weight != want {
					rt.Fatalf("weight of the block at slot %d = %d, want %d", b.Block.Slot, b.Weight, want)
				}
			}
		}
	})
}

func referenceVotes(pool *pool[*payload], finalized Slot) map[int]AttestationData {
	latest := make(map[int]AttestationData)
	for p := range pool.all {
		for _, agg := range p.proofs {
			for v := range agg.Participants.All {
				old, voted := latest[v]
				newer := p.data.Slot > old.Slot || p.data.Slot == old.Slot && compareRoots(p.data.Root(), old.Root()) > 0
				if p.data.Head.Slot > finalized && (!voted || newer) {
					latest[v] = p.data
				}
			}
		}
	}
	return latest
}

func referenceDescends(s *Store, root, ancestor Root) bool {
	for {
		if root == ancestor {
			return true
		}
		b := s.Block(root)
		if b == nil {
			return false
		}
		root = b.ParentRoot
	}
}

func referenceHead(s *Store, votes map[int]AttestationData, minWeight int) Root {
	head := s.latestJustified.Root
	for {
		best, bestWeight := Root{}, -1
		for i := range s.tree.nodes {
			n := &s.tree.nodes[i]
			if n.block.ParentRoot != head {
				continue
			}
			weight := 0
			for _, v := range votes {
				if referenceDescends(s, v.Head.Root, n.root) {
					weight++
				}
			}
			if weight >= minWeight && (weight > bestWeight || weight == bestWeight && bytes.Compare(n.root[:], best[:]) > 0) {
				best, bestWeight = n.root, weight
			}
		}
		if bestWeight < 0 {
			return head
		}
		head = best
	}
}

// TestAncestors compares ancestorAt with a walk over all parents.
func TestAncestors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tree forkTree
		n := rapid.IntRange(1, 60).Draw(rt, "n")
		root := func(i int) Root { return Root{byte(i), byte(i >> 8), 1} }
		slot := Slot(0)
		for i := range n {
			b := &Block{Slot: slot}
			if i > 0 {
				b.ParentRoot = root(rapid.IntRange(max(0, i-5), i-1).Draw(rt, "parent"))
			}
			tree.add(root(i), b, nil)
			slot += Slot(rapid.IntRange(1, 4).Draw(rt, "gap"))
		}
		for i := range n {
			at := Slot(rapid.Uint64Range(0, uint64(slot)).Draw(rt, "slot"))
			want := i
			for want != noParent && tree.nodes[want].block.Slot > at {
				want = tree.nodes[want].parent
			}
			if got := tree.ancestorAt(i, at); got != want {
				rt.Fatalf("ancestor of node %d at slot %d = %d, want %d", i, at, got, want)
			}
		}
	})
}

// TestPruning runs a chain for more slots than a store retains.
func TestPruning(t *testing.T) {
	s := newTestStore(t, 3)
	old := s.Snapshot()
	const slots = retainedSlots + retainedSlots/5
	for slot := range Slot(slots) {
		runSlot(t, s, slot)
	}
	if n, most := len(s.tree.nodes), retainedSlots+retainedSlots/10+20; n > most {
		t.Errorf("blocks in the store = %d, want at most %d", n, most)
	}
	if sizes := s.Sizes(); sizes.Known > 20 || sizes.Pending > 5 {
		t.Errorf("known aggregates = %d, pending = %d, want at most 20 and 5", sizes.Known, sizes.Pending)
	}
	if old.Block(old.Head.Root) == nil || len(old.Blocks()) != 1 {
		t.Errorf("the old snapshot has %d blocks, want only genesis", len(old.Blocks()))
	}
}

// addVotes adds the votes of the first validators for a slot, as an aggregator receives
// them by gossip.
func addVotes(t *testing.T, s *Store, slot Slot, voters int) {
	t.Helper()
	data, err := s.AttestationData(slot)
	if err != nil {
		t.Fatal(err)
	}
	for v := range voters {
		task, err := s.Snapshot().PrepareAttestation(&SignedAttestation{ValidatorIndex: ValidatorIndex(v), Data: data})
		if err != nil {
			t.Fatal(err)
		}
		s.AddAttestation(task) // without a signature: the proof scheme of the test needs none
	}
}

// TestMinorityVotes lets only half of the validators vote for many slots. Their votes
// justify nothing, and must not fill the blocks once all validators vote again.
func TestMinorityVotes(t *testing.T) {
	const validators, gone, back, slots = 4, 5, 25, 36
	s := newTestStore(t, validators)
	for slot := range Slot(slots) {
		if slot > 0 {
			proposer, _ := ProposerForSlot(slot, validators)
			p, err := s.ProduceBlock(slot, proposer, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.OnBlock(&SignedBlock{Block: *p.Block}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.OnTick(slot.Interval()+1, false, true); err != nil {
			t.Fatal(err)
		}
		voters := validators
		if gone <= slot && slot < back {
			voters = validators / 2
		}
		addVotes(t, s, slot, voters)
		if _, err := s.OnTick(slot.Interval()+4, false, true); err != nil {
			t.Fatal(err)
		}
		if slot == back-1 && s.LatestFinalized().Slot >= gone {
			t.Fatalf("finalized slot = %d while half of the validators voted, want less than %d", s.LatestFinalized().Slot, gone)
		}
	}
	if got := s.LatestFinalized().Slot; got < back {
		t.Errorf("finalized slot = %d after slot %d, want at least %d", got, slots-1, back)
	}
}

// TestProofCapacity runs honest networks whose proofs have room for few signatures. As
// long as a proof has room for two thirds of the validators, the network finalizes.
func TestProofCapacity(t *testing.T) {
	for _, validators := range []int{9, 12, 16, 20, 22} {
		s := newTestStore(t, validators)
		s.crypto.Proofs = prooftest.Trusting{Max: 20} // 19 votes and the proposer
		const slots = 20
		for slot := range Slot(slots) {
			if slot > 0 {
				proposer, _ := ProposerForSlot(slot, validators)
				p, err := s.ProduceBlock(slot, proposer, nil)
				if err != nil {
					t.Fatal(err)
				}
				room := 19
				for i := range p.Block.Body.Attestations {
					room -= p.Block.Body.Attestations[i].AggregationBits.Count()
				}
				if room < 0 {
					t.Fatalf("%d validators, slot %d: %d votes in a block, want at most 19", validators, slot, 19-room)
				}
				if err := s.OnBlock(&SignedBlock{Block: *p.Block}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.OnTick(slot.Interval()+1, false, true); err != nil {
				t.Fatal(err)
			}
			addVotes(t, s, slot, validators)
			if _, err := s.OnTick(slot.Interval()+4, false, true); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.LatestFinalized().Slot; got < slots-8 {
			t.Errorf("%d validators: finalized slot = %d after slot %d, want at least %d", validators, got, slots-1, slots-8)
		}
	}
}

// TestAggregateWithoutRoom checks that signatures for which a proof has no room await the
// next aggregation.
func TestAggregateWithoutRoom(t *testing.T) {
	s := newTestStore(t, 10)
	s.crypto.Proofs = prooftest.Trusting{Max: 8}
	s.SkipTo(1)
	addVotes(t, s, 0, 10)
	made, err := s.Aggregate()
	if err != nil || len(made) != 1 || made[0].Proof.Participants.Count() != 7 {
		t.Fatalf("Aggregate() = %v, %v, want one aggregate of 7 validators", made, err)
	}
	if got := s.Sizes().Signatures; got != 3 {
		t.Errorf("signatures in the store = %d, want 3", got)
	}
}

// TestOwnAggregateContained adds an own aggregate after a larger one that arrived while
// the own one was proved.
func TestOwnAggregateContained(t *testing.T) {
	s := newTestStore(t, 4)
	data := AttestationData{Slot: 1}
	add := func(proof byte, indices ...ValidatorIndex) {
		s.AddOwnAggregate(&SignedAggregatedAttestation{Data: data, Proof: SingleMessageAggregate{bitsOf(t, indices...), []byte{proof}}})
	}
	add(1, 0, 1)
	add(2, 2)
	add(3, 0, 1, 2)
	if n := s.Sizes().Pending; n != 1 {
		t.Fatalf("pending aggregates = %d, want 1: the last contains the others", n)
	}
	add(4, 0, 2)
	if n := s.Sizes().Pending; n != 1 {
		t.Errorf("pending aggregates = %d, want 1: the new one is contained", n)
	}
}

// TestSubsets checks that a store does not keep an aggregate without new validators, and
// that an aggregate replaces those that it contains.
func TestSubsets(t *testing.T) {
	s := newTestStore(t, 6)
	s.SkipTo(1)
	data := AttestationData{Head: s.Head(), Target: s.Head(), Source: s.Head()}
	add := func(validators ...ValidatorIndex) error {
		a := &SignedAggregatedAttestation{data, SingleMessageAggregate{bitsOf(t, validators...), []byte{byte(len(validators))}}}
		task, err := s.Snapshot().PrepareAggregate(a)
		if err != nil {
			return err
		}
		if early := s.CheckNew(task); early != nil {
			if late := s.AddAggregate(task); late != early {
				t.Errorf("AddAggregate = %v after CheckNew = %v, want the same", late, early)
			}
			return early
		}
		return s.AddAggregate(task)
	}
	if err := errors.Join(add(0, 1), add(1, 2)); err != nil {
		t.Fatal(err)
	}
	for _, subset := range [][]ValidatorIndex{{0, 1}, {0}, {0, 2}, {0, 1, 2}} {
		if err := add(subset...); !errors.Is(err, ErrNothingNew) {
			t.Errorf("validators %v: error = %v, want ErrNothingNew", subset, err)
		}
	}
	if err := add(0, 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	if got := s.Sizes().Pending; got != 1 {
		t.Errorf("pending aggregates = %d, want 1: the last contains the others", got)
	}
	s.AcceptNewAttestations()
	if err := add(0, 3); !errors.Is(err, ErrNothingNew) {
		t.Errorf("after the acceptance: error = %v, want ErrNothingNew", err)
	}
}

// TestNoFinality checks that a store keeps old votes without their proofs during a long
// time without justification.
func TestNoFinality(t *testing.T) {
	s := newTestStore(t, 10)
	const slots = 4 * proofSlots
	for slot := range Slot(slots) {
		if slot > 0 {
			proposer, _ := ProposerForSlot(slot, 10)
			p, err := s.ProduceBlock(slot, proposer, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.OnBlock(&SignedBlock{Block: *p.Block}); err != nil {
				t.Fatal(err)
			}
		}
		s.SkipTo(slot.Interval() + 1)
		data, err := s.AttestationData(slot)
		if err != nil {
			t.Fatal(err)
		}
		agg := &SignedAggregatedAttestation{data, SingleMessageAggregate{firstN(t, 5), []byte{1}}}
		if err := s.OnGossipAggregatedAttestation(agg); err != nil {
			t.Fatal(err)
		}
		s.AcceptNewAttestations()
	}
	proofs := 0
	for p := range s.known.all {
		proofs += len(p.usable())
	}
	if proofs > proofSlots+2 {
		t.Errorf("proofs in the store = %d, want at most %d", proofs, proofSlots+2)
	}
	if got := referenceVotes(s.known, 0); len(got) != 5 {
		t.Errorf("validators with a vote = %d, want 5", len(got))
	}
	if head := s.Head(); head.Slot != slots-1 {
		t.Errorf("head slot = %d, want %d", head.Slot, slots-1)
	}
}

func TestReorgDepth(t *testing.T) {
	s := newTestStore(t, 4)
	genesis := s.Head().Root
	a := importOn(t, s, genesis, 1)
	b := importOn(t, s, a, 2)
	c := importOn(t, s, b, 3)
	x := importOn(t, s, a, 4)
	for name, tt := range map[string]struct {
		old, head Root
		want      int
	}{
		"the same": {c, c, 0}, "an extension": {a, c, 0}, "a fork": {c, x, 2}, "back": {x, c, 1},
		"to an ancestor": {c, a, 2}, "unknown": {Root{1}, c, 0},
	} {
		if got := s.ReorgDepth(tt.old, tt.head); got != tt.want {
			t.Errorf("%s: depth = %d, want %d", name, got, tt.want)
		}
	}
}

// TestRecoverProofs checks that the votes of a block count if their proof arrived only
// with the block.
func TestRecoverProofs(t *testing.T) {
	s := newTestStore(t, 4)
	first := importOn(t, s, s.Head().Root, 1)
	data := AttestationData{Slot: 1, Head: Checkpoint{first, 1}, Target: Checkpoint{first, 1}, Source: s.checkpoint(s.tree.nodes[0].root)}
	b := buildOn(t, s, first, 2, AggregatedAttestation{bitsOf(t, 0, 1), data})
	s.SkipTo(Slot(2).Interval())
	if err := s.OnBlock(b); err != nil {
		t.Fatal(err)
	}
	recover := func() (recovered []*SignedAggregatedAttestation) {
		for _, task := range s.RecoveryTasks(b) {
			a, err := task.Prove()
			if err != nil {
				t.Fatal(err)
			}
			s.AddOwnAggregate(a)
			recovered = append(recovered, a)
		}
		return recovered
	}
	recovered := recover()
	if len(recovered) != 1 || recovered[0].Data != data || recovered[0].Proof.Participants.Count() != 2 {
		t.Fatalf("recovered = %v, want one aggregate of 2 validators", recovered)
	}
	if again := recover(); len(again) != 0 {
		t.Errorf("aggregates recovered a second time = %d, want 0", len(again))
	}
	s.AcceptNewAttestations()
	for _, w := range s.Snapshot().Blocks() {
		if w.Root == first && w.Weight != 2 {
			t.Errorf("weight of the block = %d, want 2", w.Weight)
		}
	}
}
