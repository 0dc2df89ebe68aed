package lstar

import (
	"errors"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// ErrKnown reports a block that the store already has.
var ErrKnown = errors.New("block is known")

// BlockTask is the work of importing a block: VerifySignatures and Transition, which any
// goroutine can do. [Store.ImportBlock] adds the result.
type BlockTask struct {
	crypto Crypto
	parent *State
	block  *SignedBlock
	root   Root
	post   *State // set by Transition
}

// PrepareBlock checks that the parent of a block is known, that its slot is at most one
// ahead of the clock, and the limits of its body. root is the root of the block. It
// returns [ErrKnown], or a [*Rejection] with UNKNOWN_PARENT_BLOCK,
// BLOCK_TOO_FAR_IN_FUTURE, DUPLICATE_ATTESTATION_DATA or TOO_MANY_ATTESTATION_DATA.
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
	return reject(UnknownParentBlock, "block %s at slot %d, parent %s", root, block.Slot, block.ParentRoot)
}

// CheckBody rejects a body that no valid block can have, before any work is done for it:
// an invalid block of a megabyte can hold thousands of votes of thousands of validators.
// The error is a [*Rejection] with DUPLICATE_ATTESTATION_DATA or
// TOO_MANY_ATTESTATION_DATA.
//
// leanSpec: fork_choice.py, on_block; state_transition.py, process_attestations
func CheckBody(body *BlockBody) error {
	distinct := distinctData(body.Attestations)
	if distinct != len(body.Attestations) {
		return reject(DuplicateAttestationData, "%d attestations, %d distinct", len(body.Attestations), distinct)
	}
	return checkDistinct(distinct)
}

// distinctData returns the number of distinct attestation data.
func distinctData(attestations []AggregatedAttestation) int {
	distinct := make(map[AttestationData]struct{}, len(attestations))
	for i := range attestations {
		distinct[attestations[i].Data] = struct{}{}
	}
	return len(distinct)
}

func checkDistinct(distinct int) error {
	if distinct > MaxAttestationsData {
		return reject(TooManyAttestationData, "%d distinct attestation data, want at most %d", distinct, MaxAttestationsData)
	}
	return nil
}

// Root returns the root of the block.
func (t *BlockTask) Root() Root { return t.root }

// Slots returns the number of slots that Transition processes, including the slot of the
// block.
func (t *BlockTask) Slots() uint64 { return uint64(t.block.Block.Slot - t.parent.Slot) }

// Transition computes the state after the block. It calls step, which may be nil, at the
// end of each step. The error is a [*Rejection].
func (t *BlockTask) Transition(step StepFunc) (err error) {
	t.post, err = t.parent.stateTransition(&t.block.Block, step)
	return err
}

// AttestationTask is the work of adding a vote: verifying its signature.
type AttestationTask struct {
	scheme *xmss.Scheme
	vote   *SignedAttestation
	key    *xmss.PublicKey
}

// PrepareAttestation validates a vote and looks up the key of its validator. The error
// is a [*Rejection].
//
// leanSpec: fork_choice.py, on_gossip_attestation
func (s *Snapshot) PrepareAttestation(a *SignedAttestation) (*AttestationTask, error) {
	if err := s.ValidateAttestation(&a.Data); err != nil {
		return nil, err
	}
	validators := s.tree.get(a.Data.Target.Root).state.Validators
	if !validators.has(a.ValidatorIndex) {
		return nil, reject(ValidatorNotInState, "validator %d, the registry has %d validators", a.ValidatorIndex, validators.Len())
	}
	return &AttestationTask{s.crypto.Signatures, a, validators.AttestationKey(a.ValidatorIndex)}, nil
}

// Verification returns the arguments of the signature check, for a caller that checks
// many signatures together. It returns false if the registry has no valid key for the
// validator.
func (t *AttestationTask) Verification() (xmss.Verification, bool) {
	return xmss.Verification{
		PublicKey: t.key, Slot: uint64(t.vote.Data.Slot), Message: t.vote.Data.Root(), Signature: t.vote.Signature,
	}, t.key != nil
}

// VerifySignature verifies the signature. The error is a [*Rejection] with
// INVALID_SIGNATURE.
func (t *AttestationTask) VerifySignature() error {
	v, ok := t.Verification()
	if !ok || !t.scheme.Verify(v.PublicKey, v.Slot, v.Message, v.Signature) {
		return t.Reject()
	}
	return nil
}

// Reject returns the [*Rejection] of a vote with an invalid signature.
func (t *AttestationTask) Reject() error {
	return reject(InvalidSignature, "vote of validator %d for slot %d", t.vote.ValidatorIndex, t.vote.Data.Slot)
}

// AggregateTask is the work of adding an aggregate: verifying its proof.
type AggregateTask struct {
	proofs  proof.Scheme
	vote    *SignedAggregatedAttestation
	signers proof.Component
}

// PrepareAggregate validates an aggregate and looks up the keys of its validators. The
// error is a [*Rejection].
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

// VerifyProof verifies the proof. The error is a [*Rejection] with INVALID_SIGNATURE.
func (t *AggregateTask) VerifyProof() error {
	if err := t.proofs.VerifySingle(t.signers, t.vote.Proof.Proof); err != nil {
		return reject(InvalidSignature, "aggregate for slot %d: %v", t.vote.Data.Slot, err)
	}
	return nil
}
