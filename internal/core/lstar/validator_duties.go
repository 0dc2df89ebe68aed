package lstar

// AttestationTarget chooses the target of a vote: from the head back towards the
// safe target, at most three blocks, and on to the next slot that is justifiable.
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

// AttestationData returns what a validator votes for at a slot. The error is a
// *Rejection, SOURCE_AFTER_TARGET: after a time without votes the target can stay
// behind what the head has justified, and then there is nothing to vote for.
//
// leanSpec: validator_duties.py, produce_attestation_data
func (s *Store) AttestationData(slot Slot) (AttestationData, error) {
	head, target := s.Head(), s.AttestationTarget()
	// The source is the head's view: the store's justified checkpoint may come
	// from a fork that the head does not extend.
	source := s.HeadState().LatestJustified
	if source.Root.IsZero() { // genesis does not know its own root
		source.Root = s.head
	}
	if source.Slot > target.Slot {
		return AttestationData{}, reject(SourceAfterTarget, "no vote at slot %d: the justified slot %d is past the target %d", slot, source.Slot, target.Slot)
	}
	return AttestationData{Slot: slot, Head: head, Target: target, Source: source}, nil
}

// Proposal is a block without its proof, which needs the signature of the proposer.
type Proposal struct {
	Block *Block
	Root  Root
	// Proofs are, for each attestation of the block, the proofs that together cover its
	// participants. [Crypto.AggregatePayloads] makes one proof of them.
	Proofs     [][]*SingleMessageAggregate
	Validators *Validators
}

// ProduceBlock builds the block of a slot on the head, with the accepted votes. It
// proves nothing. It moves the clock to the slot and adds nothing to the tree: every
// block is added by ImportBlock. The error is a *[Rejection], for example WRONG_PROPOSER.
// It calls lap, which may be nil, at the end of each step.
//
// leanSpec: validator_duties.py, produce_block_with_signatures
func (s *Store) ProduceBlock(slot Slot, proposer ValidatorIndex, lap Lap) (*Proposal, error) {
	if _, err := s.OnTick(slot.Interval(), true, false); err != nil {
		return nil, err
	}
	s.AcceptNewAttestations()
	state := s.HeadState()
	expected, err := ProposerForSlot(slot, state.Validators.Len())
	if err != nil {
		return nil, err
	}
	if proposer != expected {
		return nil, reject(WrongProposer, "validator %d wants to propose at slot %d of validator %d", proposer, slot, expected)
	}
	return s.buildBlock(state, s.head, slot, proposer, lap)
}
