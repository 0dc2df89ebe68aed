package syncer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// universe is the small world of FuzzPlanner: a chain that finalizes, forks of it that do not, and
// blocks that are invalid.
type universe struct {
	main   *source
	forks  []*source
	blocks []*lstar.SignedBlock
	votes  []*lstar.SignedAggregatedAttestation
}

const universeSlots = 40

var theUniverse = sync.OnceValue(func() *universe {
	t := new(testing.T)
	base := newSource(t, registry(4)).grow(1, 4, false)
	u := &universe{main: base.fork().grow(5, 20, true)}
	u.forks = append(u.forks, base.fork().grow(6, 30, false), u.main.fork().grow(24, universeSlots, false))
	u.main.grow(21, 24, true).grow(26, 28, false).grow(30, universeSlots, true)
	seen := make(map[lstar.Root]bool)
	for _, c := range append([]*source{u.main}, u.forks...) {
		for _, root := range sortedRoots(c.byRoot) {
			if !seen[root] {
				seen[root] = true
				u.blocks = append(u.blocks, c.byRoot[root])
			}
		}
	}
	slices.SortStableFunc(u.blocks, func(a, b *lstar.SignedBlock) int { return int(a.Block.Slot) - int(b.Block.Slot) })
	for n := range lstar.Slot(12) { // with invalid states, on parents that exist and that do not
		bad := fake(3*n+1, 4, int(n))
		bad.Block.ParentRoot = u.main.at(1).Block.ParentRoot
		if parent := u.main.at(3 * n); parent != nil {
			bad.Block.ParentRoot = parent.Block.Root()
		}
		child := fake(3*n+2, 4, int(n))
		child.Block.ParentRoot = bad.Block.Root()
		u.blocks = append(u.blocks, bad, child, fake(3*n+1, 4, 100+int(n)))
	}
	bits, err := lstar.BitsFromIndices([]lstar.ValidatorIndex{0, 2})
	if err != nil {
		panic(err)
	}
	for _, b := range u.blocks {
		head := lstar.Checkpoint{Root: b.Block.Root(), Slot: b.Block.Slot}
		genesis := lstar.Checkpoint{Root: u.main.at(1).Block.ParentRoot}
		for _, proof := range []string{"valid", prooftest.Forged} {
			u.votes = append(u.votes, &lstar.SignedAggregatedAttestation{
				Data:  lstar.AttestationData{Slot: head.Slot, Head: head, Target: genesis, Source: genesis},
				Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte(proof)},
			})
		}
	}
	return u
})

// spoiled returns a copy of a block with another proof.
func spoiled(b *lstar.SignedBlock, proof string) *lstar.SignedBlock {
	return &lstar.SignedBlock{Block: b.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte(proof)}}
}

// player decodes bytes into events.
type player struct {
	*world
	u        *universe
	in       []byte
	messages []any
	log      strings.Builder
}

func (p *player) next() int {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return int(b)
}

// play plays the events that the bytes encode, and then checks that the node reaches the head of
// the network if one peer is honest. It returns the effects.
func play(t *testing.T, in []byte) string {
	u := theUniverse()
	w := newWorld(t, registry(4), 20)
	w.manual = true
	p := &player{world: w, u: u, in: in}
	w.trace = func(e effect) { p.log.WriteString(describe(e)) }
	for len(p.in) > 0 {
		p.event()
	}

	// Only the honest peer remains. The time continues, at least from the last block.
	w.broken = nil
	for _, id := range []peer.ID{"a", "b", "c", "d"} {
		if w.fakes[id] != nil {
			w.disconnect(id)
		}
	}
	w.complete()
	if last := w.clock.StartOf(lstar.Slot(universeSlots).Interval()); w.time.Before(last) {
		w.advance(last.Sub(w.time))
	}
	w.manual = false
	w.step(ticked{})
	w.connect("honest", &fakePeer{chain: u.main})
	want := u.main.store.LatestFinalized()
	w.within(400, "the chain of the honest peer", func(s *lstar.Snapshot) bool {
		return s.LatestFinalized == want && s.Block(u.main.store.Head().Root) != nil
	})
	w.wantNoPenalty("honest")
	for _, m := range p.messages {
		if _, ok := w.verdicts[m]; !ok {
			t.Fatalf("message %+v got no verdict", m)
		}
	}
	if len(w.requests) > 0 || len(w.importing) > 0 || len(w.hanging) > 0 {
		t.Errorf("%d requests, %d imports and %d hanging requests are left, want 0", len(w.requests), len(w.importing), len(w.hanging))
	}
	return p.log.String()
}

// complete carries out the pending effects in their order, but not those that follow.
func (w *world) complete() {
	for n := len(w.pending); n > 0 && len(w.pending) > 0; n-- {
		f := w.pending[0]
		w.pending = w.pending[1:]
		w.take(f())
	}
}

// event plays one event.
func (p *player) event() {
	id := []peer.ID{"a", "b", "c", "d"}[p.next()%4]
	switch op := p.next() % 16; op {
	case 0, 1: // a peer connects or disconnects
		if p.fakes[id] != nil {
			p.disconnect(id)
			return
		}
		p.fakes[id] = p.newPeer()
		p.step(peerConnected{id, op == 0})
	case 2: // a peer reports its status
		if f := p.fakes[id]; f != nil {
			p.step(statusReceived{&statusMessage{id, f.says()}})
		}
	case 3, 4, 5: // a block by gossip
		b := p.u.blocks[p.next()%len(p.u.blocks)]
		switch p.next() % 6 {
		case 0:
			b = forgedCopy(b)
		case 1:
			b = spoiled(b, prooftest.Unsigned)
		}
		if c, _, _ := received(p.clock, p.time, id, b); c != nil {
			p.messages = append(p.messages, c)
			p.step(blockGossiped{c})
		}
	case 6: // a vote by gossip
		v := &vote{from: id, came: p.time, aggregate: p.u.votes[p.next()%len(p.u.votes)]}
		p.messages = append(p.messages, v)
		p.step(voteGossiped{v})
	case 7, 8, 9: // an effect ends, in any order
		if n := len(p.pending); n > 0 {
			i := p.next() % n
			f := p.pending[i]
			p.pending = slices.Delete(p.pending, i, i+1)
			p.take(f())
		}
	case 10: // all effects end
		p.complete()
	case 11, 12:
		p.advance(intervalTime)
	case 13:
		for range p.next() % 32 {
			p.advance(intervalTime)
		}
	case 14: // the clock jumps, the process was suspended
		jump := time.Duration(p.next()-128) * slotTime / 2
		if at := p.time.Add(jump); at.Unix() < genesisTime-60 || at.Unix() > genesisTime+1000*lstar.SecondsPerSlot {
			return
		}
		p.advance(jump)
	default:
		switch p.next() % 3 {
		case 0: // the chain does not accept imports
			if p.broken == nil {
				p.broken = fmt.Errorf("disk: %w", errHang)
			} else {
				p.broken = nil
			}
		case 1: // this node makes a block, which is like any other for sync
			next := p.u.blocks[p.next()%len(p.u.blocks)]
			root := next.Block.Root()
			if p.store.Block(root) == nil && !p.importing[root] && p.store.OnBlock(next) == nil {
				p.step(blockProduced{root})
			}
		default:
			p.isolatedTick()
		}
	}
}

func (p *player) isolatedTick() { p.step(ticked{isolated: !p.isolated}) }

// newPeer returns a peer with a character.
func (p *player) newPeer() *fakePeer {
	chains := append([]*source{p.u.main, p.u.main}, p.u.forks...)
	f := &fakePeer{chain: chains[p.next()%len(chains)]}
	kind, n := p.next()%10, p.next()
	some := func(in []*lstar.SignedBlock) (out []*lstar.SignedBlock) {
		for i, b := range in {
			switch {
			case kind == 0 && (i+n)%3 == 0: // leaves blocks out
			case kind == 1 && (i+n)%3 == 0: // forges
				out = append(out, forgedCopy(b))
			case kind == 2 && (i+n)%3 == 0:
				out = append(out, spoiled(b, prooftest.Unsigned))
			case kind == 3 && (i+n)%3 == 0: // has no proof
				out = append(out, spoiled(b, ""))
			case kind == 4 && i > n%8: // ends its answers early
			default:
				out = append(out, b)
			}
		}
		return out
	}
	fail := [...]error{5: errUnsupported, 6: errHang, 7: p2p.ErrBadResponse, 9: nil}
	asked := 0
	f.byRange = func(start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error) {
		if asked++; (asked+n)%2 == 0 && fail[kind] != nil {
			return nil, fail[kind]
		}
		return some(f.blocks(start, count)), nil
	}
	f.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
		if asked++; (asked+n)%3 > 0 && fail[kind] != nil {
			return nil, fail[kind]
		}
		return some(p.anyOf(f, roots, kind == 8)), nil
	}
	if kind == 8 || kind == 9 { // claims that it has other blocks
		f.status = func() p2p.Status {
			b := p.u.blocks[(n+asked)%len(p.u.blocks)]
			return p2p.Status{Head: lstar.Checkpoint{Root: b.Block.Root(), Slot: b.Block.Slot + lstar.Slot(asked%3)}}
		}
	}
	return f
}

// anyOf returns the blocks that a peer has, of its chain or of all that exist.
func (p *player) anyOf(f *fakePeer, roots []lstar.Root, all bool) []*lstar.SignedBlock {
	blocks := f.roots(roots)
	if all {
		blocks = nil
		for _, b := range p.u.blocks {
			if slices.Contains(roots, b.Block.Root()) {
				blocks = append(blocks, b)
			}
		}
	}
	return blocks
}

// describe returns an effect in words, without addresses of memory.
func describe(e effect) string {
	switch e := e.(type) {
	case send:
		return fmt.Sprintf("send %s %d %v %s\n", e.peer, e.kind, e.roots, e.batch.describe())
	case cancel:
		return fmt.Sprintf("cancel %s %d\n", e.peer, e.kind)
	case checkProposers:
		text := "check"
		for _, c := range e.blocks {
			text += fmt.Sprint(" ", c.root, c.from)
		}
		return text + "\n"
	case importBlock:
		return fmt.Sprintln("import", e.root, e.from)
	case judgeVote:
		return fmt.Sprintln("judge", e.data().Head, e.from)
	case verdict:
		switch m := e.message.(type) {
		case *candidate:
			return fmt.Sprintln("verdict", m.root, m.from, e.verdict)
		case *vote:
			return fmt.Sprintln("verdict", m.data().Head, m.from, e.verdict)
		}
	case statusJudged:
		return fmt.Sprintln("status", e.message.from, e.err)
	case logLine:
		return fmt.Sprintln(e.level, e.message)
	case report:
		return fmt.Sprintf("report %T %v\n", e.event, e.event)
	}
	return fmt.Sprintf("%T %v\n", e, e)
}

func (b *batch) describe() string {
	if b == nil {
		return ""
	}
	return fmt.Sprint(b.first, b.last)
}

// FuzzPlanner plays events in any order with peers that lie, fail, hang and leave. World checks the
// invariants after every event.
func FuzzPlanner(f *testing.F) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 7))
		in := make([]byte, 200+random.IntN(400))
		for i := range in {
			in[i] = byte(random.Uint32())
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2000 {
			return
		}
		first := play(t, in)
		if second := play(t, in); first != second {
			a, b := strings.Split(first, "\n"), strings.Split(second, "\n")
			i := 0
			for i < min(len(a), len(b)) && a[i] == b[i] {
				i++
			}
			t.Fatalf("the same events gave other effects, from number %d on:\n%s\n%s", i, a[min(i, len(a)-1)], b[min(i, len(b)-1)])
		}
	})
}
