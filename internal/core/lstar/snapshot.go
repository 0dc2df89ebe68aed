package lstar

// Snapshot is a store as it was at one moment. It is immutable, so any goroutine may
// keep and read it. It shares the blocks and states of the store.
type Snapshot struct {
	Time            Interval
	Head            Checkpoint
	SafeTarget      Checkpoint
	LatestJustified Checkpoint
	LatestFinalized Checkpoint
	HeadState       *State
	HighestSlot     Slot // of all blocks, also those that are not on the head's chain

	crypto Crypto
	rules  Rules
	tree   forkTree // the store adds nodes after the end of this tree
	latest votes
}

// Sizes are the sizes of a store.
type Sizes struct {
	Blocks     int // with their states
	Signatures int // votes that await aggregation
	Pending    int // aggregated votes that await acceptance
	Known      int // aggregated votes that count
}

// Snapshot returns the store as it is now. It returns the same snapshot until
// something that a snapshot shows has changed.
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

// Sizes returns the sizes of the store as it is now.
func (s *Store) Sizes() Sizes {
	n := Sizes{Blocks: len(s.tree.nodes)}
	for raw := range s.signatures.all {
		n.Signatures += len(raw.signatures)
	}
	for p := range s.pending.all {
		n.Pending += len(p.proofs)
	}
	for p := range s.known.all {
		n.Known += len(p.proofs)
	}
	return n
}

// WeighedBlock is a block of the tree with the number of validators whose latest
// vote is for it or a descendant.
type WeighedBlock struct {
	Root   Root
	Block  *Block
	Weight int
}

// Blocks returns the blocks from the finalized slot on, parents before children,
// with their weights.
//
// leanSpec: node/api/handlers.py, fork_choice; fork_choice.py, compute_block_weights
func (s *Snapshot) Blocks() []WeighedBlock {
	weights := s.tree.weigh(s.latest)
	var blocks []WeighedBlock
	for i := range s.tree.nodes {
		n := &s.tree.nodes[i]
		b := WeighedBlock{Root: n.root, Block: n.block}
		if n.block.Slot > s.LatestFinalized.Slot { // votes weigh nothing on what is final
			b.Weight = weights[i]
		}
		if n.block.Slot >= s.LatestFinalized.Slot {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// Block returns a block, or nil.
func (s *Snapshot) Block(root Root) *Block {
	if n := s.tree.get(root); n != nil {
		return n.block
	}
	return nil
}

// State returns the state after a block, or nil.
func (s *Snapshot) State(root Root) *State {
	if n := s.tree.get(root); n != nil {
		return n.state
	}
	return nil
}
