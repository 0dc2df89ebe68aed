package p2p

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/leanspectest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// cable forwards UDP packets between one dialer and a node until it is cut.
type cable struct {
	cut  atomic.Bool
	near *net.UDPConn
}

func newCable(t *testing.T, to *testNode) *cable {
	t.Helper()
	port, err := to.host.Network().ListenAddresses()[0].ValueForProtocol(ma.P_UDP)
	if err != nil {
		t.Fatal(err)
	}
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	c := &cable{near: listen()}
	far, target := listen(), netip.MustParseAddrPort("127.0.0.1:"+port)
	var dialer atomic.Pointer[netip.AddrPort]
	var carriers sync.WaitGroup
	carry := func(from *net.UDPConn, pass func(packet []byte, from netip.AddrPort)) {
		carriers.Go(func() {
			buffer := make([]byte, 1<<16)
			for {
				k, addr, err := from.ReadFromUDPAddrPort(buffer)
				if err != nil {
					return
				}
				if !c.cut.Load() {
					pass(buffer[:k], addr)
				}
			}
		})
	}
	carry(c.near, func(packet []byte, from netip.AddrPort) {
		dialer.Store(&from)
		_, _ = far.WriteToUDPAddrPort(packet, target)
	})
	carry(far, func(packet []byte, _ netip.AddrPort) {
		if to := dialer.Load(); to != nil {
			_, _ = c.near.WriteToUDPAddrPort(packet, *to)
		}
	})
	t.Cleanup(func() {
		_ = c.near.Close()
		_ = far.Close()
		carriers.Wait()
	})
	return c
}

func (c *cable) addr(to *testNode) string {
	_, port, _ := net.SplitHostPort(c.near.LocalAddr().String())
	return "/ip4/127.0.0.1/udp/" + port + "/quic-v1/p2p/" + to.PeerID().String()
}

// knows reports whether pubsub lists a peer as a subscriber of blocks.
func (n *testNode) knows(id peer.ID) bool {
	return slices.Contains(n.topics[wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName}].ListPeers(), id)
}

var published atomic.Int64

// wantGossip publishes a block and checks that the other node receives it.
func wantGossip(t *testing.T, from, to *testNode) {
	t.Helper()
	eventually(t, "a mesh", func() bool { return from.knows(to.PeerID()) && from.tracer.topics(to.PeerID()) == 2 })
	if err := from.PublishBlock(t.Context(), block(lstar.Slot(published.Add(1)))); err != nil {
		t.Fatal(err)
	}
	receive(t, "the block", to.handler.gossiped)
}

// TestPeerThatComesBack cuts off a peer, which then connects again while the node still has the old
// connection. Gossip must work in both directions, also after the old connection has timed out.
func TestPeerThatComesBack(t *testing.T) {
	t.Parallel()
	key := newNodeKey(t)
	node := startNode(t)
	link := newCable(t, node)
	before := startNode(t, func(cfg *Config, _ *testNode) {
		cfg.NodeKey, cfg.Bootnodes = key, []string{link.addr(node)}
	})
	wantGossip(t, node, before)
	link.cut.Store(true)
	after := startNode(t, func(cfg *Config, _ *testNode) { cfg.NodeKey = key }, dialing(node))
	id := key.PeerID()
	eventually(t, "the new connection alone", func() bool {
		conns := node.host.Network().ConnsToPeer(id)
		return len(conns) == 1 && strings.Contains(after.addr(), conns[0].RemoteMultiaddr().String())
	})
	wantGossip(t, node, after)
	wantGossip(t, after, node)
	if got := metricstest.Value(t, node.metrics, "leanspec_duplicate_identity_total"); got != 0 {
		t.Errorf("leanspec_duplicate_identity_total = %v, want 0: the old process is gone", got)
	}
}

// TestCrossedDials checks that two nodes that dial each other at the same time have one connection,
// and that each reports one.
func TestCrossedDials(t *testing.T) {
	for range 10 {
		a, b := startNode(t), startNode(t)
		var dials sync.WaitGroup
		for from, to := range map[*testNode]*testNode{a: b, b: a} {
			bootnode, err := ParseBootnode(to.addr())
			if err != nil {
				t.Fatal(err)
			}
			dials.Go(func() { _, _ = from.dial(t.Context(), bootnode) })
		}
		dials.Wait()
		for from, to := range map[*testNode]*testNode{a: b, b: a} {
			eventually(t, "one connection", func() bool { return len(from.host.Network().ConnsToPeer(to.PeerID())) == 1 })
			eventually(t, "the subscriptions", func() bool { return from.knows(to.PeerID()) })
			if log := from.log.String(); strings.Count(log, `"msg":"peer connected"`) != 1 || strings.Contains(log, `"msg":"peer disconnected"`) {
				t.Errorf("want one connection and no disconnection in the log:\n%s", log)
			}
			sum := metricstest.Value(t, from.metrics, "lean_peer_connection_events_total", "inbound", "success") +
				metricstest.Value(t, from.metrics, "lean_peer_connection_events_total", "outbound", "success")
			if sum != 1 {
				t.Errorf("lean_peer_connection_events_total counts %v connections, want 1", sum)
			}
		}
		a.stop()
		b.stop()
	}
}

// subscribe sends a subscription to a topic on a stream.
func subscribe(t *testing.T, s network.Stream, topics ...string) {
	t.Helper()
	rpc := new(pubsubpb.RPC)
	for _, topic := range topics {
		rpc.Subscriptions = append(rpc.Subscriptions, &pubsubpb.RPC_SubOpts{Subscribe: proto.Bool(true), Topicid: proto.String(topic)})
	}
	message, err := proto.Marshal(rpc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(append(varint.ToUvarint(uint64(len(message))), message...)); err != nil {
		t.Fatal(err)
	}
}

// TestLostSubscriptions checks that the node connects again if pubsub loses the subscriptions of a
// connected peer, unless it cannot dial the peer.
func TestLostSubscriptions(t *testing.T) {
	for _, dialable := range []bool{true, false} {
		t.Run(fmt.Sprint("dialable ", dialable), func(t *testing.T) {
			t.Parallel()
			testLostSubscriptions(t, dialable)
		})
	}
}

func testLostSubscriptions(t *testing.T, dialable bool) {
	node := startNode(t)
	h := rawPeer(t, nil)
	if dialable {
		if err := h.Network().Listen(ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")); err != nil {
			t.Fatal(err)
		}
	}
	streams := make(chan network.Stream, 100)
	h.SetStreamHandler("/meshsub/1.2.0", func(s network.Stream) { streams <- s })
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: node.PeerID(), Addrs: node.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	out, err := h.NewStream(t.Context(), node.PeerID(), "/meshsub/1.2.0")
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, out, wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName}.String())
	eventually(t, "the subscription to be known", func() bool { return node.knows(h.ID()) })
	first := h.Network().ConnsToPeer(node.PeerID())[0]
	_ = receive(t, "a gossip stream", streams).Reset() // pubsub opens a new one and drops the subscription
	eventually(t, "a warning", func() bool { return strings.Contains(node.log.String(), "gossip subscriptions of a peer were lost") })
	eventually(t, "a new connection of a peer that can be dialed, and the old one of another", func() bool {
		conns := h.Network().ConnsToPeer(node.PeerID())
		return len(conns) == 1 && (conns[0] != first) == dialable
	})
	if got := metricstest.Value(t, node.metrics, "leanspec_gossip_subscriptions_lost_total"); got != 1 {
		t.Errorf("leanspec_gossip_subscriptions_lost_total = %v, want 1", got)
	}
}

// TestResets checks the pauses between resets of the connection to one peer.
func TestResets(t *testing.T) {
	r := newResets()
	at := time.Unix(0, 0)
	var got []time.Duration
	for range 20 * 60 { // a peer that always loses its subscriptions
		if r.allow("peer", at) {
			got = append(got, at.Sub(time.Unix(0, 0)))
		}
		at = at.Add(time.Second)
	}
	want := []time.Duration{0, 15 * time.Second, 45 * time.Second, 105 * time.Second, 225 * time.Second, 465 * time.Second, 945 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("resets at %v, want %v", got, want)
	}
	if !r.allow("peer", at.Add(time.Hour)) || !r.allow("peer", at.Add(time.Hour+firstReset)) {
		t.Error("an hour of gossip does not shorten the pause")
	}
}

// TestTwoProcessesWithOneIdentity checks that the first of two processes with one identity keeps
// its connection, and that the node logs a warning.
func TestTwoProcessesWithOneIdentity(t *testing.T) {
	key := newNodeKey(t)
	node := startNode(t)
	same := func(cfg *Config, _ *testNode) { cfg.NodeKey = key }
	first := startNode(t, same, dialing(node))
	waitConnected(t, node, first)
	conn := node.host.Network().ConnsToPeer(first.PeerID())[0]
	second := startNode(t, same, dialing(node))
	eventually(t, "the second to be seen", func() bool {
		return metricstest.Value(t, node.metrics, "leanspec_duplicate_identity_total") > 0
	})
	if log := node.log.String(); !strings.Contains(log, "two nodes have the same peer id") || !strings.Contains(log, `"advice":"Give each node its own node key`) {
		t.Errorf("no warning with advice in the log:\n%s", log)
	}
	eventually(t, "the second to be refused", func() bool { return !second.isConnected(node) })
	if conns := node.host.Network().ConnsToPeer(first.PeerID()); len(conns) != 1 || conns[0] != conn {
		t.Errorf("connections are %v, want %v alone", conns, conn)
	}
	wantGossip(t, node, first)
}

// TestOwnIdentityElsewhere checks that two nodes with the same key both log a warning when one
// dials the other, and that a node that dials itself does not.
func TestOwnIdentityElsewhere(t *testing.T) {
	t.Parallel()
	key := newNodeKey(t)
	first := startNode(t, func(cfg *Config, _ *testNode) { cfg.NodeKey = key })
	link := newCable(t, first) // an address at which the node does not know itself
	second := startNode(t, func(cfg *Config, _ *testNode) { cfg.NodeKey = key }, dialing(first))
	for _, n := range []*testNode{first, second} {
		eventually(t, "the copied key to be seen", func() bool {
			return metricstest.Value(t, n.metrics, "leanspec_duplicate_identity_total") > 0
		})
		if log := n.log.String(); !strings.Contains(log, `"level":"warn","msg":"another node has the peer id of this node"`) {
			t.Errorf("no warning in the log:\n%s", log)
		}
	}
	second.stop()
	before := metricstest.Value(t, first.metrics, "leanspec_duplicate_identity_total")
	bootnode, err := ParseBootnode(link.addr(first))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.dial(t.Context(), bootnode); !errors.Is(err, errSelf) {
		t.Errorf("dialing itself gives %v, want %v", err, errSelf)
	}
	if got := metricstest.Value(t, first.metrics, "leanspec_duplicate_identity_total"); got != before {
		t.Errorf("leanspec_duplicate_identity_total = %v, want %v after the node dialed itself", got, before)
	}
}

// TestConnectionsOfLeanSpecsNode checks that a peer such as leanSpec's node can dial twice and
// keeps both connections.
func TestConnectionsOfLeanSpecsNode(t *testing.T) {
	t.Parallel()
	p := leanspectest.New(t, wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName})
	node := startNode(t, func(cfg *Config, _ *testNode) { cfg.Bootnodes = []string{p.Addr()} })
	conns := func() []network.Conn { return node.host.Network().ConnsToPeer(p.ID()) }
	eventually(t, "a connection", func() bool { return len(conns()) == 1 })
	first := conns()[0]
	if err := p.Dial(t.Context(), node.addr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a second connection", func() bool { return len(conns()) == 2 })
	if got := metricstest.Value(t, node.metrics, "leanspec_duplicate_identity_total"); got != 0 {
		t.Errorf("leanspec_duplicate_identity_total = %v, want 0", got)
	}
	time.Sleep(yieldTimeout + 100*time.Millisecond) // longer than the node would take to close one
	if now := conns(); len(now) != 2 || now[0] != first {
		t.Errorf("connections are %v, want two, of which the first is %v", now, first)
	}
	sum := metricstest.Sum(t, node.metrics, "lean_peer_connection_events_total", "success")
	if sum != 1 {
		t.Errorf("lean_peer_connection_events_total counts %v connections, want 1: the first of a peer", sum)
	}
}

// claimedConn is a connection that has been claimed.
type claimedConn struct {
	network.Conn
	id     peer.ID
	closed func()
}

func (c *claimedConn) RemotePeer() peer.ID     { return c.id }
func (c *claimedConn) As(any) bool             { return false }
func (c *claimedConn) Stat() network.ConnStats { return network.ConnStats{} }
func (c *claimedConn) Close() error {
	c.closed()
	return nil
}

// TestConnectionThatComesUp checks that admit waits until libp2p has added the old connection,
// because no stream can be opened on it before.
func TestConnectionThatComesUp(t *testing.T) {
	node := startNode(t)
	id := newNodeKey(t).PeerID()
	closed := make(chan struct{})
	old := &claimedConn{id: id}
	old.closed = func() {
		close(closed)
		node.links.release(old)
	}
	node.links.claim(old, node.now())
	admitted := make(chan bool, 1)
	conn := &claimedConn{id: id}
	go func() { admitted <- node.admit(conn) }()
	select {
	case <-closed:
		t.Fatal("the connection was closed before libp2p had added it")
	case <-time.After(partTimeout / 4):
	}
	node.links.setUp(old)
	receive(t, "the end of the old connection", closed)
	if !receive(t, "the answer", admitted) {
		t.Error("the new connection was refused, want it admitted: the old one is dead")
	}
	node.links.release(conn)
}
