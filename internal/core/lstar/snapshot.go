package lstar

// Snapshot is the state of a store at one moment. It is immutable, so any goroutine may
// read it. It shares blocks and states with the store.
type Snapshot struct {
	Time            Interval
	Head            Checkpoint
	SafeTarget      Checkpoint
	LatestJustified Checkpoint
	LatestFinalized Checkpoint
	HeadState       *State
	HighestSlot     Slot // of all blocks, on any fork

	crypto Crypto
	rules  Rules
	tree   forkTree // the store adds nodes after the end of this tree
	latest votes
}

// Sizes holds the numbers of objects in a store.
type Sizes struct {
	Blocks     int // each with its state
	Signatures int // await aggregation
	Pending    int // aggregates that await acceptance
	Known      int // aggregates that count
}

// Snapshot returns a snapshot of the store. It returns the same one until a part that
// snapshots contain has changed.
func (s *Store) Snapshot() *Snapshot {
	latest := s.latestVotes()
	if old := s.snapshot; old != nil && s.latestShared &&
		old.Time == s.time && old.Head.Root == s.head && old.SafeTarget.Root == s.safeTarget &&
		old.LatestJustified == s.latestJustified && old.LatestFinalized == s.latestFinalized &&
		old.HighestSlot == s.highestSlot &&
		len(old.tree.nodes) == len(s.tree.nodes) && &old.tree.nodes[0] == &s.tree.nodes[0] {
		return old
	}
	s.latestShared = true
	s.snapshot = &Snapshot{
		Time:            s.time,
		Head:            s.Head(),
		SafeTarget:      s.SafeTarget(),
		LatestJustified: s.latestJustified,
		LatestFinalized: s.latestFinalized,
		HeadState:       s.HeadState(),
		HighestSlot:     s.highestSlot,
		crypto:          s.crypto,
		rules:           s.rules,
		tree:            s.tree,
		latest:          latest,
	}
	return s.snapshot
}

// Sizes returns the numbers of objects in the store.
func (s *Store) Sizes() Sizes {
	n := Sizes{Blocks: len(s.tree.nodes)}
	for v := range s.signatures.all {
		n.Signatures += len(v.signatures)
	}
	for p := range s.pending.all {
		n.Pending += len(p.proofs)
	}
	for p := range s.known.all {
		n.Known += len(p.proofs)
	}
	return n
}

// WeighedBlock is a block with its weight: the number of validators whose latest vote is
// for the block or a descendant.
type WeighedBlock struct {
	Root   Root
	Block  *Block
	Weight int
}

// Blocks returns the blocks from the finalized slot on with their weights, parents before
// children. Blocks at the finalized slot have weight 0.
//
// leanSpec: node/api/handlers.py, fork_choice; fork_choice.py, compute_block_weights
func (s *Snapshot) Blocks() []WeighedBlock {
	weights := s.tree.blockWeights(s.latest)
	var blocks []WeighedBlock
	for i := range s.tree.nodes {
		n := &s.tree.nodes[i]
		b := WeighedBlock{Root: n.root, Block: n.block}
		if n.block.Slot > s.LatestFinalized.Slot {
			b.Weight = weights[i]
		}
		if n.block.Slot >= s.LatestFinalized.Slot {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// Block returns the block with a root, or nil if it is unknown.
func (s *Snapshot) Block(root Root) *Block { return s.tree.block(root) }

// CanonicalRoot returns the root of the block at a slot of the head's chain, or the zero
// hash if there is none.
func (s *Snapshot) CanonicalRoot(slot Slot) Root {
	if slot == s.Head.Slot {
		return s.Head.Root
	}
	return s.HeadState.HistoricalBlockHash(slot)
}

// State returns the state after the block with a root, or nil if it is unknown.
func (s *Snapshot) State(root Root) *State { return s.tree.state(root) }
