package p2p

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/node/ports"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

const (
	dialTimeout = 10 * time.Second
	// connGrace is how long a new connection is protected from being trimmed.
	connGrace = 20 * time.Second
	// connsPerIP is the number of connections with one IP address other than this machine's.
	connsPerIP = 32
)

// newHost opens a libp2p host that only uses QUIC. It assembles the host from libp2p's parts,
// because libp2p.New links all of libp2p's transports into the program, including WebRTC.
func newHost(cfg *Config, g gater) (_ *quicHost, err error) {
	routeLogs(cfg.Log)
	var listen []ma.Multiaddr
	if cfg.Listen != "" {
		addr, err := ma.NewMultiaddr(cfg.Listen)
		if err != nil || !dialable(addr) {
			return nil, &config.Error{Setting: setting.Listen, Value: strconv.Quote(cfg.Listen),
				Problem: "want a QUIC address such as /ip4/0.0.0.0/udp/9001/quic-v1"}
		}
		if problem, err := checkFree(addr); err != nil {
			return nil, &config.Error{Setting: setting.Listen, Value: strconv.Quote(cfg.Listen), Problem: problem, Err: err}
		}
		listen = append(listen, addr)
	}
	var opened []io.Closer // closed in reverse order if there is an error
	defer func() {
		if err != nil {
			for _, c := range slices.Backward(opened) {
				_ = c.Close()
			}
			var input *config.Error
			if !errors.As(err, &input) {
				err = fmt.Errorf("open the network: %w", err)
			}
		}
	}()
	resources, err := newResourceManager()
	if err != nil {
		return nil, err
	}
	opened = append(opened, resources)
	manager, err := connmgr.NewConnManager(cfg.MaxPeers*3/4, cfg.MaxPeers, connmgr.WithGracePeriod(connGrace))
	if err != nil {
		return nil, err
	}
	opened = append(opened, manager)
	key, id := cfg.NodeKey.PrivKey(), cfg.NodeKey.PeerID()
	book, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	opened = append(opened, book)
	if err := errors.Join(book.AddPrivKey(id, key), book.AddPubKey(id, key.GetPublic())); err != nil {
		return nil, err
	}
	sockets, err := newSockets(key, resources)
	if err != nil {
		return nil, err
	}
	opened = append(opened, sockets)
	bus := eventbus.NewBus()
	conns, err := swarm.NewSwarm(id, book, bus,
		swarm.WithConnectionGater(g),
		swarm.WithResourceManager(resources),
		swarm.WithDialTimeout(dialTimeout),
		// If dials keep failing, libp2p assumes that UDP is blocked and stops using it. This node
		// has no other transport, and its bootnodes may be down for long.
		swarm.WithUDPBlackHoleSuccessCounter(nil),
		swarm.WithIPv6BlackHoleSuccessCounter(nil),
	)
	if err != nil {
		return nil, err
	}
	opened = append(opened, conns)
	quicOnly, err := newTransport(key, sockets, nil, g, resources)
	if err != nil {
		return nil, err
	}
	if err := conns.AddTransport(quicOnly); err != nil {
		return nil, err
	}
	basic, err := basichost.NewHost(conns, &basichost.HostOpts{
		EventBus: bus, ConnManager: manager, EnablePing: true, UserAgent: "leanspec-node/" + cmp.Or(cfg.Version, "dev"),
	})
	if err != nil {
		return nil, err
	}
	opened = append(opened, basic)
	if err := conns.Listen(listen...); err != nil {
		return nil, &config.Error{Setting: setting.Listen, Value: strconv.Quote(cfg.Listen), Problem: err.Error(), Err: err}
	}
	basic.Start()
	return &quicHost{basic, conns, sockets}, nil
}

// quicHost is a host with its swarm and its sockets.
type quicHost struct {
	host.Host
	swarm   *swarm.Swarm
	sockets *quicreuse.ConnManager
}

// Close closes the host, then the sockets.
func (h *quicHost) Close() error { return errors.Join(h.Host.Close(), h.sockets.Close()) }

// newResourceManager returns the limits of the resources that peers can use.
func newResourceManager() (network.ResourceManager, error) {
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.DefaultLimits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerIP}}))
}

// newSockets returns the manager that opens the UDP sockets of the QUIC transport on demand. It
// derives QUIC's keys from the node's identity, so that after a crash and a restart the node can
// reset connections that its peers still have.
func newSockets(key crypto.PrivKey, resources network.ResourceManager) (*quicreuse.ConnManager, error) {
	secret, err := key.Raw()
	if err != nil {
		return nil, err
	}
	var reset quic.StatelessResetKey
	var token quic.TokenGeneratorKey
	for _, derived := range []struct {
		key  []byte
		info string
	}{{reset[:], "quic stateless reset key"}, {token[:], "quic token generator key"}} {
		bytes, err := hkdf.Key(sha256.New, secret, nil, derived.info, len(derived.key))
		if err != nil {
			return nil, err
		}
		copy(derived.key, bytes)
	}
	return quicreuse.NewConnManager(reset, token,
		quicreuse.VerifySourceAddress(resources.VerifySourceAddress),
		quicreuse.ConnContext(func(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
			addr, err := quicreuse.ToQuicMultiaddr(client.RemoteAddr, quic.Version1)
			if err != nil {
				return ctx, err
			}
			scope, err := resources.OpenConnection(network.DirInbound, false, addr)
			if err != nil {
				return ctx, err
			}
			ctx = network.WithConnManagementScope(ctx, scope)
			context.AfterFunc(ctx, scope.Done)
			return ctx, nil
		}))
}

// checkFree opens the port of an address and closes it again. Its error is one line and names the
// process that uses the port; libp2p's error has many lines and does not name it.
func checkFree(addr ma.Multiaddr) (problem string, err error) {
	network, address, err := manet.DialArgs(addr)
	if err != nil {
		return err.Error(), err
	}
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		port, _ := addr.ValueForProtocol(ma.P_UDP)
		number, _ := strconv.Atoi(port)
		return ports.Problem(err, "udp", number), err
	}
	return "", conn.Close()
}
