package lstar

import (
	"errors"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// ErrKnown reports a block that the store already holds.
var ErrKnown = errors.New("block is known")

// BlockTask is a block on its way into a store: [Snapshot.PrepareBlock] looks up what
// it needs, VerifySignatures and Transition do the work on any goroutine, and
// [Store.ImportBlock] adds the result.
type BlockTask struct {
	crypto Crypto
	parent *State
	block  *SignedBlock
	root   Root
	post   *State
}

// Root returns the root of the block.
func (t *BlockTask) Root() Root { return t.root }

// PrepareBlock checks what needs the blocks that are known and no work. root is the
// root of the block. The error is [ErrKnown] or a *[Rejection] with
// UNKNOWN_PARENT_BLOCK, BLOCK_TOO_FAR_IN_FUTURE, DUPLICATE_ATTESTATION_DATA or
// TOO_MANY_ATTESTATION_DATA.
//
// leanSpec: fork_choice.py, on_block
func (s *Snapshot) PrepareBlock(b *SignedBlock, root Root) (*BlockTask, error) {
	block := &b.Block
	if s.tree.get(root) != nil {
		return nil, ErrKnown
	}
	parent := s.tree.get(block.ParentRoot)
	if parent == nil {
		return nil, unknownParent(block, root)
	}
	if now := s.Time.Slot(); block.Slot > now && block.Slot-now > 1 {
		return nil, reject(BlockTooFarInFuture, "block at slot %d, the clock is at slot %d", block.Slot, now)
	}
	if err := CheckBody(&block.Body); err != nil {
		return nil, err
	}
	return &BlockTask{crypto: s.crypto, parent: parent.state, block: b, root: root}, nil
}

func unknownParent(block *Block, root Root) error {
	return reject(UnknownParentBlock, "block %s at slot %d needs its parent %s", root, block.Slot, block.ParentRoot)
}

// CheckBody rejects a body that no valid block can have, before any work is done for
// it: a block of a megabyte can hold thousands of votes of thousands of validators.
// The error is a *[Rejection] with DUPLICATE_ATTESTATION_DATA or
// TOO_MANY_ATTESTATION_DATA.
//
// leanSpec: fork_choice.py, on_block; state_transition.py, process_attestations
func CheckBody(body *BlockBody) error {
	distinct := make(map[AttestationData]struct{}, len(body.Attestations))
	for i := range body.Attestations {
		distinct[body.Attestations[i].Data] = struct{}{}
	}
	if len(distinct) != len(body.Attestations) {
		return reject(DuplicateAttestationData, "%d attestations, %d distinct", len(body.Attestations), len(distinct))
	}
	if len(distinct) > MaxAttestationsData {
		return reject(TooManyAttestationData, "%d distinct attestation data, at most %d", len(distinct), MaxAttestationsData)
	}
	return nil
}

// VerifySignatures checks the proof of the block. The error is a *[Rejection].
//
// leanSpec: signatures.py, verify_signatures
func (t *BlockTask) VerifySignatures() error {
	return verifyBlock(t.crypto, t.block, t.root, t.parent.Validators)
}

// VerifyBlockProof checks the proof of a block against the registry of its chain.
// The error is a *[Rejection].
func VerifyBlockProof(crypto Crypto, b *SignedBlock, validators *Validators) error {
	if err := CheckBody(&b.Block.Body); err != nil {
		return err
	}
	return verifyBlock(crypto, b, b.Block.Root(), validators)
}

func verifyBlock(crypto Crypto, b *SignedBlock, root Root, validators *Validators) error {
	components, err := blockComponents(&b.Block, root, validators)
	if err != nil {
		return err
	}
	if err := crypto.Proofs.VerifyMulti(components, b.Proof.Proof); err != nil {
		return reject(InvalidBlockProof, "%v", err)
	}
	return nil
}

// VerifyProposer checks the body's limits, that the proposer is that of the slot, and
// the proposer's part of the block's proof. It needs the registry, which all states
// share, and not the block's parent. The rest of the proof stays unchecked except for
// its layout. The error is a *[Rejection].
func (s *Snapshot) VerifyProposer(b *SignedBlock, root Root) error {
	if err := CheckBody(&b.Block.Body); err != nil {
		return err
	}
	components, err := blockComponents(&b.Block, root, s.HeadState.Validators)
	if err != nil {
		return err
	}
	proposer, err := ProposerForSlot(b.Block.Slot, s.HeadState.Validators.Len())
	if err != nil || b.Block.ProposerIndex != proposer {
		return reject(WrongProposer, "proposer %d at slot %d, want %d", b.Block.ProposerIndex, b.Block.Slot, proposer)
	}
	last := len(components) - 1
	single, err := s.crypto.Proofs.Split(components, last, b.Proof.Proof)
	if err == nil {
		err = s.crypto.Proofs.VerifySingle(components[last], single)
	}
	if err != nil {
		return reject(InvalidBlockProof, "proposer: %v", err)
	}
	return nil
}

// blockComponents returns what the proof of a block must prove: the signers and the
// message of each attestation of the body, followed by those of the proposer.
func blockComponents(block *Block, root Root, validators *Validators) ([]proof.Component, error) {
	components := make([]proof.Component, 0, len(block.Body.Attestations)+1)
	for i := range block.Body.Attestations {
		a := &block.Body.Attestations[i]
		keys, err := validators.attestationKeys(&a.AggregationBits, ValidatorIndexOutOfRange)
		if err != nil {
			return nil, err
		}
		components = append(components, proof.Component{Keys: keys, Slot: uint64(a.Data.Slot), Message: a.Data.Root()})
	}
	if !validators.has(block.ProposerIndex) {
		return nil, reject(ProposerIndexOutOfRange, "proposer %d is not in the registry of %d", block.ProposerIndex, validators.Len())
	}
	return append(components, proof.Component{
		Keys: []*xmss.PublicKey{validators.ProposalKey(block.ProposerIndex)},
		Slot: uint64(block.Slot), Message: root,
	}), nil
}

// Slots returns the number of slots that the transition processes, including the slot
// of the block.
func (t *BlockTask) Slots() uint64 { return uint64(t.block.Block.Slot - t.parent.Slot) }

// Transition computes the state after the block. It calls lap, which may be nil, at the
// end of each step. The error is a *[Rejection].
func (t *BlockTask) Transition(lap Lap) (err error) {
	t.post, err = t.parent.stateTransition(&t.block.Block, lap)
	return err
}

// ValidateAttestation checks that the blocks of a vote are known and ordered, that they
// lie on one chain, and that its slot has begun. The error is a *[Rejection].
//
// leanSpec: fork_choice.py, validate_attestation
func (s *Snapshot) ValidateAttestation(data *AttestationData) error {
	source, target, head := data.Source, data.Target, data.Head
	sourceNode, targetNode, headNode := s.tree.get(source.Root), s.tree.get(target.Root), s.tree.get(head.Root)
	switch {
	// A vote counts only for known blocks.
	case sourceNode == nil:
		return reject(UnknownSourceBlock, "%s", source)
	case targetNode == nil:
		return reject(UnknownTargetBlock, "%s", target)
	case headNode == nil:
		return reject(UnknownHeadBlock, "%s", head)

	// History is ordered: source, target, head.
	case source.Slot > target.Slot:
		return reject(SourceAfterTarget, "source at slot %d, target at slot %d", source.Slot, target.Slot)
	case head.Slot < target.Slot:
		return reject(HeadOlderThanTarget, "head at slot %d, target at slot %d", head.Slot, target.Slot)

	// The slot of a checkpoint is that of its block.
	case sourceNode.block.Slot != source.Slot:
		return reject(SourceSlotMismatch, "%s is at slot %d", source, sourceNode.block.Slot)
	case targetNode.block.Slot != target.Slot:
		return reject(TargetSlotMismatch, "%s is at slot %d", target, targetNode.block.Slot)
	case headNode.block.Slot != head.Slot:
		return reject(HeadSlotMismatch, "%s is at slot %d", head, headNode.block.Slot)

	// All three lie on one chain.
	case !s.tree.isAncestor(source, target):
		return reject(SourceNotAncestorOfTarget, "source %s, target %s", source, target)
	case !s.tree.isAncestor(target, head):
		return reject(TargetNotAncestorOfHead, "target %s, head %s", target, head)
	case s.rules.HeadDescendsFromFinalized && !s.tree.isAncestor(s.LatestFinalized, head):
		return reject(HeadNotDescendantOfFinalized, "head %s, finalized %s", head, s.LatestFinalized)

	// A head cannot be voted for before it exists.
	case data.Slot < head.Slot:
		return reject(AttestationSlotBeforeHead, "vote for slot %d, head at slot %d", data.Slot, head.Slot)

	// The slot has begun, allowing for the disparity between two clocks.
	case data.Slot > (s.Time + GossipDisparityIntervals).Slot():
		return reject(AttestationTooFarInFuture, "vote for slot %d, the clock is at interval %d of slot %d",
			data.Slot, s.Time.InSlot(), s.Time.Slot())
	}
	return nil
}

// AttestationTask is a vote on its way into a store.
type AttestationTask struct {
	scheme *xmss.Scheme
	vote   *SignedAttestation
	key    *xmss.PublicKey
}

// PrepareAttestation validates a vote and looks up the key of its validator. The error
// is a *[Rejection].
//
// leanSpec: fork_choice.py, on_gossip_attestation
func (s *Snapshot) PrepareAttestation(a *SignedAttestation) (*AttestationTask, error) {
	if err := s.ValidateAttestation(&a.Data); err != nil {
		return nil, err
	}
	validators := s.tree.get(a.Data.Target.Root).state.Validators
	if !validators.has(a.ValidatorIndex) {
		return nil, reject(ValidatorNotInState, "validator %d, the registry of %s has %d", a.ValidatorIndex, a.Data.Target, validators.Len())
	}
	return &AttestationTask{s.crypto.Signatures, a, validators.AttestationKey(a.ValidatorIndex)}, nil
}

// Verification returns the signature check of the vote, for a caller that checks many
// of them together. It returns false if the registry has no valid key for the
// validator.
func (t *AttestationTask) Verification() (xmss.Verification, bool) {
	return xmss.Verification{
		PublicKey: t.key, Slot: uint64(t.vote.Data.Slot), Message: t.vote.Data.Root(), Signature: t.vote.Signature,
	}, t.key != nil
}

// VerifySignature checks the signature. The error is a *[Rejection] with
// INVALID_SIGNATURE.
func (t *AttestationTask) VerifySignature() error {
	v, ok := t.Verification()
	if !ok || !t.scheme.Verify(v.PublicKey, v.Slot, v.Message, v.Signature) {
		return t.Reject()
	}
	return nil
}

// Reject returns the rejection of a vote with an invalid signature.
func (t *AttestationTask) Reject() error {
	return reject(InvalidSignature, "vote of validator %d for slot %d", t.vote.ValidatorIndex, t.vote.Data.Slot)
}

// AggregateTask is an aggregate on its way into a store.
type AggregateTask struct {
	proofs  proof.Scheme
	vote    *SignedAggregatedAttestation
	signers proof.Component
}

// PrepareAggregate validates an aggregated vote and looks up the keys of its
// validators. The error is a *[Rejection].
//
// leanSpec: fork_choice.py, on_gossip_aggregated_attestation
func (s *Snapshot) PrepareAggregate(a *SignedAggregatedAttestation) (*AggregateTask, error) {
	if err := s.ValidateAttestation(&a.Data); err != nil {
		return nil, err
	}
	validators := s.tree.get(a.Data.Target.Root).state.Validators
	keys, err := validators.attestationKeys(&a.Proof.Participants, ValidatorNotInState)
	if err != nil {
		return nil, err
	}
	return &AggregateTask{s.crypto.Proofs, a, proof.Component{Keys: keys, Slot: uint64(a.Data.Slot), Message: a.Data.Root()}}, nil
}

// VerifyProof checks the proof. The error is a *[Rejection] with INVALID_SIGNATURE.
func (t *AggregateTask) VerifyProof() error {
	if err := t.proofs.VerifySingle(t.signers, t.vote.Proof.Proof); err != nil {
		return reject(InvalidSignature, "aggregate for slot %d: %v", t.vote.Data.Slot, err)
	}
	return nil
}
