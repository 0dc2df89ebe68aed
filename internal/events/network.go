package events

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Directions of connections and requests, as leanMetrics names them.
const (
	DirectionInbound  = "inbound"
	DirectionOutbound = "outbound"
)

// Results of a connection attempt, as leanMetrics names them, and of a request.
const (
	ResultSuccess = "success"
	ResultTimeout = "timeout"
	ResultError   = "error"
	ResultRefused = "refused" // of a request: the response has an error code
)

// PeerConnection reports the result of a connection attempt, in either direction.
type PeerConnection struct {
	Peer      peer.ID // empty if the attempt failed before the peer's identity was known
	Address   string
	Direction string
	Result    string // success, timeout or error
	Further   bool   // the peer was connected already
	Err       error
}

// Reasons of a disconnection, as leanMetrics names them.
const (
	DisconnectTimeout     = "timeout"
	DisconnectRemoteClose = "remote_close"
	DisconnectLocalClose  = "local_close"
	DisconnectError       = "error"
)

// PeerDisconnection reports the end of a connection.
type PeerDisconnection struct {
	Peer      peer.ID
	Direction string
	Reason    string // one of the Disconnect constants
	Detail    string // for example why this node closed the connection
	Further   bool   // another connection to the peer is left
}

// PeerFault reports a fault of a peer. Faults is the sum of its faults that have not been forgiven.
type PeerFault struct {
	Peer   peer.ID
	Reason string
	Faults float64
	Err    error
}

// PeerBanned reports that this node refuses connections with a peer for some time.
type PeerBanned struct {
	Peer   peer.ID
	Reason string
}

// Peers reports the number of connected peers. ByName counts those that the operator's files name.
type Peers struct {
	Connected int
	ByName    map[string]int
}

// MeshPeers reports the number of peers in the mesh of at least one topic. ByName counts those that
// the operator's files name.
type MeshPeers struct {
	Count  int
	ByName map[string]int
}

// Relations between a checkpoint of a peer and that of this node.
const (
	RelationSame     = "same"
	RelationBehind   = "behind"   // an ancestor of this node's checkpoint
	RelationAhead    = "ahead"    // not known to this node yet
	RelationFork     = "fork"     // of a head: on another branch
	RelationConflict = "conflict" // of a finalized checkpoint: on another chain
)

// Agreement reports how many peers with a known status have each of the Relation constants to this
// node. A missing relation counts as zero.
type Agreement struct{ Heads, Finalized map[string]int }

// SubscriptionsLost reports that the gossip library lost the subscriptions of a connected peer.
// Reset is set if this node closes the connection to restore them.
type SubscriptionsLost struct {
	Peer  peer.ID
	Reset bool
}

// DuplicateIdentity reports that two nodes have the same peer id. Peer is the id of this node if it
// is one of the two.
type DuplicateIdentity struct {
	Peer           peer.ID
	Address, Other string // of the two nodes; Other is empty if it is this node
}

// ForeignPeer reports a peer that gossips, but on no topic of this node's network.
type ForeignPeer struct {
	Peer         peer.ID
	Ours, Theirs []string // topics; the peer sent its own
}

// ForeignPeers reports the number of connected peers that a ForeignPeer describes.
type ForeignPeers struct{ Count int }

// Kinds of gossip messages.
const (
	GossipBlock       = "block"
	GossipAttestation = "attestation"
	GossipAggregation = "aggregation"
)

// GossipReceived reports a gossip message from a peer before it is judged. Bytes is its compressed size.
type GossipReceived struct {
	Kind  string // one of the Gossip constants
	Bytes int
}

// Verdicts on gossip messages.
const (
	VerdictAccept = "accept"
	VerdictIgnore = "ignore" // old, known, or too early
	VerdictReject = "reject"
)

// GossipJudged reports the verdict on a gossip message from a peer. Undecodable is set if it could
// not be decoded.
type GossipJudged struct {
	Kind, Verdict string // one of the Gossip and of the Verdict constants
	Undecodable   bool
}

// Protocols of requests.
const (
	RequestStatus        = "status"
	RequestBlocksByRoot  = "blocks_by_root"
	RequestBlocksByRange = "blocks_by_range"
)

// RequestEnded reports the end of a request of this node or of a peer.
type RequestEnded struct {
	Protocol, Direction, Result string // constants of Request, Direction and Result
	Duration                    time.Duration
}
