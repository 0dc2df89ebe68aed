package p2p

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/xmss"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHandler is a Handler with configurable results.
type fakeHandler struct {
	mu       sync.Mutex
	verdict  Verdict
	status   Status
	onStatus error
	current  lstar.Slot
	byRoot   map[lstar.Root]*lstar.SignedBlock
	bySlot   map[lstar.Slot]*lstar.SignedBlock
	asked    int // for a block

	gossiped     chan string // kind and slot of each message
	statuses     chan Status
	disconnected chan peer.ID
	connected    func(id peer.ID, dialed bool)
}

func newFakeHandler() *fakeHandler {
	return &fakeHandler{
		byRoot:       make(map[lstar.Root]*lstar.SignedBlock),
		bySlot:       make(map[lstar.Slot]*lstar.SignedBlock),
		gossiped:     make(chan string, 1000),
		statuses:     make(chan Status, 1000),
		disconnected: make(chan peer.ID, 1000),
	}
}

func (h *fakeHandler) set(change func(h *fakeHandler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *fakeHandler) judge(kind string, slot lstar.Slot) Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gossiped <- fmt.Sprint(kind, " ", slot)
	return h.verdict
}

func (h *fakeHandler) OnBlock(_ context.Context, _ peer.ID, b *lstar.SignedBlock) Verdict {
	return h.judge("block", b.Block.Slot)
}

func (h *fakeHandler) OnAttestation(_ context.Context, _ peer.ID, a *lstar.SignedAttestation) Verdict {
	return h.judge("attestation", a.Data.Slot)
}

func (h *fakeHandler) OnAggregate(_ context.Context, _ peer.ID, a *lstar.SignedAggregatedAttestation) Verdict {
	return h.judge("aggregate", a.Data.Slot)
}

func (h *fakeHandler) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

func (h *fakeHandler) OnStatus(_ peer.ID, s Status) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statuses <- s
	return h.onStatus
}

func (h *fakeHandler) OnConnect(id peer.ID, dialed bool) { h.connected(id, dialed) }

func (h *fakeHandler) OnDisconnect(id peer.ID) { h.disconnected <- id }

func (h *fakeHandler) BlockByRoot(root lstar.Root) *lstar.SignedBlock {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return h.byRoot[root]
}

func (h *fakeHandler) CanonicalRoot(slot lstar.Slot) (root lstar.Root, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.bySlot[slot]
	if b == nil {
		return root, false
	}
	return b.Block.Root(), true
}

func (h *fakeHandler) CurrentSlot() lstar.Slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// addChain adds blocks at the given slots to the handler's chain and returns them.
func (h *fakeHandler) addChain(slots ...lstar.Slot) (chain []*lstar.SignedBlock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var parent lstar.Root
	for _, slot := range slots {
		b := &lstar.SignedBlock{Block: lstar.Block{Slot: slot, ParentRoot: parent}}
		parent = b.Block.Root()
		h.byRoot[parent], h.bySlot[slot] = b, b
		chain = append(chain, b)
	}
	return chain
}

// testNode is a network on 127.0.0.1 with a fake handler.
type testNode struct {
	*Network
	handler *fakeHandler
	metrics *metrics.Metrics
	log     *syncBuffer
	stop    func()
	// prepare is called before Run.
	prepare func(n *Network)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newNodeKey(t testing.TB) *config.NodeKey {
	t.Helper()
	key, err := config.GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// startNode runs a network until the end of the test or until stop is called.
func startNode(t testing.TB, change ...func(*Config, *testNode)) *testNode {
	t.Helper()
	node := &testNode{handler: newFakeHandler(), metrics: metrics.New(metrics.Info{}), log: new(syncBuffer)}
	log, _ := logging.New(logging.Options{Format: logging.FormatJSON, Level: slog.LevelDebug, Writer: node.log})
	cfg := Config{
		NodeKey: newNodeKey(t), Listen: "/ip4/127.0.0.1/udp/0/quic-v1", Scheme: xmss.Test,
		Handler: node.handler, Bus: events.NewBus(node.metrics.Fold, logging.Events(log)), Log: log,
		NetworkName: DefaultNetworkName,
	}
	for _, f := range change {
		f(&cfg, node)
	}
	var err error
	if node.Network, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	node.handler.connected = func(id peer.ID, dialed bool) { // as the syncer does
		if dialed {
			node.spawn(func(ctx context.Context) { _, _ = node.Status(ctx, id) })
		}
	}
	node.aloneAfter = 10 * time.Millisecond
	if node.prepare != nil {
		node.prepare(node.Network)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	node.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := node.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
	t.Cleanup(node.stop)
	eventually(t, "the network to run", node.open.Load)
	return node
}

// dialing returns a change of a configuration that makes a node dial others.
func dialing(others ...*testNode) func(*Config, *testNode) {
	return func(cfg *Config, _ *testNode) {
		for _, o := range others {
			cfg.Bootnodes = append(cfg.Bootnodes, o.addr())
		}
	}
}

func (n *testNode) addr() string { return n.ListenAddrs()[0].String() }

const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("after %v: want %s", patience, what)
		}
	}
}

func receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("after %v: want %s", patience, what)
	}
	return v
}

func (n *testNode) isConnected(o *testNode) bool {
	return slices.ContainsFunc(n.Peers(), func(p PeerInfo) bool { return p.ID == o.PeerID() })
}

func waitConnected(t testing.TB, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		for _, o := range nodes {
			if n != o {
				eventually(t, "nodes to be connected", func() bool { return n.isConnected(o) })
			}
		}
	}
}

func TestStatusHandshake(t *testing.T) {
	listener := startNode(t, func(_ *Config, n *testNode) { n.handler.status.Head.Slot = 7 })
	dialer := startNode(t, dialing(listener), func(_ *Config, n *testNode) { n.handler.status.Head.Slot = 9 })
	if got := receive(t, "the dialer's status", listener.handler.statuses); got.Head.Slot != 9 {
		t.Errorf("head slot that the listener received = %d, want 9", got.Head.Slot)
	}
	if got := receive(t, "the listener's status", dialer.handler.statuses); got.Head.Slot != 7 {
		t.Errorf("head slot that the dialer received = %d, want 7", got.Head.Slot)
	}
	for n, want := range map[*testNode]struct {
		direction string
		head      lstar.Slot
	}{listener: {"inbound", 9}, dialer: {"outbound", 7}} {
		peers := n.Peers()
		if len(peers) != 1 || peers[0].Direction != want.direction || peers[0].Status == nil || peers[0].Status.Head.Slot != want.head {
			t.Errorf("peers are %+v, want one %s with head %d", peers, want.direction, want.head)
		}
	}
	dialer.stop()
	if got := receive(t, "a disconnection", listener.handler.disconnected); got != dialer.PeerID() {
		t.Errorf("disconnection of %s, want %s", got, dialer.PeerID())
	}
	if len(listener.Peers()) != 0 {
		t.Errorf("peers are %+v, want none", listener.Peers())
	}
	eventually(t, "the reason of the end of the connection in the listener's log", func() bool {
		return strings.Contains(listener.log.String(), `"reason":"remote_close"`)
	})
	eventually(t, "a warning about missing peers in the listener's log", func() bool {
		return strings.Contains(listener.log.String(), `"msg":"no peers left"`)
	})
	if log := dialer.log.String(); !strings.Contains(log, `"detail":"this node stops"`) || strings.Contains(log, `"msg":"no peers left"`) {
		t.Errorf("want the reason of the end of the connection and no warning about missing peers in the dialer's log:\n%s", log)
	}
}

func TestUnwelcomeStatusEndsTheConnection(t *testing.T) {
	listener := startNode(t, func(_ *Config, n *testNode) { n.handler.onStatus = errors.New("another network") })
	dialer := startNode(t, dialing(listener))
	if got := receive(t, "the disconnection", listener.handler.disconnected); got != dialer.PeerID() {
		t.Errorf("disconnection of %s, want %s", got, dialer.PeerID())
	}
	eventually(t, "the reason in the log", func() bool {
		return strings.Contains(listener.log.String(), `"detail":"another network"`)
	})
}

func TestRedial(t *testing.T) {
	key := newNodeKey(t)
	first := startNode(t, func(cfg *Config, _ *testNode) { cfg.NodeKey = key })
	addr := first.host.Network().ListenAddresses()[0].String()
	dialer := startNode(t, dialing(first))
	waitConnected(t, dialer, first)
	first.stop()
	receive(t, "the disconnection", dialer.handler.disconnected)
	again := startNode(t, func(cfg *Config, _ *testNode) { cfg.NodeKey, cfg.Listen = key, addr })
	waitConnected(t, dialer, again)
	if dialer.scores.banned(key.PeerID()) {
		t.Error("a peer that restarts is banned")
	}
}

// TestBootnodeForms dials each form of a bootnode. Each must lead to one connection.
func TestBootnodeForms(t *testing.T) {
	for name, form := range map[string]func(n *testNode) string{
		"multiaddr":            (*testNode).addr,
		"multiaddr without id": func(n *testNode) string { return n.host.Network().ListenAddresses()[0].String() },
		"ENR":                  func(n *testNode) string { return n.ENR() },
	} {
		t.Run(name, func(t *testing.T) {
			listener := startNode(t)
			dialer := startNode(t, func(cfg *Config, _ *testNode) { cfg.Bootnodes = []string{form(listener)} })
			waitConnected(t, dialer, listener)
			receive(t, "the status", dialer.handler.statuses)
			for _, n := range []*testNode{dialer, listener} {
				log := n.log.String()
				for _, message := range []string{"peer connected", "peer connected again", "peer did not connect", "peer disconnected"} {
					want := 0
					if message == "peer connected" {
						want = 1
					}
					if got := strings.Count(log, `"msg":"`+message+`"`); got != want {
						t.Errorf("%d lines %q, want %d", got, message, want)
					}
				}
			}
		})
	}
}

// TestBootnodesThatCannotBeDialed checks that the node skips them with a warning and dials the others.
func TestBootnodesThatCannotBeDialed(t *testing.T) {
	listener := startNode(t)
	skipped := []string{"/ip4/192.0.2.1/tcp/9000", "/ip4/192.0.2.1/udp/9000/quic", "/p2p/" + listener.PeerID().String()}
	dialer := startNode(t, func(cfg *Config, _ *testNode) { cfg.Bootnodes = append(slices.Clone(skipped), listener.addr()) })
	waitConnected(t, dialer, listener)
	log := dialer.log.String()
	for _, address := range skipped {
		if got := strings.Count(log, `"msg":"bootnode skipped","component":"p2p","address":"`+address+`"`); got != 1 {
			t.Errorf("%d warnings about %s, want 1; log:\n%s", got, address, log)
		}
	}
}

// TestSelfAsBootnode checks that a node does not connect to itself.
func TestSelfAsBootnode(t *testing.T) {
	probe := startNode(t)
	addr := probe.host.Network().ListenAddresses()[0].String()
	probe.stop()
	node := startNode(t, func(cfg *Config, _ *testNode) { cfg.Listen, cfg.Bootnodes = addr, []string{addr} })
	if _, err := node.dial(t.Context(), node.bootnodes[0]); !errors.Is(err, errSelf) {
		t.Errorf("dialing its own address gives %v, want %v", err, errSelf)
	}
	if len(node.Peers()) != 0 {
		t.Errorf("peers are %+v, want none", node.Peers())
	}
}

func TestENR(t *testing.T) {
	node := startNode(t, func(cfg *Config, _ *testNode) { cfg.IsAggregator, cfg.NetworkName = true, "0a0b0c0d" })
	record, err := enr.Parse(node.ENR())
	if err != nil {
		t.Fatal(err)
	}
	if !record.Valid() || !record.VerifySignature() || !record.IsAggregator() {
		t.Errorf("record %s: want a valid and signed one of an aggregator", record)
	}
	if got, want := record.Multiaddr(), node.host.Network().ListenAddresses()[0].String(); got != want {
		t.Errorf("the record says %s, want %s", got, want)
	}
	if eth2, _ := record.Eth2(); eth2.ForkDigest != [4]byte{10, 11, 12, 13} {
		t.Errorf("fork digest is %x, want 0a0b0c0d", eth2.ForkDigest)
	}
}

// TestAdvertise checks that the record has the advertised address, and the port of the listener
// unless one is advertised.
func TestAdvertise(t *testing.T) {
	for _, advertise := range []string{"192.0.2.1:0", "192.0.2.1:30901"} {
		addr := netip.MustParseAddrPort(advertise)
		node := startNode(t, func(cfg *Config, _ *testNode) { cfg.Advertise = addr })
		record, err := enr.Parse(node.ENR())
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(int(addr.Port()))
		if addr.Port() == 0 {
			port, _ = node.host.Network().ListenAddresses()[0].ValueForProtocol(ma.P_UDP)
		}
		if got, want := record.Multiaddr(), "/ip4/192.0.2.1/udp/"+port+"/quic-v1"; got != want {
			t.Errorf("advertise %s: the record has %s, want %s", advertise, got, want)
		}
	}
}

// TestPeerWithoutIdentify checks that gossip reaches a peer without the identify protocol.
func TestPeerWithoutIdentify(t *testing.T) {
	node := startNode(t)
	h := rawPeer(t, nil)
	h.RemoveStreamHandler("/ipfs/id/1.0.0")
	opened := make(chan struct{}, 1)
	h.SetStreamHandler("/meshsub/1.2.0", func(s network.Stream) {
		opened <- struct{}{}
		s.Reset()
	})
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: node.PeerID(), Addrs: node.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	receive(t, "a gossip stream", opened)
}

// TestGossipStreamsThatEnd checks that a peer whose streams end more often than pubsub accepts, as
// when it is killed and restarts, gets new ones.
func TestGossipStreamsThatEnd(t *testing.T) {
	node := startNode(t)
	h := rawPeer(t, nil)
	opened := make(chan struct{}, 100)
	h.SetStreamHandler("/meshsub/1.2.0", func(s network.Stream) {
		opened <- struct{}{}
		s.Reset()
	})
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: node.PeerID(), Addrs: node.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	for range 7 { // pubsub opens one, and four after that
		receive(t, "a gossip stream", opened)
	}
}

func TestAfterClose(t *testing.T) {
	other := startNode(t)
	node := startNode(t, dialing(other))
	waitConnected(t, node, other)
	node.stop()
	if err := node.PublishBlock(t.Context(), block(1)); err == nil {
		t.Error("a closed network publishes")
	}
	if _, err := node.Status(t.Context(), other.PeerID()); err == nil {
		t.Error("a closed network asks")
	}
	node.Penalize(other.PeerID(), "test")
	node.Disconnect(other.PeerID(), "test")
}

// seconds_without counts from the end of the last connection, also if peers connected and
// disconnected before.
func TestNoPeersLeftAfterFlapping(t *testing.T) {
	const alone = 500 * time.Millisecond
	listener := startNode(t, func(_ *Config, n *testNode) { n.prepare = func(n *Network) { n.aloneAfter = alone } })
	for range 3 {
		dialer := startNode(t, dialing(listener))
		eventually(t, "the nodes to be connected", func() bool { return listener.isConnected(dialer) })
		dialer.stop()
		receive(t, "a disconnection", listener.handler.disconnected)
	}
	eventually(t, "a warning about missing peers in the listener's log", func() bool {
		return strings.Contains(listener.log.String(), `"msg":"no peers left"`)
	})
	var left, warned time.Time
	for line := range strings.Lines(listener.log.String()) {
		var entry struct {
			Time time.Time
			Msg  string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case entry.Msg == "peer disconnected" && warned.IsZero():
			left = entry.Time
		case entry.Msg == "no peers left" && warned.IsZero():
			warned = entry.Time
		}
	}
	if got := warned.Sub(left); got < alone-time.Millisecond { // times in the log are whole milliseconds
		t.Errorf("first warning %v after the last peer left, want at least %v", got, alone)
	}
}

func TestNoPeersBeforeRun(t *testing.T) {
	idle, err := New(Config{
		NodeKey: newNodeKey(t), Listen: "/ip4/127.0.0.1/udp/0/quic-v1", Scheme: xmss.Test, Handler: newFakeHandler(), NetworkName: DefaultNetworkName,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	dialer := startNode(t)
	// The handshake may succeed for the dialer before the node refuses the connection.
	if _, err := dialer.dial(t.Context(), Bootnode{idle.PeerID(), idle.host.Network().ListenAddresses()[0]}); err == nil {
		receive(t, "the connection to be refused", dialer.handler.disconnected)
	}
	if len(idle.Peers()) != 0 {
		t.Errorf("a network that does not run has peers: %+v", idle.Peers())
	}
}

func TestConfigErrors(t *testing.T) {
	valid := Config{NodeKey: newNodeKey(t), Scheme: xmss.Test, Handler: newFakeHandler(), NetworkName: DefaultNetworkName}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no handler":     {func(c *Config) { c.Handler = nil }, "required"},
		"network name":   {func(c *Config) { c.NetworkName = "a/b" }, "network name: \"a/b\": want a name without a slash"},
		"no name":        {func(c *Config) { c.NetworkName = "" }, "network name: \"\": want a name without a slash"},
		"listen on TCP":  {func(c *Config) { c.Listen = "/ip4/127.0.0.1/tcp/9001" }, "listen address: \"/ip4/127.0.0.1/tcp/9001\": want a QUIC address"},
		"listen on text": {func(c *Config) { c.Listen = "localhost:9001" }, "want a QUIC address"},
		"bootnode":       {func(c *Config) { c.Bootnodes = []string{"enr:"} }, "bootnode: \"enr:\""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := valid
			test.change(&cfg)
			n, err := New(cfg)
			if err == nil {
				n.Close()
				t.Fatalf("accepted, want an error with %q", test.want)
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want one line with %q", err, test.want)
			}
		})
	}
}
