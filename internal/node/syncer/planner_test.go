package syncer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// stepper calls Step and Effects and nothing else: no effect is carried out.
type stepper struct {
	t *testing.T
	*planner
	at time.Time
}

func newStepper(t *testing.T, c *source, slot lstar.Slot) *stepper {
	w := newWorld(t, c.store.HeadState().Validators, slot)
	s := &stepper{t, newPlanner(w.clock, w.time, w.snap, 1), w.time}
	s.do(ticked{})
	return s
}

// do passes events to the planner and returns the effects, described, without what is reported,
// logged and shown.
func (s *stepper) do(events ...event) (effects []effect) {
	for _, e := range events {
		s.Step(s.at, e)
	}
	return slices.DeleteFunc(s.Effects(), func(e effect) bool {
		switch e.(type) {
		case report, logLine, show:
			return true
		}
		return false
	})
}

// want fails unless the effects are as described, a prefix for each.
func (s *stepper) want(what string, got []effect, want ...string) {
	s.t.Helper()
	ok := len(got) == len(want)
	var all []string
	for i, e := range got {
		all = append(all, strings.TrimSpace(describe(e)))
		ok = ok && strings.HasPrefix(all[i], want[i])
	}
	if !ok {
		s.t.Fatalf("%s: effects %q, want %q", what, all, want)
	}
}

func status(from peer.ID, c *source) statusReceived {
	return statusReceived{&statusMessage{from, c.status()}}
}

// requestOf returns the request of the last effect that sends one.
func requestOf(effects []effect) *request {
	for _, e := range slices.Backward(effects) {
		if e, ok := e.(send); ok {
			return e.request
		}
	}
	return nil
}

func answer(r *request, blocks ...*lstar.SignedBlock) answered {
	a := answered{request: r}
	for _, b := range blocks {
		a.blocks = append(a.blocks, &candidate{block: b, root: b.Block.Root(), from: r.peer})
	}
	return a
}

// TestStatusDirection checks that the side that dialed asks first, and that a jump of the clock,
// in either direction, ends requests without a penalty and lets them be sent again.
func TestStatusDirection(t *testing.T) {
	c := newSource(t, registry(4))
	s := newStepper(t, c, 1)
	asked := s.do(peerConnected{"a", true})
	s.want("a peer that was dialed", asked, "send "+peer.ID("a").String()+" 2")
	s.want("the same peer", s.do(ticked{}))
	s.want("a peer that dialed", s.do(peerConnected{"b", false}))
	s.at = s.at.Add(staleTime)
	s.want("a peer that dialed and sends no status", s.do(ticked{}), "send "+peer.ID("b").String()+" 2")
	s.want("its status", s.do(status("b", c)), "status ")
	s.want("a peer that leaves", s.do(peerGone{"a"}), "cancel ")
	s.want("an answer that comes too late", s.do(answered{request: requestOf(asked)}))
	s.at = s.at.Add(time.Hour)
	for range 2 { // the second one goes back
		s.want("a jump of the clock", s.do(ticked{}), "cancel "+peer.ID("b").String(), "send "+peer.ID("b").String()+" 2")
		s.at = s.at.Add(-time.Hour)
	}
}

// TestStatusAge checks when a peer is asked for its status again.
func TestStatusAge(t *testing.T) {
	ours := newSource(t, registry(4)).grow(1, 10, false)
	for name, tt := range map[string]struct {
		now  lstar.Slot
		want time.Duration
	}{
		"a recent head": {10, quietTime},
		"a stale head":  {13, staleTime},
	} {
		w := newWorld(t, ours.store.HeadState().Validators, tt.now)
		for slot := lstar.Slot(1); slot <= 10; slot++ {
			w.wantVerdict("block", w.OnBlock("a", ours.at(slot)), p2p.Accept)
		}
		s := &stepper{t, newPlanner(w.clock, w.time, w.snap, 1), w.time}
		s.do(ticked{}, peerConnected{"a", false}, status("a", ours))
		var asked time.Duration
		for ; asked < time.Hour; asked += intervalTime {
			s.at = w.time.Add(asked)
			if tt.want == quietTime { // as if blocks came: the head stays recent
				s.planner.clock.GenesisTime = uint64(genesisTime + int64(asked/time.Second))
			}
			if got := s.do(ticked{}); len(got) > 0 && requestOf(got) != nil && requestOf(got).kind == statusRequest {
				break
			}
		}
		if asked != tt.want {
			t.Errorf("%s: asked again after %s, want %s", name, asked, tt.want)
		}
	}
}

// TestRequestedOnce checks that a block is requested once, however many peers and children refer to
// it, and from another peer if the first one does not have it.
func TestRequestedOnce(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 3, false)
	s := newStepper(t, c, 3)
	for _, id := range []peer.ID{"a", "b", "c"} {
		s.do(peerConnected{id, false})
	}
	missing := "[" + c.at(3).Block.Root().String() + "]"
	sent := s.do(status("a", c), status("b", c))
	s.want("a head that two peers claim", sent, "status", "status", "send ")
	if got := describe(sent[2]); !strings.Contains(got, missing) {
		t.Errorf("%s, want %s", got, missing)
	}
	s.want("a third claim", s.do(status("c", c)), "status")
	s.want("an interval", s.do(ticked{}))
	first := requestOf(sent)
	s.want("a peer that does not have it", s.do(answer(first)))
	s.at = s.at.Add(2 * time.Second)
	again := s.do(ticked{})
	s.want("another peer", again, "send ")
	second := requestOf(again)
	if second.peer == first.peer {
		t.Errorf("%s was asked twice", first.peer)
	}
	// The parent of the block is unknown, so its proposer's signature is checked first.
	got := s.do(answer(second, c.at(3)))
	s.want("the block", got, "check ")
	for range 2 { // not at once, which would be a jump of the clock
		s.at = s.at.Add(requestTimeout / 2)
		s.do(ticked{})
	}
	if !slices.Contains(s.requests, second) {
		t.Error("the request ended while its answer was being checked, want no deadline for this node's work")
	}
	s.want("a signed block", s.do(proposersChecked{got[0].(checkProposers), []error{nil}}), "send ")
	if !s.parked.has(c.at(3).Block.Root()) {
		t.Error("the block is not parked")
	}
}

// TestTwoCopies checks that a forged copy of a block does not displace the valid one that the same
// peer sends after it.
func TestTwoCopies(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 1, false)
	s := newStepper(t, c, 1)
	root := c.at(1).Block.Root()
	forged := &candidate{block: forgedCopy(c.at(1)), root: root, from: "a"}
	valid := &candidate{block: c.at(1), root: root, from: "a"}
	s.want("the first copy", s.do(blockGossiped{forged}), "import ")
	s.want("the second", s.do(blockGossiped{valid}), "verdict ")
	got := s.do(blockImported{forged, &lstar.Rejection{Reason: lstar.InvalidBlockProof}})
	s.want("the first is invalid", got, "verdict ", "import ")
	if i := got[1].(importBlock); i.candidate != valid {
		t.Errorf("import of %v, want the second copy", i.candidate)
	}
}

// TestFailedImport checks that a block is imported again after a failure of this node, in a later
// interval, also if the clock has been set back.
func TestFailedImport(t *testing.T) {
	for name, step := range map[string]time.Duration{"later": intervalTime, "earlier": -2 * intervalTime, "long before": -8 * slotTime} {
		c := newSource(t, registry(4)).grow(1, 2, false)
		s := newStepper(t, c, 10)
		root := c.at(1).Block.Root()
		parked := &candidate{block: c.at(1), root: root, from: "a"}
		s.do(blockGossiped{&candidate{block: forgedCopy(c.at(1)), root: root, from: "b"}})
		s.want("another copy", s.do(blockGossiped{parked}), "verdict ")
		failed := blockImported{parked, p2p.ErrNotConnected}
		delete(s.importing, root)
		s.want("its turn", s.do(ticked{}), "import ")
		s.want("a failure", s.do(failed))
		s.want("the same interval", s.do(ticked{}))
		s.at = s.at.Add(step)
		s.want(name, s.do(ticked{}), "import ")
	}
}

// TestUnsignedBlock checks that a block that its proposer did not sign is rejected and not parked.
func TestUnsignedBlock(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 3, false)
	s := newStepper(t, c, 3)
	b := spoiled(c.at(3), prooftest.Unsigned)
	got := s.do(blockGossiped{&candidate{block: b, root: b.Block.Root(), from: "a"}})
	s.want("a block without its parent", got, "check ")
	got = s.do(proposersChecked{got[0].(checkProposers), []error{&lstar.Rejection{Reason: lstar.InvalidBlockProof}}})
	s.want("its check", got, "verdict ")
	if got[0].(verdict).verdict != p2p.Reject || s.parked.queue.Len() != 0 {
		t.Errorf("%+v with %d parked blocks, want a rejection and 0", got[0], s.parked.queue.Len())
	}
}

// TestForgedInRange checks that a peer that sent an invalid copy of a block in a range is not asked
// for the same block by its root.
func TestForgedInRange(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 1, false)
	s := newStepper(t, c, 12)
	s.do(peerConnected{"liar", false})
	sent := s.do(statusReceived{&statusMessage{"liar", p2p.Status{Head: lstar.Checkpoint{Root: c.at(1).Block.Root(), Slot: 12}}}})
	s.want("a claim far ahead", sent, "status ", "send "+peer.ID("liar").String()+" 1")
	got := s.do(answer(requestOf(sent), forgedCopy(c.at(1))))
	s.want("the range", got, "import ", "send ") // and the rest of the range
	failed := blockImported{got[0].(importBlock).candidate, &lstar.Rejection{Reason: lstar.InvalidBlockProof}}
	s.want("a forged block", s.do(failed), "syncer.penalize", "cancel ")
}

// TestPostponedVotes checks which votes wait for a block: not those that name a block that is
// never imported.
func TestPostponedVotes(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 10)
	for _, tt := range []struct {
		reason lstar.RejectionReason
		head   lstar.Slot
		want   int
	}{
		{lstar.UnknownHeadBlock, 4, 1},
		{lstar.UnknownHeadBlock, 5, 1},
		{lstar.UnknownHeadBlock, 6, 0}, // after the vote
		{lstar.UnknownHeadBlock, 0, 0}, // at the finalized slot, on another chain
		{lstar.HeadNotDescendantOfFinalized, 4, 0},
	} {
		data := lstar.AttestationData{Slot: 5, Head: lstar.Checkpoint{Root: lstar.Root{1}, Slot: tt.head}}
		v := &vote{from: "a", aggregate: &lstar.SignedAggregatedAttestation{Data: data}}
		s.want("a vote", s.do(voteGossiped{v}), "judge ")
		s.want("its check", s.do(voteJudged{v, &lstar.Rejection{Reason: tt.reason}}), "verdict ")
		if got := len(s.pendingAggregates.take(lstar.Root{1})); got != tt.want {
			t.Errorf("%s, head slot %d: %d votes wait, want %d", tt.reason, tt.head, got, tt.want)
		}
	}
}

// TestUnlockedVotes checks that votes whose block has arrived are bounded, and judged a few at a
// time.
func TestUnlockedVotes(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 10)
	votes := make([]*vote, maxUnlocked+5)
	for i := range votes {
		votes[i] = &vote{from: "a", aggregate: new(lstar.SignedAggregatedAttestation)}
	}
	s.unlock(votes[:maxUnlocked-1])
	s.unlock(votes[maxUnlocked-1:])
	if len(s.unlocked) != maxUnlocked || len(s.effects) != 5 {
		t.Errorf("%d votes and %d reports of dropped votes, want %d and 5", len(s.unlocked), len(s.effects), maxUnlocked)
	}
	got := s.do()
	s.want("all votes", got, "judge ", "judge ", "judge ", "judge ")
	s.want("the check of one", s.do(voteJudged{got[0].(judgeVote).vote, lstar.ErrNothingNew}), "judge ")
}

// TestSuspend checks that a missing block counts against a peer that refers to it once, and not
// again each time that requests for it are suspended, for longer and longer.
func TestSuspend(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 10)
	root := lstar.Root{1}
	s.do(peerConnected{"a", false}, statusReceived{&statusMessage{"a", p2p.Status{Head: lstar.Checkpoint{Root: root, Slot: 5}}}})
	m := s.missing[root]
	for n := range 10 {
		s.suspend(m)
		if want := min(suspendTime<<n, maxSuspendTime); m.after.Sub(s.at) != want || s.peer("a").unserved != 1 {
			t.Errorf("suspension %d: %s, unserved = %d, want %s and 1", n+1, m.after.Sub(s.at), s.peer("a").unserved, want)
		}
	}
}

// TestSourceFirst checks that a missing block is requested from the peer that refers to it, also
// if that peer is busy and another one is not.
func TestSourceFirst(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 10)
	s.do(peerConnected{"source", false}, peerConnected{"other", false}, statusReceived{&statusMessage{"other", p2p.Status{}}})
	claim := func(n byte) statusReceived {
		return statusReceived{&statusMessage{"source", p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{n}, Slot: 5}}}}
	}
	first := s.do(claim(1))
	s.want("a claim", first, "status ", "send "+peer.ID("source").String()+" 0")
	s.want("another claim", s.do(claim(2)), "status ")
	s.want("the first answer", s.do(answer(requestOf(first))), "send "+peer.ID("source").String()+" 0")
}

// TestExcluded checks that a run does not ask a peer again that sent an invalid block, not even
// after its backoff.
func TestExcluded(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 1, false)
	s := newStepper(t, c, 1000)
	head := p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{1}, Slot: 1000}}
	s.do(peerConnected{"a", false}, peerConnected{"b", false})
	var first *request
	for _, e := range s.do(statusReceived{&statusMessage{"a", head}}, statusReceived{&statusMessage{"b", head}}) {
		if e, ok := e.(send); ok && e.kind == byRange && e.batch.first == 1 {
			first = e.request
		}
	}
	s.do(answer(first, forgedCopy(c.at(1))))
	failed := s.serial
	effects := s.do(blockImported{failed, &lstar.Rejection{Reason: lstar.InvalidBlockProof}})
	for range 8 {
		s.at = s.at.Add(intervalTime)
		effects = append(effects, s.do(ticked{})...)
	}
	for _, e := range effects {
		if e, ok := e.(send); ok && e.kind == byRange && e.peer == first.peer {
			t.Errorf("slots %d to %d are requested from %s, want no more requests", e.batch.first, e.batch.last, e.peer)
		}
	}
	if s.run == nil || requestOf(effects) == nil {
		t.Error("the run does not continue with the other peer")
	}
}

// TestAgree checks which peers confirm that nothing is newer than the head.
func TestAgree(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 10)
	genesis := s.snap.Head
	s.do(peerConnected{"a", false}, statusReceived{&statusMessage{"a", p2p.Status{Head: genesis}}})
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {freshTime, 1}, {freshTime + 1, 0}} {
		s.peers[0].statusAt = s.at.Add(-tt.after)
		if s.do(ticked{}); s.view.Agree != tt.want {
			t.Errorf("status of %s ago: %d peers agree, want %d", tt.after, s.view.Agree, tt.want)
		}
	}
}

// TestFailedStatus checks that a peer whose status request failed is asked again after a while.
func TestFailedStatus(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 1)
	r := requestOf(s.do(peerConnected{"a", true}))
	s.want("an error", s.do(answered{request: r, err: p2p.ErrNoResponse}))
	s.at = s.at.Add(staleTime - 1)
	s.want("before the end of the wait", s.do(ticked{}))
	s.at = s.at.Add(1)
	s.want("after it", s.do(ticked{}), "send "+peer.ID("a").String()+" 2")
}

// TestConflictLimit checks that the peers of other chains that are remembered are bounded.
func TestConflictLimit(t *testing.T) {
	s := newStepper(t, newSource(t, registry(4)), 1)
	for i := range maxConflicts + 5 {
		id := peer.ID([]byte{byte(i)})
		s.do(statusReceived{&statusMessage{id, p2p.Status{Finalized: lstar.Checkpoint{Root: lstar.Root{1}}}}})
	}
	if len(s.conflicts) != maxConflicts {
		t.Errorf("%d peers of other chains, want %d", len(s.conflicts), maxConflicts)
	}
}

// TestSerialImport checks that parked blocks are imported one after the other.
func TestSerialImport(t *testing.T) {
	c := newSource(t, registry(4)).grow(1, 1, false)
	other := newSource(t, registry(4)).grow(2, 2, false)
	s := newStepper(t, c, 10)
	for _, b := range []*lstar.SignedBlock{other.at(2), c.at(1)} {
		s.park(&candidate{block: b, root: b.Block.Root(), from: "a"})
	}
	got := s.do(ticked{})
	s.want("two blocks", got, "import "+c.at(1).Block.Root().String())
	s.want("during the import", s.do(ticked{}))
	failed := blockImported{got[0].(importBlock).candidate, p2p.ErrNotConnected}
	s.want("the first fails", s.do(failed), "import "+other.at(2).Block.Root().String())
}
