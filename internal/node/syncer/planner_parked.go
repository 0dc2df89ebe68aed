package syncer

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

const (
	// maxParked and maxParkedBytes bound the blocks that wait for their parents.
	// leanSpec: node/sync/config.py, MAX_CACHED_BLOCKS
	maxParked      = 1024
	maxParkedBytes = 64 << 20
	// maxDepth is the number of missing ancestors of a block that are requested one by one.
	// leanSpec: node/sync/config.py, MAX_BACKFILL_DEPTH
	maxDepth = 512
)

// parked holds the blocks that wait for their parents or for their import. All peers have the same
// share of the space.
//
// leanSpec: node/sync/block_cache.py, BlockCache
type parked struct {
	queue    *bounded.Queue[copyKey, peer.ID, *candidate]
	copies   map[lstar.Root][]*candidate // of a block
	byParent map[lstar.Root][]*candidate
}

func newParked() *parked {
	return &parked{
		queue:    bounded.NewQueue[copyKey, peer.ID, *candidate](maxParked, maxParkedBytes),
		copies:   make(map[lstar.Root][]*candidate),
		byParent: make(map[lstar.Root][]*candidate),
	}
}

// has reports whether a copy of a block is parked.
func (k *parked) has(root lstar.Root) bool { return len(k.copies[root]) > 0 }

// add adds a block and returns the number of blocks that it evicted.
func (k *parked) add(c *candidate) (evicted int) {
	if k.queue.Has(c.key()) {
		return 0
	}
	k.copies[c.root] = append(k.copies[c.root], c)
	k.byParent[c.parentRoot()] = append(k.byParent[c.parentRoot()], c)
	out := k.queue.Add(c.key(), c, c.from, ssz.Size(c.block))
	for _, e := range out {
		k.unlink(e)
	}
	return len(out)
}

// remove removes a block if it is parked.
func (k *parked) remove(c *candidate) {
	if slices.Contains(k.copies[c.root], c) { // not another block with the same key
		k.queue.Remove(c.key())
		k.unlink(c)
	}
}

func (k *parked) unlink(c *candidate) {
	without(k.copies, c.root, c)
	without(k.byParent, c.parentRoot(), c)
}

// without removes a value from the list of a root.
func without[V comparable](lists map[lstar.Root][]V, root lstar.Root, v V) {
	lists[root] = slices.DeleteFunc(lists[root], func(o V) bool { return o == v })
	if len(lists[root]) == 0 {
		delete(lists, root)
	}
}

// removeCopies removes all copies of a block.
func (k *parked) removeCopies(root lstar.Root) {
	for _, c := range slices.Clone(k.copies[root]) {
		k.remove(c)
	}
}

// removeDescendants removes and returns all parked descendants of a block.
func (k *parked) removeDescendants(root lstar.Root) (removed []*candidate) {
	for queue := []lstar.Root{root}; len(queue) > 0; queue = queue[1:] {
		for _, c := range slices.Clone(k.byParent[queue[0]]) {
			k.remove(c)
			removed = append(removed, c)
			queue = append(queue, c.root)
		}
	}
	return removed
}

// missingAncestor returns the root of the first ancestor of a block that is not parked.
func (k *parked) missingAncestor(root lstar.Root) lstar.Root {
	for k.has(root) {
		root = k.copies[root][0].parentRoot()
	}
	return root
}
