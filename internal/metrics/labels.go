package metrics

import (
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// names lists the possible values of a label.
type names []string

func (n names) has(v string) bool { return slices.Contains(n, v) }

// labelOther replaces every value that is not in the list, so the number of series is bounded.
const labelOther = "other"

// label returns v if it is in the list, otherwise "other".
func (n names) label(v string) string {
	if n.has(v) {
		return v
	}
	return labelOther
}

func reasons(list ...lstar.RejectionReason) (n names) {
	for _, r := range list {
		n = append(n, string(r))
	}
	return append(n, labelOther)
}

var (
	blockReasons = reasons(lstar.BlockSlotNotInFuture, lstar.BlockOlderThanHeader, lstar.BlockSlotMismatch, lstar.BlockTooFarInFuture,
		lstar.BlockSlotGapTooLarge, lstar.ParentRootMismatch, lstar.StateRootMismatch, lstar.UnknownParentBlock,
		lstar.ProposerIndexOutOfRange, lstar.EmptyValidatorRegistry, lstar.WrongProposer, lstar.TooManyAttestationData,
		lstar.DuplicateAttestationData, lstar.EmptyAggregationBits, lstar.ValidatorNotInState, lstar.ValidatorIndexOutOfRange,
		lstar.JustifiedSlotOutOfRange, lstar.ZeroHashJustificationRoot, lstar.JustificationVotesLengthMismatch,
		lstar.AnchorStateRootMismatch, lstar.InvalidSignature, lstar.InvalidBlockProof, lstar.DecodeError)
	voteReasons = reasons(lstar.UnknownSourceBlock, lstar.UnknownTargetBlock, lstar.UnknownHeadBlock, lstar.SourceAfterTarget,
		lstar.HeadOlderThanTarget, lstar.SourceSlotMismatch, lstar.TargetSlotMismatch, lstar.HeadSlotMismatch,
		lstar.SourceNotAncestorOfTarget, lstar.TargetNotAncestorOfHead, lstar.HeadNotDescendantOfFinalized,
		lstar.AttestationTooFarInFuture, lstar.AttestationSlotBeforeHead, lstar.EmptyAggregationBits, lstar.ValidatorNotInState,
		lstar.ValidatorIndexOutOfRange, lstar.InvalidSignature, lstar.DecodeError)

	missedReasons = names{events.ReasonSigningFailed, events.ReasonAlreadySigned, events.ReasonClockSkipped, events.ReasonProductionFailed,
		events.ReasonAggregationFailed, events.ReasonProverBusy, labelOther}
	skippedReasons = names{events.ReasonNotSynced, events.ReasonNotAggregator, events.ReasonNoSignatures, events.ReasonNoTarget,
		events.ReasonDuplicate, events.ReasonSlotClosed, events.ReasonAlreadySigned, labelOther}
	// aggregatorSkipReasons are those of leanMetrics.
	aggregatorSkipReasons = names{events.ReasonNotAggregator, events.ReasonNotSynced, events.ReasonMissingState, events.ReasonSpawnFailed, labelOther}

	// watchedQueues are the queues whose length is exposed.
	watchedQueues = names{events.QueueChainRequests, events.QueuePublishAggregates, events.QueueOrphanBlocks,
		events.QueuePendingAttestations, events.QueuePendingAggregates, events.QueueUnlockedVotes,
		events.QueueValidatingBlocks, events.QueueValidatingAttestations, events.QueueValidatingAggregates}
	queueNames = append(slices.Clone(watchedQueues), events.QueueGossip, labelOther)

	// coverageSections are the sections of leanSpec's slot report.
	//
	// leanSpec: node/metrics/registry.py, ATTESTATION_AGGREGATE_COVERAGE_SECTIONS
	coverageSections = names{"timely", "late", "block", "combined",
		"aggregate_start_new", "proposal_payloads", "proposal_gossip", "proposal_combined"}

	sources           = names{"gossip", "sync", "own"}
	statuses          = names{statusIdle, statusSyncing, statusSynced}
	duties            = names{events.DutyBlock, events.DutyAttestation, events.DutyAggregation}
	outcomes          = names{events.OutcomeMade, events.OutcomeLate, events.OutcomeMissed, events.OutcomeSkipped}
	signatureKinds    = names{events.SignatureAttestation, events.SignatureProposal}
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

// The values of lean_node_sync_status. A node is idle until its first SyncState event.
const (
	statusIdle    = "idle"
	statusSyncing = "syncing"
	statusSynced  = "synced"
)

// unknownPeer is the name of all peers that the operator's files do not name. Names that peers
// report are not used.
const unknownPeer = "unknown"

// stageNames are the stages of a block import.
var stageNames = [...]string{"wait", "signatures", "state_transition", "fork_choice", "save"}

// sourceOf returns the source of a block or vote. "sync" means that this node requested it.
func sourceOf(own, gossip bool) string {
	switch {
	case own:
		return "own"
	case gossip:
		return "gossip"
	}
	return "sync"
}

// dutyReason returns the label for the reason of a missed or skipped duty, and an empty string for
// other outcomes.
func dutyReason(outcome, reason string) string {
	switch outcome {
	case events.OutcomeMissed:
		return missedReasons.label(reason)
	case events.OutcomeSkipped:
		return skippedReasons.label(reason)
	}
	return ""
}

// isSignatureReason reports whether a rejection reason is an invalid signature or proof.
func isSignatureReason(reason string) bool {
	return reason == string(lstar.InvalidSignature) || reason == string(lstar.InvalidBlockProof)
}
