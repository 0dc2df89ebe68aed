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

// patience is longer than any answer of a node takes, and any request may.
const patience = 20 * time.Second

// peerHost is a libp2p host of a new identity that keeps to no protocol of ours.
type peerHost struct {
	libhost.Host
	target peer.AddrInfo
	gossip network.Stream
}

// newPeer connects a host to a node, and ends it with the test.
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

func (h *peerHost) connect(t *testing.T) *peerHost {
	t.Helper()
	if err := h.Connect(t.Context(), h.target); err != nil {
		t.Fatalf("connecting: %v", err)
	}
	return h
}

func (h *peerHost) connected() bool {
	return h.Network().Connectedness(h.target.ID) == network.Connected
}

// stream opens a stream of a protocol whose deadline is patient.
func (h *peerHost) stream(ctx context.Context, id protocol.ID) (network.Stream, error) {
	s, err := h.NewStream(network.WithNoDial(ctx, "test"), h.target.ID, id)
	if err == nil {
		err = s.SetDeadline(time.Now().Add(patience))
	}
	return s, err
}

// ask sends a request of raw bytes, and returns the parts of the answer.
func (h *peerHost) ask(ctx context.Context, id protocol.ID, request []byte) ([]wiretest.Response, error) {
	s, err := h.stream(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Reset() }()
	// The node may have heard enough before all is written, and answers then.
	_, _ = s.Write(request)
	_ = s.CloseWrite()
	answer, err := io.ReadAll(s)
	if err != nil {
		return nil, err
	}
	return wiretest.Responses(answer)
}

// tell tells the node a status.
func (h *peerHost) tell(t *testing.T, s p2p.Status) {
	t.Helper()
	parts, err := h.ask(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&s)))
	if err != nil || len(parts) != 1 || parts[0].Code != wire.Success {
		t.Fatalf("status is answered by %v, %v; want a status", parts, err)
	}
}

// rpc is one message of gossip as it goes over a stream, with more fields behind
// the topic.
func rpc(topic string, data []byte, more ...byte) []byte {
	field := func(b []byte, number byte, content []byte) []byte {
		b = append(b, number<<3|2)
		return append(protowire.AppendVarint(b, uint64(len(content))), content...)
	}
	message := field(field(nil, 2, data), 4, []byte(topic))
	content := field(nil, 2, append(message, more...))
	return append(protowire.AppendVarint(nil, uint64(len(content))), content...)
}

// publish writes messages onto a stream of gossip, without a router that may
// think better of it.
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
			return // it was shut out, which the test looks for
		}
	}
}

// answers serves a protocol with a function that writes what it likes.
func (h *peerHost) answers(id protocol.ID, f func(request []byte, w io.Writer)) {
	h.SetStreamHandler(id, func(s network.Stream) {
		defer func() { _ = s.Close() }() // and no Reset, which would take back what was written
		_ = s.SetDeadline(time.Now().Add(patience))
		if request, err := wire.ReadRequest(bufio.NewReader(s), wire.MaxPayloadSize); err == nil {
			f(request, s)
		}
	})
}

// follower reads a node's log while it grows.
type follower struct {
	path   string
	offset int64
	lines  []line
}

// follow begins at the end of what is there.
func follow(t *testing.T, node *devnet.Node) *follower {
	f := &follower{path: node.LogPath()}
	f.read(t)
	f.lines = nil
	return f
}

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
			t.Errorf("%q in the log: %v", text, err)
			continue
		}
		f.lines = append(f.lines, l)
	}
	return f.lines
}

// about returns the lines with a message about a peer.
func (f *follower) about(t *testing.T, id peer.ID, msg string) (found []line) {
	t.Helper()
	for _, l := range f.read(t) {
		if l["msg"] == msg && l["peer_id"] == id.String() {
			found = append(found, l)
		}
	}
	return found
}

// fault waits until the node has counted faults of a peer, whose reasons begin as
// wanted.
func (f *follower) fault(t *testing.T, id peer.ID, reason string, count int) {
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
		t.Errorf("faults of the peer are %v, want %d times %q", reasons, count, reason)
	}
}

// blameless wants no fault of a peer.
func (f *follower) blameless(t *testing.T, id peer.ID) {
	t.Helper()
	if faults := f.about(t, id, "peer at fault"); len(faults) > 0 {
		t.Errorf("the peer is at fault: %v", faults)
	}
}

// eventually reports whether something comes true.
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

// listener is an honest peer that hears all gossip that the node forwards.
type listener struct {
	*peerHost
	mu    sync.Mutex
	heard map[[32]byte]bool // hashes of messages
	last  map[wire.TopicKind][]byte
}

// newListener subscribes to topics.
func newListener(t *testing.T, node *devnet.Node, topics ...wire.Topic) *listener {
	t.Helper()
	l := &listener{peerHost: newPeer(t, node), heard: make(map[[32]byte]bool), last: make(map[wire.TopicKind][]byte)}
	ps, err := pubsub.NewGossipSub(t.Context(), l, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pubsubpb.Message) string {
			id := wire.GossipID(m.GetTopic(), m.GetData())
			return string(id[:])
		}), pubsub.WithMaxMessageSize(2*wire.MaxPayloadSize))
	if err != nil {
		t.Fatal(err)
	}
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
					return // the end of the test
				}
				l.mu.Lock()
				l.heard[sha256.Sum256(m.Data)] = true
				if data, err := wire.DecompressBlock(m.Data, wire.MaxPayloadSize); err == nil {
					l.last[topic.Kind] = data
				}
				l.mu.Unlock()
			}
		}()
	}
	l.connect(t)
	return l
}

func (l *listener) has(data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[sha256.Sum256(data)]
}

// latest waits for a message of a kind.
func (l *listener) latest(t *testing.T, kind wire.TopicKind) (data []byte) {
	t.Helper()
	if !eventually(func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		data = l.last[kind]
		return data != nil
	}) {
		t.Fatalf("no gossip of kind %s", kind)
	}
	return data
}

// block, vote and aggregate return the last that honest nodes sent, decoded anew.
func (l *listener) block(t *testing.T) *lstar.SignedBlock {
	t.Helper()
	b, err := lstar.DecodeSignedBlock(l.latest(t, wire.TopicBlock))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (l *listener) vote(t *testing.T) *lstar.SignedAttestation {
	t.Helper()
	a, err := lstar.DecodeSignedAttestation(l.latest(t, wire.TopicAttestation), xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (l *listener) aggregate(t *testing.T) *lstar.SignedAggregatedAttestation {
	t.Helper()
	a := new(lstar.SignedAggregatedAttestation)
	if err := ssz.Unmarshal(l.latest(t, wire.TopicAggregation), a); err != nil {
		t.Fatal(err)
	}
	return a
}
