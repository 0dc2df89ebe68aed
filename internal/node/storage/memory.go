package storage

import (
	"container/heap"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// maxMemoryBytes bounds the blocks that are kept for peers without a disk.
const maxMemoryBytes = 256 << 20

// Memory is the storage of a node that runs without a data folder. It keeps the
// blocks that peers may ask for, with their proofs, up to a number of bytes: the
// oldest slot leaves first.
type Memory struct {
	maxBytes int

	mu     sync.RWMutex
	byRoot map[lstar.Root]*lstar.SignedBlock
	oldest archiveHeap
	newest lstar.Slot
	bytes  int

	anchor  lstar.Checkpoint
	missing bool // the anchor's block, or its proof
}

type archived struct {
	slot lstar.Slot
	root lstar.Root
	size int
}

// NewMemory returns a storage that begins with an anchor: its block, which may be
// nil. One without a proof is not served, because peers would refuse it.
func NewMemory(at lstar.Checkpoint, block *lstar.SignedBlock) *Memory {
	m := &Memory{maxBytes: maxMemoryBytes, byRoot: make(map[lstar.Root]*lstar.SignedBlock), anchor: at, missing: true}
	if hasProof(block) {
		_ = m.AddAnchor(block) // which does not fail
	}
	return m
}

// MissingAnchor returns the block that the chain starts from, if it or its proof
// is not there.
func (m *Memory) MissingAnchor() (at lstar.Checkpoint, missing bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.anchor, m.missing
}

// AddAnchor adds the block that MissingAnchor returns, with its proof. It does not
// fail.
func (m *Memory) AddAnchor(block *lstar.SignedBlock) error {
	m.add(m.anchor.Root, block)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing = false
	return nil
}

// Save keeps the new blocks. It does not fail.
func (m *Memory) Save(c *lstar.Changes) error {
	for i, b := range c.Blocks {
		m.add(c.Roots[i], b)
	}
	return nil
}

func (m *Memory) add(root lstar.Root, b *lstar.SignedBlock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := archived{b.Block.Slot, root, ssz.Size(b)}
	m.byRoot[root] = b
	m.bytes += e.size
	m.newest = max(m.newest, e.slot)
	heap.Push(&m.oldest, e)
	for len(m.oldest) > 0 && (m.bytes > m.maxBytes || m.oldest[0].slot+retainedSlots < m.newest) {
		out := heap.Pop(&m.oldest).(archived)
		delete(m.byRoot, out.root)
		m.bytes -= out.size
	}
}

// Block returns a block, or nil.
func (m *Memory) Block(root lstar.Root) (*lstar.SignedBlock, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byRoot[root], nil
}

// archiveHeap is a container/heap by slot.
type archiveHeap []archived

func (h archiveHeap) Len() int           { return len(h) }
func (h archiveHeap) Less(i, j int) bool { return h[i].slot < h[j].slot }
func (h archiveHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *archiveHeap) Push(x any)        { *h = append(*h, x.(archived)) }
func (h *archiveHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
