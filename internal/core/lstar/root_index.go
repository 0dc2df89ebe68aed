package lstar

import (
	"encoding/binary"
	"sync/atomic"
)

// rootIndex maps the root of a block to its position in a list of nodes that only grows at
// its end. It is a hash table with open addressing.
//
// The owner may add nodes while readers look up roots in copies of the list that end
// earlier. Readers ignore entries past the end of their copy. Each entry is written once
// and atomically, so there are no locks and copies.
type rootIndex struct {
	table []atomic.Uint32 // position + 1, or 0; the length is a power of two
	used  int
}

// bucket returns the index of the entry at which the search for a root begins. Roots are
// hashes, so part of one is enough.
func (x *rootIndex) bucket(root Root) int {
	return int(binary.LittleEndian.Uint64(root[:]) & uint64(len(x.table)-1))
}

// find returns the position of a root in the nodes of the table, or in a prefix of them.
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

// add adds the last of the nodes. It replaces a table that is half full; readers keep the
// old one.
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
