package p2p

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
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
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/ports"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

const (
	dialTimeout = 10 * time.Second
	// connGrace is how long a new connection is safe from being trimmed.
	connGrace = 20 * time.Second
	// connsPerIP bounds the connections of one address, other than this machine's.
	connsPerIP = 32
)

// newHost opens a libp2p host that uses QUIC only.
//
// It is assembled from libp2p's parts, because libp2p.New links every transport that
// libp2p has into the program, WebRTC among them.
func newHost(cfg *Config, g gater) (_ host.Host, err error) {
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
	var opened []io.Closer // to be closed after an error, the last one first
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
		// A node with one transport has nothing to fall back on when libp2p finds that
		// UDP does not get through, and our bootnodes may be down for long.
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
	version := cfg.Version
	if version == "" {
		version = "dev"
	}
	basic, err := basichost.NewHost(conns, &basichost.HostOpts{
		EventBus: bus, ConnManager: manager, EnablePing: true, UserAgent: "leanspec-node/" + version,
	})
	if err != nil {
		return nil, err
	}
	opened = append(opened, basic)
	if err := conns.Listen(listen...); err != nil {
		return nil, &config.Error{Setting: setting.Listen, Value: strconv.Quote(cfg.Listen), Problem: err.Error(), Err: err}
	}
	basic.Start()
	return quicHost{basic, sockets}, nil
}

// quicHost is a host that owns its sockets.
type quicHost struct {
	host.Host
	sockets *quicreuse.ConnManager
}

// Close closes the host and then its sockets.
func (h quicHost) Close() error { return errors.Join(h.Host.Close(), h.sockets.Close()) }

// newResourceManager limits what peers can make this node hold.
func newResourceManager() (network.ResourceManager, error) {
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.DefaultLimits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerIP}}))
}

// newSockets opens the UDP sockets of the QUIC transport on demand. Its keys follow from
// the identity, so a node that was killed can tell its peers, after a restart, that their
// connections are gone.
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

// gater keeps out banned peers, everybody before Run, this node itself, and more
// peers than there is room for.
type gater struct{ n *Network }

func (g gater) InterceptPeerDial(id peer.ID) bool { return !g.n.scores.banned(id) }

func (g gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept leaves room above MaxPeers: the connection manager trims down to
// fewer, and prefers to keep peers that are of use.
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool {
	return g.n.open.Load() && g.n.peers.len() < g.n.cfg.MaxPeers+g.n.cfg.MaxPeers/4+1
}

func (g gater) InterceptSecured(d network.Direction, id peer.ID, addrs network.ConnMultiaddrs) bool {
	if id == g.n.cfg.NodeKey.PeerID() {
		if d == network.DirInbound {
			g.n.sawSelf(addrs.RemoteMultiaddr())
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

// routeLogs sends what libp2p logs to the first logger that comes: libp2p has one
// for the process, which it takes when it writes its first line. gossipsub has a
// logger of its own, and is given libraryLogger. quic-go writes to package log,
// which logging.RouteStandardLog takes care of.
func routeLogs(log *slog.Logger) {
	routeOnce.Do(func() {
		gologshim.SetDefaultHandler(libraryLogger(log).Handler())
		// quic-go prints this one to standard error, past every logger. Larger
		// buffers are for faster networks than this one.
		os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	})
}

var routeOnce sync.Once

// libraryLogger is the logger for libp2p.
func libraryLogger(log *slog.Logger) *slog.Logger {
	return slog.New(libraryHandler{logging.Component(log, "libp2p").Handler()})
}

// libraryHandler passes on what libp2p logs, at debug: what it calls an error or
// warns of is a failure between it and a peer, which happens in every healthy
// network. Where it matters, this node says so itself.
type libraryHandler struct{ slog.Handler }

// libraryLevel is the level that a line of libp2p has here.
func libraryLevel(level slog.Level) slog.Level { return min(level, slog.LevelDebug) }

func (h libraryHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, libraryLevel(level))
}

func (h libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, libraryLevel(r.Level), r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(rename(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	renamed := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		renamed = append(renamed, rename(a))
	}
	return libraryHandler{h.Handler.WithAttrs(renamed)}
}

func (h libraryHandler) WithGroup(name string) slog.Handler {
	return libraryHandler{h.Handler.WithGroup(name)}
}

// rename gives what libp2p logs the keys that this node's lines have.
func rename(a slog.Attr) slog.Attr {
	switch a.Key {
	case "peer", "remote_peer", "peerID":
		a.Key = "peer_id"
	case "err":
		a.Key = "error"
	}
	return a
}

// checkFree opens the port of an address and closes it again: libp2p says that a
// port is in use in many lines, and not by which process.
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
