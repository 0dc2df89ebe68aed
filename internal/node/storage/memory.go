package storage

import (
	"container/heap"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/spec/ssz"
)

// maxMemoryBytes bounds the blocks that are kept for peers without a disk.
const maxMemoryBytes = 256 << 20

// Memory stands in for a database where there is no data folder. It keeps the
// blocks that peers may ask for, with their proofs, up to a number of bytes: the
// oldest slot leaves first.
type Memory struct {
	maxBytes int

	mu     sync.RWMutex
	byRoot map[lstar.Root]*lstar.SignedBlock
	oldest archiveHeap
	newest lstar.Slot
	bytes  int
}

type archived struct {
	slot lstar.Slot
	root lstar.Root
	size int
}

// NewMemory returns a storage that begins with an anchor. The block of a
// checkpoint is not served: it came without its proof, and peers would refuse it.
func NewMemory(anchor *lstar.Block) *Memory {
	m := &Memory{maxBytes: maxMemoryBytes, byRoot: make(map[lstar.Root]*lstar.SignedBlock)}
	if anchor.Slot == 0 {
		m.add(anchor.Root(), &lstar.SignedBlock{Block: *anchor})
	}
	return m
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
