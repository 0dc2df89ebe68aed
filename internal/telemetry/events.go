package telemetry

import "time"

// The events below are what the node reports. They are plain values: slots and validator indices are uint64,
// roots are 32 bytes, times are durations. Common fields mean the same everywhere:
//
//   - PeerID is the text form of the peer that the object came from, empty where there is none.
//   - Own marks an object that this node made itself. Its signature is not checked again.
//   - Reason is one of the Reason constants or a rejection reason of leanSpec; as a metric label anything
//     else counts as "other".
//   - A zero duration means "not measured" or "did not happen" and is not observed in any histogram.

// Stages are the parts of a block's import.
type Stages struct {
	// SignatureVerification is the check of the block's proof; zero for an own block.
	SignatureVerification time.Duration
	// StateTransition is the whole state transition: empty slots, header, attestations, state root.
	StateTransition time.Duration
	// ForkChoice is the rest: votes counted, head found.
	ForkChoice time.Duration
	// Total is leanSpec's on_block from start to end, without the time spent waiting in queues.
	Total time.Duration
}

// BlockImported reports a block that was added to fork choice. It is reported once a block.
type BlockImported struct {
	Slot, ProposerIndex uint64
	Root, ParentRoot    [32]byte
	// Attestations counts the aggregated attestations of the body, Participants the votes in all of them.
	Attestations, Participants int
	Own                        bool
	PeerID                     string
	Stages                     Stages
}

// BlockRejected reports a block that failed a check.
type BlockRejected struct {
	Slot   uint64
	Root   [32]byte
	Reason string
	PeerID string
	Err    error
}

// BlockPending reports a block that waits for its parent.
type BlockPending struct {
	Slot             uint64
	Root, ParentRoot [32]byte
	PeerID           string
}

// AttestationAccepted reports the vote of one validator that fork choice took.
type AttestationAccepted struct {
	Slot, Validator uint64
	PeerID          string
	Own             bool
	// Duration is the whole validation, signature included.
	Duration time.Duration
	// SignatureVerification is the signature's part of Duration.
	SignatureVerification time.Duration
}

// AttestationRejected reports the vote of one validator that failed a check.
type AttestationRejected struct {
	Slot, Validator uint64
	Reason          string
	PeerID          string
	Err             error
	// SignatureVerification is the time spent on the signature, where it was reached.
	SignatureVerification time.Duration
}

// AggregateAccepted reports an aggregated vote that fork choice took.
type AggregateAccepted struct {
	Slot         uint64
	Participants int
	Own          bool
	PeerID       string
	// Duration is the check of the aggregate's proof.
	Duration time.Duration
}

// AggregateRejected reports an aggregated vote that failed a check.
type AggregateRejected struct {
	Slot   uint64
	Reason string
	PeerID string
	Err    error
}

// AggregateProduced reports an aggregate that this node made of the votes of its committee.
type AggregateProduced struct {
	Slot         uint64
	Participants int
	// Duration runs from the collected signatures to the finished proof.
	Duration time.Duration
}

// HeadChanged reports a new head of fork choice.
type HeadChanged struct {
	OldRoot, NewRoot [32]byte
	OldSlot, NewSlot uint64
	// ReorgDepth counts the blocks that left the canonical chain; zero where the new head extends the old one.
	ReorgDepth int
}

// Justified reports a new justified checkpoint of the store.
type Justified struct {
	Slot uint64
	Root [32]byte
}

// Finalized reports a new finalized checkpoint of the store.
type Finalized struct {
	Slot uint64
	Root [32]byte
}

// SafeTarget reports a new safe target.
type SafeTarget struct {
	Slot uint64
	Root [32]byte
}

// BlockProduced reports a block that this node built and signed.
type BlockProduced struct {
	Slot, Validator uint64
	Root            [32]byte
	// Attestations counts the aggregated attestations packed into the body.
	Attestations int
	Duration     time.Duration
}

// BlockProductionFailed reports a proposal that this node owed and could not make.
type BlockProductionFailed struct {
	Slot, Validator uint64
	Reason          string
	Err             error
}

// AttestationProduced reports a vote that this node made and signed.
type AttestationProduced struct {
	Slot, Validator uint64
	Duration        time.Duration
}

// The duties of a validator, as they are named in events and metrics.
const (
	DutyBlock       = "block"
	DutyAttestation = "attestation"
	DutyAggregation = "aggregation"
)

// DutySkipped reports a duty that was due and not done.
type DutySkipped struct {
	Duty   string
	Slot   uint64
	Reason string
}

// DutyGate reports that the gate in front of the duties opened or closed. It is reported on change only.
//
// leanSpec: node/validator/service.py, _is_synced_for_duties
type DutyGate struct {
	Open           bool
	Duty           string
	Slot, HeadSlot uint64
	// Lag is the number of slots by which the head is behind Slot.
	Lag    uint64
	Reason string
}

// What a signature was made for.
const (
	SignatureAttestation = "attestation"
	SignatureProposal    = "proposal"
)

// SignatureMade reports one signing, or with Err the failure of one.
type SignatureMade struct {
	Kind            string
	Slot, Validator uint64
	Duration        time.Duration
	Err             error
}

// SignatureRefused reports a signature that would have been the second for a slot, or for a slot before the
// latest, LatestSlot. It is not a SignatureMade.
type SignatureRefused struct {
	Kind                        string
	Slot, Validator, LatestSlot uint64
	Err                         error
}

// KeyWindow reports for how many slots a key can still sign, once a slot. Role is one of the Signature constants.
type KeyWindow struct {
	Validator uint64
	Role      string
	// SlotsLeft counts the slots from now to LastSlot, the last that the key can sign, without those that are signed.
	SlotsLeft, LastSlot uint64
	// Low asks for a warning that the key runs out.
	Low bool
}

// SlotSummary is the state of the chain, once a slot.
type SlotSummary struct {
	Slot, HeadSlot, JustifiedSlot, FinalizedSlot, SafeTargetSlot uint64

	HeadRoot [32]byte
	Peers    int
	Synced   bool
	// BlockSeen says whether a block of this slot arrived, Votes how many votes for this slot did.
	BlockSeen bool
	Votes     int
}

// PoolSizes are the sizes of the fork-choice store.
type PoolSizes struct {
	// AttestationSignatures are single votes not yet aggregated.
	AttestationSignatures int
	// NewPayloads and KnownPayloads are the aggregated payloads before and after their acceptance.
	NewPayloads, KnownPayloads int
	Blocks, States             int
}

// AggregateCoverage reports how many validators the aggregates of one section of the slot report covered.
// Section is one of leanSpec's; others are ignored.
//
// leanSpec: node/metrics/registry.py, ATTESTATION_AGGREGATE_COVERAGE_SECTIONS
type AggregateCoverage struct {
	Section string
	// BySubnet holds the number of covered validators of each attestation subnet, indexed by subnet.
	BySubnet []int
}

// AggregateCoverageDiff reports how many validators only the block's payloads covered, and how many only the
// payloads that were there in time.
type AggregateCoverageDiff struct {
	BlockOnly, TimelyOnly int
}

// QueueDropped reports one item that a full queue refused. Queue is a name from the code, never from a peer.
type QueueDropped struct {
	Queue string
}

// ChainSaved reports that a change of the chain is on the disk.
type ChainSaved struct {
	Duration time.Duration
}

// SyncState reports whether the node is synced. Distance is the number of slots between the best head known
// from peers and ours; a synced node counts as distance zero.
type SyncState struct {
	Synced   bool
	Reason   string
	Distance uint64
}

// ValidatorsLoaded reports how many validators this node runs.
type ValidatorsLoaded struct {
	Count int
}

// AggregatorRole reports whether this node aggregates.
type AggregatorRole struct {
	Enabled bool
}

// Peers reports the number of peers with an open connection.
type Peers struct {
	Connected int
}
