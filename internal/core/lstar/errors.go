package lstar

import "fmt"

// RejectionReason is the specification's code for the reason of a rejection.
//
// leanSpec: spec/forks/lstar/errors.py, RejectionReason
type RejectionReason string

const (
	// Blocks.
	BlockSlotNotInFuture     RejectionReason = "BLOCK_SLOT_NOT_IN_FUTURE"
	BlockOlderThanHeader     RejectionReason = "BLOCK_OLDER_THAN_LATEST_HEADER"
	BlockSlotMismatch        RejectionReason = "BLOCK_SLOT_MISMATCH"
	BlockTooFarInFuture      RejectionReason = "BLOCK_TOO_FAR_IN_FUTURE"
	BlockSlotGapTooLarge     RejectionReason = "BLOCK_SLOT_GAP_TOO_LARGE"
	ParentRootMismatch       RejectionReason = "PARENT_ROOT_MISMATCH"
	StateRootMismatch        RejectionReason = "STATE_ROOT_MISMATCH"
	UnknownParentBlock       RejectionReason = "UNKNOWN_PARENT_BLOCK"
	ProposerIndexOutOfRange  RejectionReason = "PROPOSER_INDEX_OUT_OF_RANGE"
	EmptyValidatorRegistry   RejectionReason = "EMPTY_VALIDATOR_REGISTRY"
	WrongProposer            RejectionReason = "WRONG_PROPOSER"
	TooManyAttestationData   RejectionReason = "TOO_MANY_ATTESTATION_DATA"
	DuplicateAttestationData RejectionReason = "DUPLICATE_ATTESTATION_DATA"
	EmptyAggregationBits     RejectionReason = "EMPTY_AGGREGATION_BITS"

	// Votes.
	UnknownSourceBlock           RejectionReason = "UNKNOWN_SOURCE_BLOCK"
	UnknownTargetBlock           RejectionReason = "UNKNOWN_TARGET_BLOCK"
	UnknownHeadBlock             RejectionReason = "UNKNOWN_HEAD_BLOCK"
	SourceAfterTarget            RejectionReason = "SOURCE_AFTER_TARGET"
	HeadOlderThanTarget          RejectionReason = "HEAD_OLDER_THAN_TARGET"
	SourceSlotMismatch           RejectionReason = "SOURCE_SLOT_MISMATCH"
	TargetSlotMismatch           RejectionReason = "TARGET_SLOT_MISMATCH"
	HeadSlotMismatch             RejectionReason = "HEAD_SLOT_MISMATCH"
	SourceNotAncestorOfTarget    RejectionReason = "SOURCE_NOT_ANCESTOR_OF_TARGET"
	TargetNotAncestorOfHead      RejectionReason = "TARGET_NOT_ANCESTOR_OF_HEAD"
	HeadNotDescendantOfFinalized RejectionReason = "HEAD_NOT_DESCENDANT_OF_FINALIZED"
	AttestationTooFarInFuture    RejectionReason = "ATTESTATION_TOO_FAR_IN_FUTURE"
	AttestationSlotBeforeHead    RejectionReason = "ATTESTATION_SLOT_BEFORE_HEAD"
	ValidatorNotInState          RejectionReason = "VALIDATOR_NOT_IN_STATE"
	ValidatorIndexOutOfRange     RejectionReason = "VALIDATOR_INDEX_OUT_OF_RANGE"

	// States.
	JustifiedSlotOutOfRange          RejectionReason = "JUSTIFIED_SLOT_OUT_OF_RANGE"
	ZeroHashJustificationRoot        RejectionReason = "ZERO_HASH_JUSTIFICATION_ROOT"
	JustificationVotesLengthMismatch RejectionReason = "JUSTIFICATION_VOTES_LENGTH_MISMATCH"
	AnchorStateRootMismatch          RejectionReason = "ANCHOR_STATE_ROOT_MISMATCH"

	// Signatures.
	InvalidSignature  RejectionReason = "INVALID_SIGNATURE"
	InvalidBlockProof RejectionReason = "INVALID_BLOCK_PROOF"

	// Wire decoding.
	DecodeError RejectionReason = "DECODE_ERROR"
)

// Rejection is the error for an input that the specification rejects. The input had no
// effect.
type Rejection struct {
	Reason RejectionReason
	Detail string // for logs: the values that do not match
}

// Error implements error.
func (r *Rejection) Error() string { return string(r.Reason) + ": " + r.Detail }

func reject(reason RejectionReason, format string, args ...any) error {
	return &Rejection{reason, fmt.Sprintf(format, args...)}
}
