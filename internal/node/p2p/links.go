package p2p

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

const (
	// crossedDials is the age up to which a connection can be the other half of a
	// crossed dial: both peers dialed before either had a connection.
	crossedDials = dialTimeout
	// probeTimeout is how long a connection has to prove that it is alive.
	probeTimeout = 2 * time.Second
	// yieldDelay is how long the peer that yields waits before it closes its half of a
	// crossed dial, and yieldTimeout how long the other one waits for that.
	yieldDelay   = 250 * time.Millisecond
	yieldTimeout = time.Second
	// partTimeout bounds the wait for libp2p and pubsub to drop a connection.
	partTimeout = 2 * time.Second
)

// links holds the one connection that each peer has.
//
// A second connection is not let in beside the first. Pubsub keeps one stream to a
// peer, and when the connection of that stream ends while another one exists, it
// forgets the subscriptions of the peer, which the peer does not repeat: gossip to
// that peer stops for good.
type links struct {
	mu   sync.Mutex
	byID map[peer.ID]*link
}

type link struct {
	conn  network.Conn
	since time.Time
	up    chan struct{} // closed once libp2p has the connection
	gone  chan struct{} // closed with the connection
}

// claim makes conn the connection of its peer, or returns the one that there is.
func (l *links) claim(conn network.Conn, now time.Time) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := conn.RemotePeer()
	if held := l.byID[id]; held != nil {
		return held
	}
	l.byID[id] = &link{conn: conn, since: now, up: make(chan struct{}), gone: make(chan struct{})}
	return nil
}

// setUp notes that libp2p has a connection.
func (l *links) setUp(conn network.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.byID[conn.RemotePeer()]; held != nil && held.conn == conn {
		close(held.up)
	}
}

// release forgets a connection that ended.
func (l *links) release(conn network.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := conn.RemotePeer()
	if held := l.byID[id]; held != nil && held.conn == conn {
		delete(l.byID, id)
		close(held.gone)
	}
}

// admit reports whether a new connection becomes the connection of its peer. Both
// peers decide alike:
//
//   - Of crossed dials, that of the peer with the lower id stays.
//   - Otherwise the older connection stays if it is alive. If it is dead, as after
//     a restart or a pause of the peer, it is closed, and once it is gone the new
//     one takes its place.
//
// A peer that is not built upon go-libp2p may keep several connections. leanSpec's node
// dials peers that it is connected to, and cannot use a peer any more when the
// connection that it opened last is closed.
//
// It blocks while it finds out.
func (n *Network) admit(conn network.Conn) (admitted bool) {
	replaces := false
	defer func() {
		if replaces && !admitted {
			if c, last := n.peers.unexpect(conn.RemotePeer()); last {
				n.left(c)
			}
		}
	}()
	for n.ctx.Err() == nil {
		old := n.links.claim(conn, n.now())
		if old == nil {
			return true
		}
		// Until libp2p has the old connection, no stream can be opened on it, and libp2p
		// would keep it for good after it is closed.
		n.await(partTimeout, old.up)
		if !onGoLibp2p(conn) {
			if n.alive(old.conn) {
				return true
			}
			n.part(old, deadConnection)
			continue
		}
		crossed := old.conn.Stat().Direction != conn.Stat().Direction && n.now().Sub(old.since) < crossedDials
		if crossed && n.dialer(conn) < n.dialer(old.conn) {
			// To the rest of the node this is one connection: neither the end of the
			// old one nor the start of the new one is an event.
			replaces = replaces || n.peers.expect(conn.RemotePeer())
			// The peer that dialed the old one closes it, once both have seen the new one.
			if n.dialer(old.conn) == n.host.ID() {
				n.await(yieldDelay, old.gone)
			} else {
				n.await(yieldTimeout, old.gone)
			}
			n.part(old, "")
			continue
		}
		if n.alive(old.conn) {
			if !crossed {
				n.secondProcess(old.conn, conn)
			}
			return false
		}
		n.part(old, deadConnection)
	}
	return false
}

// deadConnection is why a connection was replaced.
const deadConnection = "the connection is dead, and the peer has opened a new one"

// onGoLibp2p reports whether a peer is built upon go-libp2p, as this node is. Unlike
// leanSpec's node and those that use rust-libp2p, go-libp2p offers QUIC datagrams.
func onGoLibp2p(conn network.Conn) bool {
	var qc *quic.Conn
	return conn.As(&qc) && qc.ConnectionState().SupportsDatagrams.Remote
}

// dialer is the peer that opened a connection.
func (n *Network) dialer(conn network.Conn) peer.ID {
	if conn.Stat().Direction == network.DirOutbound {
		return n.host.ID()
	}
	return conn.RemotePeer()
}

// part closes a connection and waits until libp2p and pubsub have dropped it. If
// pubsub did so later, it would drop what the peer has sent on a new connection.
func (n *Network) part(old *link, reason string) {
	id := old.conn.RemotePeer()
	if c := n.peers.get(id); c != nil && reason != "" {
		c.setClosing(reason)
	}
	stream := n.tracer.stream(id)
	_ = old.conn.Close()
	n.await(partTimeout, old.gone, stream)
}

// await waits until all channels are closed, for some time.
func (n *Network) await(patience time.Duration, ends ...<-chan struct{}) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for _, end := range ends {
		select {
		case <-end:
		case <-timeout.C:
			return
		case <-n.ctx.Done():
			return
		}
	}
}

// alive reports whether the peer answers on a connection. It asks for the ping
// protocol; a peer that does not support it says so, which is an answer. So is an
// acknowledgement: leanSpec's node answers one stream after the other, some late.
func (n *Network) alive(conn network.Conn) bool {
	var qc *quic.Conn
	if !conn.As(&qc) {
		return false
	}
	before := qc.ConnectionStats().PacketsReceived
	ctx, cancel := context.WithTimeout(n.ctx, probeTimeout)
	defer cancel()
	s, err := conn.NewStream(ctx)
	if err != nil {
		return false
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	err = multistream.SelectProtoOrFail(protocol.ID(ping.ID), s)
	return err == nil || errors.Is(err, multistream.ErrNotSupported[protocol.ID]{}) ||
		qc.Context().Err() == nil && qc.ConnectionStats().PacketsReceived > before
}

// secondProcess reports a peer that opens a connection from another address while
// its first one is alive: two processes share an identity.
func (n *Network) secondProcess(old, conn network.Conn) {
	if old.RemoteMultiaddr().Equal(conn.RemoteMultiaddr()) {
		return
	}
	n.bus.Report(events.DuplicateIdentity{
		Peer: conn.RemotePeer(), Address: conn.RemoteMultiaddr().String(), Other: old.RemoteMultiaddr().String(),
	})
}
