package syncer

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

const (
	// maxOrphans and maxOrphanBytes bound the blocks that wait for their parents.
	// leanSpec: node/sync/config.py, MAX_CACHED_BLOCKS
	maxOrphans     = 1024
	maxOrphanBytes = 64 << 20
	// maxDepth is how far back a missing chain is followed, block by block.
	// leanSpec: node/sync/config.py, MAX_BACKFILL_DEPTH
	maxDepth = 512
)

// orphan is a block that waits for its parent.
type orphan struct {
	block *lstar.SignedBlock
	root  lstar.Root
	from  peer.ID
	depth int       // one more than that of the child that it was fetched for, or 0
	came  time.Time // by gossip, or zero
}

// orphanKey is one peer's copy of a block. The root says nothing about the proof,
// so that a forged copy must not take the place of the real one.
type orphanKey struct {
	root lstar.Root
	from peer.ID
}

// orphans is the cache of blocks that wait for their parents.
//
// leanSpec: node/sync/block_cache.py, BlockCache
type orphans struct {
	store    *bounded.Queue[orphanKey, peer.ID, *orphan]
	copies   map[lstar.Root][]*orphan // of a block
	byParent map[lstar.Root][]*orphan
}

func newOrphans() *orphans {
	return &orphans{
		store:    bounded.NewQueue[orphanKey, peer.ID, *orphan](maxOrphans, maxOrphanBytes),
		copies:   make(map[lstar.Root][]*orphan),
		byParent: make(map[lstar.Root][]*orphan),
	}
}

func (c *orphans) has(root lstar.Root) bool       { return len(c.copies[root]) > 0 }
func (c *orphans) waitsFor(root lstar.Root) bool  { return len(c.byParent[root]) > 0 }
func (c *orphans) holds(o *orphan) bool           { return c.store.Has(orphanKey{o.root, o.from}) }
func (c *orphans) parentOf(o *orphan) *lstar.Root { return &o.block.Block.ParentRoot }

// add adds a block and returns how many left for it.
func (c *orphans) add(o *orphan) (evicted int) {
	key := orphanKey{o.root, o.from}
	if c.store.Has(key) {
		return 0
	}
	c.copies[o.root] = append(c.copies[o.root], o)
	c.byParent[*c.parentOf(o)] = append(c.byParent[*c.parentOf(o)], o)
	out := c.store.Add(key, o, o.from, ssz.Size(o.block))
	for _, e := range out {
		c.unlink(e)
	}
	return len(out)
}

func (c *orphans) remove(o *orphan) {
	if key := (orphanKey{o.root, o.from}); c.store.Has(key) {
		c.store.Remove(key)
		c.unlink(o)
	}
}

func (c *orphans) unlink(o *orphan) {
	without(c.copies, o.root, o)
	without(c.byParent, *c.parentOf(o), o)
}

// without removes an orphan from the list of a root.
func without(lists map[lstar.Root][]*orphan, root lstar.Root, o *orphan) {
	rest := slices.DeleteFunc(lists[root], func(s *orphan) bool { return s.root == o.root && s.from == o.from })
	if len(rest) == 0 {
		delete(lists, root)
	} else {
		lists[root] = rest
	}
}

// children returns the blocks that wait for a parent, the oldest slot first.
func (c *orphans) children(parent lstar.Root) []*orphan {
	all := slices.Clone(c.byParent[parent])
	slices.SortStableFunc(all, func(a, b *orphan) int { return cmp.Compare(a.block.Block.Slot, b.block.Block.Slot) })
	return all
}

// removeCopies removes all copies of a block.
func (c *orphans) removeCopies(root, parent lstar.Root) {
	if !c.has(root) {
		return
	}
	for _, o := range c.children(parent) {
		if o.root == root {
			c.remove(o)
		}
	}
}

// removeDescendants removes all that waits for a block, directly or not, and
// returns it.
func (c *orphans) removeDescendants(root lstar.Root) (removed []*orphan) {
	for queue := []lstar.Root{root}; len(queue) > 0; queue = queue[1:] {
		for _, o := range c.children(queue[0]) {
			c.remove(o)
			removed = append(removed, o)
			queue = append(queue, o.root)
		}
	}
	return removed
}

// highest returns the highest slot of the blocks that wait.
func (c *orphans) highest() (slot lstar.Slot) {
	for _, copies := range c.copies {
		slot = max(slot, copies[0].block.Block.Slot)
	}
	return slot
}

// missingAncestor returns the first ancestor of a block that is not here.
func (c *orphans) missingAncestor(root lstar.Root) lstar.Root {
	for c.has(root) {
		root = *c.parentOf(c.copies[root][0])
	}
	return root
}

// missing calls yield with every block that is waited for and not here itself,
// and those that wait for it.
func (c *orphans) missing(yield func(parent lstar.Root, children []*orphan) bool) {
	for parent, children := range c.byParent {
		if !c.has(parent) && !yield(parent, children) {
			return
		}
	}
}
