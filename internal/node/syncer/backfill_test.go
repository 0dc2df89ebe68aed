package syncer

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

func TestLateJoiner(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 400, true)
	f := newWorld(t, validators, 400)
	if f.view.Peers != 0 || f.view.Agree != 0 {
		t.Errorf("alone: view %+v, want no peers", f.view)
	}
	ids := []peer.ID{"a", "b", "c"}
	f.together(func() {
		for _, id := range ids {
			f.connect(id, &fakePeer{chain: c})
		}
	})
	f.within(20, "the head", hasHead(c))
	f.want("synced", func(*lstar.Snapshot) bool { return f.view.Agree == 3 })
	if got, want := f.snap.LatestFinalized, c.store.LatestFinalized(); got != want || want.Slot < 390 {
		t.Errorf("finalized %s, want %s, far from genesis", got, want)
	}
	if f.view.Distance != 0 || f.view.Gap {
		t.Errorf("distance = %d and gap = %v at the head, want 0 and false", f.view.Distance, f.view.Gap)
	}
	f.wantNoPenalty(ids...)
	if f.most > maxRequestsPerPeer {
		t.Errorf("%d requests in flight to one peer, want at most %d", f.most, maxRequestsPerPeer)
	}
	asked := 0
	for _, id := range ids {
		if f.requestsTo(id, byRange) > 0 {
			asked++
		}
	}
	if asked < 2 {
		t.Errorf("%d peers received requests by range, want several", asked)
	}
}

// TestDistance checks the view of a node that is behind and whose peers do not answer.
func TestDistance(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 60, true)
	f := newWorld(t, validators, 60)
	f.connect("a", &fakePeer{chain: c, byRange: hangRange, byRoot: noRoots})
	f.want("a gap", func(*lstar.Snapshot) bool { return f.view.Gap })
	if f.view.Distance != 60 {
		t.Errorf("distance = %d, want 60", f.view.Distance)
	}
	if synced, reason := f.synced(); synced || reason != UnsyncedGap {
		t.Errorf("health: synced %v, reason %q; want a known gap", synced, reason)
	}
	f.steps(14)
	if !f.penalized("a") {
		t.Error("a peer that did not answer in time was not penalized")
	}
}

// TestBadPeers syncs from one honest and two other peers.
func TestBadPeers(t *testing.T) {
	validators := registry(4)
	base := newSource(t, validators).grow(1, 20, false)
	honest := base.fork().grow(21, 300, true)
	clockSlot := lstar.Slot(300)

	tests := map[string]struct {
		peer   func(f *world) *fakePeer
		punish bool
	}{
		"forged proofs": {func(f *world) *fakePeer {
			forge := func(in []*lstar.SignedBlock) (out []*lstar.SignedBlock) {
				for _, b := range in {
					out = append(out, &lstar.SignedBlock{Block: b.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte(prooftest.Forged)}})
				}
				return out
			}
			p := &fakePeer{chain: honest}
			p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
				return forge(p.blocks(start, n)), nil
			}
			p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
				return forge(p.roots(roots)), nil
			}
			return p
		}, true},
		"wrong states": {func(f *world) *fakePeer {
			p := &fakePeer{chain: honest}
			p.byRange = func(start lstar.Slot, n uint64) (out []*lstar.SignedBlock, _ error) {
				for _, b := range p.blocks(start, n)[:1] {
					bad := *b
					bad.Block.StateRoot[0]++
					out = append(out, &bad)
				}
				return out, nil
			}
			return p
		}, true},
		"nothing at all": {func(f *world) *fakePeer {
			p := &fakePeer{chain: honest}
			p.byRange = func(lstar.Slot, uint64) ([]*lstar.SignedBlock, error) { return nil, nil }
			p.byRoot = func([]lstar.Root) ([]*lstar.SignedBlock, error) { return nil, nil }
			return p
		}, false},
		"half of every batch": {func(f *world) *fakePeer {
			p := &fakePeer{chain: honest}
			p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
				all := p.blocks(start, n)
				return all[:len(all)/2], nil
			}
			return p
		}, false},
		"stalling": {func(f *world) *fakePeer {
			return &fakePeer{chain: honest, byRange: hangRange, byRoot: hangRoots}
		}, false}, // unless it is asked, which chance decides
		"unsupported protocols": {func(f *world) *fakePeer {
			return &fakePeer{chain: honest, byRange: noRange, byRoot: noRoots}
		}, false},
		"a head that does not exist": {func(f *world) *fakePeer {
			return &fakePeer{chain: honest, status: func() p2p.Status {
				return p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{7}, Slot: clockSlot}}
			}}
		}, false},
		"a finalized block that does not exist": {func(f *world) *fakePeer {
			return &fakePeer{chain: honest, status: func() p2p.Status {
				return p2p.Status{Finalized: lstar.Checkpoint{Root: lstar.Root{7}, Slot: clockSlot}, Head: lstar.Checkpoint{Root: lstar.Root{8}, Slot: clockSlot}}
			}}
		}, false},
		"a short fork": {func(f *world) *fakePeer { return &fakePeer{chain: base.fork().grow(22, 40, false)} }, false},
		"a long fork":  {func(f *world) *fakePeer { return &fakePeer{chain: base.fork().grow(22, 300, false)} }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newWorld(t, validators, clockSlot)
			f.together(func() {
				f.connect("bad", tt.peer(f))
				f.connect("worse", tt.peer(f))
				f.connect("honest", &fakePeer{chain: honest})
			})
			// The node must end on the chain that finalized.
			want := honest.store.LatestFinalized()
			f.within(300, "the honest chain", func(s *lstar.Snapshot) bool {
				return s.LatestFinalized == want && s.Block(honest.store.Head().Root) != nil
			})
			f.wantNoPenalty("honest")
			if tt.punish && !f.penalized("bad") && !f.penalized("worse") {
				t.Error("none of the bad peers was penalized")
			}
			for id, p := range f.fakes {
				// Chance decides whether the honest chain is requested by range, or by root while
				// ranges pause after a failure. By root, each block is requested about once.
				if ranges, roots := p.requests[byRange], p.requests[byRoot]; ranges > 60 || roots > int(clockSlot)+20 {
					t.Errorf("%d requests by range and %d by root to %s, want at most 60 and %d", ranges, roots, id, clockSlot+20)
				}
			}
		})
	}
}

// TestOneMethod syncs from peers that support only one of the two requests for blocks.
func TestOneMethod(t *testing.T) {
	validators := registry(4)
	long, short := newSource(t, validators).grow(1, 100, true), newSource(t, validators).grow(1, 4, true)
	for name, tt := range map[string]struct {
		chain *source
		peer  fakePeer
	}{
		"by root, far behind":     {long, fakePeer{byRange: noRange}},
		"by range, a bit behind":  {short, fakePeer{byRoot: noRoots}},
		"by range, far behind":    {long, fakePeer{byRoot: noRoots}},
		"by root, a bit behind":   {short, fakePeer{byRange: noRange}},
		"one block of each range": {long, fakePeer{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newWorld(t, validators, 100)
			for _, id := range []peer.ID{"a", "b"} {
				p := tt.peer
				p.chain = tt.chain
				if name == "one block of each range" {
					p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
						return p.blocks(start, n)[:1], nil
					}
				}
				f.connect(id, &p)
			}
			f.within(400, "the head", hasHead(tt.chain))
			f.wantNoPenalty("a", "b")
		})
	}
}

// TestDepth checks the bound on the number of ancestors that are requested by root.
func TestDepth(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, maxDepth+40, false)
	f := newWorld(t, validators, maxDepth+40)
	f.connect("a", &fakePeer{chain: c, byRange: noRange})
	f.within(400, "the walk to end", func(*lstar.Snapshot) bool {
		for _, w := range f.missing {
			if w.suspended && w.depth > maxDepth {
				return true
			}
		}
		return false
	})
	if n := f.requestsTo("a", byRoot); n > maxDepth+10 {
		t.Errorf("%d requests by root, want about %d", n, maxDepth)
	}
	// Requests by range then reach the head.
	f.replace("a", &fakePeer{chain: c})
	f.within(400, "the head", hasHead(c))
	f.wantNoPenalty("a")
}

// TestFinalityLag syncs from a peer whose head is not higher than the node's, on a fork with a
// higher finalized slot.
func TestFinalityLag(t *testing.T) {
	validators := registry(4)
	for _, length := range []lstar.Slot{12, 120} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			base := newSource(t, validators).grow(1, 2, false)
			ours := base.fork().grow(4, length, false)
			theirs := base.fork().grow(3, length-1, true)
			f := newWorld(t, validators, length)
			f.connect("a", &fakePeer{chain: ours})
			f.within(20, "our head", hasHead(ours))
			f.disconnect("a")
			want := theirs.store.LatestFinalized()
			if want.Slot == 0 || f.snap.LatestFinalized.Slot != 0 {
				t.Fatalf("finalized %d and %d, want only theirs to be", want.Slot, f.snap.LatestFinalized.Slot)
			}
			f.connect("b", &fakePeer{chain: theirs})
			f.within(100, "finality", func(s *lstar.Snapshot) bool { return s.LatestFinalized == want })
			f.within(20, "synced", func(s *lstar.Snapshot) bool { return !f.view.Gap })
			f.wantNoPenalty("a", "b")
		})
	}
}

// TestPause suspends the process while the network continues.
func TestPause(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 5, true)
	f := newWorld(t, validators, 5)
	f.connect("a", &fakePeer{chain: c})
	f.within(10, "the head", hasHead(c))
	before := c.status()

	f.replace("a", &fakePeer{chain: c, status: func() p2p.Status { return before }})
	f.advance(100 * lstar.SecondsPerSlot * time.Second)
	f.want("an old status to be doubted", func(*lstar.Snapshot) bool { return f.view.Peers == 1 })
	c.grow(6, 105, true)
	after := c.status()
	f.replace("a", &fakePeer{chain: c, status: func() p2p.Status { return after }})
	f.within(30, "the head after the pause", hasHead(c))
	f.within(10, "synced", func(*lstar.Snapshot) bool { synced, _ := f.synced(); return synced })
	f.wantNoPenalty("a")
	if synced, reason := f.synced(); !synced {
		t.Errorf("not healthy after the pause: %s", reason)
	}
}

// TestNetworkPause disconnects all peers and connects them again.
func TestNetworkPause(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 5, true)
	f := newWorld(t, validators, 5)
	f.connect("a", &fakePeer{chain: c})
	f.within(10, "the head", hasHead(c))
	f.disconnect("a")
	f.want("no peers", func(*lstar.Snapshot) bool { return f.view.Peers == 0 })
	f.steps(20 * lstar.IntervalsPerSlot)
	if synced, reason := f.synced(); synced || reason != UnsyncedNoPeers {
		t.Errorf("alone with a stale head: synced %v, %q", synced, reason)
	}
	c.grow(6, 25, true)
	f.connect("a", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	f.wantNoPenalty("a")
}

// TestStalledNetwork stops the whole network: the peers report it, so the node is synced.
func TestStalledNetwork(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 5, true)
	f := newWorld(t, validators, 5)
	f.connect("a", &fakePeer{chain: c})
	f.within(10, "the head", hasHead(c))
	before := f.requestsTo("a", byRange) + f.requestsTo("a", byRoot)
	f.steps(30 * lstar.IntervalsPerSlot)
	f.within(5, "health, as a peer agrees that there is nothing newer", func(*lstar.Snapshot) bool {
		synced, _ := f.synced()
		return synced
	})
	if n := f.requestsTo("a", byRange) + f.requestsTo("a", byRoot); n != before {
		t.Errorf("%d requests for blocks after the sync, want 0", n-before)
	}
	if before > 6 {
		t.Errorf("%d requests for 5 blocks", before)
	}
}

// TestRestart syncs from an honest peer that restarts again and again.
func TestRestart(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 200, true)
	f := newWorld(t, validators, 200)
	p := &fakePeer{chain: c}
	var served atomic.Int32
	p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
		if served.Add(1)%3 == 1 {
			f.disconnect("a")
			f.connect("a", p)
			return nil, context.Canceled
		}
		return p.blocks(start, n), nil
	}
	f.connect("a", p)
	f.within(100, "the head", hasHead(c))
	// After a restart, the peer has only the genesis block.
	orphan := *c.at(200)
	orphan.Block.Slot, orphan.Block.ProposerIndex, orphan.Block.ParentRoot = 201, 1, lstar.Root{9}
	f.OnBlock("a", &orphan)
	f.disconnect("a")
	f.connect("a", &fakePeer{chain: newSource(t, validators)})
	f.steps(60)
	f.within(20, "a gap", func(*lstar.Snapshot) bool { return f.view.Gap })
	f.wantNoPenalty("a")
}

func TestOtherChain(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 30, true)
	f := newWorld(t, validators, 30)
	f.connect("a", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	finalized := f.snap.LatestFinalized
	at := func(slot lstar.Slot, root lstar.Root) p2p.Status {
		return p2p.Status{Finalized: lstar.Checkpoint{Root: root, Slot: slot}, Head: lstar.Checkpoint{Root: root, Slot: slot}}
	}
	for name, tt := range map[string]struct {
		status p2p.Status
		other  bool
	}{
		"no store yet":                        {p2p.Status{}, false},
		"our genesis":                         {at(0, c.store.HeadState().HistoricalBlockHash(0)), false},
		"another genesis":                     {at(0, lstar.Root{1}), true},
		"our finalized block":                 {at(finalized.Slot, finalized.Root), false},
		"another block there":                 {at(finalized.Slot, lstar.Root{1}), true},
		"our block in history":                {at(7, c.at(7).Block.Root()), false},
		"another block in history":            {at(7, lstar.Root{1}), true},
		"no root in history":                  {at(7, lstar.Root{}), true},
		"finalized more than we did":          {at(finalized.Slot+1, lstar.Root{1}), false},
		"finalized in the far future":         {at(1<<63, lstar.Root{1}), false},
		"finalized at the end of all numbers": {at(1<<64-1, lstar.Root{1}), false},
	} {
		if err := f.meet("x", tt.status); (err != nil) != tt.other {
			t.Errorf("%s: error %v, want one: %v", name, err, tt.other)
		}
		f.steps(1)
		f.disconnect("x")
	}
}

// TestAgreement checks the relations of a peer's checkpoints to those of the node.
func TestAgreement(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 30, true)
	f := newWorld(t, validators, 30)
	f.connect("a", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	f.disconnect("a")
	snap := f.snap
	at := func(slot lstar.Slot, root lstar.Root) lstar.Checkpoint {
		return lstar.Checkpoint{Root: root, Slot: slot}
	}
	for name, tt := range map[string]struct {
		finalized, head         lstar.Checkpoint
		wantHead, wantFinalized string
	}{
		"the same":         {snap.LatestFinalized, snap.Head, events.RelationSame, events.RelationSame},
		"a block behind":   {snap.LatestFinalized, at(29, c.at(29).Block.Root()), events.RelationBehind, events.RelationSame},
		"at genesis":       {at(0, snap.HeadState.HistoricalBlockHash(0)), at(0, snap.HeadState.HistoricalBlockHash(0)), events.RelationBehind, events.RelationBehind},
		"no store yet":     {lstar.Checkpoint{}, lstar.Checkpoint{}, events.RelationBehind, events.RelationBehind},
		"ahead":            {at(snap.LatestFinalized.Slot+1, lstar.Root{1}), at(31, lstar.Root{1}), events.RelationAhead, events.RelationAhead},
		"another head":     {snap.LatestFinalized, at(30, lstar.Root{1}), events.RelationFork, events.RelationSame},
		"another old head": {snap.LatestFinalized, at(28, lstar.Root{1}), events.RelationFork, events.RelationSame},
		"another chain":    {at(7, lstar.Root{1}), snap.Head, "", events.RelationConflict},
	} {
		_ = f.meet("x", p2p.Status{Finalized: tt.finalized, Head: tt.head})
		for relation, got := range map[string]map[string]int{tt.wantHead: f.agreement.Heads, tt.wantFinalized: f.agreement.Finalized} {
			maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
			if relation != "" && (len(got) != 1 || got[relation] != 1) || relation == "" && len(got) != 0 {
				t.Errorf("%s: peers by relation are %v, want one %q", name, got, relation)
			}
		}
		f.disconnect("x")
		clear(f.conflicts)
	}
	if err := f.meet("x", p2p.Status{Finalized: at(7, lstar.Root{1})}); err == nil {
		t.Error("another chain was not refused")
	}
	f.disconnect("x")
	if got := f.agreement.Finalized[events.RelationConflict]; got != 1 {
		t.Errorf("%d peers of another chain are counted, want 1", got)
	}
	for at := f.time; f.time.Sub(at) <= conflictTime; {
		f.steps(1)
	}
	if got := f.agreement.Finalized[events.RelationConflict]; got != 0 {
		t.Errorf("%d peers of another chain are still counted, want 0", got)
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 100; n++ {
		b := backoff(n)
		if b < last || b < time.Second || b > time.Minute {
			t.Fatalf("after %d failures: %s, after one less %s; want it to grow from 1s to 1m", n, b, last)
		}
		last = b
	}
}

// TestYoungPeers syncs in a network with honest peers that started from a checkpoint and have no
// older blocks.
func TestYoungPeers(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 300, true)
	f := newWorld(t, validators, 300)
	for _, id := range []peer.ID{"young", "younger"} {
		p := &fakePeer{chain: c}
		since := func(in []*lstar.SignedBlock) (out []*lstar.SignedBlock) {
			for _, b := range in {
				if b.Block.Slot >= 150 {
					out = append(out, b)
				}
			}
			return out
		}
		p.byRange = func(start lstar.Slot, n uint64) ([]*lstar.SignedBlock, error) {
			return since(p.blocks(start, n)), nil
		}
		p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
			return since(p.roots(roots)), nil
		}
		f.connect(id, p)
	}
	f.connect("old", &fakePeer{chain: c})
	f.within(100, "the head", hasHead(c))
	f.wantNoPenalty("young", "younger", "old")
}

// TestLateParent checks that a node imports a chain whose first block no peer has for a long time,
// as soon as a peer has it. The other blocks arrive by gossip.
func TestLateParent(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 60, true)
	f := newWorld(t, validators, 0)
	f.connect("a", &fakePeer{chain: c, status: func() p2p.Status { return p2p.Status{} }, byRange: noRange,
		byRoot: func([]lstar.Root) ([]*lstar.SignedBlock, error) { return nil, nil }})
	slot := lstar.Slot(1)
	next := func() {
		f.steps(lstar.IntervalsPerSlot)
		if slot > 1 {
			f.OnBlock("a", c.at(slot))
		}
		slot++
	}
	for range 40 {
		next()
	}
	if head := f.snap.Head.Slot; head != 0 {
		t.Fatalf("head slot = %d without the first block, want 0", head)
	}
	if n := f.requestsTo("a", byRoot); n > 45 {
		t.Errorf("%d requests in 40 slots for a block that no peer has", n)
	}
	f.replace("a", &fakePeer{chain: c, status: func() p2p.Status { return p2p.Status{} }, byRange: noRange})
	for range 20 {
		next()
		f.steps(1)
	}
	f.within(20, "the head", hasHead(c))
}

// TestFarBehind checks that a node warns if peers no longer serve the blocks that it needs.
func TestFarBehind(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 20, true)
	now := lstar.Slot(20 + p2p.MinSlotsForBlockRequests)
	f := newWorld(t, validators, now)
	f.connect("a", &fakePeer{chain: c, byRange: noRange, byRoot: noRoots, status: func() p2p.Status {
		return p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{1}, Slot: now}}
	}})
	f.steps(300)
	f.wantNoPenalty("a")
	if n := f.requestsTo("a", byRange) + f.requestsTo("a", byRoot); n > 40 {
		t.Errorf("%d requests in a minute to a peer that serves nothing", n)
	}
	warned := f.warned
	if !warned {
		t.Error("the log has no warning that the node cannot catch up")
	}
	f.replace("a", &fakePeer{chain: c})
	f.within(400, "the head", hasHead(c))
}

// TestNoServer checks that a node whose peers have a longer chain and serve no blocks, as
// leanSpec's node does, warns once with the reason, and syncs when a peer serves them.
func TestNoServer(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 20, true)
	f := newWorld(t, validators, 20)
	refused := &p2p.ResponseError{Code: wire.ServerError, Text: "Block lookup not available"}
	f.connect("a", &fakePeer{
		chain:   c,
		byRange: func(lstar.Slot, uint64) ([]*lstar.SignedBlock, error) { return nil, refused },
		byRoot:  func([]lstar.Root) ([]*lstar.SignedBlock, error) { return nil, refused },
	})
	f.steps(300)
	if log := strings.Join(f.warnings, "\n"); strings.Count(log, "no peer serves the missing blocks") != 1 || !strings.Contains(log, refused.Text) {
		t.Errorf("warnings:\n%swant one that no peer serves the blocks, with %q", log, refused.Text)
	}
	f.wantNoPenalty("a")
	f.replace("a", &fakePeer{chain: c})
	f.within(400, "the head", hasHead(c))
}

// TestShortRanges syncs from a peer that ends each of its responses after 5 blocks.
func TestShortRanges(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 400, true)
	f := newWorld(t, validators, 400)
	p := &fakePeer{chain: c}
	p.byRange = func(start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error) {
		return p.blocks(start, min(count, 5)), nil
	}
	f.connect("a", p)
	f.within(40, "the head", hasHead(c))
	f.wantNoPenalty("a")
	// 80 responses of 5 blocks, and no block twice.
	if got, most := f.requestsTo("a", byRange), 90; got > most {
		t.Errorf("%d requests for 400 blocks at 5 each, want at most %d", got, most)
	}
}

// TestShortRootResponses fetches parents from a peer that ends each of its responses after one block.
func TestShortRootResponses(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 16, true)
	f := newWorld(t, validators, 16)
	p := &fakePeer{chain: c, status: func() p2p.Status { return p2p.Status{} }, byRange: noRange}
	p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
		return p.roots(roots)[:1], nil
	}
	f.connect("a", p)
	for slot := lstar.Slot(16); slot > 0; slot -= 2 {
		f.wantVerdict("an orphan", f.OnBlock("a", c.at(slot)), p2p.Ignore)
	}
	f.within(4, "the head", hasHead(c))
	f.wantNoPenalty("a")
}
