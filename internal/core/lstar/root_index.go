package lstar

import (
	"encoding/binary"
	"sync/atomic"
)

// rootIndex finds the position of a block in a list of nodes by its root: an open
// hash table of positions, for a list that only grows at its end.
//
// Its owner adds to it while readers, each with a list of its own that ends
// earlier, look things up: an entry past the end of the reader's list is none of
// its concern. An entry is written once, so nobody waits and nothing is copied.
type rootIndex struct {
	table []atomic.Uint32 // position + 1, or 0; the length is a power of two
	used  int
}

// bucket is where the search for a root starts. Roots are hashes.
func (x *rootIndex) bucket(root Root) int {
	return int(binary.LittleEndian.Uint64(root[:]) & uint64(len(x.table)-1))
}

// find returns the position of a root in the nodes that the table was made for, or
// in a list that they are longer than.
func (x *rootIndex) find(nodes []node, root Root) (position int, ok bool) {
	if len(x.table) == 0 {
		return 0, false
	}
	for i := x.bucket(root); ; i = (i + 1) & (len(x.table) - 1) {
		entry := int(x.table[i].Load())
		if entry == 0 {
			return 0, false
		}
		if entry <= len(nodes) && nodes[entry-1].root == root {
			return entry - 1, true
		}
	}
}

// add adds the last of the nodes. A table that is half full is replaced, and those
// who read the old one keep it.
func (x *rootIndex) add(nodes []node) {
	if 2*(x.used+1) > len(x.table) {
		*x = rootIndex{table: make([]atomic.Uint32, max(64, 2*len(x.table)))}
		for i := range len(nodes) - 1 {
			x.put(nodes[i].root, i)
		}
	}
	x.put(nodes[len(nodes)-1].root, len(nodes)-1)
}

func (x *rootIndex) put(root Root, position int) {
	i := x.bucket(root)
	for x.table[i].Load() != 0 {
		i = (i + 1) & (len(x.table) - 1)
	}
	x.table[i].Store(uint32(position + 1))
	x.used++
}
