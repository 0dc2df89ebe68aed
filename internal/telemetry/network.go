package telemetry

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Directions of connections, as leanMetrics names them.
const (
	DirectionInbound  = "inbound"
	DirectionOutbound = "outbound"
)

// Results of an attempt to connect, as leanMetrics names them.
const (
	ResultSuccess = "success"
	ResultTimeout = "timeout"
	ResultError   = "error"
)

// Reasons of a disconnection, as leanMetrics names them.
const (
	DisconnectTimeout     = "timeout"
	DisconnectRemoteClose = "remote_close"
	DisconnectLocalClose  = "local_close"
	DisconnectError       = "error"
)

// Kinds of gossip messages.
const (
	GossipBlock       = "block"
	GossipAttestation = "attestation"
	GossipAggregation = "aggregation"
)

// PeerConnection reports the end of an attempt to connect, of ours or of a peer's.
type PeerConnection struct {
	PeerID    string // empty where the attempt failed before the peer said who it is
	Address   string
	Direction string
	Result    string
	Err       error
}

// PeerDisconnection reports that a connection is gone.
type PeerDisconnection struct {
	PeerID    string
	Direction string
	// Reason is one of the Disconnect constants.
	Reason string
	// Detail says more, such as why this node closed the connection.
	Detail string
}

// PeerFault reports something that a peer did wrong. Faults counts those not yet forgiven.
type PeerFault struct {
	PeerID string
	Reason string
	Faults float64
	Err    error
}

// PeerBanned reports that a peer is kept out for some time.
type PeerBanned struct {
	PeerID string
	Reason string
}

// GossipReceived reports a gossip message of a peer, before it is judged. Bytes is its compressed size.
type GossipReceived struct {
	Kind  string
	Bytes int
}

// MeshPeers reports the number of peers that are in the mesh of at least one topic.
type MeshPeers struct {
	Count int
}

// AttestationCommittee reports the number of committees and the subnet of this node's.
type AttestationCommittee struct {
	Subnet, Count uint64
}

// networkMetrics are leanMetrics' of the network, but for lean_connected_peers.
type networkMetrics struct {
	connections       *prometheus.CounterVec // direction, result
	disconnections    *prometheus.CounterVec // direction, reason
	meshPeers         prometheus.Gauge
	committeeSubnet   prometheus.Gauge
	committeeCount    prometheus.Gauge
	gossipBlock       prometheus.Histogram
	gossipAttestation prometheus.Histogram
	gossipAggregation prometheus.Histogram
}

var (
	directions        = set(DirectionInbound, DirectionOutbound)
	connectionResults = set(ResultSuccess, ResultTimeout, ResultError)
	disconnectReasons = set(DisconnectTimeout, DisconnectRemoteClose, DisconnectLocalClose, DisconnectError)
)

func newNetworkMetrics(d definer) networkMetrics {
	m := networkMetrics{
		connections:    d.counterVec("lean_peer_connection_events_total", "Attempts to connect, by result.", "direction", "result"),
		disconnections: d.counterVec("lean_peer_disconnection_events_total", "Connections that ended, by reason.", "direction", "reason"),
		meshPeers: d.gaugeVec("lean_gossip_mesh_peers", "Peers in the mesh of at least one gossip topic.", "client").
			WithLabelValues("unknown"),
		committeeSubnet: d.gauge("lean_attestation_committee_subnet", "Attestation subnet of this node's committee."),
		committeeCount:  d.gauge("lean_attestation_committee_count", "Number of attestation committees."),
		gossipBlock: d.histogram("lean_gossip_block_size_bytes", "Size of the blocks gossiped by peers, compressed.",
			10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000),
		gossipAttestation: d.histogram("lean_gossip_attestation_size_bytes", "Size of the votes gossiped by peers, compressed.",
			512, 1024, 2048, 4096, 8192, 16384),
		gossipAggregation: d.histogram("lean_gossip_aggregation_size_bytes", "Size of the aggregates gossiped by peers, compressed.",
			1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576),
	}
	for direction := range directions {
		for result := range connectionResults {
			m.connections.WithLabelValues(direction, result)
		}
		for reason := range disconnectReasons {
			m.disconnections.WithLabelValues(direction, reason)
		}
	}
	return m
}

// PeerConnection counts the attempt. A failure is a line at debug: whoever dials logs the first of a row.
func (o *Observer) PeerConnection(e PeerConnection) {
	if directions.has(e.Direction) && connectionResults.has(e.Result) {
		o.m.connections.WithLabelValues(e.Direction, e.Result).Inc()
	}
	level, msg := slog.LevelInfo, "peer connected"
	if e.Result != ResultSuccess {
		level, msg = slog.LevelDebug, "peer did not connect"
	}
	write(o.p2p, level, msg, Peer(e.PeerID), optional("address", e.Address),
		slog.String("direction", e.Direction), slog.String("result", e.Result), Err(e.Err))
}

// PeerDisconnection counts the disconnection by reason.
func (o *Observer) PeerDisconnection(e PeerDisconnection) {
	if directions.has(e.Direction) && disconnectReasons.has(e.Reason) {
		o.m.disconnections.WithLabelValues(e.Direction, e.Reason).Inc()
	}
	write(o.p2p, slog.LevelInfo, "peer disconnected", Peer(e.PeerID), slog.String("direction", e.Direction),
		Reason(e.Reason), optional("detail", e.Detail))
}

// PeerFault logs what a peer did wrong.
func (o *Observer) PeerFault(e PeerFault) {
	if debugs(o.p2p) {
		write(o.p2p, slog.LevelDebug, "peer at fault", Peer(e.PeerID), Reason(e.Reason),
			slog.Float64("faults", e.Faults), Err(e.Err))
	}
}

// PeerBanned logs the ban.
func (o *Observer) PeerBanned(e PeerBanned) {
	write(o.p2p, slog.LevelWarn, "peer banned", Peer(e.PeerID), Reason(e.Reason),
		Advice("nothing to do, unless it is a node of yours: then look at its log and version"))
}

// GossipReceived counts the size of the message.
func (o *Observer) GossipReceived(e GossipReceived) {
	switch size := float64(e.Bytes); e.Kind {
	case GossipBlock:
		o.m.gossipBlock.Observe(size)
	case GossipAttestation:
		o.m.gossipAttestation.Observe(size)
	case GossipAggregation:
		o.m.gossipAggregation.Observe(size)
	}
}

// MeshPeers sets the number of peers in the mesh.
func (o *Observer) MeshPeers(e MeshPeers) { o.m.meshPeers.Set(float64(e.Count)) }

// AttestationCommittee sets the number of committees and this node's subnet.
func (o *Observer) AttestationCommittee(e AttestationCommittee) {
	o.m.committeeSubnet.Set(float64(e.Subnet))
	o.m.committeeCount.Set(float64(e.Count))
}
