package telemetry

import "slices"

// Reasons that belong to the node rather than to the protocol: why a duty was not done or a node is not synced.
const (
	ReasonNotSynced         = "not_synced"
	ReasonNotAggregator     = "not_aggregator"
	ReasonNoSignatures      = "no_signatures"
	ReasonMissingState      = "missing_state"
	ReasonSpawnFailed       = "spawn_failed"
	ReasonAlreadySigned     = "already_signed"
	ReasonSlotClosed        = "slot_closed" // by a record that does not say what was signed
	ReasonSigningFailed     = "signing_failed"
	ReasonDuplicate         = "duplicate"
	ReasonClockSkipped      = "clock_skipped"
	ReasonNoTarget          = "no_target" // what is justified is past what can be voted for
	ReasonAggregationFailed = "aggregation_failed"
	ReasonProductionFailed  = "production_failed"
	ReasonProverBusy        = "prover_busy" // with the proofs of an earlier slot
)

// Rejection reasons of leanSpec that telemetry itself knows.
const (
	reasonInvalidSignature  = "INVALID_SIGNATURE"
	reasonInvalidBlockProof = "INVALID_BLOCK_PROOF"
	reasonDecodeError       = "DECODE_ERROR"
)

// labelOther is the label value of everything that is not known by name. It keeps the number of time series
// bounded, whatever arrives.
const labelOther = "other"

// names are values that a label may have. Anything else becomes "other", the last of them.
type names []string

func (n names) has(v string) bool { return slices.Contains(n, v) }

// label returns v where it is a member, otherwise "other".
func (n names) label(v string) string {
	if n.has(v) {
		return v
	}
	return labelOther
}

// leanSpec: spec/forks/lstar/errors.py, RejectionReason, by what they can be about, with those that leanSpec
// gained later (its pull requests 1178, 1179 and 1182).
var (
	blockReasons = names{
		"BLOCK_SLOT_NOT_IN_FUTURE",
		"BLOCK_OLDER_THAN_LATEST_HEADER",
		"BLOCK_SLOT_MISMATCH",
		"BLOCK_TOO_FAR_IN_FUTURE",
		"BLOCK_SLOT_GAP_TOO_LARGE",
		"PARENT_ROOT_MISMATCH",
		"STATE_ROOT_MISMATCH",
		"UNKNOWN_PARENT_BLOCK",
		"PROPOSER_INDEX_OUT_OF_RANGE",
		"EMPTY_VALIDATOR_REGISTRY",
		"WRONG_PROPOSER",
		"TOO_MANY_ATTESTATION_DATA",
		"DUPLICATE_ATTESTATION_DATA",
		"EMPTY_AGGREGATION_BITS",
		"VALIDATOR_NOT_IN_STATE",
		"VALIDATOR_INDEX_OUT_OF_RANGE",
		"JUSTIFIED_SLOT_OUT_OF_RANGE",
		"ZERO_HASH_JUSTIFICATION_ROOT",
		"JUSTIFICATION_VOTES_LENGTH_MISMATCH",
		"ANCHOR_STATE_ROOT_MISMATCH",
		reasonInvalidSignature,
		reasonInvalidBlockProof,
		reasonDecodeError,
		labelOther,
	}
	voteReasons = names{
		"UNKNOWN_SOURCE_BLOCK",
		"UNKNOWN_TARGET_BLOCK",
		"UNKNOWN_HEAD_BLOCK",
		"SOURCE_AFTER_TARGET",
		"HEAD_OLDER_THAN_TARGET",
		"SOURCE_SLOT_MISMATCH",
		"TARGET_SLOT_MISMATCH",
		"HEAD_SLOT_MISMATCH",
		"SOURCE_NOT_ANCESTOR_OF_TARGET",
		"TARGET_NOT_ANCESTOR_OF_HEAD",
		"HEAD_NOT_DESCENDANT_OF_FINALIZED",
		"ATTESTATION_TOO_FAR_IN_FUTURE",
		"ATTESTATION_SLOT_BEFORE_HEAD",
		"EMPTY_AGGREGATION_BITS",
		"VALIDATOR_NOT_IN_STATE",
		"VALIDATOR_INDEX_OUT_OF_RANGE",
		reasonInvalidSignature,
		reasonDecodeError,
		labelOther,
	}
)

// Where a block or a vote came from.
const (
	SourceGossip = "gossip"
	SourceSync   = "sync" // it was asked for
	SourceOwn    = "own"
)

var sources = names{SourceGossip, SourceSync, SourceOwn}

// sourceOf is the source of an object that was or was not made here.
func sourceOf(own, gossip bool) string {
	switch {
	case own:
		return SourceOwn
	case gossip:
		return SourceGossip
	}
	return SourceSync
}

// The duties of a validator, as they are named in events and metrics.
const (
	DutyBlock       = "block"
	DutyAttestation = "attestation"
	DutyAggregation = "aggregation"
)

var duties = names{DutyBlock, DutyAttestation, DutyAggregation}

// What became of a duty.
const (
	OutcomeMade    = "made"    // in time
	OutcomeLate    = "late"    // done, after the interval in which others need it
	OutcomeMissed  = "missed"  // not done, and this node's fault
	OutcomeSkipped = "skipped" // left on purpose
)

var (
	outcomes      = names{OutcomeMade, OutcomeLate, OutcomeMissed, OutcomeSkipped}
	missedReasons = names{
		ReasonSigningFailed, ReasonAlreadySigned, ReasonClockSkipped, ReasonProductionFailed, ReasonAggregationFailed, ReasonProverBusy, labelOther,
	}
	skippedReasons = names{ReasonNotSynced, ReasonNotAggregator, ReasonNoSignatures, ReasonNoTarget, ReasonDuplicate, ReasonSlotClosed, ReasonAlreadySigned, labelOther}
)

// dutyReason returns the label of why a duty was not done, none where it was.
func dutyReason(outcome, reason string) string {
	switch outcome {
	case OutcomeMissed:
		return missedReasons.label(reason)
	case OutcomeSkipped:
		return skippedReasons.label(reason)
	}
	return ""
}

// signatureKinds are the kinds of signatures that may become a label value.
var signatureKinds = names{SignatureAttestation, SignatureProposal}

// aggregatorSkipReasons are the values that leanMetrics has for lean_aggregator_skipped_total.
var aggregatorSkipReasons = names{ReasonNotAggregator, ReasonNotSynced, ReasonMissingState, ReasonSpawnFailed, labelOther}
