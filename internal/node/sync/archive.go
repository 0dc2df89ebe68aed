package sync

import (
	"container/heap"
	stdsync "sync"

	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/spec/ssz"
)

// maxArchiveBytes bounds the blocks that are kept for peers.
const maxArchiveBytes = 256 << 20

// archive keeps imported blocks, with their proofs, for peers that ask for them:
// those of the slots that a node serves, up to a number of bytes. The oldest slot
// leaves first.
type archive struct {
	maxBytes int

	mu     stdsync.RWMutex
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

func newArchive(maxBytes int) *archive {
	return &archive{maxBytes: maxBytes, byRoot: make(map[lstar.Root]*lstar.SignedBlock)}
}

func (a *archive) add(root lstar.Root, b *lstar.SignedBlock) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byRoot[root] != nil {
		return
	}
	e := archived{b.Block.Slot, root, ssz.Size(b)}
	a.byRoot[root] = b
	a.bytes += e.size
	a.newest = max(a.newest, e.slot)
	heap.Push(&a.oldest, e)
	for len(a.oldest) > 0 && (a.bytes > a.maxBytes || a.oldest[0].slot+p2p.MinSlotsForBlockRequests < a.newest) {
		out := heap.Pop(&a.oldest).(archived)
		delete(a.byRoot, out.root)
		a.bytes -= out.size
	}
}

func (a *archive) get(root lstar.Root) *lstar.SignedBlock {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byRoot[root]
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

// BlockByRoot returns a block that was imported since the node started, or
// genesis, which has no proof. The block of a checkpoint is not served: it came
// without its proof, and peers would refuse it.
func (s *Service) BlockByRoot(root lstar.Root) *lstar.SignedBlock {
	if root == s.anchorRoot && s.anchor != nil && s.anchor.Block.Slot == 0 {
		return s.anchor
	}
	return s.archive.get(root)
}

// BlockBySlot returns the block of a slot on the head's chain, or nil.
func (s *Service) BlockBySlot(slot lstar.Slot) *lstar.SignedBlock {
	snap := s.cfg.Chain.Snapshot()
	switch {
	case slot == snap.Head.Slot:
		return s.BlockByRoot(snap.Head.Root)
	case slot < snap.Head.Slot:
		if root := snap.HeadState.HistoricalBlockHash(slot); !root.IsZero() {
			return s.BlockByRoot(root)
		}
	}
	return nil
}
