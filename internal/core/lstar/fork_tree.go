package lstar

import "math"

// forkTree is the tree of known blocks. Nodes are only appended, parents before children,
// and a node never changes. So a copy of the struct is a snapshot, which another goroutine
// may read while the original grows.
type forkTree struct {
	nodes []node
	index rootIndex
}

type node struct {
	root   Root
	block  *Block
	state  *State // after the block
	parent int    // noParent for the root of the tree

	// jump is the position of an ancestor. By following parent and jump, any ancestor is
	// reached in a number of steps that is logarithmic in its distance (Myers 1983).
	depth, jump int
}

const noParent = -1

// find returns the position of the block with a root.
func (t *forkTree) find(root Root) (position int, ok bool) { return t.index.find(t.nodes, root) }

// add adds a block with the state after it. Its root must be new.
func (t *forkTree) add(root Root, block *Block, state *State) {
	n := node{root: root, block: block, state: state, parent: noParent, jump: len(t.nodes)}
	if p, ok := t.find(block.ParentRoot); ok {
		parent := &t.nodes[p]
		n.parent, n.depth, n.jump = p, parent.depth+1, p
		if j := &t.nodes[parent.jump]; parent.depth-j.depth == j.depth-t.nodes[j.jump].depth {
			n.jump = j.jump
		}
	}
	t.nodes = append(t.nodes, n)
	t.index.add(t.nodes)
}

// get returns the node of the block with a root, or nil.
func (t *forkTree) get(root Root) *node {
	if i, ok := t.find(root); ok {
		return &t.nodes[i]
	}
	return nil
}

func (t *forkTree) block(root Root) *Block {
	if n := t.get(root); n != nil {
		return n.block
	}
	return nil
}

func (t *forkTree) state(root Root) *State {
	if n := t.get(root); n != nil {
		return n.state
	}
	return nil
}

// ancestorAt returns the position of the latest block at or before a slot on the chain of
// node i, or noParent if the tree begins after the slot.
func (t *forkTree) ancestorAt(i int, slot Slot) int {
	for i != noParent && t.nodes[i].block.Slot > slot {
		if n := &t.nodes[i]; t.nodes[n.jump].block.Slot > slot && n.jump != i {
			i = n.jump
		} else {
			i = n.parent
		}
	}
	return i
}

// isAncestor reports whether a block is on the chain of another one. The slots of the
// checkpoints must be those of their blocks.
//
// leanSpec: fork_choice.py, _checkpoint_is_ancestor
func (t *forkTree) isAncestor(ancestor, descendant Checkpoint) bool {
	i, ok := t.find(descendant.Root)
	if !ok || ancestor.Slot > descendant.Slot {
		return false
	}
	a := t.ancestorAt(i, ancestor.Slot)
	return a != noParent && t.nodes[a].root == ancestor.Root && t.nodes[a].block.Slot == ancestor.Slot
}

// blockWeights returns, for every node, the number of votes for it or a descendant.
//
// leanSpec: fork_choice.py, _accumulate_ancestor_weights
func (t *forkTree) blockWeights(votes votes) []int {
	weights := make([]int, len(t.nodes))
	var head Root // of the previous vote: most votes have the same head
	i, known := 0, false
	for v := range votes {
		if !votes[v].cast {
			continue
		}
		if votes[v].head != head || !known {
			head = votes[v].head
			i, known = t.find(head)
		}
		if known {
			weights[i]++
		}
	}
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if p := t.nodes[i].parent; p != noParent {
			weights[p] += weights[i]
		}
	}
	return weights
}

// lmdGhostHead returns the leaf that LMD-GHOST selects from a node on: at every fork it
// takes the child with the highest weight, and the one with the largest root if weights
// are equal. It ignores children whose weight is below minWeight.
//
// leanSpec: fork_choice.py, _compute_lmd_ghost_head
func (t *forkTree) lmdGhostHead(from int, weights []int, minWeight int) int {
	best := make([]int, len(t.nodes)) // best child of each node; 0 means no child
	for i := len(t.nodes) - 1; i > from; i-- {
		p := t.nodes[i].parent
		if p == noParent || weights[i] < minWeight {
			continue
		}
		if b := best[p]; b == 0 || weights[i] > weights[b] ||
			weights[i] == weights[b] && compareRoots(t.nodes[i].root, t.nodes[b].root) > 0 {
			best[p] = i
		}
	}
	for best[from] != 0 {
		from = best[from]
	}
	return from
}

// without returns the tree without the blocks before a slot.
func (t *forkTree) without(before Slot) forkTree {
	var kept forkTree
	for i := range t.nodes {
		if n := &t.nodes[i]; n.block.Slot >= before {
			kept.add(n.root, n.block, n.state)
		}
	}
	return kept
}

// lowest returns the lowest slot of a block in the tree.
func (t *forkTree) lowest() Slot {
	lowest := Slot(math.MaxUint64)
	for i := range t.nodes {
		lowest = min(lowest, t.nodes[i].block.Slot)
	}
	return lowest
}

// votes holds the latest vote of each validator.
type votes []vote

type vote struct {
	cast bool
	slot Slot
	root Root // of the attestation data
	head Root
}

// count adds a vote of the participants. Of two votes of a validator the one for the later
// slot counts. For equal slots, [Rules].LargerRootCounts decides.
func (v *votes) count(data *AttestationData, root Root, participants *AggregationBits, rules Rules) {
	if grow := participants.Len() - len(*v); grow > 0 {
		*v = append(*v, make(votes, grow)...)
	}
	for i := range participants.All {
		old := &(*v)[i]
		larger := rules.LargerRootCounts && compareRoots(old.root, root) < 0
		if !old.cast || old.slot < data.Slot || old.slot == data.Slot && larger {
			*old = vote{true, data.Slot, root, data.Head.Root}
		}
	}
}
