package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	libhost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire/wiretest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// patience limits how long a test waits for a node. It is longer than every time limit of the node.
const patience = 20 * time.Second

// peerHost is a libp2p host with a new identity and without a protocol of the node.
type peerHost struct {
	libhost.Host
	target peer.AddrInfo
	gossip network.Stream
}

// newPeer returns a host for connections to a node. It is closed when the test ends.
func newPeer(t *testing.T, node *devnet.Node, options ...libp2p.Option) *peerHost {
	t.Helper()
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.Transport(quic.NewTransport), libp2p.DisableRelay(),
		libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	target, err := peer.AddrInfoFromString(node.Multiaddr())
	if err != nil {
		t.Fatal(err)
	}
	return &peerHost{Host: h, target: *target}
}

// connect connects the host to the node.
func (h *peerHost) connect(t *testing.T) *peerHost {
	t.Helper()
	if err := h.Connect(t.Context(), h.target); err != nil {
		t.Fatalf("connecting to the node: %v", err)
	}
	return h
}

func (h *peerHost) connected() bool {
	return h.Network().Connectedness(h.target.ID) == network.Connected
}

// stream opens a stream to the node, with a deadline.
func (h *peerHost) stream(ctx context.Context, id protocol.ID) (network.Stream, error) {
	s, err := h.NewStream(network.WithNoDial(ctx, "test"), h.target.ID, id)
	if err == nil {
		err = s.SetDeadline(time.Now().Add(patience))
	}
	return s, err
}

// request sends raw bytes as a request, and returns the parts of the response.
func (h *peerHost) request(ctx context.Context, id protocol.ID, request []byte) ([]wiretest.Response, error) {
	s, err := h.stream(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Reset() }()
	// The node may respond and reset the stream before everything is written.
	_, _ = s.Write(request)
	_ = s.CloseWrite()
	response, err := io.ReadAll(s)
	if err != nil {
		return nil, err
	}
	return wiretest.Responses(response)
}

// sendStatus sends a status, which the node must answer with its own.
func (h *peerHost) sendStatus(t *testing.T, s p2p.Status) {
	t.Helper()
	parts, err := h.request(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&s)))
	if err != nil || len(parts) != 1 || parts[0].Code != wire.Success {
		t.Fatalf("response to a status = %v (error %v), want a status", parts, err)
	}
}

// rpc encodes a gossip message for a stream. more holds further encoded fields of the message.
func rpc(topic string, data []byte, more ...byte) []byte {
	field := func(b []byte, number byte, content []byte) []byte {
		b = append(b, number<<3|2)
		return append(protowire.AppendVarint(b, uint64(len(content))), content...)
	}
	message := field(field(nil, 2, data), 4, []byte(topic))
	content := field(nil, 2, append(message, more...))
	return append(protowire.AppendVarint(nil, uint64(len(content))), content...)
}

// publish writes encoded messages to a gossip stream, without a router that might drop them.
func (h *peerHost) publish(t *testing.T, rpcs ...[]byte) {
	t.Helper()
	if h.gossip == nil {
		s, err := h.stream(t.Context(), pubsub.GossipSubID_v12)
		if err != nil {
			t.Fatal(err)
		}
		h.gossip = s
	}
	_ = h.gossip.SetDeadline(time.Now().Add(patience))
	for _, b := range rpcs {
		if _, err := h.gossip.Write(b); err != nil {
			return // the node has closed the connection, which the test checks
		}
	}
}

// serve handles the requests of a protocol with a function that writes the response.
func (h *peerHost) serve(id protocol.ID, f func(request []byte, w io.Writer)) {
	h.SetStreamHandler(id, func(s network.Stream) {
		defer func() { _ = s.Close() }() // a Reset would discard what was written
		_ = s.SetDeadline(time.Now().Add(patience))
		if request, err := wire.ReadRequest(bufio.NewReader(s), wire.MaxPayloadSize); err == nil {
			f(request, s)
		}
	})
}

// newGossip returns a gossipsub router with the message ids and the limits of leanSpec.
func (h *peerHost) newGossip(t *testing.T, options ...pubsub.Option) *pubsub.PubSub {
	t.Helper()
	ps, err := pubsub.NewGossipSub(t.Context(), h, append(options,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(), pubsub.WithMaxMessageSize(2*wire.MaxPayloadSize),
		pubsub.WithMessageIdFn(func(m *pubsubpb.Message) string {
			id := wire.GossipID(m.GetTopic(), m.GetData())
			return string(id[:])
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// follower reads the log of a node while the node writes it.
type follower struct {
	path   string
	offset int64
	lines  []line
}

// follow returns a follower that skips the existing lines.
func follow(t *testing.T, node *devnet.Node) *follower {
	f := &follower{path: node.LogPath()}
	f.read(t)
	f.lines = nil
	return f
}

// read reads the new lines, and returns all lines that the follower has read.
func (f *follower) read(t *testing.T) []line {
	t.Helper()
	file, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.NewSectionReader(file, f.offset, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	f.offset += int64(len(b))
	for text := range bytes.Lines(b) {
		l := make(line)
		if err := json.Unmarshal(text, &l); err != nil {
			t.Errorf("line of the log = %q, want JSON: %v", text, err)
			continue
		}
		f.lines = append(f.lines, l)
	}
	return f.lines
}

// about returns the lines with this message about a peer.
func (f *follower) about(t *testing.T, id peer.ID, msg string) (found []line) {
	t.Helper()
	for _, l := range f.read(t) {
		if l["msg"] == msg && l["peer_id"] == id.String() {
			found = append(found, l)
		}
	}
	return found
}

// wantFault waits until the node has logged count faults of a peer, with reasons that start with reason.
func (f *follower) wantFault(t *testing.T, id peer.ID, reason string, count int) {
	t.Helper()
	reasons := make(map[any]int)
	if !eventually(func() bool {
		clear(reasons)
		found := 0
		for _, l := range f.about(t, id, "peer at fault") {
			reasons[l["reason"]]++
			if s, _ := l["reason"].(string); strings.HasPrefix(s, reason) {
				found++
			}
		}
		return found >= count
	}) {
		t.Errorf("faults of the peer = %v, want %d with the reason %q", reasons, count, reason)
	}
}

// wantNoFault fails the test if the node has logged a fault of a peer.
func (f *follower) wantNoFault(t *testing.T, id peer.ID) {
	t.Helper()
	if faults := f.about(t, id, "peer at fault"); len(faults) > 0 {
		t.Errorf("faults of the peer = %v, want none", faults)
	}
}

// eventually reports whether ok returns true within patience.
func eventually(ok func() bool) bool {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// listener is an honest peer that receives the gossip that the node forwards.
type listener struct {
	*peerHost
	mu       sync.Mutex
	received map[[32]byte]bool         // hashes of the messages, in their compressed form
	latest   map[wire.TopicKind][]byte // decompressed
}

// newListener connects a listener to a node and subscribes to topics.
func newListener(t *testing.T, node *devnet.Node, topics ...wire.Topic) *listener {
	t.Helper()
	l := &listener{peerHost: newPeer(t, node), received: make(map[[32]byte]bool), latest: make(map[wire.TopicKind][]byte)}
	ps := l.newGossip(t)
	for _, topic := range topics {
		joined, err := ps.Join(topic.String())
		if err != nil {
			t.Fatal(err)
		}
		sub, err := joined.Subscribe(pubsub.WithBufferSize(1024))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				m, err := sub.Next(context.Background())
				if err != nil {
					return // the test has ended
				}
				l.mu.Lock()
				l.received[sha256.Sum256(m.Data)] = true
				if data, err := wire.DecompressBlock(m.Data, wire.MaxPayloadSize); err == nil {
					l.latest[topic.Kind] = data
				}
				l.mu.Unlock()
			}
		}()
	}
	l.connect(t)
	return l
}

// hasReceived reports whether the node has forwarded a compressed message.
func (l *listener) hasReceived(data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.received[sha256.Sum256(data)]
}

// awaitLatest returns the latest message of a kind, decompressed. It waits for the first one.
func (l *listener) awaitLatest(t *testing.T, kind wire.TopicKind) (data []byte) {
	t.Helper()
	if !eventually(func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		data = l.latest[kind]
		return data != nil
	}) {
		t.Fatalf("no gossip of kind %s within %s", kind, patience)
	}
	return data
}

// block returns a copy of the latest block that the node has forwarded.
func (l *listener) block(t *testing.T) *lstar.SignedBlock {
	t.Helper()
	b, err := lstar.DecodeSignedBlock(l.awaitLatest(t, wire.TopicBlock))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vote returns a copy of the latest vote that the node has forwarded.
func (l *listener) vote(t *testing.T) *lstar.SignedAttestation {
	t.Helper()
	a, err := lstar.DecodeSignedAttestation(l.awaitLatest(t, wire.TopicAttestation), xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// aggregate returns a copy of the latest aggregate that the node has forwarded.
func (l *listener) aggregate(t *testing.T) *lstar.SignedAggregatedAttestation {
	t.Helper()
	a := new(lstar.SignedAggregatedAttestation)
	if err := ssz.Unmarshal(l.awaitLatest(t, wire.TopicAggregation), a); err != nil {
		t.Fatal(err)
	}
	return a
}
