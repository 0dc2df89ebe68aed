package metrics

import (
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Rejection reasons of leanSpec that metrics name.
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
	sourceGossip = "gossip"
	sourceSync   = "sync" // it was requested
	sourceOwn    = "own"
)

var sources = names{sourceGossip, sourceSync, sourceOwn}

// sourceOf is the source of an object that was or was not made here.
func sourceOf(own, gossip bool) string {
	switch {
	case own:
		return sourceOwn
	case gossip:
		return sourceGossip
	}
	return sourceSync
}

var duties = names{events.DutyBlock, events.DutyAttestation, events.DutyAggregation}

var (
	outcomes      = names{events.OutcomeMade, events.OutcomeLate, events.OutcomeMissed, events.OutcomeSkipped}
	missedReasons = names{
		events.ReasonSigningFailed, events.ReasonAlreadySigned, events.ReasonClockSkipped, events.ReasonProductionFailed, events.ReasonAggregationFailed, events.ReasonProverBusy, labelOther,
	}
	skippedReasons = names{events.ReasonNotSynced, events.ReasonNotAggregator, events.ReasonNoSignatures, events.ReasonNoTarget, events.ReasonDuplicate, events.ReasonSlotClosed, events.ReasonAlreadySigned, labelOther}
)

// dutyReason returns the label of why a duty was not done, none where it was.
func dutyReason(outcome, reason string) string {
	switch outcome {
	case events.OutcomeMissed:
		return missedReasons.label(reason)
	case events.OutcomeSkipped:
		return skippedReasons.label(reason)
	}
	return ""
}

// signatureKinds are the kinds of signatures that may become a label value.
var signatureKinds = names{events.SignatureAttestation, events.SignatureProposal}

// aggregatorSkipReasons are the values that leanMetrics has for lean_aggregator_skipped_total.
var aggregatorSkipReasons = names{events.ReasonNotAggregator, events.ReasonNotSynced, events.ReasonMissingState, events.ReasonSpawnFailed, labelOther}

// queueNames are the queues that may become a label value; the last but one has no length.
var queueNames = names{
	events.QueueChainRequests, events.QueuePublishAggregates, events.QueueOrphanBlocks, events.QueuePendingAttestations, events.QueuePendingAggregates,
	events.QueueUnlockedVotes, events.QueueValidatingBlocks, events.QueueValidatingAttestations, events.QueueValidatingAggregates,
	events.QueueGossip, labelOther,
}

var (
	directions        = names{events.DirectionInbound, events.DirectionOutbound}
	connectionResults = names{events.ResultSuccess, events.ResultTimeout, events.ResultError}
	disconnectReasons = names{events.DisconnectTimeout, events.DisconnectRemoteClose, events.DisconnectLocalClose, events.DisconnectError}
	gossipKinds       = names{events.GossipBlock, events.GossipAttestation, events.GossipAggregation}
	verdicts          = names{events.VerdictAccept, events.VerdictIgnore, events.VerdictReject}
	protocols         = names{events.RequestStatus, events.RequestBlocksByRoot, events.RequestBlocksByRange}
	requestResults    = names{events.ResultSuccess, events.ResultTimeout, events.ResultRefused, events.ResultError}
	headRelations     = names{events.RelationSame, events.RelationBehind, events.RelationAhead, events.RelationFork}
	finalRelations    = names{events.RelationSame, events.RelationBehind, events.RelationAhead, events.RelationConflict}
)

// unknownPeer is the name of all peers that the operator's files do not name. What a peer says of itself is no
// label value.
const unknownPeer = "unknown"

// stageNames are the stages of a block import.
var stageNames = [...]string{"wait", "signatures", "state_transition", "fork_choice", "save"}

// isSignatureReason reports whether an object was rejected because of its signature or proof.
func isSignatureReason(reason string) bool {
	return reason == reasonInvalidSignature || reason == reasonInvalidBlockProof
}
