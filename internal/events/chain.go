package events

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Stages are the parts of a block's import.
type Stages struct {
	// Wait is the time spent waiting for the chain's owner and for a processor.
	Wait time.Duration
	// SignatureVerification is the check of the block's proof; zero for an own block.
	SignatureVerification time.Duration
	// StateTransition is the whole state transition. Its parts are Slots (process_slots) and Block (process_block,
	// with Attestations, process_attestations, as a part of it).
	StateTransition, Slots, Block, Attestations time.Duration
	// ForkChoice is the rest: counting votes and finding the head.
	ForkChoice time.Duration
	// Save runs from there until the change is on disk and published.
	Save time.Duration
	// Total is leanSpec's on_block from start to end, without Wait and Save.
	Total time.Duration
	// Elapsed runs from the call that imports the block until it returns.
	Elapsed time.Duration
}

// BlockImported reports a block that was added to fork choice, once per block.
type BlockImported struct {
	Slot             lstar.Slot
	ProposerIndex    lstar.ValidatorIndex
	Root, ParentRoot lstar.Root
	// Attestations counts the aggregated attestations of the body, Participants the votes in all of them.
	Attestations, Participants int
	// Slots counts the slots that the state transition processed.
	Slots       uint64
	Own, Gossip bool
	Peer        peer.ID
	Stages      Stages
	// Delay runs from the start of the slot to the end of the import. It is meaningful for own and gossiped blocks.
	Delay time.Duration
}

// MessageSeen reports a valid gossip message of a peer.
type MessageSeen struct {
	Kind string // one of the Gossip constants
	Slot lstar.Slot
	Peer peer.ID
	// Delay runs from the start of the slot to the arrival of the message. It is negative for an early message.
	// Offset runs from the interval of the slot in which such messages are sent.
	Delay, Offset time.Duration
}

// MessageEarly reports a message too far ahead of the clock to be judged. It is evidence of the difference between
// two clocks.
type MessageEarly MessageSeen

// BlockRejected reports a block that failed a check.
type BlockRejected struct {
	Slot        lstar.Slot
	Root        lstar.Root
	Reason      string
	Own, Gossip bool
	Peer        peer.ID
	Err         error
}

// BlockPending reports a block that waits for its parent.
type BlockPending struct {
	Slot             lstar.Slot
	Root, ParentRoot lstar.Root
	Peer             peer.ID
}

// AttestationAccepted reports that fork choice accepted the vote of one validator.
type AttestationAccepted struct {
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Own       bool
	Peer      peer.ID
	// Duration is the whole validation, SignatureVerification the part of it that checks the signature.
	Duration, SignatureVerification time.Duration
}

// AttestationRejected reports that the vote of one validator failed a check.
type AttestationRejected struct {
	Slot        lstar.Slot
	Validator   lstar.ValidatorIndex
	Reason      string
	Own, Gossip bool
	Peer        peer.ID
	Err         error
	// SignatureVerification is zero if an earlier check failed.
	SignatureVerification time.Duration
}

// AggregateAccepted reports that fork choice accepted an aggregated vote.
type AggregateAccepted struct {
	Slot         lstar.Slot
	Participants int
	Own          bool
	Peer         peer.ID
	Duration     time.Duration // of the check of the proof
}

// AggregateRejected reports an aggregated vote that failed a check.
type AggregateRejected struct {
	Slot        lstar.Slot
	Reason      string
	Own, Gossip bool
	Peer        peer.ID
	Err         error
}

// AggregateProduced reports an aggregate that this node made from the votes of its committee. Duration runs from the
// collected signatures to the finished proof.
type AggregateProduced struct {
	Slot         lstar.Slot
	Participants int
	Duration     time.Duration
}

// HeadChanged reports a new head of fork choice. ReorgDepth counts the blocks that left the canonical chain; it is 0
// if the new head extends the old one.
type HeadChanged struct {
	Old, New   lstar.Checkpoint
	ReorgDepth int
}

// Justified reports a new justified checkpoint of the store.
type Justified struct{ lstar.Checkpoint }

// Finalized reports a higher finalized checkpoint of the store.
type Finalized struct{ lstar.Checkpoint }

// SafeTarget reports a new safe target.
type SafeTarget struct{ lstar.Checkpoint }

// ChainLoaded reports where the chain stands when the node starts.
type ChainLoaded struct{ Head, Justified, Finalized, SafeTarget lstar.Checkpoint }

// ChainSaved reports that a change of the chain is on disk.
type ChainSaved struct{ Duration time.Duration }

// SlotSummary reports the state of the chain at the end of a slot.
type SlotSummary struct {
	Slot                                   lstar.Slot
	Head, Justified, Finalized, SafeTarget lstar.Checkpoint
	Peers                                  int // connected
	Synced                                 bool
	// BlockSeen says whether the block of this slot arrived. Votes counts the votes for this slot that arrived.
	BlockSeen bool
	Votes     int
}

// PoolSizes reports the sizes of the fork-choice store.
type PoolSizes struct {
	// AttestationSignatures counts the votes of one validator that are not yet aggregated.
	AttestationSignatures int
	// NewPayloads and KnownPayloads count the aggregated payloads before and after they are accepted.
	NewPayloads, KnownPayloads int
	Blocks, States             int
}

// Tick reports the start of an interval. Elapsed is the time since the start of the previous one.
type Tick struct{ Elapsed time.Duration }

// Fingerprint reports the root of the canonical block by which nodes are compared; zero if there is none yet.
type Fingerprint struct{ Root lstar.Root }

// Disk reports the size of the database and the free space on its disk, in bytes.
type Disk struct{ Used, Free uint64 }

// SyncState reports whether the node is synced and, if it is not, the reason. Distance is the number of slots between
// the highest head reported by peers and the head of this node.
type SyncState struct {
	Synced   bool
	Reason   string
	Distance uint64
}

// The bounded queues of the node.
const (
	QueueChainRequests          = "chain_requests"
	QueuePublishAggregates      = "publish_aggregates"
	QueueOrphanBlocks           = "orphan_blocks"
	QueuePendingAttestations    = "pending_attestations"
	QueuePendingAggregates      = "pending_aggregates"
	QueueUnlockedVotes          = "unlocked_votes"
	QueueValidatingBlocks       = "validating_blocks"
	QueueValidatingAttestations = "validating_attestations"
	QueueValidatingAggregates   = "validating_aggregates"
	QueueGossip                 = "gossip_validation" // pubsub's own, which does not show its length
)

// Queue describes a bounded queue to a consumer that wants to read its length.
type Queue struct {
	Name     string // one of the Queue constants
	Capacity int
	// Length may be called at any time, from any goroutine. It must not block.
	Length func() int
}

// QueueDropped reports an item that a full queue refused or evicted. Queue is one of the Queue constants.
type QueueDropped struct{ Queue string }
