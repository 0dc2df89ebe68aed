package p2p

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// selfTimeout is the time in which a connection of this node to itself arrives.
const selfTimeout = 2 * time.Second

// PeerID returns the id of this node.
func (n *Network) PeerID() peer.ID { return n.host.ID() }

// ListenAddrs returns the addresses on which the node listens, one for each network interface, with
// its peer id at the end.
func (n *Network) ListenAddrs() []ma.Multiaddr {
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		addrs = n.host.Network().ListenAddresses()
	}
	full, _ := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.PeerID(), Addrs: addrs}) // only fails without an id
	return full
}

// ENR returns the signed record of this node, with the advertised address, or else an address of
// this machine. If the node listens on all interfaces, this is the address of the first one that is
// not a loopback. ENR returns "" if the node does not listen on IPv4.
func (n *Network) ENR() string {
	addr := n.reachable()
	if addr.Port() == 0 {
		return ""
	}
	record, err := enr.Sign(n.cfg.NodeKey.ECDSA(), enr.Content{
		Seq: uint64(n.started.Unix()), Addr: addr,
		ForkDigest: enr.ForkDigest(n.cfg.NetworkName), IsAggregator: n.cfg.IsAggregator,
	})
	if err != nil {
		n.log.Error("no node record", logging.Err(err),
			logging.Advice("Other nodes cannot use the ENR of this node. Give them its multiaddr: p2p_addresses in /lean/v0/node/identity."))
		return ""
	}
	return record.String()
}

// reachable returns the IPv4 address and the port of the record, or port 0.
func (n *Network) reachable() netip.AddrPort {
	var best netip.Addr
	var port uint16
	for _, addr := range n.ListenAddrs() {
		text, _ := addr.ValueForProtocol(ma.P_IP4)
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue // IPv6
		}
		if !best.IsValid() || best.IsLoopback() && !ip.IsLoopback() {
			text, _ = addr.ValueForProtocol(ma.P_UDP)
			number, _ := strconv.ParseUint(text, 10, 16)
			best, port = ip, uint16(number)
		}
	}
	if advertise := n.cfg.Advertise; advertise.IsValid() {
		return netip.AddrPortFrom(advertise.Addr(), cmp.Or(advertise.Port(), port))
	}
	return netip.AddrPortFrom(best, port)
}

// dialSelf connects to an address at which a node with the peer id of this node listens. It returns
// errSelf if that node is this one, and errDuplicate if it is another node.
func (n *Network) dialSelf(ctx context.Context, addr ma.Multiaddr) error {
	addr, err := resolve(ctx, addr)
	if err != nil {
		return err
	}
	t := n.host.swarm.TransportForDialing(addr)
	if t == nil {
		return fmt.Errorf("no transport for %s", addr)
	}
	n.self.dials.Add(1)
	defer n.self.dials.Add(-1)
	select {
	case <-n.self.arrived: // left by an earlier dial
	default:
	}
	conn, err := t.Dial(ctx, addr, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	if id, err := peer.IDFromPublicKey(conn.RemotePublicKey()); err != nil || id != n.host.ID() {
		return fmt.Errorf("the peer id at %s has changed", addr)
	}
	timeout := time.NewTimer(selfTimeout)
	defer timeout.Stop()
	select {
	case <-n.self.arrived:
		return errSelf
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		n.reportDuplicate(addr)
		return errDuplicate
	}
}

// acceptSelf handles a connection from a node that has the peer id of this node.
func (n *Network) acceptSelf(from ma.Multiaddr) {
	if n.self.dials.Load() == 0 && !n.isOwn(from) {
		n.reportDuplicate(from)
		return
	}
	select {
	case n.self.arrived <- struct{}{}:
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

// reportDuplicate reports that another node has the peer id of this one.
func (n *Network) reportDuplicate(addr ma.Multiaddr) {
	n.bus.Report(events.DuplicateIdentity{Peer: n.host.ID(), Address: addr.String()})
}
