package p2p

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/node/ports"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	dialTimeout = 10 * time.Second
	// connGrace is how long a new connection is safe from being trimmed.
	connGrace = 20 * time.Second
	// connsPerIP bounds the connections of one address, other than this machine's.
	connsPerIP = 32
)

// newHost opens a libp2p host that speaks QUIC and nothing else.
func newHost(cfg *Config, g gater) (host.Host, error) {
	routeLogs(cfg.Log)
	listen := libp2p.NoListenAddrs
	if cfg.Listen != "" {
		addr, err := ma.NewMultiaddr(cfg.Listen)
		if err != nil || !dialable(addr) {
			return nil, &config.Error{Field: "--listen", Value: strconv.Quote(cfg.Listen),
				Problem: "want a QUIC address such as /ip4/0.0.0.0/udp/9001/quic-v1"}
		}
		if problem, err := checkFree(addr); err != nil {
			return nil, &config.Error{Field: "--listen", Value: strconv.Quote(cfg.Listen), Problem: problem, Err: err}
		}
		listen = libp2p.ListenAddrs(addr)
	}
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerIP}}))
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	conns, err := connmgr.NewConnManager(cfg.MaxPeers*3/4, cfg.MaxPeers, connmgr.WithGracePeriod(connGrace))
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	version := cfg.Version
	if version == "" {
		version = "dev"
	}
	h, err := libp2p.New(
		libp2p.Identity(cfg.NodeKey.PrivKey()),
		libp2p.UserAgent("leanspec-node/"+version),
		libp2p.Transport(newTransport),
		listen,
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(g),
		libp2p.WithDialTimeout(dialTimeout),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.ForceReachabilityPublic(), // no probing of our reachability
		libp2p.DisableIdentifyAddressDiscovery(),
		// A node with one transport has nothing to fall back on when libp2p thinks
		// that UDP does not get through, and our bootnodes may be down for long.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	)
	if err != nil {
		return nil, &config.Error{Field: "--listen", Value: strconv.Quote(cfg.Listen), Problem: err.Error(), Err: err}
	}
	return h, nil
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
		return false // a bootnode without an id turned out to be this node
	}
	if !g.n.scores.banned(id) {
		return true
	}
	if d == network.DirInbound {
		g.n.observer.PeerConnection(telemetry.PeerConnection{
			PeerID: id.String(), Address: addrs.RemoteMultiaddr().String(),
			Direction: telemetry.DirectionInbound, Result: telemetry.ResultError, Err: errBanned,
		})
	}
	return false
}

func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// routeLogs sends what libp2p logs to the first logger that comes: libp2p has one
// for the process, which it takes when it writes its first line. gossipsub has a
// logger of its own, and is given libraryLogger. quic-go writes to package log,
// which telemetry.RouteStandardLog takes care of.
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
	return slog.New(libraryHandler{telemetry.Component(log, "libp2p").Handler()})
}

// libraryHandler passes on what libp2p logs, one level lower: what it calls an
// error is a failure between it and a peer, not one of this node, and what it
// informs of are details. Warnings stay what they are.
type libraryHandler struct{ slog.Handler }

// libraryLevel is the level that a line of libp2p has here.
func libraryLevel(level slog.Level) slog.Level {
	switch {
	case level >= slog.LevelWarn:
		return slog.LevelWarn
	case level >= slog.LevelInfo:
		return slog.LevelDebug
	}
	return level
}

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
