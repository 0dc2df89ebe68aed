package lstar

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// State is the consensus state after a block. It is immutable: the transition
// returns a new state, which shares the registry, the history and every other
// subtree that did not change, Merkle trees included. A copy of the struct is
// cheap, and the root of a new state costs a few hundred hashes whatever the
// size of the registry and the length of the history.
//
// leanSpec: containers/state.py
type State struct {
	Config            GenesisConfig
	Slot              Slot
	LatestBlockHeader BlockHeader
	LatestJustified   Checkpoint
	LatestFinalized   Checkpoint
	Validators        *Validators

	historicalBlockHashes ssz.Tree    // by slot; zero for a slot without a block
	justifiedSlots        ssz.BitTree // bit 0 is the slot after the finalized one
	justifications        justifications
}

func (s *State) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &s.Config)
	ssz.Uint(d, &s.Slot)
	ssz.Nested(d, &s.LatestBlockHeader)
	ssz.Nested(d, &s.LatestJustified)
	ssz.Nested(d, &s.LatestFinalized)
	ssz.TreeChunks(d, &s.historicalBlockHashes, HistoricalRootsLimit)
	ssz.TreeBits(d, &s.justifiedSlots, HistoricalRootsLimit)
	ssz.Custom(d, validatorsField{&s.Validators})
	ssz.TreeChunks(d, &s.justifications.roots, HistoricalRootsLimit)
	ssz.TreeBits(d, &s.justifications.votes, HistoricalRootsLimit*ValidatorRegistryLimit)
}

// DecodeState decodes exactly the bytes of b. The error wraps ssz.ErrInvalid.
func DecodeState(b []byte) (*State, error) {
	var s State
	if err := ssz.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// Encode returns the SSZ encoding.
func (s *State) Encode() []byte { return ssz.Marshal(s) }

// Root returns the hash tree root.
func (s *State) Root() Root { return ssz.HashTreeRoot(s) }

// HistoricalBlockHash returns the root of the block at a slot before the state's
// latest block, and zero for a slot without a block or outside of the history.
func (s *State) HistoricalBlockHash(slot Slot) Root {
	return s.historicalBlockHashes.At(uint64(slot))
}

// HistoryLen returns the number of slots in the history.
func (s *State) HistoryLen() int { return int(s.historicalBlockHashes.Len()) }

// JustifiedSlots returns the justified slots after the finalized one, as bits.
func (s *State) JustifiedSlots() ssz.Bitlist { return s.justifiedSlots.Bitlist() }

// JustificationRoots returns the targets that have votes but are not justified.
func (s *State) JustificationRoots() []Root {
	roots := make([]Root, s.justifications.roots.Len())
	for i := range roots {
		roots[i] = s.justifications.roots.At(uint64(i))
	}
	return roots
}

// JustificationVotes returns the votes for JustificationRoots, one registry-sized
// segment a root.
func (s *State) JustificationVotes() ssz.Bitlist { return s.justifications.votes.Bitlist() }

// GenesisState returns the state at slot 0.
//
// leanSpec: state_transition.py, generate_genesis
func GenesisState(genesisTime uint64, validators *Validators) *State {
	return &State{
		Config:            GenesisConfig{GenesisTime: genesisTime},
		LatestBlockHeader: BlockHeader{BodyRoot: ssz.HashTreeRoot(&BlockBody{})},
		Validators:        validators,
	}
}

// GenesisBlock returns the block of the state at slot 0.
//
// leanSpec: node/node.py, Node.from_genesis
func GenesisBlock(state *State) *Block { return &Block{StateRoot: state.Root()} }

// LatestBlock returns the root and the slot of the block that the state, which
// must be the one right after it, comes from, and that block without its body.
func (s *State) LatestBlock() (Checkpoint, *Block) {
	header := s.LatestBlockHeader
	header.StateRoot = s.Root()
	return Checkpoint{ssz.HashTreeRoot(&header), header.Slot}, &Block{
		Slot: header.Slot, ProposerIndex: header.ProposerIndex, ParentRoot: header.ParentRoot, StateRoot: header.StateRoot,
	}
}

// justifications is the tally of votes for targets that are not yet justified:
// targets in ascending order of their roots, and for each a bit per validator.
// Where the bytes of a state disagree with themselves, the two trees still hold
// them as they are; tally says what is wrong.
type justifications struct {
	roots ssz.Tree
	votes ssz.BitTree
}

// target is a root with the votes for it.
type target struct {
	root  Root
	votes ssz.Bitlist
}

// tally unpacks the votes. The error is a *Rejection.
//
// leanSpec: state_transition.py, process_attestations
func (j *justifications) tally(validators int) ([]target, error) {
	n := j.roots.Len()
	if j.votes.Len() != n*uint64(validators) {
		return nil, reject(JustificationVotesLengthMismatch,
			"%d votes for %d targets and %d validators", j.votes.Len(), n, validators)
	}
	if n == 0 {
		return nil, nil
	}
	targets := make([]target, n)
	flat := j.votes.Bitlist()
	for i := range targets {
		targets[i] = target{j.roots.At(uint64(i)), flat.Slice(i*validators, validators)}
		if targets[i].root.IsZero() {
			return nil, reject(ZeroHashJustificationRoot, "target %d of the tally is the zero hash", i)
		}
	}
	return targets, nil
}

// pack returns the tally in its encoding, sharing what did not change with j.
func (j *justifications) pack(targets []target, validators int) justifications {
	slices.SortFunc(targets, func(a, b target) int { return compareRoots(a.root, b.root) })
	roots := make([][32]byte, len(targets))
	flat := ssz.NewBitlist(len(targets) * validators)
	for i := range targets {
		roots[i] = targets[i].root
		flat.Or(i*validators, &targets[i].votes)
	}
	return justifications{j.roots.Replace(roots), j.votes.Replace(&flat)}
}

func compareRoots(a, b Root) int { return cmp.Compare(string(a[:]), string(b[:])) }

// indexMismatchError is a registry whose validator does not know its position.
type indexMismatchError struct {
	position int
	index    ValidatorIndex
}

func (e *indexMismatchError) Error() string {
	return fmt.Sprintf("%v: validator at position %d has index %d", ssz.ErrInvalid, e.position, e.index)
}

func (e *indexMismatchError) Unwrap() error { return ssz.ErrInvalid }
