package storage

import (
	"container/heap"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// maxMemoryBytes bounds the total size of the blocks that Memory keeps, as SSZ.
const maxMemoryBytes = 256 << 20

// Memory is the storage of a node that runs without a data folder. It keeps the blocks that peers
// may request, with their proofs. If they take more than 256 MiB, it removes those with the lowest
// slots. It is safe for concurrent use.
type Memory struct {
	maxBytes int

	mu     sync.RWMutex
	byRoot map[lstar.Root]*lstar.SignedBlock
	oldest archiveHeap
	newest lstar.Slot
	bytes  int

	anchor  lstar.Checkpoint
	missing bool // the anchor has no block or no proof
}

// archived is a block in the heap.
type archived struct {
	slot lstar.Slot
	root lstar.Root
	size int
}

// NewMemory returns the storage of a chain that starts from the checkpoint at. If the block is nil
// or has no proof, it is not served, because peers would reject it, and MissingAnchor returns at.
func NewMemory(at lstar.Checkpoint, block *lstar.SignedBlock) *Memory {
	m := &Memory{maxBytes: maxMemoryBytes, byRoot: make(map[lstar.Root]*lstar.SignedBlock), anchor: at, missing: true}
	if hasProof(block) {
		_ = m.AddAnchor(block) // never fails
	}
	return m
}

// MissingAnchor returns the block that the chain starts from, and whether the block or its proof is
// missing.
func (m *Memory) MissingAnchor() (at lstar.Checkpoint, missing bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.anchor, m.missing
}

// AddAnchor adds the block that MissingAnchor returns, with its proof. The error is always nil.
func (m *Memory) AddAnchor(block *lstar.SignedBlock) error {
	m.add(m.anchor.Root, block)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing = false
	return nil
}

// Save keeps the new blocks. The error is always nil.
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

// Block returns a block with its proof, or nil. The error is always nil.
func (m *Memory) Block(root lstar.Root) (*lstar.SignedBlock, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byRoot[root], nil
}

// archiveHeap implements heap.Interface in the order of slots.
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
