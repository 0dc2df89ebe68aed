package p2p

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

const (
	// firstBackoff and maxBackoff bound the time between two dials of a bootnode, which varies by
	// half at random. maxBackoff is two slots, so that the two sides of a partition connect again
	// soon after its end.
	firstBackoff = time.Second
	maxBackoff   = 8 * time.Second
	// bootnodePatience is how long a bootnode may be unreachable before the node warns.
	bootnodePatience = 30 * time.Second
	// bootnodeTag protects connections to bootnodes from being trimmed.
	bootnodeTag = "bootnode"
)

// Bootnode is a peer to which the node maintains a connection.
type Bootnode struct {
	// ID is empty if only the address is known. The handshake then provides it.
	ID   peer.ID
	Addr ma.Multiaddr
}

// ErrNotQUIC is the error for the multiaddr of a bootnode that is valid but not a QUIC address.
var ErrNotQUIC = errors.New("not a QUIC address")

// ParseBootnode parses a node record ("enr:…"), or a QUIC multiaddr with or without a peer id at
// its end. Errors are of type [*config.Error]. The error for any other multiaddr wraps ErrNotQUIC.
//
// leanSpec: cli/bootstrap.py, NodeBootstrap.from_cli_args
func ParseBootnode(s string) (Bootnode, error) {
	refuse := func(problem string, cause error) (Bootnode, error) {
		shown := s
		if len(shown) > 80 {
			shown = shown[:80] + "…"
		}
		return Bootnode{}, &config.Error{Setting: setting.Bootnode, Value: strconv.Quote(shown), Problem: problem, Err: cause}
	}
	fail := func(problem string) (Bootnode, error) { return refuse(problem, nil) }
	s = strings.TrimPrefix(s, "\ufeff") // copied from a file with a byte order mark
	if strings.HasPrefix(s, "enr:") {
		record, err := enr.Parse(s)
		if err != nil {
			return fail(err.Error())
		}
		switch {
		case !record.Valid():
			return fail("ENR structurally invalid: want identity scheme v4 and a secp256k1 key of 33 bytes")
		case !record.VerifySignature():
			return fail("ENR signature verification failed")
		case record.Multiaddr() == "":
			return fail("ENR has no UDP connection info: want ip, and quic or udp")
		}
		key, err := crypto.UnmarshalSecp256k1PublicKey(record.PublicKey())
		if err != nil {
			return fail("ENR structurally invalid: " + err.Error())
		}
		id, err := peer.IDFromPublicKey(key)
		if err != nil {
			return fail("ENR structurally invalid: " + err.Error())
		}
		addr, err := ma.NewMultiaddr(record.Multiaddr())
		if err != nil {
			return fail(err.Error())
		}
		return Bootnode{id, addr}, nil
	}
	full, err := ma.NewMultiaddr(s)
	if err != nil {
		return fail("want a multiaddr or an ENR, such as /ip4/192.0.2.1/udp/9001/quic-v1")
	}
	addr, id := peer.SplitAddr(full)
	if addr == nil || !dialable(addr) {
		return refuse("want a QUIC address such as /ip4/192.0.2.1/udp/9001/quic-v1", ErrNotQUIC)
	}
	return Bootnode{id, addr}, nil
}

// dialable reports whether the node can dial an address: QUIC over UDP, with an IP address or a DNS name.
func dialable(a ma.Multiaddr) bool {
	protocols := a.Protocols()
	if len(protocols) != 3 || protocols[1].Code != ma.P_UDP || protocols[2].Code != ma.P_QUIC_V1 {
		return false
	}
	switch protocols[0].Code {
	case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
		return true
	default:
		return false
	}
}

// keepBootnodes dials each bootnode now and after each end of the connection.
func (n *Network) keepBootnodes() {
	for _, b := range n.bootnodes {
		// Lists of bootnodes often contain this node. Another address with its peer id may be its
		// public address, or that of another node with a copy of its key.
		if b.ID != n.host.ID() || !n.isOwn(b.Addr) {
			n.spawn(func(ctx context.Context) { n.keepBootnode(ctx, b) })
		}
	}
}

func (n *Network) keepBootnode(ctx context.Context, b Bootnode) {
	backoff := firstBackoff
	lost, warned := n.now(), false // since the start of the time without a connection
	for ctx.Err() == nil {
		id, err := n.dial(ctx, b)
		c := n.peers.get(id)
		switch {
		case errors.Is(err, errSelf):
			return
		case err == nil || c != nil: // a failed dial is fine if the peer has dialed too
			n.host.ConnManager().Protect(id, bootnodeTag)
			if c != nil {
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
		case ctx.Err() == nil && b.ID != n.host.ID() && !errors.Is(err, errDuplicate):
			warned = n.reportUnreachable(b, err, n.now().Sub(lost), warned)
		}
		// Nodes that start or lose their connection at the same time should not dial at the same time.
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// reportUnreachable reports a failed dial. After bootnodePatience without a connection, it logs a
// warning unless warned is true, and returns true. Nodes that start at the same time need this time
// to find each other.
func (n *Network) reportUnreachable(b Bootnode, err error, without time.Duration, warned bool) bool {
	result := events.ResultError
	if isTimeout(err) {
		result = events.ResultTimeout
	}
	n.bus.Report(events.PeerConnection{
		Peer: b.ID, Address: b.Addr.String(), Direction: events.DirectionOutbound, Result: result, Err: err,
	})
	if warned || without < bootnodePatience {
		return warned
	}
	n.log.Warn("bootnode cannot be reached", logging.Peer(b.ID), "address", b.Addr.String(),
		"seconds_without", int(without.Seconds()), logging.Err(err),
		logging.Advice("Check that the bootnode is running, that its address is right, and that UDP is open between the two. The node keeps trying."))
	return true
}

var (
	errSelf       = errors.New("address of this node")
	errDuplicate  = errors.New("another node uses the peer id of this node")
	errIdentified = errors.New("certificate received")
)

// dial connects to a bootnode unless it is connected, and returns its id. If a node with the peer
// id of this node listens at the address, the error is errSelf or errDuplicate.
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
		return "", n.dialSelf(ctx, b.Addr)
	}
	if n.scores.banned(id) {
		return "", errBanned
	}
	n.host.swarm.Backoff().Clear(id) // the caller delays dials after failures itself
	n.host.Peerstore().AddAddr(id, b.Addr, peerstore.TempAddrTTL)
	return id, n.host.Connect(ctx, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{b.Addr}})
}

// identify returns the id of the peer that listens at an address. It aborts the handshake once it
// has the peer's certificate, so the peer does not see a connection. The connection that follows
// checks that the peer has the key.
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

// resolve replaces the DNS name in an address with an IP address.
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
