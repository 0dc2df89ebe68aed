package lstar

// Snapshot is a store as it was at one moment. It is immutable and may be kept
// and read by anybody; it shares the blocks and states of the store.
type Snapshot struct {
	Time            Interval
	Head            Checkpoint
	SafeTarget      Checkpoint
	LatestJustified Checkpoint
	LatestFinalized Checkpoint
	HeadState       *State
	HighestSlot     Slot // of all blocks, also those that are not on the head's chain

	tree   forkTree // which the store goes on adding to, past the end of this one's nodes
	latest votes
}

// Sizes are the sizes of a store.
type Sizes struct {
	Blocks     int // with their states
	Signatures int // votes that await aggregation
	Pending    int // aggregated votes that await acceptance
	Known      int // aggregated votes that count
}

// Snapshot returns the store as it is now.
func (s *Store) Snapshot() *Snapshot {
	latest := s.latestVotes()
	s.latestShared = true
	return &Snapshot{
		Time:            s.time,
		Head:            s.Head(),
		SafeTarget:      s.SafeTarget(),
		LatestJustified: s.latestJustified,
		LatestFinalized: s.latestFinalized,
		HeadState:       s.HeadState(),
		HighestSlot:     s.highestSlot,
		tree:            s.tree,
		latest:          latest,
	}
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
