package storage

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

func TestMemory(t *testing.T) {
	genesis := &lstar.Block{}
	m := NewMemory(lstar.Checkpoint{Root: genesis.Root()}, &lstar.SignedBlock{Block: *genesis})
	m.maxBytes = 10_000
	if b, err := m.Block(genesis.Root()); b == nil || err != nil {
		t.Errorf("Block(genesis) = %v, %v, want the block", b, err)
	}
	block := func(slot lstar.Slot) *lstar.Changes {
		b := &lstar.SignedBlock{Block: lstar.Block{Slot: slot}, Proof: lstar.MultiMessageAggregate{Proof: make([]byte, 400)}}
		return &lstar.Changes{Blocks: []*lstar.SignedBlock{b}, Roots: []lstar.Root{b.Block.Root()}}
	}
	has := func(slot lstar.Slot) bool {
		b, err := m.Block(block(slot).Roots[0])
		must(t, err)
		return b != nil
	}
	for slot := lstar.Slot(1); slot <= 100; slot++ {
		must(t, m.Save(block(slot)))
	}
	if m.bytes > 10_000 || has(1) || !has(100) || len(m.byRoot) != len(m.oldest) {
		t.Errorf("%d blocks of %d bytes, block 1: %v, block 100: %v; want at most 10000 bytes, and block 100 only", len(m.byRoot), m.bytes, has(1), has(100))
	}
	must(t, m.Save(block(100+retainedSlots)))
	if has(99) || !has(100) {
		t.Errorf("block 99: %v, block 100: %v; want only block 100", has(99), has(100))
	}
	// The block of a checkpoint has no proof.
	checkpoint := &lstar.SignedBlock{Block: lstar.Block{Slot: 7}}
	at := lstar.Checkpoint{Root: checkpoint.Block.Root(), Slot: 7}
	for name, anchor := range map[string]*lstar.SignedBlock{"no block": nil, "a block without a proof": checkpoint} {
		m = NewMemory(at, anchor)
		if b, _ := m.Block(at.Root); b != nil {
			t.Errorf("anchor with %s: Block = %v, want nil", name, b)
		}
		if got, missing := m.MissingAnchor(); got != at || !missing {
			t.Errorf("anchor with %s: MissingAnchor = %v, %v, want %v, true", name, got, missing, at)
		}
	}
	checkpoint.Proof.Proof = []byte{1}
	must(t, m.AddAnchor(checkpoint))
	for name, m := range map[string]*Memory{"added later": m, "from the start": NewMemory(at, checkpoint)} {
		if b, _ := m.Block(at.Root); b != checkpoint {
			t.Errorf("anchor %s: Block = %v, want the block of the checkpoint", name, b)
		}
		if _, missing := m.MissingAnchor(); missing {
			t.Errorf("anchor %s: MissingAnchor = true, want false", name)
		}
	}
}
