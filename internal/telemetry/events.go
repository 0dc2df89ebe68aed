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
	// Wait is the time spent waiting, for the chain's owner and for a processor.
	Wait time.Duration
	// SignatureVerification is the check of the block's proof; zero for an own block.
	SignatureVerification time.Duration
	// StateTransition is the whole state transition; Slots, Block and Attestations are parts of it: process_slots,
	// process_block, and of that process_attestations.
	StateTransition, Slots, Block, Attestations time.Duration
	// ForkChoice is the rest: votes counted, head found.
	ForkChoice time.Duration
	// Save is the time from there until the change is on the disk and everybody sees it.
	Save time.Duration
	// Total is leanSpec's on_block from start to end: no Wait and no Save.
	Total time.Duration
	// Elapsed is everything, from when the chain was given the block.
	Elapsed time.Duration
}

// The stages of an import as metrics name them.
var stageNames = [...]string{"wait", "signatures", "state_transition", "fork_choice", "save"}

// BlockImported reports a block that was added to fork choice. It is reported once a block.
type BlockImported struct {
	Slot, ProposerIndex uint64
	Root, ParentRoot    [32]byte
	// Attestations counts the aggregated attestations of the body, Participants the votes in all of them.
	Attestations, Participants int
	// Slots counts the slots that the state transition went through.
	Slots       uint64
	Own, Gossip bool
	PeerID      string
	Stages      Stages
	// Delay runs from the start of the slot until the block was in. It is looked at for own blocks and those of
	// gossip.
	Delay time.Duration
}

// Seen reports a gossip message of a peer.
type Seen struct {
	// Kind is one of the Gossip constants.
	Kind   string
	Slot   uint64
	PeerID string
	// Delay runs from the start of the slot until the message came; negative if it came before. Offset runs from
	// the interval of the slot in which such messages are sent.
	Delay, Offset time.Duration
}

// BlockRejected reports a block that failed a check.
type BlockRejected struct {
	Slot        uint64
	Root        [32]byte
	Reason      string
	Own, Gossip bool
	PeerID      string
	Err         error
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
	Own, Gossip     bool
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
	Slot        uint64
	Reason      string
	Own, Gossip bool
	PeerID      string
	Err         error
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
	// Payloads is the part of Duration in which they were chosen and merged.
	Payloads, Duration time.Duration
}

// BlockProductionFailed reports a proposal that this node owed and could not make.
type BlockProductionFailed struct {
	Slot, Validator uint64
	// Built says that there was a block, a BlockProduced, which the chain did not take.
	Built  bool
	Reason string
	Err    error
}

// AttestationProduced reports a vote that this node made and signed.
type AttestationProduced struct {
	Slot, Validator uint64
	Duration        time.Duration
}

// Duty reports what became of a duty.
type Duty struct {
	// Duty is one of the Duty constants, Outcome one of the Outcome constants.
	Duty, Outcome string
	Slot          uint64
	// Reason says why it was missed or skipped.
	Reason string
	// Count is the number of duties, such as votes of several validators; 0 counts as 1.
	Count int
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

// SigningRecordsMissing reports, at the start and after genesis, keys without a record of what they have signed.
type SigningRecordsMissing struct {
	Keys int
	// File is the first of the keys.
	File string
	// Slot is the current slot, and NextSlot the first that the keys can sign.
	Slot, NextSlot uint64
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

// finalityLag returns the slots between the finalized checkpoint and the slot.
func (e SlotSummary) finalityLag() uint64 { return e.Slot - min(e.FinalizedSlot, e.Slot) }

// PoolSizes are the sizes of the fork-choice store.
type PoolSizes struct {
	// AttestationSignatures are single votes not yet aggregated.
	AttestationSignatures int
	// NewPayloads and KnownPayloads are the aggregated payloads before and after their acceptance.
	NewPayloads, KnownPayloads int
	Blocks, States             int
}

// QueueDropped reports one item that a full queue refused or gave up. Queue is one of the Queue constants.
type QueueDropped struct {
	Queue string
}

// Tick reports that an interval began for the chain, Elapsed after the one before did.
type Tick struct {
	Elapsed time.Duration
}

// ChainLoaded reports what the chain starts from.
type ChainLoaded struct {
	HeadSlot, JustifiedSlot, FinalizedSlot, SafeTargetSlot uint64
}

// Fingerprint reports the root of the canonical block by which nodes are compared; zero before there is one.
type Fingerprint struct {
	Root [32]byte
}

// Disk reports the room that the chain takes, and how much is free, in bytes.
type Disk struct {
	Used, Free uint64
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
	// ByName counts those whose names are known.
	ByName map[string]int
}

// What the checkpoint of a peer is to ours, as metrics name it.
const (
	RelationSame     = "same"
	RelationBehind   = "behind"   // an ancestor of ours
	RelationAhead    = "ahead"    // we do not know it yet
	RelationFork     = "fork"     // of a head: on another branch
	RelationConflict = "conflict" // of a finalized block: on another chain
)

// Agreement reports how many of the peers whose status is known stand in which relation to us, by the Relation
// constants. What is not named counts as zero.
type Agreement struct {
	Heads, Finalized map[string]int
}
