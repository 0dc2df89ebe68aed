package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// How long to wait between dials of a bootnode.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// bootnodeTag protects bootnodes from being trimmed.
const bootnodeTag = "bootnode"

// notifiee hears of connections.
func (n *Network) notifiee() network.Notifiee {
	return &network.NotifyBundle{
		ConnectedF:    func(_ network.Network, conn network.Conn) { n.connected(conn) },
		DisconnectedF: func(_ network.Network, conn network.Conn) { n.disconnected(conn) },
	}
}

func (n *Network) connected(conn network.Conn) {
	c, first := n.peers.add(conn)
	n.observer.PeerConnection(telemetry.PeerConnection{
		PeerID: c.id.String(), Address: conn.RemoteMultiaddr().String(),
		Direction: direction(conn), Result: telemetry.ResultSuccess, Further: !first,
	})
	n.reportPeers()
	// The one who dialed speaks first.
	//
	// leanSpec: node/networking/client/event_source/live.py, dial
	if first && conn.Stat().Direction == network.DirOutbound {
		n.spawn(func(ctx context.Context) { n.exchangeStatus(ctx, c.id) })
	}
}

func (n *Network) disconnected(conn network.Conn) {
	c, last := n.peers.remove(conn.RemotePeer())
	if c == nil {
		return
	}
	reason, detail := disconnectReason(conn, c.closingReason())
	n.observer.PeerDisconnection(telemetry.PeerDisconnection{
		PeerID: c.id.String(), Direction: direction(conn), Reason: reason, Detail: detail, Further: !last,
	})
	n.reportPeers()
	if last {
		if n.open.Load() && len(n.peers.ids()) == 0 {
			n.log.Warn("no peers left", telemetry.Advice("if none comes back within a minute, look at the network and the UDP port of --listen: "+
				"with validators the node may go on alone, on a chain of its own"))
		}
		c.handler.Lock()
		defer c.handler.Unlock()
		n.cfg.Handler.OnDisconnect(c.id)
	}
}

// disconnectReason says why a connection ended, in the words of leanMetrics, and
// what more is known.
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
		return telemetry.DisconnectLocalClose, closing
	case errors.As(cause, &idle) || errors.As(cause, &handshake):
		return telemetry.DisconnectTimeout, cause.Error()
	case errors.As(cause, &closed) && closed.Remote:
		return telemetry.DisconnectRemoteClose, closed.ErrorMessage
	case closed != nil || cause == nil || errors.Is(cause, context.Canceled):
		return telemetry.DisconnectLocalClose, ""
	default:
		return telemetry.DisconnectError, cause.Error()
	}
}

// exchangeStatus asks a peer for its status. That it does not answer is no reason
// to part.
func (n *Network) exchangeStatus(ctx context.Context, id peer.ID) {
	if _, err := n.Status(ctx, id); err != nil && ctx.Err() == nil {
		n.log.Debug("no agreement on status", telemetry.Peer(id.String()), telemetry.Err(err))
	}
}

// exchangeStatuses asks peers for their status when the last one is old, so that
// sync hears how far they are.
func (n *Network) exchangeStatuses(ctx context.Context) {
	ticker := time.NewTicker(max(n.cfg.StatusInterval/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, c := range n.peers.all() {
			if c.due(n.now(), n.cfg.StatusInterval) {
				n.spawn(func(ctx context.Context) { n.exchangeStatus(ctx, c.id) })
			}
		}
	}
}

// keepBootnodes dials each bootnode, and again whenever the connection is gone.
func (n *Network) keepBootnodes() {
	for _, b := range n.bootnodes {
		if b.ID != n.host.ID() { // lists of nodes often have all of them
			n.spawn(func(ctx context.Context) { n.keepBootnode(ctx, b) })
		}
	}
}

func (n *Network) keepBootnode(ctx context.Context, b Bootnode) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		id, err := n.dial(ctx, b)
		if err == nil {
			n.host.ConnManager().Protect(id, bootnodeTag)
			if c := n.peers.get(id); c != nil {
				select {
				case <-c.gone:
				case <-ctx.Done():
					return
				}
				if n.now().Sub(c.peerInfo().Connected) > maxBackoff {
					backoff = firstBackoff
				}
			}
		} else if errors.Is(err, errSelf) {
			return
		} else if ctx.Err() == nil {
			result := telemetry.ResultError
			if isTimeout(err) {
				result = telemetry.ResultTimeout
			}
			n.observer.PeerConnection(telemetry.PeerConnection{
				PeerID: b.ID.String(), Address: b.Addr.String(),
				Direction: telemetry.DirectionOutbound, Result: result, Err: err,
			})
			if backoff == firstBackoff {
				n.log.Warn("bootnode cannot be reached, trying again", telemetry.Peer(b.ID.String()),
					"address", b.Addr.String(), telemetry.Err(err),
					telemetry.Advice("is that node up, the address right, and UDP open between the two?"))
			}
		}
		// Nodes that start or lose each other together should not dial together.
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

var errSelf = errors.New("the address is this node's own")

// dial connects to a bootnode, unless there is a connection already.
func (n *Network) dial(ctx context.Context, b Bootnode) (peer.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	id := b.ID
	if id == "" {
		var err error
		if id, err = n.identify(ctx, b.Addr); err != nil {
			return "", err
		}
	}
	if id == n.host.ID() {
		return "", errSelf
	}
	if n.scores.banned(id) {
		return "", errBanned
	}
	// libp2p has a patience of its own, which would add to ours.
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
	n.host.Peerstore().AddAddr(id, b.Addr, peerstore.TempAddrTTL)
	return id, n.host.Connect(ctx, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{b.Addr}})
}

// identify finds out who listens at an address: it makes a connection that takes
// any peer, and reads its key from the certificate.
func (n *Network) identify(ctx context.Context, addr ma.Multiaddr) (peer.ID, error) {
	addrs, err := madns.DefaultResolver.Resolve(ctx, addr)
	if err != nil {
		return "", err
	}
	dialer, ok := n.host.Network().(interface {
		TransportForDialing(ma.Multiaddr) transport.Transport
	})
	if !ok || len(addrs) == 0 {
		return "", fmt.Errorf("%s does not resolve to an address", addr)
	}
	t := dialer.TransportForDialing(addrs[0])
	if t == nil {
		return "", fmt.Errorf("no transport for %s", addrs[0])
	}
	conn, err := t.Dial(ctx, addrs[0], "")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var key crypto.PubKey = conn.RemotePublicKey()
	return peer.IDFromPublicKey(key)
}
