package lstar

// AttestationTarget returns the target of a vote. It goes back from the head towards the
// safe target, by at most [JustificationLookbackSlots] blocks, and from there to the
// nearest block at a justifiable slot.
//
// leanSpec: validator_duties.py, get_attestation_target
func (s *Store) AttestationTarget() Checkpoint {
	finalized := s.latestFinalized.Slot
	lower := max(s.SafeTarget().Slot, finalized)
	i, _ := s.tree.find(s.head)
	for range JustificationLookbackSlots {
		if n := &s.tree.nodes[i]; n.block.Slot > lower && n.parent != noParent {
			i = n.parent
		}
	}
	for {
		n := &s.tree.nodes[i]
		if n.block.Slot <= finalized || n.block.Slot.IsJustifiableAfter(finalized) || n.parent == noParent {
			return Checkpoint{n.root, n.block.Slot}
		}
		i = n.parent
	}
}

// AttestationData returns the vote of a validator at a slot. It returns a [*Rejection]
// with SOURCE_AFTER_TARGET if the head's justified slot is after the target. This can
// happen after a time without votes; then there is no valid vote.
//
// leanSpec: validator_duties.py, produce_attestation_data
func (s *Store) AttestationData(slot Slot) (AttestationData, error) {
	head, target := s.Head(), s.AttestationTarget()
	// The source comes from the head's state: the justified checkpoint of the store may
	// be on a fork that the head does not extend.
	source := s.HeadState().LatestJustified
	if source.Root.IsZero() { // the genesis state does not contain the root of genesis
		source.Root = s.head
	}
	if source.Slot > target.Slot {
		return AttestationData{}, reject(SourceAfterTarget, "no vote at slot %d: justified slot %d, target at slot %d", slot, source.Slot, target.Slot)
	}
	return AttestationData{Slot: slot, Head: head, Target: target, Source: source}, nil
}

// Proposal is a block without its proof, which requires the proposer's signature.
type Proposal struct {
	Block *Block
	Root  Root
	// Proofs holds, for each attestation of the block, the proofs that together cover its
	// participants. [Crypto.AggregatePayloads] merges them.
	Proofs     [][]*SingleMessageAggregate
	Validators *Validators
}

// ProduceBlock advances the clock to a slot, accepts pending votes, and builds the block
// of the slot on the head. It makes no proof, and it does not add the block to the store:
// [Store.ImportBlock] does, as for every block. It calls step, which may be nil, at the
// end of each step. The error is a [*Rejection], for example WRONG_PROPOSER.
//
// leanSpec: validator_duties.py, produce_block_with_signatures
func (s *Store) ProduceBlock(slot Slot, proposer ValidatorIndex, step StepFunc) (*Proposal, error) {
	if _, err := s.OnTick(slot.Interval(), true, false); err != nil {
		return nil, err
	}
	s.AcceptNewAttestations()
	state := s.HeadState()
	if err := checkProposer(slot, proposer, state.Validators.Len()); err != nil {
		return nil, err
	}
	return s.buildBlock(state, s.head, slot, proposer, step)
}
