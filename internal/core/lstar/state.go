package lstar

import (
	"cmp"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// State is the consensus state after a block. It is immutable: the transition returns a
// new state, which shares the registry and every unchanged part of the Merkle trees with
// the old one. So copying the struct is cheap, and the root of a new state costs a few
// hundred hashes, independent of the size of the registry and the length of the history.
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

// DecodeState decodes the SSZ encoding of a state. Errors wrap [ssz.ErrInvalid].
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

// HistoricalBlockHash returns the root of the block at a slot before the state's latest
// block. It returns the zero hash for a slot without a block and outside of the history.
func (s *State) HistoricalBlockHash(slot Slot) Root {
	return s.historicalBlockHashes.At(uint64(slot))
}

// HistoryLen returns the number of slots in the history.
func (s *State) HistoryLen() int { return int(s.historicalBlockHashes.Len()) }

// JustifiedSlots returns a bit for each slot after the finalized one up to the latest
// block's: whether the slot is justified.
func (s *State) JustifiedSlots() ssz.Bitlist { return s.justifiedSlots.Bitlist() }

// JustificationRoots returns the roots of the targets that have votes but are not
// justified, in ascending order.
func (s *State) JustificationRoots() []Root {
	roots := make([]Root, s.justifications.roots.Len())
	for i := range roots {
		roots[i] = s.justifications.roots.At(uint64(i))
	}
	return roots
}

// JustificationVotes returns the votes for [State.JustificationRoots]: for each root, a bit
// for each validator.
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

// GenesisBlock returns the block at slot 0, which contains the root of the genesis state.
//
// leanSpec: node/node.py, Node.from_genesis
func GenesisBlock(state *State) *Block { return &Block{StateRoot: state.Root()} }

// LatestBlock returns the root and slot of the latest block, and that block with an empty
// body. The state must be the one right after the block.
func (s *State) LatestBlock() (Checkpoint, *Block) {
	header := s.LatestBlockHeader
	header.StateRoot = s.Root()
	return Checkpoint{ssz.HashTreeRoot(&header), header.Slot}, &Block{
		Slot: header.Slot, ProposerIndex: header.ProposerIndex, ParentRoot: header.ParentRoot, StateRoot: header.StateRoot,
	}
}

// justifications holds the votes for targets that are not justified, as the state encodes
// them: targets in ascending order of their roots, and for each target a bit for each
// validator. A decoded state may hold trees that contradict each other; unpack checks
// them.
type justifications struct {
	roots ssz.Tree    // justifications_roots
	votes ssz.BitTree // justifications_validators
}

// justification is a target with its votes, a bit for each validator.
type justification struct {
	target Root
	votes  ssz.Bitlist
}

// unpack returns the justifications. It returns a [*Rejection] with
// JUSTIFICATION_VOTES_LENGTH_MISMATCH or ZERO_HASH_JUSTIFICATION_ROOT.
//
// leanSpec: state_transition.py, process_attestations
func (j *justifications) unpack(validators int) ([]justification, error) {
	n := j.roots.Len()
	if j.votes.Len() != n*uint64(validators) {
		return nil, reject(JustificationVotesLengthMismatch,
			"%d votes for %d targets and %d validators", j.votes.Len(), n, validators)
	}
	if n == 0 {
		return nil, nil
	}
	list := make([]justification, n)
	flat := j.votes.Bitlist()
	for i := range list {
		list[i] = justification{j.roots.At(uint64(i)), flat.Slice(i*validators, validators)}
		if list[i].target.IsZero() {
			return nil, reject(ZeroHashJustificationRoot, "target %d is the zero hash", i)
		}
	}
	return list, nil
}

// pack returns the encoding of a list, which it sorts. The result shares unchanged parts
// with j.
func (j *justifications) pack(list []justification, validators int) justifications {
	slices.SortFunc(list, func(a, b justification) int { return compareRoots(a.target, b.target) })
	roots := make([][32]byte, len(list))
	flat := ssz.NewBitlist(len(list) * validators)
	for i := range list {
		roots[i] = list[i].target
		flat.Or(i*validators, &list[i].votes)
	}
	return justifications{j.roots.Replace(roots), j.votes.Replace(&flat)}
}

func compareRoots(a, b Root) int { return cmp.Compare(string(a[:]), string(b[:])) }
