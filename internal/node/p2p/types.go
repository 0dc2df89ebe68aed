// Package p2p connects the node to other nodes: a libp2p host over QUIC, gossip
// of blocks and votes, requests for status and blocks, and the scores of peers.
//
// It decodes and bounds what peers send, and hands it to a Handler, whose verdict
// decides whether a message is forwarded and what it costs the peer. It knows
// nothing about the chain.
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

// Limits of requests and of what they return.
// leanSpec: node/networking/config.py
const (
	// MaxRequestBlocks is the largest number of blocks in one request.
	MaxRequestBlocks = wire.MaxRequestBlocks
	// MaxPayloadSize bounds an uncompressed message, in bytes.
	MaxPayloadSize = wire.MaxPayloadSize
	// MinSlotsForBlockRequests is how many recent slots a node serves.
	MinSlotsForBlockRequests = 3600
)

// Status is what peers tell each other about their chains when they meet.
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

// Verdict is what becomes of a gossip message.
type Verdict int

const (
	// Accept forwards the message.
	Accept Verdict = iota
	// Ignore drops it: it is old, known, or cannot be judged yet.
	Ignore
	// Reject drops it, and counts against the peer that sent it.
	Reject
)

// String is the verdict's name in metrics.
func (v Verdict) String() string {
	return [...]string{events.VerdictAccept, events.VerdictIgnore, events.VerdictReject}[v]
}

// Handler is the node behind the network. Its methods are called by many
// goroutines at a time.
type Handler interface {
	// OnBlock, OnAttestation and OnAggregate judge gossip before it is forwarded.
	OnBlock(ctx context.Context, from peer.ID, b *lstar.SignedBlock) Verdict
	OnAttestation(ctx context.Context, from peer.ID, a *lstar.SignedAttestation) Verdict
	OnAggregate(ctx context.Context, from peer.ID, a *lstar.SignedAggregatedAttestation) Verdict

	// Status returns what we tell peers about our chain.
	Status() Status
	// OnStatus judges what a peer tells about its chain. An error ends the
	// connection, and says why. Of one peer, it is called once at a time, and not
	// after OnDisconnect until the peer connects again.
	OnStatus(from peer.ID, s Status) error
	// OnDisconnect is called when the last connection to a peer is gone.
	OnDisconnect(id peer.ID)

	// BlockByRoot returns a block, or nil. It is asked once for a block that stays
	// in demand.
	BlockByRoot(root lstar.Root) *lstar.SignedBlock
	// CanonicalRoot returns the root of the block at a slot of the canonical chain,
	// if there is one.
	CanonicalRoot(slot lstar.Slot) (root lstar.Root, ok bool)
	// CurrentSlot returns the slot of the wall clock.
	CurrentSlot() lstar.Slot
}

// Requester asks peers for blocks. Errors of a peer's making cost it score; a
// caller that finds out more about what it got calls Penalize.
type Requester interface {
	// BlocksByRoot returns those of the blocks that the peer has, each of which
	// is one that was asked for. Like BlocksByRange, it returns beside an error
	// the blocks that came before it, which are as good.
	BlocksByRoot(ctx context.Context, from peer.ID, roots []lstar.Root) ([]*lstar.SignedBlock, error)
	// BlocksByRange returns blocks of the peer's chain in ascending order of
	// their slots, all within [start, start+count), each but the first a child of
	// the one before it.
	BlocksByRange(ctx context.Context, from peer.ID, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error)
	// Status asks a peer for its status, and passes it to Handler.OnStatus.
	Status(ctx context.Context, from peer.ID) (Status, error)
	// Penalize counts a fault against a peer. Enough of them end the connection,
	// and keep the peer out for a time.
	Penalize(id peer.ID, reason string)
	// Disconnect ends the connections to a peer.
	Disconnect(id peer.ID, reason string)
}
