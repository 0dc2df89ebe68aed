package telemetry

import "sync"

// Reasons that belong to the node rather than to the protocol: why a duty was skipped or a node is not synced.
const (
	ReasonNotSynced     = "not_synced"
	ReasonNotAggregator = "not_aggregator"
	ReasonNoSignatures  = "no_signatures"
	ReasonNoValidators  = "no_validators"
	ReasonMissingState  = "missing_state"
	ReasonSpawnFailed   = "spawn_failed"
	ReasonAlreadySigned = "already_signed"
	ReasonSigningFailed = "signing_failed"
	ReasonTooLate       = "too_late"
	ReasonDuplicate     = "duplicate"
)

// Rejection reasons of leanSpec that move a signature metric.
const (
	reasonInvalidSignature  = "INVALID_SIGNATURE"
	reasonInvalidBlockProof = "INVALID_BLOCK_PROOF"
)

// labelOther is the label value of everything that is not known by name. It keeps the number of time series
// bounded, whatever arrives.
const labelOther = "other"

// knownReasons are the reasons that may become a label value.
var knownReasons = set(
	ReasonNotSynced, ReasonNotAggregator, ReasonNoSignatures, ReasonNoValidators, ReasonMissingState,
	ReasonSpawnFailed, ReasonAlreadySigned, ReasonSigningFailed, ReasonTooLate, ReasonDuplicate,

	// leanSpec: spec/forks/lstar/errors.py, RejectionReason
	"BLOCK_SLOT_NOT_IN_FUTURE",
	"BLOCK_OLDER_THAN_LATEST_HEADER",
	"BLOCK_SLOT_MISMATCH",
	"PARENT_ROOT_MISMATCH",
	"STATE_ROOT_MISMATCH",
	"UNKNOWN_PARENT_BLOCK",
	"PROPOSER_INDEX_OUT_OF_RANGE",
	"EMPTY_VALIDATOR_REGISTRY",
	"WRONG_PROPOSER",
	"TOO_MANY_ATTESTATION_DATA",
	"DUPLICATE_ATTESTATION_DATA",
	"EMPTY_AGGREGATION_BITS",
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
	"ATTESTATION_TOO_FAR_IN_FUTURE",
	"ATTESTATION_SLOT_BEFORE_HEAD",
	"VALIDATOR_NOT_IN_STATE",
	"VALIDATOR_INDEX_OUT_OF_RANGE",
	"JUSTIFIED_SLOT_OUT_OF_RANGE",
	reasonInvalidSignature,
	reasonInvalidBlockProof,
	"ANCHOR_STATE_ROOT_MISMATCH",
	"DECODE_ERROR",

	// Reasons that leanSpec gained later (its pull requests 1178, 1179 and 1182).
	"BLOCK_TOO_FAR_IN_FUTURE",
	"BLOCK_SLOT_GAP_TOO_LARGE",
	"HEAD_NOT_DESCENDANT_OF_FINALIZED",
	"ZERO_HASH_JUSTIFICATION_ROOT",
	"JUSTIFICATION_VOTES_LENGTH_MISMATCH",
)

// knownDuties are the duties that may become a label value.
var knownDuties = set(DutyBlock, DutyAttestation, DutyAggregation)

// signatureKinds are the kinds of signatures that may become a label value.
var signatureKinds = set(SignatureAttestation, SignatureProposal)

// aggregatorSkipReasons are the values that leanMetrics allows for lean_aggregator_skipped_total, besides "other".
var aggregatorSkipReasons = set(ReasonNotAggregator, ReasonNotSynced, ReasonMissingState, ReasonSpawnFailed)

type stringSet map[string]struct{}

func set(values ...string) stringSet {
	s := make(stringSet, len(values))
	for _, v := range values {
		s[v] = struct{}{}
	}
	return s
}

func (s stringSet) has(v string) bool {
	_, ok := s[v]
	return ok
}

// label returns v where it is a member, otherwise "other".
func (s stringSet) label(v string) string {
	if s.has(v) {
		return v
	}
	return labelOther
}

// maxQueues bounds the number of queue names that become label values.
const maxQueues = 32

// firstComers admits label values in the order they appear, up to a bound. It suits names that come from the
// code and are not listed here, such as queue names: a mistake costs at most maxQueues time series.
type firstComers struct {
	mu   sync.Mutex
	seen stringSet
}

func (f *firstComers) label(v string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen.has(v) {
		return v
	}
	if v == "" || len(f.seen) >= maxQueues {
		return labelOther
	}
	if f.seen == nil {
		f.seen = stringSet{}
	}
	f.seen[v] = struct{}{}
	return v
}
