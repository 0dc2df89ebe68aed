package telemetry

import (
	"log/slog"
	"slices"
	"time"

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
	// Further says that there was a connection to the peer already.
	Further bool
	Err     error
}

// PeerDisconnection reports that a connection is gone.
type PeerDisconnection struct {
	PeerID    string
	Direction string
	// Reason is one of the Disconnect constants.
	Reason string
	// Detail says more, such as why this node closed the connection.
	Detail string
	// Further says that there is another connection to the peer.
	Further bool
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

// SubscriptionsLost reports that the gossip library has lost the subscriptions of a connected peer. Reset says that
// the connection is closed, so that both sides start anew.
type SubscriptionsLost struct {
	PeerID string
	Reset  bool
}

// DuplicateIdentity reports two processes that have the same peer id. PeerID is this node's own if one of the two is
// this node.
type DuplicateIdentity struct {
	PeerID string
	// Address and Other are the addresses of the two; Other is empty if it is this node.
	Address, Other string
}

// ForeignPeer reports a peer that gossips, but on no topic of this node's network.
type ForeignPeer struct {
	PeerID       string
	Ours, Theirs []string // topics; those of the peer are what it sent
}

// ForeignPeers reports the number of connected peers that gossip on no topic of this node's network.
type ForeignPeers struct {
	Count int
}

// GossipReceived reports a gossip message of a peer, before it is judged. Bytes is its compressed size.
type GossipReceived struct {
	Kind  string
	Bytes int
}

// MeshPeers reports the number of peers that are in the mesh of at least one topic.
type MeshPeers struct {
	Count int
	// ByName counts those whose names are known.
	ByName map[string]int
}

// Verdicts on gossip messages.
const (
	VerdictAccept = "accept"
	VerdictIgnore = "ignore" // old, known, or not to be judged yet
	VerdictReject = "reject"
)

// GossipJudged reports what became of a gossip message of a peer. Undecodable ones are no blocks or votes at all.
type GossipJudged struct {
	// Kind is one of the Gossip constants, Verdict one of the Verdict constants.
	Kind, Verdict string
	Undecodable   bool
}

// Requests between peers, as metrics name them.
const (
	RequestStatus        = "status"
	RequestBlocksByRoot  = "blocks_by_root"
	RequestBlocksByRange = "blocks_by_range"

	// ResultRefused is an answer that is no success.
	ResultRefused = "refused"
)

// Request reports the end of a request of this node's or of a peer's.
type Request struct {
	// Protocol is one of the Request constants, Result one of success, timeout, refused and error.
	Protocol, Direction, Result string
	// Duration is looked at for requests of this node that were answered.
	Duration time.Duration
}

// AttestationCommittee reports the number of committees and the subnet of this node's.
type AttestationCommittee struct {
	Subnet, Count uint64
}

// networkMetrics are those of the network.
type networkMetrics struct {
	peerNames         []string
	peersByHead       *prometheus.GaugeVec   // relation
	peersByFinalized  *prometheus.GaugeVec   // relation
	gossipMessages    *prometheus.CounterVec // kind, verdict
	requests          *prometheus.CounterVec // protocol, direction, result
	requestTime       map[string]prometheus.Observer
	faults, bans      prometheus.Counter
	subscriptionsLost prometheus.Counter
	duplicates        prometheus.Counter
	foreignPeers      prometheus.Gauge
	connectedPeers    *prometheus.GaugeVec   // client
	connections       *prometheus.CounterVec // direction, result
	disconnections    *prometheus.CounterVec // direction, reason
	meshPeers         *prometheus.GaugeVec   // client
	committeeSubnet   prometheus.Gauge
	committeeCount    prometheus.Gauge
	gossipBlock       prometheus.Histogram
	gossipAttestation prometheus.Histogram
	gossipAggregation prometheus.Histogram
}

var (
	directions        = names{DirectionInbound, DirectionOutbound}
	connectionResults = names{ResultSuccess, ResultTimeout, ResultError}
	disconnectReasons = names{DisconnectTimeout, DisconnectRemoteClose, DisconnectLocalClose, DisconnectError}
	gossipKinds       = names{GossipBlock, GossipAttestation, GossipAggregation}
	verdicts          = names{VerdictAccept, VerdictIgnore, VerdictReject}
	protocols         = names{RequestStatus, RequestBlocksByRoot, RequestBlocksByRange}
	requestResults    = names{ResultSuccess, ResultTimeout, ResultRefused, ResultError}
	headRelations     = names{RelationSame, RelationBehind, RelationAhead, RelationFork}
	finalRelations    = names{RelationSame, RelationBehind, RelationAhead, RelationConflict}
)

// unknownPeer is the name of all peers that the operator's files do not name. What a peer says of itself is no
// label value.
const unknownPeer = "unknown"

func newNetworkMetrics(d *definer, peerNames []string) networkMetrics {
	peerNames = slices.DeleteFunc(slices.Clone(peerNames), func(name string) bool { return name == unknownPeer })
	client := Label{Name: "client", Values: append(slices.Clone(peerNames), unknownPeer),
		Note: "a name of validator-config.yaml, or " + unknownPeer}
	m := networkMetrics{peerNames: peerNames}
	d.section = "Network"
	m.peersByHead = d.gaugeVec("leanspec_peers_by_head",
		"Peers whose status is known, by what their head was to ours when they told it: the same, behind (an ancestor of ours), "+
			"ahead (we do not know it yet), or on a fork.", fixed("relation", headRelations...))
	m.peersByFinalized = d.gaugeVec("leanspec_peers_by_finalized",
		"Peers whose status is known, by what their finalized checkpoint was to ours when they told it.", fixed("relation", finalRelations...))
	m.gossipMessages = d.counterVec("leanspec_gossip_messages_total", "Gossip messages of peers, by what became of them.",
		fixed("kind", gossipKinds...), fixed("verdict", verdicts...))
	m.requests = d.counterVec("leanspec_requests_total", "Requests of this node (outbound) and of peers (inbound), by result.",
		fixed("protocol", protocols...), fixed("direction", directions...), fixed("result", requestResults...))
	requestTime := d.histogramVec("leanspec_request_time_seconds", "Time until a peer's whole answer to a request of this node was there.",
		[]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}, fixed("protocol", protocols...))
	m.requestTime = make(map[string]prometheus.Observer, len(protocols))
	for _, p := range protocols {
		m.requestTime[p] = requestTime.WithLabelValues(p)
	}
	m.faults = d.counter("leanspec_peer_faults_total", "Faults counted against peers.")
	m.bans = d.counter("leanspec_peers_banned_total", "Peers that were banned for a time.")
	m.subscriptionsLost = d.counter("leanspec_gossip_subscriptions_lost_total",
		"Times that the gossip library lost the subscriptions of a connected peer.")
	m.duplicates = d.counter("leanspec_duplicate_identity_total",
		"Connections that show that two processes have the same peer id.")
	m.foreignPeers = d.gauge("leanspec_peers_without_common_topic", "Connected peers that gossip, but on no topic of this node's network.")

	d.section = "leanMetrics: Network Metrics"
	m.connectedPeers = d.gaugeVec("lean_connected_peers", "Peers with an open connection.", client)
	m.connections = d.counterVec("lean_peer_connection_events_total",
		"Attempts to connect, by result. Of a peer with several connections, the first one counts.",
		fixed("direction", directions...), fixed("result", connectionResults...))
	m.disconnections = d.counterVec("lean_peer_disconnection_events_total",
		"Peers that disconnected, by reason. Of a peer with several connections, the end of the last one counts.",
		fixed("direction", directions...), fixed("reason", disconnectReasons...))
	m.meshPeers = d.gaugeVec("lean_gossip_mesh_peers", "Peers in the mesh of at least one gossip topic.", client)
	m.committeeSubnet = d.gauge("lean_attestation_committee_subnet", "Attestation subnet of this node's committee.")
	m.committeeCount = d.gauge("lean_attestation_committee_count", "Number of attestation committees.")
	m.gossipBlock = d.histogram("lean_gossip_block_size_bytes", "Size of the blocks gossiped by peers, compressed.",
		10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000)
	m.gossipAttestation = d.histogram("lean_gossip_attestation_size_bytes", "Size of the votes gossiped by peers, compressed.",
		512, 1024, 2048, 4096, 8192, 16384)
	m.gossipAggregation = d.histogram("lean_gossip_aggregation_size_bytes", "Size of the aggregates gossiped by peers, compressed.",
		1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576)
	return m
}

// setByName sets a gauge for each name, and for all that have none.
func setByName(gauge *prometheus.GaugeVec, names []string, total int, byName map[string]int) {
	for _, name := range names {
		n := byName[name]
		gauge.WithLabelValues(name).Set(float64(n))
		total -= n
	}
	gauge.WithLabelValues(unknownPeer).Set(float64(max(total, 0)))
}

// PeerConnection counts the attempt, unless the peer was connected already. A failure is a line at debug: whoever dials logs the first of a row.
func (o *Observer) PeerConnection(e PeerConnection) {
	if o == nil {
		return
	}
	if !e.Further && directions.has(e.Direction) && connectionResults.has(e.Result) {
		o.m.connections.WithLabelValues(e.Direction, e.Result).Inc()
	}
	level, msg := slog.LevelInfo, "peer connected"
	switch {
	case e.Result != ResultSuccess:
		level, msg = slog.LevelDebug, "peer did not connect"
	case e.Further:
		level, msg = slog.LevelDebug, "peer connected again"
	}
	write(o.p2p, level, msg, Peer(e.PeerID), optional("address", e.Address),
		slog.String("direction", e.Direction), slog.String("result", e.Result), Err(e.Err))
}

// PeerDisconnection counts the disconnection by reason, unless the peer is still connected.
func (o *Observer) PeerDisconnection(e PeerDisconnection) {
	if o == nil {
		return
	}
	if !e.Further && directions.has(e.Direction) && disconnectReasons.has(e.Reason) {
		o.m.disconnections.WithLabelValues(e.Direction, e.Reason).Inc()
	}
	level, msg := slog.LevelInfo, "peer disconnected"
	if e.Further {
		level, msg = slog.LevelDebug, "peer keeps one connection less"
	}
	write(o.p2p, level, msg, Peer(e.PeerID), slog.String("direction", e.Direction),
		Reason(e.Reason), optional("detail", e.Detail))
}

// SubscriptionsLost counts and logs the loss.
func (o *Observer) SubscriptionsLost(e SubscriptionsLost) {
	if o == nil {
		return
	}
	o.m.subscriptionsLost.Inc()
	advice := "The node closes the connection and dials again, which restores gossip. If it happens often, look at the log of the peer."
	if !e.Reset {
		advice = "This node sends no gossip to the peer. Restart the peer, or this node."
	}
	write(o.p2p, slog.LevelWarn, "gossip subscriptions of a peer were lost", Peer(e.PeerID), slog.Bool("reset", e.Reset), Advice(advice))
}

// DuplicateIdentity counts and logs the second process. The log limits the rate.
func (o *Observer) DuplicateIdentity(e DuplicateIdentity) {
	if o == nil {
		return
	}
	o.m.duplicates.Inc()
	msg := "two nodes have the same peer id"
	if e.Other == "" {
		msg = "another node has the peer id of this node"
	}
	write(o.p2p, slog.LevelWarn, msg, Peer(e.PeerID), optional("address", e.Address), optional("other_address", e.Other),
		Advice("Give each node its own node key: stop one of the two, remove its copied --node-key file or node.key in its data folder, "+
			"and start it again. If its validator keys were copied too, never run both."))
}

// ForeignPeer logs the topics of both sides.
func (o *Observer) ForeignPeer(e ForeignPeer) {
	if o == nil {
		return
	}
	write(o.p2p, slog.LevelWarn, "peer has no gossip topic in common", Peer(e.PeerID), slog.Any("our_topics", e.Ours), slog.Any("their_topics", e.Theirs),
		Advice("Compare the third part of the topics, which is the network name: --network-name must be the same on all nodes of a network."))
}

// ForeignPeers sets the number of these peers.
func (o *Observer) ForeignPeers(e ForeignPeers) {
	if o == nil {
		return
	}
	o.m.foreignPeers.Set(float64(e.Count))
}

// PeerFault counts and logs what a peer did wrong.
func (o *Observer) PeerFault(e PeerFault) {
	if o == nil {
		return
	}
	o.m.faults.Inc()
	if debugs(o.p2p) {
		write(o.p2p, slog.LevelDebug, "peer at fault", Peer(e.PeerID), Reason(e.Reason),
			slog.Float64("faults", e.Faults), Err(e.Err))
	}
}

// PeerBanned counts and logs the ban.
func (o *Observer) PeerBanned(e PeerBanned) {
	if o == nil {
		return
	}
	o.m.bans.Inc()
	write(o.p2p, slog.LevelWarn, "peer banned", Peer(e.PeerID), Reason(e.Reason),
		Advice("nothing to do, unless it is a node of yours: then look at its log and version"))
}

// GossipReceived counts the size of the message.
func (o *Observer) GossipReceived(e GossipReceived) {
	if o == nil {
		return
	}
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
func (o *Observer) MeshPeers(e MeshPeers) {
	if o == nil {
		return
	}
	setByName(o.m.meshPeers, o.m.peerNames, e.Count, e.ByName)
}

// GossipJudged counts the verdict. What could not be decoded is a block or a vote that was rejected.
func (o *Observer) GossipJudged(e GossipJudged) {
	if o == nil {
		return
	}
	if !gossipKinds.has(e.Kind) || !verdicts.has(e.Verdict) {
		return
	}
	o.m.gossipMessages.WithLabelValues(e.Kind, e.Verdict).Inc()
	if !e.Undecodable {
		return
	}
	switch e.Kind {
	case GossipBlock:
		o.m.blocksRejected.WithLabelValues(reasonDecodeError, SourceGossip).Inc()
	case GossipAttestation:
		o.m.attestationsRejected.WithLabelValues(reasonDecodeError, SourceGossip).Inc()
	case GossipAggregation:
		o.m.aggregatesRejected.WithLabelValues(reasonDecodeError, SourceGossip).Inc()
	}
}

// Request counts a request, and times those of this node.
func (o *Observer) Request(e Request) {
	if o == nil {
		return
	}
	if !protocols.has(e.Protocol) || !directions.has(e.Direction) || !requestResults.has(e.Result) {
		return
	}
	o.m.requests.WithLabelValues(e.Protocol, e.Direction, e.Result).Inc()
	if e.Direction == DirectionOutbound && e.Result == ResultSuccess {
		observe(o.m.requestTime[e.Protocol], e.Duration)
	}
}

// Agreement sets the number of peers in each relation.
func (o *Observer) Agreement(e Agreement) {
	if o == nil {
		return
	}
	for _, relation := range headRelations {
		o.m.peersByHead.WithLabelValues(relation).Set(float64(e.Heads[relation]))
	}
	for _, relation := range finalRelations {
		o.m.peersByFinalized.WithLabelValues(relation).Set(float64(e.Finalized[relation]))
	}
}

// AttestationCommittee sets the number of committees and this node's subnet.
func (o *Observer) AttestationCommittee(e AttestationCommittee) {
	if o == nil {
		return
	}
	o.m.committeeSubnet.Set(float64(e.Subnet))
	o.m.committeeCount.Set(float64(e.Count))
}
