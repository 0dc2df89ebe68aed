package p2p

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Bounds of blockCache. Peers that follow the chain request the recent blocks.
const (
	maxEncodedBytes  = 32 << 20
	maxEncodedBlocks = 4096
)

// blockCache caches blocks as encoded parts of a response, and evicts the least recently used block
// first.
type blockCache struct {
	mu    sync.Mutex
	parts *simplelru.LRU[lstar.Root, []byte]
	bytes int
}

func newBlockCache() *blockCache {
	c := new(blockCache)
	// NewLRU only fails without a size.
	c.parts, _ = simplelru.NewLRU(maxEncodedBlocks, func(_ lstar.Root, part []byte) { c.bytes -= len(part) })
	return c
}

// get returns a block, or nil if it is not cached.
func (c *blockCache) get(root lstar.Root) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	part, _ := c.parts.Get(root)
	return part
}

func (c *blockCache) add(root lstar.Root, part []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parts.Contains(root) {
		return
	}
	c.bytes += len(part)
	c.parts.Add(root, part)
	for c.bytes > maxEncodedBytes {
		c.parts.RemoveOldest()
	}
}
