package lstar

import (
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// Step is a part of a state transition or of building a block, for measurements.
type Step int

// The steps of a state transition, in order, then those of building a block.
const (
	StepSlots        Step = iota // process_slots
	StepHeader                   // process_block_header
	StepAttestations             // process_attestations
	StepStateRoot                // computing the root of the new state
	StepPayloads                 // choosing the votes of a new block
	StepTrial                    // state transitions with the chosen votes
	Steps                        // number of steps
)

// StepFunc is called at the end of each step. The step began at the previous call, or at
// the start of the work. The core has no clock, so the caller measures. A nil StepFunc is
// not called.
type StepFunc func(Step)

func (f StepFunc) done(s Step) {
	if f != nil {
		f(s)
	}
}

// StateTransition returns the state after the block. It does not verify signatures. The
// error is a [*Rejection].
//
// leanSpec: state_transition.py, state_transition
func (s *State) StateTransition(block *Block) (*State, error) { return s.stateTransition(block, nil) }

func (s *State) stateTransition(block *Block, step StepFunc) (*State, error) {
	advanced, err := s.ProcessSlots(block.Slot)
	if err != nil {
		return nil, err
	}
	step.done(StepSlots)
	post, err := advanced.processBlock(block, step)
	if err != nil {
		return nil, err
	}
	if root := post.Root(); root != block.StateRoot {
		return nil, reject(StateRootMismatch, "state root of the block = %s, want %s", block.StateRoot, root)
	}
	step.done(StepStateRoot)
	return post, nil
}

// ProcessSlots returns the state at a later slot, without a block in between. It returns
// a [*Rejection] with BLOCK_SLOT_NOT_IN_FUTURE if the slot is not after the state's.
//
// leanSpec: state_transition.py, process_slots
func (s *State) ProcessSlots(slot Slot) (*State, error) {
	if s.Slot >= slot {
		return nil, reject(BlockSlotNotInFuture, "slot %d, the state is at slot %d", slot, s.Slot)
	}
	next := *s
	// The first slot after a block sets the state root of the block's header. The
	// following slots change only the slot.
	if next.LatestBlockHeader.StateRoot.IsZero() {
		next.LatestBlockHeader.StateRoot = s.Root()
	}
	next.Slot = slot
	return &next, nil
}

// ProcessBlock returns the state after the header and the body of a block at the state's
// slot. It does not check the block's state root. The error is a [*Rejection].
//
// leanSpec: state_transition.py, process_block
func (s *State) ProcessBlock(block *Block) (*State, error) { return s.processBlock(block, nil) }

func (s *State) processBlock(block *Block, step StepFunc) (*State, error) {
	next, err := s.processBlockHeader(block)
	if err != nil {
		return nil, err
	}
	step.done(StepHeader)
	if err := next.processAttestations(block.Body.Attestations); err != nil {
		return nil, err
	}
	step.done(StepAttestations)
	return next, nil
}

// processBlockHeader returns a new state with the header of the block and with the
// parent's root in the history.
//
// leanSpec: state_transition.py, process_block_header
func (s *State) processBlockHeader(block *Block) (*State, error) {
	parent := &s.LatestBlockHeader
	if block.Slot != s.Slot {
		return nil, reject(BlockSlotMismatch, "block at slot %d, state at slot %d", block.Slot, s.Slot)
	}
	if block.Slot <= parent.Slot {
		return nil, reject(BlockOlderThanHeader, "block at slot %d, latest header at slot %d", block.Slot, parent.Slot)
	}
	if err := checkProposer(s.Slot, block.ProposerIndex, s.Validators.Len()); err != nil {
		return nil, err
	}
	parentRoot := Root(ssz.HashTreeRoot(parent))
	if block.ParentRoot != parentRoot {
		return nil, reject(ParentRootMismatch, "parent of the block = %s, want %s", block.ParentRoot, parentRoot)
	}
	// The history, which ends at the slot before the block, has a limited length.
	if uint64(block.Slot) > HistoricalRootsLimit {
		return nil, reject(BlockSlotGapTooLarge, "block at slot %d, the history ends at slot %d", block.Slot, HistoricalRootsLimit)
	}

	next := *s
	// Genesis is justified and finalized by definition. The state contains its root from
	// the first block on.
	if parent.Slot == 0 {
		next.LatestJustified = Checkpoint{parentRoot, 0}
		next.LatestFinalized = Checkpoint{parentRoot, 0}
	}
	// The history grows by the parent and by a zero hash for each empty slot after it.
	history := s.historicalBlockHashes.Append(parentRoot)
	next.historicalBlockHashes = history.Grow(history.Len() + uint64(block.Slot-parent.Slot-1))

	if last, tracked := (block.Slot - 1).justifiedIndexAfter(next.LatestFinalized.Slot); tracked {
		next.justifiedSlots = s.justifiedSlots.Grow(last + 1)
	}
	next.LatestBlockHeader = BlockHeader{
		Slot:          block.Slot,
		ProposerIndex: block.ProposerIndex,
		ParentRoot:    block.ParentRoot,
		BodyRoot:      ssz.HashTreeRoot(&block.Body),
	}
	return &next, nil
}

// isSlotJustified reports whether a slot is justified. It returns a [*Rejection] with
// JUSTIFIED_SLOT_OUT_OF_RANGE for a slot after the tracked ones.
//
// leanSpec: containers/state.py, JustifiedSlots.is_slot_justified
func isSlotJustified(bits ssz.BitTree, finalized, slot Slot) (bool, error) {
	index, tracked := slot.justifiedIndexAfter(finalized)
	if !tracked {
		return true, nil
	}
	if index >= bits.Len() {
		return false, reject(JustifiedSlotOutOfRange, "slot %d, want one of the %d slots after slot %d", slot, bits.Len(), finalized)
	}
	return bits.Get(index), nil
}

// processAttestations applies the votes of a block by the rules of 3SF-mini. It changes
// the receiver, which must be a new state. The error is a [*Rejection].
//
// leanSpec: state_transition.py, process_attestations
func (s *State) processAttestations(attestations []AggregatedAttestation) error {
	if err := checkDistinct(distinctData(attestations)); err != nil {
		return err
	}
	validators := s.Validators.Len()
	pending, err := s.justifications.unpack(validators)
	if err != nil {
		return err
	}
	if len(attestations) == 0 && len(pending) == 0 {
		return nil
	}
	for i := range attestations {
		if pending, err = s.processAttestation(&attestations[i], pending); err != nil {
			return err
		}
	}
	s.justifications = s.justifications.pack(pending, validators)
	return nil
}

// processAttestation counts one attestation and returns the pending justifications after
// it.
func (s *State) processAttestation(a *AggregatedAttestation, pending []justification) ([]justification, error) {
	finalized := s.LatestFinalized.Slot
	source, target := a.Data.Source, a.Data.Target

	// A vote that cannot justify its target is ignored. The block stays valid.
	if justified, err := isSlotJustified(s.justifiedSlots, finalized, source.Slot); err != nil || !justified {
		return pending, err
	}
	if justified, err := isSlotJustified(s.justifiedSlots, finalized, target.Slot); err != nil || justified {
		return pending, err
	}
	if !a.Data.liesOnChain(s.HistoricalBlockHash) || target.Slot <= source.Slot || !target.Slot.IsJustifiableAfter(finalized) {
		return pending, nil
	}

	at := slices.IndexFunc(pending, func(j justification) bool { return j.target == target.Root })
	if at < 0 {
		at = len(pending)
		pending = append(pending, justification{target.Root, ssz.NewBitlist(s.Validators.Len())})
	}
	votes, voters := &pending[at].votes, 0
	for v := range a.AggregationBits.All {
		if !s.Validators.has(ValidatorIndex(v)) {
			return nil, reject(ValidatorIndexOutOfRange, "voter %d, the registry has %d validators", v, s.Validators.Len())
		}
		votes.Set(v)
		voters++
	}
	if voters == 0 {
		return nil, errEmptyBits()
	}
	if 3*votes.Count() < 2*s.Validators.Len() {
		return pending, nil
	}

	// Two thirds of the validators justify the target.
	s.LatestJustified = s.LatestJustified.advanceTo(target)
	index, _ := target.Slot.justifiedIndexAfter(finalized) // tracked, because it was not justified
	s.justifiedSlots = s.justifiedSlots.Set(index)
	pending = slices.Delete(pending, at, at+1)

	if source.Slot > finalized && !anyJustifiableBetween(source.Slot, target.Slot, finalized) {
		return s.finalize(source, pending), nil
	}
	return pending, nil
}

// anyJustifiableBetween reports whether a slot strictly between source and target is
// justifiable.
func anyJustifiableBetween(source, target, finalized Slot) bool {
	for slot := source + 1; slot < target; slot++ {
		if slot.IsJustifiableAfter(finalized) {
			return true
		}
	}
	return false
}

// finalize advances the finalized checkpoint and the start of the justified slots. It
// returns the pending justifications without those at or before the finalized slot and
// those whose target is not on the chain (leanSpec PR 1180).
func (s *State) finalize(source Checkpoint, pending []justification) []justification {
	s.justifiedSlots = s.justifiedSlots.Drop(uint64(source.Slot - s.LatestFinalized.Slot))
	s.LatestFinalized = source
	if len(pending) == 0 {
		return pending
	}
	ahead := make(map[Root]bool)
	for slot := source.Slot + 1; uint64(slot) < s.historicalBlockHashes.Len(); slot++ {
		ahead[s.HistoricalBlockHash(slot)] = true
	}
	return slices.DeleteFunc(pending, func(j justification) bool { return !ahead[j.target] })
}
