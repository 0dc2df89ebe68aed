package p2p

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
)

// Limits of reading from a stream after the node has reset it. The response to a negotiation is
// shorter than drainSize bytes. leanSpec's node ends a negotiation after 10 s.
const (
	drainSize = 1024
	drainTime = 30 * time.Second
)

// idleTimeout is the time without a packet after which a connection ends. With QUIC's default of 30
// s, a peer that was paused or has lost its network would get no gossip for that time.
const idleTimeout = 6 * time.Second

// quicTransport is libp2p's QUIC transport with one difference: if this node resets a stream that
// it opened, the peer sees the stream end as if it were closed.
//
// libp2p resets every stream whose negotiation fails, for example an identify stream to a peer
// without the identify protocol. leanSpec's node is such a peer, and a reset during a negotiation
// ends the loop in which it accepts the streams of the connection. It would then accept neither
// gossip nor requests from this node.
//
// leanSpec: node/networking/client/event_source/live.py, _negotiate_inbound_stream
type quicTransport struct{ transport.Transport }

func newTransport(key crypto.PrivKey, conns *quicreuse.ConnManager, psk pnet.PSK, g connmgr.ConnectionGater,
	resources network.ResourceManager,
) (transport.Transport, error) {
	// Both sides use the shorter of their timeouts, so it suffices to set that of connections that
	// this node dials.
	conns.ClientConfig().MaxIdleTimeout, conns.ClientConfig().KeepAlivePeriod = idleTimeout, idleTimeout/3
	t, err := quic.NewTransport(key, conns, psk, g, resources)
	if err != nil {
		return nil, err
	}
	return quicTransport{t}, nil
}

// Dial implements transport.Transport.
func (t quicTransport) Dial(ctx context.Context, addr ma.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	conn, err := t.Transport.Dial(ctx, addr, id)
	if err != nil {
		return nil, err
	}
	return quicConn{conn}, nil
}

// Listen implements transport.Transport.
func (t quicTransport) Listen(addr ma.Multiaddr) (transport.Listener, error) {
	l, err := t.Transport.Listen(addr)
	if err != nil {
		return nil, err
	}
	return quicListener{l}, nil
}

type quicListener struct{ transport.Listener }

// Accept implements transport.Listener.
func (l quicListener) Accept() (transport.CapableConn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return quicConn{conn}, nil
}

type quicConn struct{ transport.CapableConn }

// OpenStream implements network.MuxedConn.
func (c quicConn) OpenStream(ctx context.Context) (network.MuxedStream, error) {
	s, err := c.CapableConn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return &ownStream{MuxedStream: s}, nil
}

// ownStream is a stream that this node opened.
type ownStream struct {
	network.MuxedStream

	reset atomic.Bool
	use   sync.RWMutex // held for reading by each Read and Write
}

// Read implements io.Reader.
func (s *ownStream) Read(b []byte) (int, error) {
	s.use.RLock()
	defer s.use.RUnlock()
	if s.reset.Load() {
		return 0, network.ErrReset
	}
	return s.MuxedStream.Read(b)
}

// Write implements io.Writer.
func (s *ownStream) Write(b []byte) (int, error) {
	s.use.RLock()
	defer s.use.RUnlock()
	if s.reset.Load() {
		return 0, network.ErrReset
	}
	return s.MuxedStream.Write(b)
}

// Close does nothing to a stream that was reset.
func (s *ownStream) Close() error {
	if s.reset.Load() {
		return nil
	}
	return s.MuxedStream.Close()
}

// Reset interrupts reads and writes. The peer sees the end of the stream, or a reset if it does not
// end its side within drainTime or sends more than drainSize bytes.
func (s *ownStream) Reset() error { return s.ResetWithError(network.StreamNoError) }

// ResetWithError is Reset with the code of a reset that the peer may see.
func (s *ownStream) ResetWithError(code network.StreamErrorCode) error {
	if s.reset.Swap(true) {
		return nil
	}
	if err := s.SetDeadline(time.Unix(0, 0)); err != nil {
		return s.MuxedStream.ResetWithError(code)
	}
	s.use.Lock() // waits until the deadline has interrupted reads and writes
	_ = s.CloseWrite()
	_ = s.SetReadDeadline(time.Now().Add(drainTime))
	s.use.Unlock()
	go func() {
		if _, err := io.CopyN(io.Discard, s.MuxedStream, drainSize); err != io.EOF {
			_ = s.MuxedStream.ResetWithError(code)
		}
	}()
	return nil
}
