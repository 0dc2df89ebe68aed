package events

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Stages holds the durations of the parts of a block's import.
type Stages struct {
	// Wait is the wait for the chain's owner and for a processor.
	Wait time.Duration
	// SignatureVerification is the check of the block's proof; zero for an own block.
	SignatureVerification time.Duration
	// StateTransition is the whole state transition. Its parts are Slots (process_slots) and Block
	// (process_block, with Attestations, process_attestations, as a part of it).
	StateTransition, Slots, Block, Attestations time.Duration
	// ForkChoice is the counting of votes and the search for the head.
	ForkChoice time.Duration
	// Save runs from the end of ForkChoice until the change is on disk and published.
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
	// Delay runs from the start of the slot to the end of the import. It is meaningful for own and
	// gossiped blocks.
	Delay time.Duration
}

// BlockGossiped reports a block that a peer sent by gossip, before it is checked.
type BlockGossiped struct {
	Slot lstar.Slot
	Root lstar.Root
	Peer peer.ID
}

// MessageSeen reports a valid gossip message from a peer.
type MessageSeen struct {
	Kind string // one of the Gossip constants
	Slot lstar.Slot
	Peer peer.ID
	// Delay runs from the start of the slot to the arrival of the message, and Offset from the interval
	// of the slot in which nodes send such messages. Both are negative if the message is early.
	Delay, Offset time.Duration
}

// MessageEarly reports a message that is too far ahead of the clock to be judged. Its Offset shows
// by how much the clocks of the two nodes differ.
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

// AttestationAccepted reports a vote of one validator that passed all checks.
type AttestationAccepted struct {
	Slot      lstar.Slot
	Validator lstar.ValidatorIndex
	Data      lstar.AttestationData
	Own       bool
	Peer      peer.ID
	// Duration is the whole validation, SignatureVerification the part of it that checks the signature.
	Duration, SignatureVerification time.Duration
}

// AttestationRejected reports a vote of one validator that failed a check.
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

// AggregateAccepted reports an aggregate that passed all checks.
type AggregateAccepted struct {
	Slot         lstar.Slot
	Participants int
	Data         lstar.AttestationData
	Bits         lstar.AggregationBits // of the participants
	Own          bool
	Peer         peer.ID
	Duration     time.Duration // of the check of the proof
}

// AggregateRejected reports an aggregate that failed a check.
type AggregateRejected struct {
	Slot        lstar.Slot
	Reason      string
	Own, Gossip bool
	Peer        peer.ID
	Err         error
}

// AggregateProduced reports an aggregate that this node made from the votes of its committee.
// Duration runs from the collected signatures to the finished proof.
type AggregateProduced struct {
	Slot         lstar.Slot
	Participants int
	Data         lstar.AttestationData
	Bits         lstar.AggregationBits // of the participants
	Duration     time.Duration
}

// HeadChanged reports a new head of fork choice. ReorgDepth counts the blocks that left the
// canonical chain; it is 0 if the new head extends the old one.
type HeadChanged struct {
	Old, New                   lstar.Checkpoint
	OldStateRoot, NewStateRoot lstar.Root
	ReorgDepth                 int
}

// Justified reports a new justified checkpoint of the store. StateRoot is zero if its block is not in the store.
type Justified struct {
	lstar.Checkpoint
	StateRoot lstar.Root
}

// Finalized reports a higher finalized checkpoint of the store. StateRoot is zero if its block is not in the store.
type Finalized struct {
	lstar.Checkpoint
	StateRoot lstar.Root
}

// SafeTarget reports a new safe target.
type SafeTarget struct{ lstar.Checkpoint }

// ChainLoaded reports the checkpoints of the chain when the node starts.
type ChainLoaded struct{ Head, Justified, Finalized, SafeTarget lstar.Checkpoint }

// ChainSaved reports that a change of the chain is on disk.
type ChainSaved struct{ Duration time.Duration }

// SlotSummary reports the state of the chain at the end of a slot.
type SlotSummary struct {
	Slot                                   lstar.Slot
	Head, Justified, Finalized, SafeTarget lstar.Checkpoint
	Peers                                  int // connected
	Synced                                 bool
	// BlockSeen is set if the block of this slot arrived. Votes is the largest number of votes for
	// this slot in one aggregate.
	BlockSeen bool
	Votes     int
}

// PoolSizes reports the numbers of items in the fork-choice store.
type PoolSizes struct {
	// AttestationSignatures counts the signatures of single votes that are not aggregated yet.
	AttestationSignatures int
	// NewPayloads counts the aggregated payloads that do not count in fork choice yet,
	// KnownPayloads those that do.
	NewPayloads, KnownPayloads int
	Blocks, States             int
}

// Tick reports the start of an interval. Elapsed is the time since the previous Tick.
type Tick struct{ Elapsed time.Duration }

// Fingerprint reports the root of the canonical block by which nodes are compared.
type Fingerprint struct{ Root lstar.Root }

// Disk reports the size of the database and the free space on its disk, in bytes.
type Disk struct{ Used, Free uint64 }

// SyncState reports whether the node is synced and, if it is not, the reason. Distance is the
// number of slots between the highest head reported by peers and the head of this node.
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
	QueueGossip                 = "gossip_validation" // the queue of pubsub, whose length cannot be read
)

// Queue gives access to the length of a bounded queue.
type Queue struct {
	Name     string // one of the Queue constants
	Capacity int
	// Length returns the number of items. It is safe for concurrent use and does not block.
	Length func() int
}

// QueueDropped reports an item that a full queue refused or evicted. Queue is one of the Queue constants.
type QueueDropped struct{ Queue string }
