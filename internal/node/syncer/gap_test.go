package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// withHoles returns a peer that serves a chain except for the blocks of some slots.
func withHoles(c *source, holes ...lstar.Slot) *fakePeer {
	p := &fakePeer{chain: c}
	keep := func(in []*lstar.SignedBlock) []*lstar.SignedBlock {
		return slices.DeleteFunc(slices.Clone(in), func(b *lstar.SignedBlock) bool { return slices.Contains(holes, b.Block.Slot) })
	}
	p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
		return keep(p.blocks(start, n)), nil
	}
	p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
		return keep(p.roots(roots)), nil
	}
	return p
}

// wantBehind fails unless the view shows a node that is not synced, with the distance to a slot.
func (f *world) wantBehind(when string, highest lstar.Slot) {
	f.t.Helper()
	synced, reason := f.synced()
	head := f.snap.Head.Slot
	if v := f.view; synced || !v.Gap || v.Distance != uint64(highest-head) {
		f.t.Errorf("%s: synced = %v (%s), view %+v with head slot %d; want a node that is not synced, distance %d",
			when, synced, reason, v, head, highest-head)
	}
}

// TestMissingAncestor syncs from a single peer that does not have one of the blocks. The node is
// not synced while later blocks wait for it, even if it pauses its requests.
func TestMissingAncestor(t *testing.T) {
	validators := registry(4)
	for _, end := range []string{"another peer", "a block by gossip", "the peer gets it"} {
		t.Run(end, func(t *testing.T) {
			c := newSource(t, validators).grow(1, 16, false)
			f := newWorld(t, validators, 16)
			for slot := lstar.Slot(1); slot <= 10; slot++ {
				f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
			}
			f.connect("lone", withHoles(c, 11))
			f.within(30, "the missing block to be given up", func(*lstar.Snapshot) bool { return f.view.MissingAncestor })
			for n := range 20 * lstar.IntervalsPerSlot {
				f.steps(1)
				if now := f.slot(); now <= 18 { // within the slots that a head may be behind
					f.wantBehind(fmt.Sprintf("%d intervals later", n), 16)
				}
			}
			f.wantBehind("at last", 16)
			if synced, reason := f.synced(); synced || reason != UnsyncedAncestor {
				t.Errorf("synced = %v (%s), want false (%s)", synced, reason, UnsyncedAncestor)
			}
			before := f.requestsTo("lone", byRoot)
			if before > 20 {
				t.Errorf("%d requests by root for a block that the peer does not have, want at most 20", before)
			}
			switch end {
			case "another peer":
				f.connect("another", &fakePeer{chain: c})
				f.within(2, "the head, at once", hasHead(c))
			case "a block by gossip":
				f.replace("lone", &fakePeer{chain: c})
				if n := f.requestsTo("lone", byRoot); n != before {
					t.Fatalf("%d requests without a cause, want 0", n-before)
				}
				now := f.slot()
				c.grow(now, now, false)
				f.wantVerdict("a block of the chain that waits", f.OnBlock("lone", c.at(now)), p2p.Ignore)
				f.within(2, "the head, at once", hasHead(c))
			case "the peer gets it":
				f.replace("lone", &fakePeer{chain: c})
				f.within(int(maxSuspendTime/slotTime)*lstar.IntervalsPerSlot, "the head", hasHead(c))
			}
			f.within(10, "no gap", func(*lstar.Snapshot) bool { return !f.view.Gap && f.view.Distance == 0 })
			f.wantNoPenalty("lone", "another")
		})
	}
}

// TestLiar connects a peer that reports a head and does not serve it.
func TestLiar(t *testing.T) {
	validators := registry(4)
	claim := func() p2p.Status {
		return p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{7}, Slot: 15}}
	}
	nothing := func([]lstar.Root) ([]*lstar.SignedBlock, error) { return nil, nil }
	for name, liar := range map[string]fakePeer{
		"that does not have it":    {byRoot: nothing},
		"that refuses":             {byRange: noRange, byRoot: noRoots},
		"that sends unsigned ones": {byRoot: nothing, byRange: noRange},
	} {
		t.Run(name, func(t *testing.T) {
			c := newSource(t, validators).grow(1, 10, false)
			f := newWorld(t, validators, 15)
			liar.chain, liar.status = c, claim
			f.connect("honest", &fakePeer{chain: c})
			f.within(20, "the head", hasHead(c))
			f.connect("liar", &liar)
			f.steps(2 * lstar.IntervalsPerSlot)
			f.within(60, "health", func(*lstar.Snapshot) bool { return !f.view.Gap })
			for range 100 {
				f.steps(1)
				if f.view.Gap {
					t.Fatal("the claim counts again, want it to count once")
				}
			}
			f.wantNoPenalty("honest")
		})
	}
}

// TestBadCopy syncs from a single peer that responds with an invalid copy of one block. The copy
// counts as one fault, and the node fetches the block from the next peer.
func TestBadCopy(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 16, false)
	tests := map[string]struct {
		proof  string
		faults int
	}{
		"forged":   {prooftest.Forged, 1},
		"unsigned": {prooftest.Unsigned, 1},
		"empty":    {"", 0},
	}
	for name, tt := range tests {
		for _, ranges := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ranges %v", name, ranges), func(t *testing.T) {
				f := newWorld(t, validators, 16)
				for slot := lstar.Slot(1); slot <= 10; slot++ {
					f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
				}
				p := &fakePeer{chain: c, byRange: noRange}
				spoil := func(in []*lstar.SignedBlock) (out []*lstar.SignedBlock) {
					for _, b := range in {
						if b.Block.Slot == 11 {
							b = &lstar.SignedBlock{Block: b.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte(tt.proof)}}
						}
						out = append(out, b)
					}
					return out
				}
				p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
					return spoil(p.roots(roots)), nil
				}
				if ranges {
					p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
						return spoil(p.blocks(start, n)), nil
					}
				}
				f.connect("bad", p)
				f.steps(20 * lstar.IntervalsPerSlot)
				f.wantBehind("after 20 slots", 16)
				faults := len(f.penalties["bad"])
				if faults != tt.faults {
					t.Errorf("%d faults of the peer, want %d", faults, tt.faults)
				}
				if roots, all := f.requestsTo("bad", byRoot), f.requestsTo("bad", byRange); roots > 20 || all > 30 {
					t.Errorf("%d requests by root and %d by range in 20 slots, want at most 20 and 30", roots, all)
				}
				// If the peer is gone, the blocks still wait.
				f.disconnect("bad")
				f.steps(1)
				f.wantBehind("without a peer", 16)
				f.connect("good", &fakePeer{chain: c})
				f.within(2, "the head, at once", hasHead(c))
				f.wantNoPenalty("good")
			})
		}
	}
}

// TestAncestryInConflict receives signed blocks of a fork that begins before the finalized block.
// They can never be imported, and do not count as a gap.
func TestAncestryInConflict(t *testing.T) {
	validators := registry(4)
	base := newSource(t, validators).grow(1, 2, false)
	theirs := base.fork().grow(4, 30, false)
	ours := base.fork().grow(3, 30, true)
	f := newWorld(t, validators, 30)
	f.connect("ours", &fakePeer{chain: ours})
	f.within(20, "our head", hasHead(ours))
	if f.snap.LatestFinalized.Slot < 20 {
		t.Fatalf("finalized %s, want slot 20 or later", f.snap.LatestFinalized)
	}
	f.connect("theirs", &fakePeer{chain: theirs, byRange: noRange})
	f.OnBlock("theirs", theirs.at(30))
	f.within(200, "the fork to be dropped", func(*lstar.Snapshot) bool { return f.parked.queue.Len() == 0 && !f.view.Gap })
	before := f.requestsTo("theirs", byRoot)
	for range 20 {
		f.steps(1)
		f.OnBlock("theirs", theirs.at(30))
	}
	if f.view.Gap || f.parked.queue.Len() != 0 {
		t.Errorf("gap %v, %d blocks parked, want none", f.view.Gap, f.parked.queue.Len())
	}
	if n := f.requestsTo("theirs", byRoot); n != before {
		t.Errorf("%d more requests for the fork, want 0", n-before)
	}
	f.wantNoPenalty("ours", "theirs")
}

// TestStoppedImports has the chain stop in the middle of everything: no peer is at fault, and
// nothing is asked for again and again.
func TestStoppedImports(t *testing.T) {
	validators := registry(4)
	for _, distance := range []lstar.Slot{4, 100} {
		for _, err := range []error{chain.ErrStopped, context.Canceled, context.DeadlineExceeded} {
			t.Run(fmt.Sprintf("%d slots, %v", distance, err), func(t *testing.T) {
				c := newSource(t, validators).grow(1, distance, true)
				f := newWorld(t, validators, distance)
				f.broken = err
				f.connect("a", &fakePeer{chain: c})
				f.connect("b", &fakePeer{chain: c})
				f.steps(60)
				f.wantVerdict("a block", f.OnBlock("c", c.at(1)), p2p.Ignore)
				f.wantVerdict("an orphan", f.OnBlock("c", c.at(distance)), p2p.Ignore)
				f.wantNoPenalty("a", "b", "c")
				for _, p := range f.peers {
					if p.score < initialScore {
						t.Errorf("score of %s = %d, want at least %d", p.id, p.score, initialScore)
					}
				}
				if n := f.requestsTo("a", byRange) + f.requestsTo("b", byRange); n > 10 {
					t.Errorf("%d requests by range, want at most 10", n)
				}
				f.broken = nil
				f.advance(lstar.MillisecondsPerInterval * time.Millisecond)
				f.within(200, "the head", hasHead(c))
				f.wantNoPenalty("a", "b", "c")
			})
		}
	}
}

// TestDecision plays random events and compares the view with them: waiting signed blocks always
// count as a gap, and nothing else does for a long time.
func TestDecision(t *testing.T) {
	runs := 25
	if testing.Short() {
		runs = 5
	}
	c := newSource(t, registry(4)).grow(1, 30, false)
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playRandom(t, c, rand.New(rand.NewPCG(uint64(seed), 1))) })
	}
}

func playRandom(t *testing.T, c *source, random *rand.Rand) {
	n := newWorld(t, c.store.HeadState().Validators, 30)
	ids := []peer.ID{"a", "b", "c"}
	at := func(e byte) lstar.Slot { return lstar.Slot(e>>3) % 30 }
	for range 24 {
		e := byte(random.Uint32())
		id := ids[int(e>>3)%len(ids)]
		connected := n.fakes[id] != nil
		switch e % 8 {
		case 0:
			if !connected {
				n.connect(id, withHoles(c, 5, 12, 20))
			}
		case 1, 2: // a signed block, maybe without its parent
			n.OnBlock(id, c.at(at(e)+1))
		case 3: // a block that its proposer did not sign
			b := fake(30, 4, int(e))
			b.Proof.Proof = []byte(prooftest.Unsigned)
			n.OnBlock(id, b)
		case 4: // a copy of which only the proposer's part is valid
			n.OnBlock(id, forgedCopy(c.at(at(e)+1)))
		case 5:
			if connected {
				n.disconnect(id)
			}
		case 6: // a liar
			if !connected {
				n.connect(id, &fakePeer{chain: c, status: func() p2p.Status {
					return p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{e}, Slot: 30}}
				}})
			}
		default:
			n.steps(lstar.IntervalsPerSlot)
		}
		n.holds(t)
	}
	// In the end only signed blocks that wait keep the node from being synced.
	n.steps(15 * lstar.IntervalsPerSlot)
	n.holds(t)
	if v := n.view; v.Gap && n.waiting(0) == 0 {
		t.Errorf("view %+v and no waiting blocks, want no gap", v)
	}
}

// waiting returns the number of blocks that have waited for a missing block for at least a number
// of intervals.
func (f *world) waiting(intervals lstar.Interval) (n int) {
	now := f.time
	for parent, children := range f.parked.byParent {
		if w := f.missing[parent]; w != nil && w.referenced && !f.parked.has(parent) && !f.importing[parent] && !f.known(parent) &&
			now.Sub(w.since) >= time.Duration(intervals)*lstar.MillisecondsPerInterval*time.Millisecond {
			n += len(children)
		}
	}
	return n
}

// holds checks the invariants of a view when no effect is pending.
func (f *world) holds(t *testing.T) {
	t.Helper()
	f.steps(1)
	synced, reason := f.synced()
	if v := f.view; f.waiting(2*lstar.IntervalsPerSlot) > 0 && (synced || !v.Gap) {
		t.Errorf("synced = %v (%s), view %+v while signed blocks wait, want false", synced, reason, v)
	}
	if synced != (reason == "") {
		t.Errorf("synced = %v with reason %q, want a reason exactly if it is not", synced, reason)
	}
}
