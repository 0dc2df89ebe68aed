// Package p2p connects the node to its peers: a libp2p host over QUIC, gossip of blocks and votes,
// requests for statuses and blocks, and scores of peers.
//
// It limits and decodes the messages of peers and passes them to a Handler, whose verdict decides
// whether a message is forwarded or counts against the peer. The package does not depend on the chain.
//
// leanSpec: node/networking
package p2p

import (
	"context"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// Limits of requests and responses.
//
// leanSpec: node/networking/config.py
const (
	// MaxRequestBlocks is the largest number of blocks in one request.
	MaxRequestBlocks = wire.MaxRequestBlocks
	// MaxPayloadSize is the largest size of an uncompressed message, in bytes.
	MaxPayloadSize = wire.MaxPayloadSize
	// MinSlotsForBlockRequests is the number of recent slots that a node serves.
	MinSlotsForBlockRequests = 3600
)

// Status is the state of a node's chain. Peers exchange it when they connect.
//
// leanSpec: node/networking/reqresp/message.py
type Status struct {
	Finalized, Head lstar.Checkpoint
}

// DefineSSZ describes the container: 80 bytes.
func (s *Status) DefineSSZ(c *ssz.Codec) {
	ssz.Nested(c, &s.Finalized)
	ssz.Nested(c, &s.Head)
}

// Verdict is the decision about a gossip message.
type Verdict int

const (
	// Accept forwards the message.
	Accept Verdict = iota
	// Ignore drops it: it is old, a duplicate, or cannot be validated yet.
	Ignore
	// Reject drops it and counts a fault against the peer that sent it.
	Reject
)

// String returns the name of the verdict in metrics.
func (v Verdict) String() string {
	return [...]string{events.VerdictAccept, events.VerdictIgnore, events.VerdictReject}[v]
}

// Handler handles the messages of peers. Its methods must be safe for concurrent use.
type Handler interface {
	// OnBlock, OnAttestation and OnAggregate validate gossip before it is forwarded.
	OnBlock(ctx context.Context, from peer.ID, b *lstar.SignedBlock) Verdict
	OnAttestation(ctx context.Context, from peer.ID, a *lstar.SignedAttestation) Verdict
	OnAggregate(ctx context.Context, from peer.ID, a *lstar.SignedAggregatedAttestation) Verdict

	// OnConnect is called when a peer connects, before any other call about the peer. dialed is
	// true if this node opened the connection. The handler decides when to request the peer's
	// status; in leanSpec, the side that dialed requests it first.
	OnConnect(id peer.ID, dialed bool)
	// OnDisconnect is called when the last connection to a peer has ended. The calls of OnConnect
	// and OnDisconnect for one peer alternate.
	OnDisconnect(id peer.ID)
	// Status returns the status of this node for peers.
	Status() Status
	// OnStatus judges the status of a connected peer. An error ends the connection and gives the
	// reason. Calls for one peer do not overlap.
	OnStatus(from peer.ID, s Status) error

	// BlockByRoot returns a block, or nil. Blocks that peers request often are cached.
	BlockByRoot(root lstar.Root) *lstar.SignedBlock
	// CanonicalRoot returns the root of the block at a slot of the canonical chain, and whether
	// there is one.
	CanonicalRoot(slot lstar.Slot) (root lstar.Root, ok bool)
	// CurrentSlot returns the slot of the wall clock.
	CurrentSlot() lstar.Slot
}

// Requester requests blocks and statuses from peers. It counts the faults that it detects. A caller
// that detects further faults in a response must call Penalize.
type Requester interface {
	// BlocksByRoot returns the requested blocks that the peer has. With an error, it also returns
	// the blocks before the error, which are valid responses. So does BlocksByRange.
	BlocksByRoot(ctx context.Context, from peer.ID, roots []lstar.Root) ([]*lstar.SignedBlock, error)
	// BlocksByRange returns blocks of the peer's chain within [start, start+count), in ascending
	// order of their slots. Each block but the first is a child of the one before it.
	BlocksByRange(ctx context.Context, from peer.ID, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error)
	// Status requests the status of a peer and passes it to Handler.OnStatus.
	Status(ctx context.Context, from peer.ID) (Status, error)
	// Penalize counts a fault against a peer. A peer with too many faults is disconnected and
	// banned for some time. Penalize does not block and does not call the Handler.
	Penalize(id peer.ID, reason string)
	// Isolated reports whether peers are connected, but none has a gossip topic in common with this node.
	Isolated() bool
}
