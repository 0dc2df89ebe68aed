package p2p

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// aloneAfter is how long a node that had peers can be without a peer before it warns.
const aloneAfter = 10 * time.Second

// notifiee returns the receiver of libp2p's notifications about connections.
func (n *Network) notifiee() network.Notifiee {
	return &network.NotifyBundle{
		ConnectedF:    func(_ network.Network, conn network.Conn) { n.connected(conn) },
		DisconnectedF: func(_ network.Network, conn network.Conn) { n.disconnected(conn) },
	}
}

func (n *Network) connected(conn network.Conn) {
	defer n.links.setUp(conn)
	c, first := n.peers.add(conn)
	n.bus.Report(events.PeerConnection{
		Peer: c.id, Address: conn.RemoteMultiaddr().String(),
		Direction: direction(conn), Result: events.ResultSuccess, Further: !first,
	})
	if first {
		n.arrivals.Add(1)
	}
	n.reportPeers()
	if first {
		n.spawn(func(context.Context) { c.announce(n.cfg.Handler, nil) })
	}
}

func (n *Network) disconnected(conn network.Conn) {
	defer n.links.release(conn)
	c, last := n.peers.remove(conn.RemotePeer())
	if c == nil {
		return
	}
	reason, detail := disconnectReason(conn, c.closingReason())
	n.bus.Report(events.PeerDisconnection{
		Peer: c.id, Direction: direction(conn), Reason: reason, Detail: detail, Further: !last,
	})
	if last {
		n.peerLeft(c)
	}
}

// peerLeft is called when the last connection of a peer has ended.
func (n *Network) peerLeft(c *connectedPeer) {
	n.reportPeers()
	if arrivals := n.arrivals.Load(); n.open.Load() && n.peers.len() == 0 {
		n.spawn(func(ctx context.Context) { n.warnIfAlone(ctx, arrivals) })
	}
	c.finish(n.cfg.Handler)
	n.peers.forget(c)
}

// warnIfAlone logs that all peers have disconnected, unless a peer connects within aloneAfter.
// arrivals is the value of n.arrivals at the start of that time. A peer that connects and disconnects
// starts the time again, so a peer that does so every second does not cause a warning each time.
func (n *Network) warnIfAlone(ctx context.Context, arrivals uint64) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(n.aloneAfter):
	}
	if n.peers.len() == 0 && n.arrivals.Load() == arrivals {
		n.log.Warn("no peers left", "seconds_without", n.aloneAfter.Seconds(), logging.Advice("Check the network and the UDP port of the listen address. "+
			"A node with validators that has no peers builds a chain of its own."))
	}
}

// disconnectReason returns the reason, as leanMetrics names it, for the end of a connection, and
// details for the log.
func disconnectReason(conn network.Conn, closing string) (reason, detail string) {
	var qc *quic.Conn
	var cause error
	if conn.As(&qc) {
		cause = context.Cause(qc.Context())
	}
	var closed *quic.ApplicationError
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	switch {
	case closing != "":
		return events.DisconnectLocalClose, closing
	case errors.As(cause, &idle) || errors.As(cause, &handshake):
		return events.DisconnectTimeout, cause.Error()
	case errors.As(cause, &closed) && closed.Remote:
		return events.DisconnectRemoteClose, closed.ErrorMessage
	case closed != nil || cause == nil || errors.Is(cause, context.Canceled):
		return events.DisconnectLocalClose, ""
	default:
		return events.DisconnectError, cause.Error()
	}
}
