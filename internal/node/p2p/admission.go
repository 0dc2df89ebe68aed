package p2p

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

const (
	// crossedDials is the largest age of a connection that can be half of a crossed dial, in which
	// both peers dial each other before either has a connection.
	crossedDials = dialTimeout
	// probeTimeout is the time in which a peer must respond on a connection that is alive.
	probeTimeout = 2 * time.Second
	// yieldDelay is the time after which a peer closes its half of a crossed dial if the other half
	// stays. yieldTimeout is how long the other peer waits for that.
	yieldDelay   = 250 * time.Millisecond
	yieldTimeout = time.Second
	// partTimeout bounds the time for libp2p and pubsub to add or drop a connection.
	partTimeout = 2 * time.Second
)

// gater refuses connections before Run, above the limit of peers, with banned peers, and of this
// node with itself. admit decides about further connections with a peer.
type gater struct{ n *Network }

func (g gater) InterceptPeerDial(id peer.ID) bool { return !g.n.scores.banned(id) }

func (g gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept admits more than MaxPeers, because the connection manager then trims the
// connections and keeps the useful ones.
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool {
	return g.n.open.Load() && g.n.peers.len() < g.n.cfg.MaxPeers+g.n.cfg.MaxPeers/4+1
}

func (g gater) InterceptSecured(d network.Direction, id peer.ID, addrs network.ConnMultiaddrs) bool {
	if id == g.n.cfg.NodeKey.PeerID() {
		if d == network.DirInbound {
			g.n.acceptSelf(addrs.RemoteMultiaddr())
		}
		return false
	}
	if !g.n.scores.banned(id) {
		return true
	}
	if d == network.DirInbound {
		g.n.bus.Report(events.PeerConnection{
			Peer: id, Address: addrs.RemoteMultiaddr().String(),
			Direction: events.DirectionInbound, Result: events.ResultError, Err: errBanned,
		})
	}
	return false
}

func (g gater) InterceptUpgraded(conn network.Conn) (bool, control.DisconnectReason) {
	return g.n.admit(conn), 0
}

// links holds the connection of each peer.
//
// A peer has one connection, because pubsub keeps one stream to a peer. When the connection of that
// stream ends while another one exists, pubsub drops the peer's subscriptions. The peer does not
// announce them again, so gossip to it stops.
type links struct {
	mu   sync.Mutex
	byID map[peer.ID]*link
}

type link struct {
	conn  network.Conn
	since time.Time
	up    chan struct{} // closed once libp2p has added the connection
	gone  chan struct{} // closed when the connection ends
}

// claim makes conn the connection of its peer and returns nil. If the peer has a connection, it
// returns that link.
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

// setUp records that libp2p has added a connection.
func (l *links) setUp(conn network.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.byID[conn.RemotePeer()]; held != nil && held.conn == conn {
		close(held.up)
	}
}

// release removes a connection that ended.
func (l *links) release(conn network.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := conn.RemotePeer()
	if held := l.byID[id]; held != nil && held.conn == conn {
		delete(l.byID, id)
		close(held.gone)
	}
}

// admit reports whether a new connection is accepted. Both peers decide in the same way:
//
//   - If the peers have dialed each other at the same time, the connection that the peer
//     with the lower id dialed stays.
//   - Otherwise the older connection stays if the peer responds on it. If it does not, for
//     example after a restart of the peer, it is closed, and the new one is accepted once
//     libp2p and pubsub have dropped it.
//
// A peer that is not built on go-libp2p may keep several connections. leanSpec's node dials peers
// that it is connected to, and cannot use a peer after the connection that it opened last has ended.
//
// admit blocks until it has decided.
func (n *Network) admit(conn network.Conn) (admitted bool) {
	replaces := false
	defer func() {
		if replaces && !admitted {
			if c, last := n.peers.cancelReplacement(conn.RemotePeer()); last {
				n.peerLeft(c)
			}
		}
	}()
	for n.ctx.Err() == nil {
		old := n.links.claim(conn, n.now())
		if old == nil {
			return true
		}
		// Until libp2p has added the old connection, no stream can be opened on it, and libp2p
		// would not remove it after its end.
		n.await(partTimeout, old.up)
		if !onGoLibp2p(conn) {
			if n.alive(old.conn) {
				return true
			}
			n.closeLink(old, deadConnection)
			continue
		}
		crossed := old.conn.Stat().Direction != conn.Stat().Direction && n.now().Sub(old.since) < crossedDials
		if crossed && n.dialer(conn) < n.dialer(old.conn) {
			// The rest of the node sees one connection: the end of the old one and the start of the
			// new one are not reported.
			replaces = replaces || n.peers.expectReplacement(conn.RemotePeer())
			// The peer that dialed the old connection closes it, once both have the new one.
			if n.dialer(old.conn) == n.host.ID() {
				n.await(yieldDelay, old.gone)
			} else {
				n.await(yieldTimeout, old.gone)
			}
			n.closeLink(old, "")
			continue
		}
		if n.alive(old.conn) {
			if !crossed {
				n.secondProcess(old.conn, conn)
			}
			return false
		}
		n.closeLink(old, deadConnection)
	}
	return false
}

// deadConnection is the reason for closing a connection that a new one replaces.
const deadConnection = "the peer did not respond on this connection and opened a new one"

// onGoLibp2p reports whether a peer is built on go-libp2p. Unlike leanSpec's node and nodes on
// rust-libp2p, it supports QUIC datagrams.
func onGoLibp2p(conn network.Conn) bool {
	var qc *quic.Conn
	return conn.As(&qc) && qc.ConnectionState().SupportsDatagrams.Remote
}

// dialer returns the peer that opened a connection.
func (n *Network) dialer(conn network.Conn) peer.ID {
	if conn.Stat().Direction == network.DirOutbound {
		return n.host.ID()
	}
	return conn.RemotePeer()
}

// closeLink closes a connection and waits until libp2p and pubsub have dropped it. If pubsub dropped
// it later, it would also drop the subscriptions that the peer announces on a new connection.
func (n *Network) closeLink(old *link, reason string) {
	id := old.conn.RemotePeer()
	if c := n.peers.get(id); c != nil && reason != "" {
		c.setClosing(reason)
	}
	stream := n.tracer.stream(id)
	_ = old.conn.Close()
	n.await(partTimeout, old.gone, stream)
}

// await waits until all channels are closed, for at most patience.
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

// alive reports whether the peer responds on a connection. It opens a stream for the ping protocol.
// A refusal of the protocol counts as a response. So does any packet, because leanSpec's node
// handles the streams of a connection one after another.
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

// secondProcess reports that two nodes have the same peer id, if the peer has opened a connection
// from another address while its older one is alive.
func (n *Network) secondProcess(old, conn network.Conn) {
	if old.RemoteMultiaddr().Equal(conn.RemoteMultiaddr()) {
		return
	}
	n.bus.Report(events.DuplicateIdentity{
		Peer: conn.RemotePeer(), Address: conn.RemoteMultiaddr().String(), Other: old.RemoteMultiaddr().String(),
	})
}
