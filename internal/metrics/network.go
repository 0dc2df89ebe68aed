package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

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
	gossipSize        map[string]prometheus.Histogram // by kind
}

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
	m.gossipSize = map[string]prometheus.Histogram{
		events.GossipBlock: d.histogram("lean_gossip_block_size_bytes", "Size of the blocks gossiped by peers, compressed.",
			10000, 50000, 100000, 250000, 500000, 1000000, 2000000, 5000000),
		events.GossipAttestation: d.histogram("lean_gossip_attestation_size_bytes", "Size of the votes gossiped by peers, compressed.",
			512, 1024, 2048, 4096, 8192, 16384),
		events.GossipAggregation: d.histogram("lean_gossip_aggregation_size_bytes", "Size of the aggregates gossiped by peers, compressed.",
			1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576),
	}
	return m
}
