package xmss

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
)

// subTree is a bottom tree or the top tree: layers of nodes from its leaves to its
// root. A layer starts at an even index and has an even number of nodes, pads
// included; of the last one only the root counts. A bottom tree without any slot
// of the key's window has no layers.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree
type subTree struct {
	layers []HashTreeLayer
}

func (t *subTree) empty() bool { return len(t.layers) == 0 }

// root returns the first node of the last layer.
func (t *subTree) root() *Digest { return &t.layers[len(t.layers)-1].Nodes[0] }

// node returns the node of layer i at an absolute index, or nil if it is not there.
func (t *subTree) node(i int, index uint64) *Digest {
	l := &t.layers[i]
	if index < l.StartIndex || index-l.StartIndex >= uint64(len(l.Nodes)) {
		return nil
	}
	return &l.Nodes[index-l.StartIndex]
}

// path copies the siblings of the leaf at index, and of the nodes above it, to dst,
// one for each layer below the root.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.path
func (t *subTree) path(index uint64, dst []Digest) {
	for i := range dst {
		dst[i] = *t.node(i, index^1)
		index /= 2
	}
}

// grow builds the subtree over the given nodes of its lowest level, the first one
// at index start. It keeps the slice.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.new
func (sk *SecretKey) grow(ctx context.Context, workers, lowest int, start uint64, nodes []Digest) (subTree, error) {
	pads := newPRF(&sk.prfKey)
	var t subTree
	for level := lowest; ; level++ {
		layer := padded(pads, level, start, nodes)
		t.layers = append(t.layers, layer)
		if level == lowest+sk.scheme.halfHeight() {
			return t, nil
		}
		start = layer.StartIndex / 2
		nodes = make([]Digest, len(layer.Nodes)/2)
		err := forEach(ctx, workers, len(nodes), 256, func() func(i, end int) {
			return func(i, end int) {
				for ; i < end; i++ {
					nodes[i] = hashNodes(&sk.parameter, level+1, start+uint64(i), &layer.Nodes[2*i], &layer.Nodes[2*i+1])
				}
			}
		})
		if err != nil {
			return subTree{}, err
		}
	}
}

// padded adds a pad at either end of a run of nodes where it would cut a pair of
// siblings in two.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashTreeLayer.padded
func padded(pads *prf, level int, start uint64, nodes []Digest) HashTreeLayer {
	if start%2 == 1 {
		start--
		nodes = append([]Digest{pads.pad(level, start)}, nodes...)
	}
	if len(nodes)%2 == 1 {
		nodes = append(nodes, pads.pad(level, start+uint64(len(nodes))))
	}
	return HashTreeLayer{StartIndex: start, Nodes: nodes}
}

// bottomTree computes the bottom tree at index from the seed. progress is told of
// leaves as they are done, from several goroutines.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashSubTree.from_prf_key
func (sk *SecretKey) bottomTree(ctx context.Context, workers int, index uint64, progress func(leaves int)) (subTree, error) {
	start, end := sk.slotsOfTree(index)
	if start >= end {
		return subTree{}, nil
	}
	leaves := make([]Digest, end-start)
	err := forEach(ctx, workers, len(leaves), 16, func() func(i, end int) {
		secrets := newPRF(&sk.prfKey)
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
	// The pad beside the root belongs to the top tree.
	root := *t.node(len(t.layers)-1, index)
	t.layers[len(t.layers)-1] = HashTreeLayer{StartIndex: index, Nodes: []Digest{root}}
	return t, nil
}

// leaf hashes the ends of all chains of a slot.
func (sk *SecretKey) leaf(secrets *prf, slot uint64) Digest {
	sponge := sk.scheme.newLeaf(&sk.parameter, slot)
	for chain := range sk.scheme.dimension {
		digest := secrets.chainStart(slot, chain)
		walkChain(&sk.parameter, slot, chain, 0, base-1, &digest)
		sponge.Absorb(digest[:])
	}
	return sponge.Squeeze()
}

// forEach cuts [0, n) into chunks and has them done by a number of goroutines (0:
// one for each processor), each with a function of its own from newWorker.
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

// Encoding.

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
		b = l.AppendSSZ(b)
	}
	return b
}

// parseSubTree decodes a subtree, with one layer for each level or none at all.
func (s *Scheme) parseSubTree(b []byte, lowest int) (t subTree, err error) {
	d := decoder{rest: b}
	if height := d.uint64(); height != uint64(s.logLifetime) {
		d.fail("depth %d, want %d", height, s.logLifetime)
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
		layer, err := s.ParseHashTreeLayer(list[start:end])
		if err != nil {
			return t, err
		}
		t.layers = append(t.layers, layer)
		start = end
	}
	return t, nil
}
