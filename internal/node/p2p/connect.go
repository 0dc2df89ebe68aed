package p2p

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

const (
	// firstBackoff and maxBackoff are how long the node waits between dials of a
	// bootnode, give or take half of it. After a partition of any length the halves
	// must find each other within a few slots.
	firstBackoff = time.Second
	maxBackoff   = 8 * time.Second
	// bootnodePatience is for how long a bootnode may be unreachable before the node
	// warns.
	bootnodePatience = 30 * time.Second
	// selfTimeout is how long a connection of this node to itself may take to arrive.
	selfTimeout = 2 * time.Second
)

// aloneAfter is for how long a node that had peers has none before it warns.
const aloneAfter = 10 * time.Second

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
	// The one who dialed speaks first.
	//
	// leanSpec: node/networking/client/event_source/live.py, dial
	if first && conn.Stat().Direction == network.DirOutbound {
		n.spawn(func(ctx context.Context) { n.exchangeStatus(ctx, c.id) })
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
		n.left(c)
	}
}

// left ends what the node does with a peer whose last connection is gone.
func (n *Network) left(c *connectedPeer) {
	n.reportPeers()
	if arrivals := n.arrivals.Load(); n.open.Load() && n.peers.len() == 0 {
		n.spawn(func(ctx context.Context) { n.warnIfAlone(ctx, arrivals) })
	}
	c.handler.Lock()
	defer c.handler.Unlock()
	n.cfg.Handler.OnDisconnect(c.id)
}

// warnIfAlone logs that all peers are gone, unless a peer connects within aloneAfter,
// as after a restart. A peer that comes and goes again starts a period of its own, so
// one that connects every second does not cause a warning each time. arrivals is the
// number of peers that had connected when the period began.
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

// exchangeStatus asks a peer for its status. That it does not answer is no reason
// to part.
func (n *Network) exchangeStatus(ctx context.Context, id peer.ID) {
	if _, err := n.Status(ctx, id); err != nil && ctx.Err() == nil {
		n.log.Debug("no agreement on status", logging.Peer(id), logging.Err(err))
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
		// Lists of nodes often have all of them. The peer id of this node at another
		// address may be this node's as others see it, or another node with a copied
		// key.
		if b.ID != n.host.ID() || !n.isOwn(b.Addr) {
			n.spawn(func(ctx context.Context) { n.keepBootnode(ctx, b) })
		}
	}
}

func (n *Network) keepBootnode(ctx context.Context, b Bootnode) {
	backoff := firstBackoff
	lost := n.now() // when the search for the bootnode began
	warned := false
	for ctx.Err() == nil {
		id, err := n.dial(ctx, b)
		if id != "" && n.peers.get(id) != nil {
			err = nil // the peer dialed as well, and its connection stays
		}
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
			lost, warned = n.now(), false
		} else if errors.Is(err, errSelf) {
			return
		} else if ctx.Err() == nil && b.ID != n.host.ID() && !errors.Is(err, errTwin) {
			result := events.ResultError
			if isTimeout(err) {
				result = events.ResultTimeout
			}
			n.bus.Report(events.PeerConnection{
				Peer: b.ID, Address: b.Addr.String(),
				Direction: events.DirectionOutbound, Result: result, Err: err,
			})
			// Nodes that start together do not find each other at once.
			if !warned && n.now().Sub(lost) >= bootnodePatience {
				warned = true
				n.log.Warn("bootnode cannot be reached", logging.Peer(b.ID), "address", b.Addr.String(),
					"seconds_without", int(n.now().Sub(lost).Seconds()), logging.Err(err),
					logging.Advice("Check that the bootnode is running, that its address is right, and that UDP is open between the two. The node keeps trying."))
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

var (
	errSelf       = errors.New("the address is this node's own")
	errTwin       = errors.New("another node has the peer id of this node")
	errIdentified = errors.New("the peer has shown its certificate")
)

// dial connects to a bootnode, unless there is a connection already. An address at
// which the peer id of this node listens gives errSelf or errTwin.
func (n *Network) dial(ctx context.Context, b Bootnode) (peer.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	id := b.ID
	if id == "" {
		var err error
		if id, err = identify(ctx, b.Addr); err != nil {
			return "", err
		}
	}
	if id == n.host.ID() {
		return "", n.meetSelf(ctx, b.Addr)
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

// identify finds out which peer listens at an address. It ends the handshake once it
// has the certificate of the peer, so for the peer there is no connection. The
// connection that follows proves that the peer has the key.
func identify(ctx context.Context, addr ma.Multiaddr) (id peer.ID, err error) {
	if addr, err = resolve(ctx, addr); err != nil {
		return "", err
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(addr)
	if err != nil {
		return "", err
	}
	conn, err := quic.DialAddr(ctx, udp.String(), &tls.Config{
		InsecureSkipVerify: true, // libp2p's certificates are self-signed
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"libp2p"},
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			var chain []*x509.Certificate
			for _, der := range raw {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				chain = append(chain, cert)
			}
			key, err := libp2ptls.PubKeyFromCertChain(chain)
			if err != nil {
				return err
			}
			if id, err = peer.IDFromPublicKey(key); err != nil {
				return err
			}
			return errIdentified
		},
	}, nil)
	if err == nil {
		_ = conn.CloseWithError(0, "")
	}
	if id != "" {
		return id, nil
	}
	return "", err
}

// resolve returns an address without a name.
func resolve(ctx context.Context, addr ma.Multiaddr) (ma.Multiaddr, error) {
	addrs, err := madns.DefaultResolver.Resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s does not resolve to an address", addr)
	}
	return addrs[0], nil
}

// meetSelf connects to an address at which a node with the peer id of this node
// listens, and returns errSelf if it is this node, errTwin if it is another one.
func (n *Network) meetSelf(ctx context.Context, addr ma.Multiaddr) error {
	addr, err := resolve(ctx, addr)
	if err != nil {
		return err
	}
	dialer, ok := n.host.Network().(interface {
		TransportForDialing(ma.Multiaddr) transport.Transport
	})
	if !ok {
		return errSelf
	}
	t := dialer.TransportForDialing(addr)
	if t == nil {
		return fmt.Errorf("no transport for %s", addr)
	}
	n.self.dials.Add(1)
	defer n.self.dials.Add(-1)
	select {
	case <-n.self.met: // of an earlier dial
	default:
	}
	conn, err := t.Dial(ctx, addr, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	if id, err := peer.IDFromPublicKey(conn.RemotePublicKey()); err != nil || id != n.host.ID() {
		return fmt.Errorf("the peer id at %s changes", addr)
	}
	timeout := time.NewTimer(selfTimeout)
	defer timeout.Stop()
	select {
	case <-n.self.met:
		return errSelf
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		n.reportTwin(addr)
		return errTwin
	}
}

// sawSelf handles a connection from a node that has the peer id of this node.
func (n *Network) sawSelf(from ma.Multiaddr) {
	if n.self.dials.Load() == 0 && !n.isOwn(from) {
		n.reportTwin(from)
		return
	}
	select {
	case n.self.met <- struct{}{}:
	default:
	}
}

// isOwn reports whether this node listens on an address.
func (n *Network) isOwn(addr ma.Multiaddr) bool {
	for _, own := range n.ListenAddrs() {
		if quic, _ := peer.SplitAddr(own); quic != nil && quic.Equal(addr) {
			return true
		}
	}
	return false
}

func (n *Network) reportTwin(addr ma.Multiaddr) {
	n.bus.Report(events.DuplicateIdentity{Peer: n.host.ID(), Address: addr.String()})
}
