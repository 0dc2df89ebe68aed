// Package leanspectest has a peer for tests that handles connections and streams as leanSpec's node
// does, which relies on behavior that QUIC and libp2p do not guarantee. The peer uses quic-go and
// libp2p's TLS, without a libp2p host.
//
// leanSpec: node/networking/client/event_source/live.py
package leanspectest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

const (
	dialTimeout = 10 * time.Second
	// negotiationTimeout is how long the peer waits for the next proposal of a protocol.
	//
	// leanSpec: node/networking/config.py, RESP_TIMEOUT
	negotiationTimeout = 10 * time.Second
	// minStatusEndDelay is the least time from the peer's status request to the end of the
	// response. leanSpec's node has no such constant; it loses the connection if the response ends
	// before it has processed the status.
	minStatusEndDelay = 50 * time.Millisecond

	statusSize = 80
	queueSize  = 1024
	// finalSizeError is the QUIC error code FINAL_SIZE_ERROR.
	finalSizeError = 0x6
)

// Peer behaves as leanSpec's node does:
//   - It negotiates the streams of a connection one after another and refuses identify.
//     After a reset during a negotiation it accepts no more streams of the connection.
//   - It requests the status of a node that it dials, and ends the request twice. If the
//     response has ended by then, it loses the connection and does not dial again.
//   - It has no blocks, and its own status never changes.
//
// It forwards gossip on its topics between its connections, without a mesh.
type Peer struct {
	id        peer.ID
	identity  *p2ptls.Identity
	transport *quic.Transport
	topics    []wire.Topic
	mux       *multistream.MultistreamMuxer[protocol.ID]
	running   sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}
	seen  map[[wire.MessageIDSize]byte]struct{}

	refused, stuck, lost atomic.Int64
}

// conn is a connection with the gossip to send on it.
type conn struct {
	*quic.Conn
	opened sync.Once // opens the stream for gossip
	gossip chan *pubsubpb.RPC
}

// New returns a peer that listens on 127.0.0.1, subscribes to topics and stops at the end of the test.
func New(t testing.TB, topics ...wire.Topic) *Peer {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	must(err)
	id, err := peer.IDFromPrivateKey(key)
	must(err)
	identity, err := p2ptls.NewIdentity(key)
	must(err)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(err)
	p := &Peer{
		id: id, identity: identity, transport: &quic.Transport{Conn: socket}, topics: topics,
		mux:   multistream.NewMultistreamMuxer[protocol.ID](),
		conns: make(map[*conn]struct{}), seen: make(map[[wire.MessageIDSize]byte]struct{}),
	}
	for _, accepted := range []protocol.ID{
		pubsub.GossipSubID_v12, pubsub.GossipSubID_v11, wire.StatusProtocol, wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol,
	} {
		p.mux.AddHandler(accepted, nil)
	}
	config, _ := identity.ConfigForPeer("")
	listener, err := p.transport.Listen(config, quicConfig())
	must(err)
	p.running.Go(func() {
		for {
			c, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		_ = p.transport.Close() // with its connections
		_ = socket.Close()
		p.running.Wait()
	})
	return p
}

func quicConfig() *quic.Config {
	return &quic.Config{MaxIdleTimeout: time.Minute, KeepAlivePeriod: 10 * time.Second}
}

// ID returns the id of the peer.
func (p *Peer) ID() peer.ID { return p.id }

// Addr returns the multiaddr of the peer, with its id.
func (p *Peer) Addr() string {
	return fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", p.transport.Conn.LocalAddr().(*net.UDPAddr).Port, p.id)
}

// Counts returns the number of protocols that the peer refused, of connections on which it stopped
// accepting streams after a reset, and of connections that it lost by ending a request twice.
func (p *Peer) Counts() (refused, stuck, lost int64) {
	return p.refused.Load(), p.stuck.Load(), p.lost.Load()
}

// Dial connects to a node, requests its status and opens a gossip stream.
func (p *Peer) Dial(ctx context.Context, multiaddr string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	info, err := peer.AddrInfoFromString(multiaddr)
	if err != nil {
		return err
	}
	_, address, err := manet.DialArgs(info.Addrs[0])
	if err != nil {
		return err
	}
	udp, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	config, _ := p.identity.ConfigForPeer(info.ID)
	dialed, err := p.transport.Dial(ctx, udp, config, quicConfig())
	if err != nil {
		return err
	}
	c := p.serve(dialed)
	if err := p.requestStatus(ctx, c); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	p.openGossip(c)
	return nil
}

// requestStatus sends a status request.
//
// leanSpec: node/networking/client/reqresp_client.py, _do_status_request
func (p *Peer) requestStatus(ctx context.Context, c *conn) error {
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		return err
	}
	if err := multistream.SelectProtoOrFail[protocol.ID](wire.StatusProtocol, s); err != nil {
		return err
	}
	sent := time.Now()
	if _, err := s.Write(wire.AppendRequest(nil, make([]byte, statusSize))); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	r := bufio.NewReader(s)
	if code, _, err := wire.ReadResponse(r, statusSize); err != nil || code != wire.Success {
		return fmt.Errorf("response %s: %w", code, err)
	}
	// quic-go cannot end a stream twice, so this simulates the effect of the second end.
	p.running.Go(func() {
		if _, err := r.ReadByte(); err == io.EOF && time.Since(sent) < minStatusEndDelay {
			p.lost.Add(1)
			_ = c.CloseWithError(finalSizeError, "the response ended before the second end of the request")
		}
	})
	return nil
}

// serve accepts the streams of a connection.
//
// leanSpec: node/networking/client/event_source/live.py, _accept_streams
func (p *Peer) serve(qc *quic.Conn) *conn {
	c := &conn{Conn: qc, gossip: make(chan *pubsubpb.RPC, queueSize)}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	p.running.Go(func() {
		for {
			s, err := c.AcceptStream(c.Context())
			if err != nil {
				return
			}
			_ = s.SetReadDeadline(time.Now().Add(negotiationTimeout))
			id, _, err := p.mux.Negotiate(s)
			var reset *quic.StreamError
			switch {
			case errors.As(err, &reset):
				p.stuck.Add(1)
				return
			case err != nil:
				p.refused.Add(1)
				_ = s.Close()
				continue
			}
			_ = s.SetReadDeadline(time.Time{})
			switch id {
			case wire.StatusProtocol:
				p.running.Go(func() { answer(s, wire.Success, make([]byte, statusSize)) })
			case wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol:
				p.running.Go(func() { answer(s, wire.ResourceUnavailable, nil) })
			default:
				p.running.Go(func() { p.receive(c, s) })
				p.openGossip(c)
			}
		}
	})
	return c
}

// answer sends a response that does not depend on the request.
func answer(s *quic.Stream, code wire.ResponseCode, payload []byte) {
	_, _ = io.Copy(io.Discard, s)
	_, _ = s.Write(wire.AppendResponse(nil, code, payload))
	_ = s.Close()
}

// openGossip opens the stream on which the peer sends gossip, once for a connection.
func (p *Peer) openGossip(c *conn) {
	c.opened.Do(func() {
		p.running.Go(func() {
			s, err := c.OpenStreamSync(c.Context())
			if err != nil {
				return
			}
			if err := multistream.SelectProtoOrFail(pubsub.GossipSubID_v12, s); err != nil {
				return
			}
			hello := new(pubsubpb.RPC)
			for _, topic := range p.topics {
				hello.Subscriptions = append(hello.Subscriptions, &pubsubpb.RPC_SubOpts{
					Subscribe: proto.Bool(true), Topicid: proto.String(topic.String()),
				})
			}
			_, err = protodelim.MarshalTo(s, hello)
			for err == nil {
				select {
				case rpc := <-c.gossip:
					_, err = protodelim.MarshalTo(s, rpc)
				case <-c.Context().Done():
					return
				}
			}
		})
	})
}

// receive forwards the gossip of a node.
func (p *Peer) receive(from *conn, s *quic.Stream) {
	r := bufio.NewReader(s)
	for {
		rpc := new(pubsubpb.RPC)
		if err := (protodelim.UnmarshalOptions{MaxSize: 2 * wire.MaxPayloadSize}).UnmarshalFrom(r, rpc); err != nil {
			return
		}
		for _, m := range rpc.GetPublish() {
			p.forward(from, m)
		}
	}
}

// forward sends a message that the peer has not seen to all other connections.
func (p *Peer) forward(from *conn, m *pubsubpb.Message) {
	id := wire.GossipID(m.GetTopic(), m.GetData())
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.seen[id]; ok {
		return
	}
	p.seen[id] = struct{}{}
	for c := range p.conns {
		if c == from || c.Context().Err() != nil {
			continue
		}
		select {
		case c.gossip <- &pubsubpb.RPC{Publish: []*pubsubpb.Message{m}}:
		default: // the node does not read
		}
	}
}
