package ssz

// Tree is an immutable list of chunks with its Merkle tree. A method that changes a tree
// returns a new one, which shares all unchanged subtrees with the old one. So a change of
// a chunk costs as many hashes and nodes as the tree is high, and goroutines may read all
// versions concurrently.
//
// The zero value is the empty tree. Zero chunks take no memory.
type Tree struct {
	root   *treeNode // nil: all chunks are zero
	height int       // the root covers 2^height chunks
	n      uint64
}

// treeNode is an inner node, or a chunk at height 0. A nil node is a subtree of zeros.
type treeNode struct {
	hash        [32]byte
	left, right *treeNode
}

// Len returns the number of chunks.
func (t Tree) Len() uint64 { return t.n }

// At returns chunk i, or a zero chunk if i is not below the length.
func (t Tree) At(i uint64) [32]byte {
	if i >= t.n {
		return [32]byte{}
	}
	node := t.root
	for h := t.height; h > 0 && node != nil; h-- {
		if i>>(h-1)&1 == 0 {
			node = node.left
		} else {
			node = node.right
		}
	}
	if node == nil {
		return [32]byte{}
	}
	return node.hash
}

// Grow returns a tree with zero chunks appended up to a length of n. It makes at most one
// node for each new level of the tree.
func (t Tree) Grow(n uint64) Tree {
	t.n = max(t.n, n)
	for h := depthOf(t.n); t.height < h; t.height++ {
		if t.root != nil {
			t.root = &treeNode{hash: hashPair(&t.root.hash, &zeroHashes[t.height]), left: t.root}
		}
	}
	return t
}

// Set returns a tree in which chunk i has a new value. It panics if i is not below the
// length.
func (t Tree) Set(i uint64, chunk [32]byte) Tree {
	if i >= t.n {
		panic("ssz: chunk is outside of the tree")
	}
	t.root = t.root.set(t.height, i, chunk)
	return t
}

// Append returns a tree with a chunk appended.
func (t Tree) Append(chunk [32]byte) Tree {
	return t.Grow(t.n+1).Set(t.n, chunk)
}

// Replace returns a tree of the given chunks. It shares equal subtrees at the same place
// with t.
func (t Tree) Replace(chunks [][32]byte) Tree {
	n := uint64(len(chunks))
	height := depthOf(n)
	t = t.Grow(n)
	for ; t.height > height; t.height-- {
		if t.root != nil {
			t.root = t.root.left
		}
	}
	return Tree{root: t.root.replace(height, chunks), height: height, n: n}
}

// Root returns the Merkle root for a list with room for limit chunks.
func (t Tree) Root(limit uint64) [32]byte {
	if t.root == nil {
		return zeroHashes[depthOf(limit)]
	}
	root := t.root.hash
	for h := t.height; h < depthOf(limit); h++ {
		root = hashPair(&root, &zeroHashes[h])
	}
	return root
}

func (n *treeNode) set(height int, i uint64, chunk [32]byte) *treeNode {
	if height == 0 {
		if chunk == ([32]byte{}) {
			return nil
		}
		return &treeNode{hash: chunk}
	}
	var left, right *treeNode
	if n != nil {
		left, right = n.left, n.right
	}
	if i>>(height-1)&1 == 0 {
		left = left.set(height-1, i, chunk)
	} else {
		right = right.set(height-1, i, chunk)
	}
	return join(height, left, right)
}

// join returns the parent, at the given height, of two nodes.
func join(height int, left, right *treeNode) *treeNode {
	if left == nil && right == nil {
		return nil
	}
	return &treeNode{
		hash: hashPair(left.hashAt(height-1), right.hashAt(height-1)),
		left: left, right: right,
	}
}

func (n *treeNode) hashAt(height int) *[32]byte {
	if n == nil {
		return &zeroHashes[height]
	}
	return &n.hash
}

func (n *treeNode) replace(height int, chunks [][32]byte) *treeNode {
	if len(chunks) == 0 {
		return nil
	}
	if height == 0 {
		switch {
		case chunks[0] == [32]byte{}:
			return nil
		case n != nil && n.hash == chunks[0]:
			return n
		}
		return &treeNode{hash: chunks[0]}
	}
	var left, right *treeNode
	if n != nil {
		left, right = n.left, n.right
	}
	half := min(uint64(len(chunks)), uint64(1)<<(height-1))
	newLeft := left.replace(height-1, chunks[:half])
	newRight := right.replace(height-1, chunks[half:])
	if n != nil && newLeft == left && newRight == right {
		return n
	}
	return join(height, newLeft, newRight)
}
