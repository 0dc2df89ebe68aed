package xmss

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
)

// subTree is a bottom tree or the top tree. It has one layer of nodes for each level
// from its leaves to its root. A layer starts at an even index and has an even number
// of nodes, pads included; in the last layer only the root is used. A bottom tree
// without any slot of the key's window has no layers.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree
type subTree struct {
	layers []treeLayer
}

func (t *subTree) empty() bool { return len(t.layers) == 0 }

// root returns the root, the first node of the last layer.
func (t *subTree) root() *hashDigest { return &t.layers[len(t.layers)-1].nodes[0] }

// node returns the node of layer i at an index of its level, or nil if the layer does not
// have it.
func (t *subTree) node(i int, index uint64) *hashDigest {
	l := &t.layers[i]
	if index < l.start || index-l.start >= uint64(len(l.nodes)) {
		return nil
	}
	return &l.nodes[index-l.start]
}

// path copies the siblings of the leaf at index and of the nodes above it to dst, one
// for each layer below the root.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.path
func (t *subTree) path(index uint64, dst []hashDigest) {
	for i := range dst {
		dst[i] = *t.node(i, index^1)
		index /= 2
	}
}

// grow computes the subtree over nodes, a run of its lowest level that begins at index
// start. The subtree retains the slice.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.new
func (sk *SecretKey) grow(ctx context.Context, workers, lowest int, start uint64, nodes []hashDigest) (subTree, error) {
	pads := newPRF(sk.prfKey)
	var t subTree
	for level := lowest; ; level++ {
		layer := padded(pads, level, start, nodes)
		t.layers = append(t.layers, layer)
		if level == lowest+sk.scheme.halfHeight() {
			return t, nil
		}
		start = layer.start / 2
		nodes = make([]hashDigest, len(layer.nodes)/2)
		err := forEach(ctx, workers, len(nodes), 256, func() func(i, end int) {
			return func(i, end int) {
				for ; i < end; i++ {
					nodes[i] = hashNodes(&sk.parameter, level+1, start+uint64(i), &layer.nodes[2*i], &layer.nodes[2*i+1])
				}
			}
		})
		if err != nil {
			return subTree{}, err
		}
	}
}

// padded returns a layer of a run of nodes, with a pad at each end where a sibling is
// missing.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashTreeLayer.padded
func padded(pads *prf, level int, start uint64, nodes []hashDigest) treeLayer {
	if start%2 == 1 {
		start--
		nodes = append([]hashDigest{pads.pad(level, start)}, nodes...)
	}
	if len(nodes)%2 == 1 {
		nodes = append(nodes, pads.pad(level, start+uint64(len(nodes))))
	}
	return treeLayer{start: start, nodes: nodes}
}

// bottomTree computes the bottom tree at index from the seed. It calls progress with
// the number of leaves of each finished chunk, from several goroutines.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.from_prf_key
func (sk *SecretKey) bottomTree(ctx context.Context, workers int, index uint64, progress func(leaves int)) (subTree, error) {
	start, end := sk.slotsOfTree(index)
	if start >= end {
		return subTree{}, nil
	}
	leaves := make([]hashDigest, end-start)
	err := forEach(ctx, workers, len(leaves), 16, func() func(i, end int) {
		secrets := newPRF(sk.prfKey)
		return func(i, end int) {
			for j := i; j < end; j++ {
				leaves[j] = sk.leaf(secrets, start+uint64(j))
			}
			progress(end - i)
		}
	})
	if err != nil {
		return subTree{}, err
	}
	t, err := sk.grow(ctx, workers, 0, start, leaves)
	if err != nil {
		return subTree{}, err
	}
	// The sibling of the root is part of the top tree.
	root := *t.node(len(t.layers)-1, index)
	t.layers[len(t.layers)-1] = treeLayer{start: index, nodes: []hashDigest{root}}
	return t, nil
}

// leaf returns the hash of the ends of all chains of a slot.
func (sk *SecretKey) leaf(secrets *prf, slot uint64) hashDigest {
	sponge := sk.scheme.newLeaf(&sk.parameter, slot)
	for chain := range sk.scheme.dimension {
		digest := secrets.chainStart(slot, chain)
		walkChain(&sk.parameter, slot, chain, 0, base-1, &digest)
		sponge.Absorb(digest[:])
	}
	return sponge.Squeeze()
}

// forEach divides [0, n) into chunks and processes them on the given number of
// goroutines, or on one for each processor if workers is 0. Every goroutine calls
// newWorker once and uses the function that it returns.
func forEach(ctx context.Context, workers, n, chunk int, newWorker func() func(i, end int)) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	run := func() {
		work := newWorker()
		for ctx.Err() == nil {
			end := int(next.Add(int64(chunk)))
			if end-chunk >= n {
				return
			}
			work(end-chunk, min(end, n))
		}
	}
	if workers = min(workers, (n+chunk-1)/chunk); workers == 1 {
		run()
		return ctx.Err()
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(run)
	}
	wg.Wait()
	return ctx.Err()
}

const subTreeFixedSize = 8 + 8 + bytesPerOffset

func (t *subTree) size() int {
	n := subTreeFixedSize
	for _, l := range t.layers {
		n += bytesPerOffset + l.size()
	}
	return n
}

// appendSSZ appends the encoding of a subtree of a tree of the given height.
func (t *subTree) appendSSZ(b []byte, height, lowest int) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(height))
	b = binary.LittleEndian.AppendUint64(b, uint64(lowest))
	b = appendOffset(b, subTreeFixedSize)
	offset := bytesPerOffset * len(t.layers)
	for _, l := range t.layers {
		b = appendOffset(b, offset)
		offset += l.size()
	}
	for _, l := range t.layers {
		b = l.appendSSZ(b)
	}
	return b
}

// parseSubTree decodes a subtree, which must have either one layer for each level or no
// layers.
func (s *Scheme) parseSubTree(b []byte, lowest int) (t subTree, err error) {
	d := decoder{rest: b}
	if height := d.uint64(); height != uint64(s.logLifetime) {
		d.fail("height %d, want %d", height, s.logLifetime)
	}
	if l := d.uint64(); l != uint64(lowest) {
		d.fail("lowest layer %d, want %d", l, lowest)
	}
	d.offset(subTreeFixedSize)
	if d.err != nil || len(d.rest) == 0 {
		return t, d.finish("subtree")
	}

	n := s.halfHeight() + 1
	list := d.rest
	start := d.uint32()
	if start != uint32(bytesPerOffset*n) {
		d.fail("offset %d of the first layer, want %d for %d layers", start, bytesPerOffset*n, n)
	}
	for i := range n {
		end := uint32(len(list))
		if i < n-1 {
			end = d.uint32()
		}
		if d.err == nil && (end < start || int(end) > len(list)) {
			d.fail("layer %d spans bytes %d to %d of %d", i, start, end, len(list))
		}
		if d.err != nil {
			return t, d.finish("subtree")
		}
		layer, err := s.parseLayer(list[start:end])
		if err != nil {
			return t, err
		}
		t.layers = append(t.layers, layer)
		start = end
	}
	return t, nil
}
