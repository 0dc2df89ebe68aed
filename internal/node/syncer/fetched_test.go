package syncer

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// TestFetchedBody fetches a block with an invalid body. It is not parked, and counts as one fault
// of the peer.
func TestFetchedBody(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 16, false)
	f := newWorld(t, validators, 16)
	for slot := lstar.Slot(1); slot <= 10; slot++ {
		f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
	}
	bad := fake(14, 4, 1)
	for i := range lstar.MaxAttestationsData + 1 {
		bits, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{0})
		bad.Block.Body.Attestations = append(bad.Block.Body.Attestations, lstar.AggregatedAttestation{AggregationBits: bits, Data: lstar.AttestationData{Slot: lstar.Slot(i)}})
	}
	root := bad.Block.Root()
	p := &fakePeer{chain: c, byRange: noRange, status: func() p2p.Status {
		return p2p.Status{Head: lstar.Checkpoint{Root: root, Slot: 14}}
	}}
	p.byRoot = func(roots []lstar.Root) (out []*lstar.SignedBlock, err error) {
		for _, r := range roots {
			if r == root {
				out = append(out, bad)
			}
		}
		return out, nil
	}
	f.connect("liar", p)
	f.steps(5)
	pen := f.penalties["liar"]
	if f.parked.queue.Len() != 0 || len(pen) != 1 {
		t.Errorf("%d parked, faults %q, want 0 and 1", f.parked.queue.Len(), pen)
	}
}

// TestReconnect checks that the node requests a missing block again when a peer that has it reconnects.
func TestReconnect(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 16, false)
	f := newWorld(t, validators, 16)
	for slot := lstar.Slot(1); slot <= 10; slot++ {
		f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
	}
	f.connect("lone", withHoles(c, 11))
	f.within(30, "the missing block to be given up", func(*lstar.Snapshot) bool { return f.view.MissingAncestor })
	for range 3 {
		f.disconnect("lone")
		f.steps(1)
		f.connect("lone", withHoles(c, 11))
		f.steps(1)
	}
	f.disconnect("lone")
	f.steps(1)
	f.connect("lone", &fakePeer{chain: c})
	f.within(5, "the head, at once", hasHead(c))
}

// TestRotatingLiar connects a peer that reports another head every two intervals while the network
// is silent.
func TestRotatingLiar(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 10, false)
	f := newWorld(t, validators, 15)
	f.connect("honest", &fakePeer{chain: c})
	f.within(20, "the head", hasHead(c))
	n := byte(0)
	liar := &fakePeer{chain: c, byRange: noRange}
	liar.status = func() p2p.Status {
		return p2p.Status{Head: lstar.Checkpoint{Root: lstar.Root{7, n}, Slot: f.slot()}}
	}
	liar.byRoot = func([]lstar.Root) ([]*lstar.SignedBlock, error) { return nil, nil }
	gaps := 0
	for i := range 300 {
		if i%2 == 0 {
			n++
			f.connect("liar", liar)
		}
		f.steps(1)
		if f.view.Gap {
			gaps++
		}
	}
	if gaps > 60 {
		t.Errorf("a gap in %d of 300 intervals, view %+v", gaps, f.view)
	}
}

// TestMissingAncestorStays checks that the reason stays the same while blocks arrive and the
// missing block is requested again.
func TestMissingAncestorStays(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 60, false)
	f := newWorld(t, validators, 16)
	for slot := lstar.Slot(1); slot <= 10; slot++ {
		f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
	}
	for slot := lstar.Slot(12); slot <= 16; slot++ {
		f.OnBlock("lone", c.at(slot))
	}
	p := withHoles(c, 11)
	p.status = func() p2p.Status { return p2p.Status{Head: lstar.Checkpoint{Root: c.at(16).Block.Root(), Slot: 16}} }
	f.connect("lone", p)
	f.connect("two", p)
	f.within(60, "given up", func(*lstar.Snapshot) bool { return f.view.MissingAncestor })
	last, changes := true, 0
	f.trace = func(e effect) {
		if v, ok := e.(show); ok && v.MissingAncestor != last {
			changes++
			last = v.MissingAncestor
		}
	}
	for range 100 {
		f.steps(1)
		now := f.interval
		if now.InSlot() == 0 {
			f.OnBlock(peer.ID("lone"), c.at(now.Slot()))
		}
	}
	if changes > 2 {
		t.Errorf("the reason changed %d times in 20 slots", changes)
	}
}

// TestInvalidAncestor checks that signed blocks whose ancestor is invalid are dropped and do not
// count as a gap.
func TestInvalidAncestor(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 16, false)
	for name, spoil := range map[string]func(*lstar.Block){
		"body": func(b *lstar.Block) {
			for i := range lstar.MaxAttestationsData + 1 {
				bits, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{0})
				b.Body.Attestations = append(b.Body.Attestations, lstar.AggregatedAttestation{AggregationBits: bits, Data: lstar.AttestationData{Slot: lstar.Slot(i)}})
			}
		},
		"proposer": func(b *lstar.Block) { b.ProposerIndex = (b.ProposerIndex + 1) % 4 },
		"voter": func(b *lstar.Block) {
			bits, _ := lstar.BitsFromIndices([]lstar.ValidatorIndex{9})
			b.Body.Attestations = append(b.Body.Attestations, lstar.AggregatedAttestation{AggregationBits: bits})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newWorld(t, validators, 16)
			for slot := lstar.Slot(1); slot <= 10; slot++ {
				f.wantVerdict("block", f.OnBlock("gone", c.at(slot)), p2p.Accept)
			}
			bad := fake(13, 4, 1)
			spoil(&bad.Block)
			child := fake(14, 4, 0)
			child.Block.ParentRoot = bad.Block.Root()
			p := &fakePeer{chain: c, byRange: noRange, status: func() p2p.Status { return p2p.Status{Head: f.snap.Head} }}
			p.byRoot = func(roots []lstar.Root) (out []*lstar.SignedBlock, err error) {
				for _, r := range roots {
					if r == bad.Block.Root() {
						out = append(out, bad)
					}
				}
				return out, nil
			}
			f.connect("liar", p)
			f.wantVerdict("the child", f.OnBlock("liar", child), p2p.Ignore)
			f.steps(20)
			faults := len(f.penalties["liar"])
			if v := f.view; f.parked.queue.Len() != 0 || v.Gap || faults != 1 {
				t.Errorf("%d parked, %d faults, view %+v; want 0, 1, no gap", f.parked.queue.Len(), faults, v)
			}
		})
	}
}
