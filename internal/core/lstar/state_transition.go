package lstar

import (
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// Step is a part of the work of the core that is worth measuring.
type Step int

// The steps of a state transition, in order, and those of building a block.
const (
	StepSlots        Step = iota // empty slots up to the block's
	StepHeader                   // process_block_header
	StepAttestations             // process_attestations
	StepStateRoot                // the root of the new state
	StepPayloads                 // choosing and merging the votes of a new block
	StepTrial                    // the transitions with them that are tried out
	Steps
)

// Lap is called at the end of a step: what was done since the call before, or
// since the start, was that step. The core has no clock, the caller may have one.
type Lap func(Step)

// end is Lap for a caller that may have none.
func (l Lap) end(s Step) {
	if l != nil {
		l(s)
	}
}

// StateTransition returns the state after the block. Signatures are not its
// concern. The error is a *Rejection.
//
// leanSpec: state_transition.py, state_transition
func (s *State) StateTransition(block *Block) (*State, error) { return s.stateTransition(block, nil) }

func (s *State) stateTransition(block *Block, lap Lap) (*State, error) {
	advanced, err := s.ProcessSlots(block.Slot)
	if err != nil {
		return nil, err
	}
	lap.end(StepSlots)
	post, err := advanced.processBlock(block, lap)
	if err != nil {
		return nil, err
	}
	if root := post.Root(); root != block.StateRoot {
		return nil, reject(StateRootMismatch, "block says %s, the transition gives %s", block.StateRoot, root)
	}
	lap.end(StepStateRoot)
	return post, nil
}

// ProcessSlots returns the state at a later slot, with no block in between. The
// error is a *Rejection: BLOCK_SLOT_NOT_IN_FUTURE.
//
// leanSpec: state_transition.py, process_slots
func (s *State) ProcessSlots(slot Slot) (*State, error) {
	if s.Slot >= slot {
		return nil, reject(BlockSlotNotInFuture, "the state is at slot %d already, wanted is %d", s.Slot, slot)
	}
	next := *s
	// The first slot after a block completes the header with the root of the
	// block's state; those that follow change nothing but the slot.
	if next.LatestBlockHeader.StateRoot.IsZero() {
		next.LatestBlockHeader.StateRoot = s.Root()
	}
	next.Slot = slot
	return &next, nil
}

// ProcessBlock returns the state with header and body of the block applied, and
// does not look at the block's state root. The error is a *Rejection.
//
// leanSpec: state_transition.py, process_block
func (s *State) ProcessBlock(block *Block) (*State, error) { return s.processBlock(block, nil) }

func (s *State) processBlock(block *Block, lap Lap) (*State, error) {
	next, err := s.processBlockHeader(block)
	if err != nil {
		return nil, err
	}
	lap.end(StepHeader)
	if err := next.processAttestations(block.Body.Attestations); err != nil {
		return nil, err
	}
	lap.end(StepAttestations)
	return next, nil
}

// leanSpec: state_transition.py, process_block_header
func (s *State) processBlockHeader(block *Block) (*State, error) {
	parent := &s.LatestBlockHeader
	if block.Slot != s.Slot {
		return nil, reject(BlockSlotMismatch, "block at slot %d, state at slot %d", block.Slot, s.Slot)
	}
	if block.Slot <= parent.Slot {
		return nil, reject(BlockOlderThanHeader, "block at slot %d, latest header at slot %d", block.Slot, parent.Slot)
	}
	proposer, err := ProposerForSlot(s.Slot, s.Validators.Len())
	if err != nil {
		return nil, err
	}
	if block.ProposerIndex != proposer {
		return nil, reject(WrongProposer, "validator %d proposed at slot %d of validator %d", block.ProposerIndex, block.Slot, proposer)
	}
	parentRoot := Root(ssz.HashTreeRoot(parent))
	if block.ParentRoot != parentRoot {
		return nil, reject(ParentRootMismatch, "block says %s, the latest header is %s", block.ParentRoot, parentRoot)
	}
	// The history has room for a fixed number of slots, the one before this
	// block being the last.
	if uint64(block.Slot) > HistoricalRootsLimit {
		return nil, reject(BlockSlotGapTooLarge, "block at slot %d is past the history limit of %d slots", block.Slot, HistoricalRootsLimit)
	}

	next := *s
	// Genesis is justified and finalized by definition; its first child says so.
	if parent.Slot == 0 {
		next.LatestJustified = Checkpoint{parentRoot, 0}
		next.LatestFinalized = Checkpoint{parentRoot, 0}
	}
	// The history gets the parent, and a zero hash for every slot since.
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

// isSlotJustified reports whether a slot is justified. The error is a
// *Rejection: JUSTIFIED_SLOT_OUT_OF_RANGE past the tracked slots.
//
// leanSpec: containers/state.py, JustifiedSlots.is_slot_justified
func isSlotJustified(bits ssz.BitTree, finalized, slot Slot) (bool, error) {
	index, tracked := slot.justifiedIndexAfter(finalized)
	if !tracked {
		return true, nil
	}
	if index >= bits.Len() {
		return false, reject(JustifiedSlotOutOfRange,
			"slot %d is outside of the %d slots tracked after slot %d", slot, bits.Len(), finalized)
	}
	return bits.Get(index), nil
}

// processAttestations applies the votes of a block under the rules of 3SF-mini.
// The receiver is a new state that nobody else has seen. The error is a *Rejection.
//
// leanSpec: state_transition.py, process_attestations
func (s *State) processAttestations(attestations []AggregatedAttestation) error {
	distinct := make(map[AttestationData]struct{}, len(attestations))
	for i := range attestations {
		distinct[attestations[i].Data] = struct{}{}
	}
	if len(distinct) > MaxAttestationsData {
		return reject(TooManyAttestationData, "%d distinct attestation data, at most %d", len(distinct), MaxAttestationsData)
	}
	validators := s.Validators.Len()
	targets, err := s.justifications.tally(validators)
	if err != nil {
		return err
	}
	if len(attestations) == 0 && len(targets) == 0 {
		return nil
	}
	for i := range attestations {
		if targets, err = s.processAttestation(&attestations[i], targets); err != nil {
			return err
		}
	}
	s.justifications = s.justifications.pack(targets, validators)
	return nil
}

// processAttestation counts one attestation, and returns the tally after it.
func (s *State) processAttestation(a *AggregatedAttestation, targets []target) ([]target, error) {
	finalized := s.LatestFinalized.Slot
	source, tgt := a.Data.Source, a.Data.Target

	// Votes that cannot move justification are dropped; they make no block invalid.
	if justified, err := isSlotJustified(s.justifiedSlots, finalized, source.Slot); err != nil || !justified {
		return targets, err
	}
	if justified, err := isSlotJustified(s.justifiedSlots, finalized, tgt.Slot); err != nil || justified {
		return targets, err
	}
	if !a.Data.liesOnChain(s.HistoricalBlockHash) || tgt.Slot <= source.Slot || !tgt.Slot.IsJustifiableAfter(finalized) {
		return targets, nil
	}

	at := slices.IndexFunc(targets, func(t target) bool { return t.root == tgt.Root })
	if at < 0 {
		at = len(targets)
		targets = append(targets, target{tgt.Root, ssz.NewBitlist(s.Validators.Len())})
	}
	votes, voters := &targets[at].votes, 0
	for v := range a.AggregationBits.All {
		if !s.Validators.has(ValidatorIndex(v)) {
			return nil, reject(ValidatorIndexOutOfRange, "validator %d of a vote is not in the registry of %d", v, s.Validators.Len())
		}
		votes.Set(v)
		voters++
	}
	if voters == 0 {
		return nil, errEmptyBits()
	}
	if 3*votes.Count() < 2*s.Validators.Len() {
		return targets, nil
	}

	// Two thirds: the target is justified, and its votes have done their work.
	s.LatestJustified = s.LatestJustified.advanceTo(tgt)
	index, _ := tgt.Slot.justifiedIndexAfter(finalized) // the target is not justified yet, so it has one
	s.justifiedSlots = s.justifiedSlots.Set(index)
	targets = slices.Delete(targets, at, at+1)

	if source.Slot > finalized && !anyJustifiableBetween(source.Slot, tgt.Slot, finalized) {
		return s.finalize(source, targets), nil
	}
	return targets, nil
}

// anyJustifiableBetween reports whether a slot strictly between source and
// target could have been a target.
func anyJustifiableBetween(source, target, finalized Slot) bool {
	for slot := source + 1; slot < target; slot++ {
		if slot.IsJustifiableAfter(finalized) {
			return true
		}
	}
	return false
}

// finalize moves the finalized checkpoint forward, and with it the start of the
// justified slots. Votes for targets that it leaves behind are dropped, and so
// are votes for roots that are not on the chain (leanSpec PR 1180).
func (s *State) finalize(source Checkpoint, targets []target) []target {
	s.justifiedSlots = s.justifiedSlots.Drop(uint64(source.Slot - s.LatestFinalized.Slot))
	s.LatestFinalized = source
	if len(targets) == 0 {
		return targets
	}
	ahead := make(map[Root]bool)
	for slot := source.Slot + 1; uint64(slot) < s.historicalBlockHashes.Len(); slot++ {
		ahead[s.HistoricalBlockHash(slot)] = true
	}
	return slices.DeleteFunc(targets, func(t target) bool { return !ahead[t.root] })
}
