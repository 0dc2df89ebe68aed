package events

import (
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Reasons for which a duty was not done, in addition to leanSpec's rejection reasons.
const (
	ReasonNotSynced         = "not_synced"
	ReasonNotAggregator     = "not_aggregator"
	ReasonNoSignatures      = "no_signatures"
	ReasonMissingState      = "missing_state"
	ReasonSpawnFailed       = "spawn_failed"
	ReasonAlreadySigned     = "already_signed"
	ReasonSlotClosed        = "slot_closed" // by a signing record that does not say what was signed
	ReasonSigningFailed     = "signing_failed"
	ReasonDuplicate         = "duplicate"
	ReasonClockSkipped      = "clock_skipped"
	ReasonNoTarget          = "no_target" // the justified slot is higher than any slot that can be voted for
	ReasonAggregationFailed = "aggregation_failed"
	ReasonProductionFailed  = "production_failed"
	ReasonProverBusy        = "prover_busy" // with the proofs of an earlier slot
)

// The duties of a validator.
const (
	DutyBlock       = "block"
	DutyAttestation = "attestation"
	DutyAggregation = "aggregation"
)

// The outcomes of a duty.
const (
	OutcomeMade    = "made"    // in time
	OutcomeLate    = "late"    // done after the interval in which other nodes need it
	OutcomeMissed  = "missed"  // not done, because of a fault of this node
	OutcomeSkipped = "skipped" // not done, on purpose
)

// DutyEnded reports the outcome of a duty.
type DutyEnded struct {
	Duty, Outcome string // one of the Duty and of the Outcome constants
	Slot          lstar.Slot
	Reason        string // of a missed or skipped duty
	// Count is the number of duties, such as the votes of several validators; 0 counts as 1.
	Count int
}

// DutyGate reports that duties were paused, or resumed if Open is set.
//
// leanSpec: node/validator/service.py, _is_synced_for_duties
type DutyGate struct {
	Open           bool
	Duty           string
	Slot, HeadSlot lstar.Slot
	Lag            lstar.Slot // slots between HeadSlot and Slot
	Reason         string
}

// BlockProduced reports a block that this node built and signed.
type BlockProduced struct {
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Root      lstar.Root
	// Attestations counts the aggregated attestations in the body.
	Attestations int
	// Payloads is the part of Duration in which the attestations were chosen and merged.
	Payloads, Duration time.Duration
}

// BlockProductionFailed reports that this node failed in its duty to propose a block. Built is set
// if the node built the block, as a BlockProduced has reported, but the chain rejected it.
type BlockProductionFailed struct {
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Built     bool
	Reason    string
	Err       error
}

// AttestationProduced reports a vote that this node made and signed.
type AttestationProduced struct {
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Duration  time.Duration
}

// Kinds of signatures, which are also the roles of keys.
const (
	SignatureAttestation = "attestation"
	SignatureProposal    = "proposal"
)

// SignatureMade reports a signature, or a failure to make one if Err is set. Kind is one of the
// Signature constants.
type SignatureMade struct {
	Kind      string
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Duration  time.Duration
	Err       error
}

// SignatureRefused reports that the one-time-signature guard refused a signature, because Slot is
// not later than LatestSlot. No SignatureMade follows.
type SignatureRefused struct {
	Kind       string
	Slot       lstar.Slot
	Validator  lstar.ValidatorIndex
	LatestSlot uint64
	Err        error
}

// SigningRecordsMissing reports, when the node starts after genesis, keys without a signing record.
type SigningRecordsMissing struct {
	Keys int
	File string // of the first key
	// Slot is the current slot, NextSlot the first slot that the keys can sign for.
	Slot, NextSlot uint64
}

// KeyWindow reports, once per slot, how long a key can still sign. Role is one of the Signature
// constants.
type KeyWindow struct {
	Validator lstar.ValidatorIndex
	Role      string
	// SlotsLeft counts the unsigned slots from now to LastSlot, the last one that the key can sign for.
	SlotsLeft, LastSlot uint64
	Low                 bool // a warning is due
}

// ValidatorsLoaded reports how many validators this node runs.
type ValidatorsLoaded struct{ Count int }

// AggregatorRole reports whether this node aggregates votes.
type AggregatorRole struct{ Enabled bool }

// AttestationCommittee reports the number of attestation committees and the subnet of this node's
// committee.
type AttestationCommittee struct{ Subnet, Count uint64 }
