package lstar

import (
	"errors"
	"fmt"
	"slices"
)

// OnBlock prepares, verifies and imports a block. A known block changes nothing. The
// error is a [*Rejection].
//
// leanSpec: fork_choice.py, on_block
func (s *Store) OnBlock(b *SignedBlock) error {
	t, err := s.Snapshot().PrepareBlock(b, b.Block.Root())
	if errors.Is(err, ErrKnown) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.VerifySignatures(); err != nil {
		return err
	}
	if err := t.Transition(nil); err != nil {
		return err
	}
	return s.ImportBlock(t)
}

// ImportBlock adds a block and updates the head. [BlockTask.VerifySignatures] and
// [BlockTask.Transition] must have succeeded. It returns [ErrKnown], or a [*Rejection]
// with UNKNOWN_PARENT_BLOCK, if the store has changed since the block was prepared.
//
// leanSpec: fork_choice.py, on_block
func (s *Store) ImportBlock(t *BlockTask) error {
	if t.post == nil {
		return fmt.Errorf("block %s has no post-state: Transition was not called or failed", t.root)
	}
	if s.tree.get(t.root) != nil {
		return ErrKnown
	}
	if s.tree.get(t.block.Block.ParentRoot) == nil { // pruned since PrepareBlock
		return unknownParent(&t.block.Block, t.root)
	}
	block := t.block.Block // a copy: the tree must not keep the proof in memory
	finalized := s.latestFinalized.Slot
	s.tree.add(t.root, &block, t.post)
	s.journal.blocks, s.journal.roots = append(s.journal.blocks, t.block), append(s.journal.roots, t.root)
	s.highestSlot = max(s.highestSlot, block.Slot)
	s.latestJustified = s.latestJustified.advanceTo(t.post.LatestJustified)
	// The votes of the block enter the known pool without proofs, and have no weight
	// until their proofs arrive by gossip or are recovered from the block's proof.
	data := make([]AttestationData, len(block.Body.Attestations))
	for i := range data {
		data[i] = block.Body.Attestations[i].Data
	}
	s.known.addInFront(data, newPayload)
	s.UpdateHead()
	if s.latestFinalized.Slot > finalized {
		s.pruneStaleAttestationData()
		s.pruneTree()
	}
	return nil
}

// ValidateAttestation checks that the blocks of a vote are known, ordered and on one
// chain, and that its slot has begun. The error is a [*Rejection].
//
// leanSpec: fork_choice.py, validate_attestation
func (s *Snapshot) ValidateAttestation(data *AttestationData) error {
	source, target, head := data.Source, data.Target, data.Head
	sourceNode, targetNode, headNode := s.tree.get(source.Root), s.tree.get(target.Root), s.tree.get(head.Root)
	switch {
	// All blocks are known.
	case sourceNode == nil:
		return reject(UnknownSourceBlock, "%s", source)
	case targetNode == nil:
		return reject(UnknownTargetBlock, "%s", target)
	case headNode == nil:
		return reject(UnknownHeadBlock, "%s", head)

	// The order is source, target, head.
	case source.Slot > target.Slot:
		return reject(SourceAfterTarget, "source at slot %d, target at slot %d", source.Slot, target.Slot)
	case head.Slot < target.Slot:
		return reject(HeadOlderThanTarget, "head at slot %d, target at slot %d", head.Slot, target.Slot)

	// The slot of each checkpoint is the slot of its block.
	case sourceNode.block.Slot != source.Slot:
		return reject(SourceSlotMismatch, "%s is at slot %d", source, sourceNode.block.Slot)
	case targetNode.block.Slot != target.Slot:
		return reject(TargetSlotMismatch, "%s is at slot %d", target, targetNode.block.Slot)
	case headNode.block.Slot != head.Slot:
		return reject(HeadSlotMismatch, "%s is at slot %d", head, headNode.block.Slot)

	// All blocks are on one chain.
	case !s.tree.isAncestor(source, target):
		return reject(SourceNotAncestorOfTarget, "source %s, target %s", source, target)
	case !s.tree.isAncestor(target, head):
		return reject(TargetNotAncestorOfHead, "target %s, head %s", target, head)
	case s.rules.HeadDescendsFromFinalized && !s.tree.isAncestor(s.LatestFinalized, head):
		return reject(HeadNotDescendantOfFinalized, "head %s, finalized %s", head, s.LatestFinalized)

	// The head is not after the slot of the vote.
	case data.Slot < head.Slot:
		return reject(AttestationSlotBeforeHead, "vote for slot %d, head at slot %d", data.Slot, head.Slot)

	// The slot has begun, with tolerance for a clock that is ahead of this one.
	case data.Slot > (s.Time + GossipDisparityIntervals).Slot():
		return reject(AttestationTooFarInFuture, "vote for slot %d, the clock is at interval %d of slot %d",
			data.Slot, s.Time.InSlot(), s.Time.Slot())
	}
	return nil
}

// OnGossipAttestation validates and verifies a vote. Only an aggregator keeps its
// signature. The error is a [*Rejection].
//
// leanSpec: fork_choice.py, on_gossip_attestation
func (s *Store) OnGossipAttestation(a *SignedAttestation, isAggregator bool) error {
	t, err := s.Snapshot().PrepareAttestation(a)
	if err != nil {
		return err
	}
	if err := t.VerifySignature(); err != nil {
		return err
	}
	if isAggregator {
		s.AddAttestation(t)
	}
	return nil
}

// AddAttestation adds a verified vote to the signatures that await aggregation.
func (s *Store) AddAttestation(t *AttestationTask) {
	s.signatures.getOrAdd(t.vote.Data, newVoteSignatures).signatures[t.vote.ValidatorIndex] = t.vote.Signature
}

// OnGossipAggregatedAttestation validates, verifies and adds an aggregate. The error is a
// [*Rejection].
//
// leanSpec: fork_choice.py, on_gossip_aggregated_attestation
func (s *Store) OnGossipAggregatedAttestation(a *SignedAggregatedAttestation) error {
	t, err := s.Snapshot().PrepareAggregate(a)
	if err != nil {
		return err
	}
	if s.CheckNew(t) != nil {
		return nil
	}
	if err := t.VerifyProof(); err != nil {
		return err
	}
	return s.AddAggregate(t)
}

// ErrNothingNew reports an aggregate whose validators are all in aggregates that the
// store has.
var ErrNothingNew = errors.New("aggregate has nothing new")

// CheckNew returns [ErrNothingNew] for an aggregate that the store would not keep, so
// that the caller does not need to verify it.
func (s *Store) CheckNew(t *AggregateTask) error {
	if !s.rules.MaximalProofsOnly {
		return nil
	}
	var proofs []*SingleMessageAggregate
	for _, pool := range []*pool[*payload]{s.pending, s.known} {
		if p := pool.get(t.vote.Data); p != nil {
			proofs = append(proofs, p.proofs...)
		}
	}
	if covers(proofs, &t.vote.Proof.Participants) {
		return ErrNothingNew
	}
	return nil
}

// AddAggregate adds a verified aggregate to those that count from the next acceptance
// on. It returns [ErrNothingNew] if the store does not keep it.
func (s *Store) AddAggregate(t *AggregateTask) error {
	if err := s.CheckNew(t); err != nil {
		return err
	}
	s.addPending(t.vote)
	return nil
}

// addPending adds an aggregate to the pending ones. Under [Rules].MaximalProofsOnly it
// replaces the aggregates that it contains, and is left out if another contains it.
func (s *Store) addPending(a *SignedAggregatedAttestation) {
	p := s.pending.getOrAdd(a.Data, newPayload)
	if s.rules.MaximalProofsOnly {
		for i := range p.proofs {
			if covers(p.proofs[i:i+1], &a.Proof.Participants) {
				return
			}
		}
		p.proofs = slices.DeleteFunc(p.proofs, func(old *SingleMessageAggregate) bool {
			return covers([]*SingleMessageAggregate{&a.Proof}, &old.Participants)
		})
	}
	p.add(&a.Proof)
}

// AddKnownAggregate adds a verified aggregate to those that count. The next update of
// the head takes it into account.
func (s *Store) AddKnownAggregate(a *SignedAggregatedAttestation) {
	s.addKnown(s.known.getOrAdd(a.Data, newPayload), &a.Proof)
}

// addKnown adds a proof to a payload of the known pool, and its votes to latest.
func (s *Store) addKnown(p *payload, proof *SingleMessageAggregate) {
	if !p.add(proof) {
		return
	}
	s.journal.votes = append(s.journal.votes, p)
	if s.rules.LargerRootCounts {
		s.countVote(p, proof)
	} else {
		s.recountVotes = true // the order of the pool decides, and this payload may not be its last
	}
}

// AcceptNewAttestations moves the pending aggregates to those that count, and updates
// the head.
//
// leanSpec: fork_choice.py, accept_new_attestations
func (s *Store) AcceptNewAttestations() {
	for p := range s.pending.all {
		known := s.known.getOrAdd(p.data, newPayload)
		for _, proof := range p.proofs {
			s.addKnown(known, proof)
		}
	}
	s.pending = newPool[*payload]()
	s.UpdateHead()
	s.dropOldProofs()
}

// proofSlots is the number of slots for which a proof can become part of a block or of a
// larger proof. Its votes count for longer.
const proofSlots = 32

// dropOldProofs replaces the proofs of an old vote by the list of its voters. Otherwise
// proofs would fill the memory during a long time without finality.
func (s *Store) dropOldProofs() {
	justified := s.HeadState().LatestJustified.Slot
	now := s.time.Slot()
	for p := range s.known.all {
		if p.withoutProofs() || p.data.Slot+proofSlots >= now && p.data.Source.Slot >= justified {
			continue
		}
		p.proofs = []*SingleMessageAggregate{{Participants: union(p.proofs)}}
	}
}

// countVote adds the votes of a known proof to latest.
func (s *Store) countVote(p *payload, proof *SingleMessageAggregate) {
	if p.data.Head.Slot > s.votesCutoff {
		if s.latestShared {
			s.latest, s.latestShared = slices.Clone(s.latest), false
		}
		s.latest.count(&p.data, p.root, &proof.Participants, s.rules)
	}
}

// latestVotes returns the latest votes that have weight: those whose head is after the
// finalized slot.
//
// leanSpec: fork_choice.py, _extract_attestations_from_aggregated_payloads
func (s *Store) latestVotes() votes {
	if s.recountVotes || s.votesCutoff != s.latestFinalized.Slot {
		s.recountVotes, s.votesCutoff = false, s.latestFinalized.Slot
		s.latest, s.latestShared = nil, false
		for p := range s.known.all {
			for _, proof := range p.proofs {
				s.countVote(p, proof)
			}
		}
	}
	return s.latest
}

// UpdateHead selects the head by LMD-GHOST, and takes the finalized checkpoint from the
// head's state.
//
// leanSpec: fork_choice.py, update_head
func (s *Store) UpdateHead() {
	from, _ := s.tree.find(s.latestJustified.Root)
	head := s.tree.lmdGhostHead(from, s.tree.blockWeights(s.latestVotes()), 0)
	s.head = s.tree.nodes[head].root

	// A finalized block that is older than the anchor of the store is unknown. The
	// finalized checkpoint then stays as it is.
	finalized := s.tree.nodes[head].state.LatestFinalized.Slot
	if at := s.tree.ancestorAt(head, finalized); at != noParent && s.tree.nodes[at].block.Slot == finalized {
		s.latestFinalized = Checkpoint{s.tree.nodes[at].root, finalized}
	}
}

// UpdateSafeTarget selects the deepest block that two thirds of the validators voted for
// in the pending aggregates.
//
// leanSpec: fork_choice.py, update_safe_target
func (s *Store) UpdateSafeTarget() {
	validators := s.HeadState().Validators.Len()
	var pending votes
	for p := range s.pending.all {
		if p.data.Head.Slot > s.latestFinalized.Slot {
			for _, proof := range p.proofs {
				pending.count(&p.data, p.root, &proof.Participants, s.rules)
			}
		}
	}
	from, _ := s.tree.find(s.latestJustified.Root)
	s.safeTarget = s.tree.nodes[s.tree.lmdGhostHead(from, s.tree.blockWeights(pending), (2*validators+2)/3)].root
}

// ReorgDepth returns the number of blocks on the chain of old that are not on the chain
// of head, and 0 if one of them is unknown.
//
// leanSpec: node/sync/service.py, process_block
func (s *Store) ReorgDepth(old, head Root) (depth int) {
	a, knownA := s.tree.find(old)
	b, knownB := s.tree.find(head)
	if !knownA || !knownB {
		return 0
	}
	for a != b && a != noParent && b != noParent {
		if s.tree.nodes[a].block.Slot > s.tree.nodes[b].block.Slot || s.tree.nodes[b].parent == noParent {
			a, depth = s.tree.nodes[a].parent, depth+1
		} else {
			b = s.tree.nodes[b].parent
		}
	}
	return depth
}

// pruneStaleAttestationData drops votes that can no longer move the head, because their
// head is not a descendant of the finalized block.
//
// leanSpec: fork_choice.py, prune_stale_attestation_data
func (s *Store) pruneStaleAttestationData() {
	alive := func(data *AttestationData) bool {
		return data.Head.Slot > s.latestFinalized.Slot && s.tree.isAncestor(s.latestFinalized, data.Head)
	}
	s.signatures.keep(alive)
	s.pending.keep(alive)
	for p := range s.known.all {
		if !alive(&p.data) {
			s.journal.dropped = append(s.journal.dropped, p.root)
		}
	}
	s.known.keep(alive)
	s.recountVotes = true
}

// pruneTree drops blocks more than retainedSlots behind the finalized slot. It copies the
// tree, so it waits until there is a tenth of retainedSlots to drop.
func (s *Store) pruneTree() {
	if s.latestFinalized.Slot <= retainedSlots {
		return
	}
	keep := s.latestFinalized.Slot - retainedSlots
	if s.tree.lowest()+retainedSlots/10 < keep {
		s.tree = s.tree.without(keep)
		if s.tree.get(s.safeTarget) == nil { // not updated for a long time, as during sync
			s.safeTarget = s.latestFinalized.Root
		}
	}
}
