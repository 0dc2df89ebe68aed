package lstar

import "math"

// forkTree is the tree of known blocks. Nodes are only ever added at the end,
// parents before their children, and a node never changes, so a slice of the
// nodes is a snapshot that anybody may read.
type forkTree struct {
	nodes []node
	index rootIndex
}

type node struct {
	root   Root
	block  *Block
	state  *State // after the block
	parent int    // noParent at the bottom of the tree

	// jump is an ancestor further down, so chosen that any ancestor is reached
	// in a number of steps logarithmic in its distance (Myers 1983).
	depth, jump int
}

const noParent = -1

// find returns the position of a block.
func (t *forkTree) find(root Root) (position int, ok bool) { return t.index.find(t.nodes, root) }

// add adds a block, whose root must be new.
func (t *forkTree) add(root Root, block *Block, state *State) int {
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
	return len(t.nodes) - 1
}

// get returns the node of a block, or nil.
func (t *forkTree) get(root Root) *node {
	if i, ok := t.find(root); ok {
		return &t.nodes[i]
	}
	return nil
}

// ancestorAt returns the position of the first node at or below a slot on the
// way down from node i, or noParent where the tree ends above it.
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

// isAncestor reports whether one checkpoint lies on the chain of another one,
// both of which name their blocks by root and slot.
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

// weigh returns for every node the number of votes for it or a descendant.
//
// leanSpec: fork_choice.py, _accumulate_ancestor_weights
func (t *forkTree) weigh(votes votes) []int {
	weights := make([]int, len(t.nodes))
	var head Root // most votes are for the same head as the one before
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

// heaviest walks from a node to the leaf that LMD-GHOST chooses: at every fork
// to the child with the most votes, of two with the same number to the one with
// the larger root. Children below minWeight do not count.
//
// leanSpec: fork_choice.py, _compute_lmd_ghost_head
func (t *forkTree) heaviest(from int, weights []int, minWeight int) int {
	best := make([]int, len(t.nodes)) // child of each node; 0 is the bottom, nobody's child
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

// lowest returns the lowest slot in the tree.
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

// count takes the participants' votes into account: of two votes of a validator
// the later one counts. Between two for the same slot the rules decide.
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
