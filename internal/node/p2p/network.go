package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	// DefaultNetworkName names the network in gossip topics.
	//
	// leanSpec: spec/forks/lstar/spec.py, LstarSpec.GOSSIP_DIGEST
	DefaultNetworkName = "12345678"
	// DefaultMaxPeers is the number of peers above which connections are trimmed.
	DefaultMaxPeers = 64
)

// Config is the configuration of a Network. NodeKey, Scheme, Handler and NetworkName are required.
type Config struct {
	// NodeKey is the identity of the node.
	NodeKey *config.NodeKey
	// Listen is the multiaddr to listen on, such as /ip4/0.0.0.0/udp/9001/quic-v1. If it is empty,
	// the node only dials.
	Listen string
	// Advertise is the IPv4 address in the node record. Port 0 means the port of the listener, and
	// an invalid address means an address of this machine.
	Advertise netip.AddrPort
	// Bootnodes are the peers that the node stays connected to, in the syntax of ParseBootnode. The
	// node itself may be one of them. New logs a warning for each multiaddr that is not a QUIC
	// address and skips it, as leanSpec's node does.
	Bootnodes []string
	// NetworkName is part of the gossip topics.
	NetworkName string
	// Committees is the number of attestation committees; 0 means 1.
	Committees uint64
	// Subnets are the attestation subnets to subscribe to. Subnets with a number of Committees or
	// more have no validators; leanSpec's node subscribes to them too.
	Subnets []uint64
	// IsAggregator is part of the node record.
	IsAggregator bool
	// Scheme is the scheme of the signatures of votes.
	Scheme *xmss.Scheme
	// Handler handles the messages of peers.
	Handler Handler
	// Bus receives events, and Log the lines of this package and of libp2p. Either may be nil.
	Bus *events.Bus
	Log *slog.Logger
	// Version is part of the user agent.
	Version string
	// PeerNames are the names of known peers in metrics.
	PeerNames map[peer.ID]string
	// MaxPeers is the number of peers above which connections are trimmed. 0 means DefaultMaxPeers.
	MaxPeers int
}

// PeerInfo describes a connected peer.
type PeerInfo struct {
	ID peer.ID
	// Direction is events.DirectionInbound or events.DirectionOutbound.
	Direction string
	Address   string
	Connected time.Time
	// Status is the latest status of the peer, or nil.
	Status *Status
}

// Network connects the node to its peers. Its methods are safe for concurrent use.
type Network struct {
	cfg        Config
	bus        *events.Bus
	log        *slog.Logger
	bootnodes  []Bootnode
	started    time.Time
	now        func() time.Time
	timeout    time.Duration // requestTimeout; tests change it
	aloneAfter time.Duration // the constant aloneAfter; tests change it
	arrivals   atomic.Uint64 // number of peers that have connected

	host   *quicHost
	topics map[wire.Topic]*pubsub.Topic
	relays []pubsub.RelayCancelFunc
	tracer *tracer
	peers  *peers
	links  links
	scores *scores
	resets resets
	self   struct {
		dials   atomic.Int32  // running calls of dialSelf
		arrived chan struct{} // receives when one of their connections arrives
	}
	serving chan struct{}
	// blocks and bytes limit the blocks that all peers together receive.
	blocks, bytes *rate.Limiter
	encoded       *blockCache
	// validating is the number of messages in validation.
	validating map[wire.TopicKind]*atomic.Int64
	reporting  sync.Mutex // held by reportPeers, to keep reports in order
	isolated   atomic.Bool

	// Close ends ctx and waits for the goroutines counted in wg.
	ctx    context.Context
	cancel context.CancelFunc
	open   atomic.Bool // Run has been called, so peers may connect

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

var _ Requester = (*Network)(nil)

// New checks the configuration, opens the node's port and joins the topics. Peers can connect once
// Run is called. The caller must call Run or Close.
func New(cfg Config) (*Network, error) {
	if cfg.NodeKey == nil || cfg.Scheme == nil || cfg.Handler == nil {
		return nil, errors.New("p2p: NodeKey, Scheme and Handler are required")
	}
	if cfg.NetworkName == "" || strings.ContainsRune(cfg.NetworkName, '/') {
		return nil, &config.Error{Setting: setting.NetworkName, Value: strconv.Quote(cfg.NetworkName), Problem: "want a name without a slash"}
	}
	cfg.Committees, cfg.MaxPeers = max(cfg.Committees, 1), cmp.Or(cfg.MaxPeers, DefaultMaxPeers)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	n := &Network{
		cfg:        cfg,
		bus:        cfg.Bus,
		log:        logging.Component(cfg.Log, "p2p"),
		started:    time.Now(),
		now:        time.Now,
		timeout:    requestTimeout,
		aloneAfter: aloneAfter,
		links:      links{byID: make(map[peer.ID]*link)},
		topics:     make(map[wire.Topic]*pubsub.Topic),
		serving:    make(chan struct{}, maxServing),
		blocks:     rate.NewLimiter(totalBlocksPerSecond, totalBlockBurst),
		bytes:      rate.NewLimiter(totalBytesPerSecond, totalByteBurst),
		encoded:    newBlockCache(),
		validating: map[wire.TopicKind]*atomic.Int64{
			wire.TopicBlock: new(atomic.Int64), wire.TopicAttestation: new(atomic.Int64), wire.TopicAggregation: new(atomic.Int64),
		},
	}
	clock := func() time.Time { return n.now() }
	n.peers = &peers{now: clock, byID: make(map[peer.ID]*connectedPeer), leaving: make(map[peer.ID]chan struct{})}
	n.scores = newScores(clock)
	n.self.arrived = make(chan struct{}, 1)
	n.resets = newResets()
	for _, s := range cfg.Bootnodes {
		bootnode, err := ParseBootnode(s)
		if errors.Is(err, ErrNotQUIC) {
			n.log.Warn("bootnode skipped", "address", s, logging.Err(err),
				logging.Advice("This node only dials QUIC addresses. Ask for the QUIC address or the ENR of that bootnode."))
			continue
		}
		if err != nil {
			return nil, err
		}
		n.bootnodes = append(n.bootnodes, bootnode)
	}

	n.ctx, n.cancel = context.WithCancel(context.Background())
	var err error
	if n.host, err = newHost(&n.cfg, gater{n}); err != nil {
		n.cancel()
		return nil, err
	}
	n.host.Network().Notify(n.notifiee())
	n.handleRequests()
	if err := n.joinTopics(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	var subnet uint64
	if len(cfg.Subnets) > 0 {
		subnet = slices.Min(cfg.Subnets)
	}
	n.bus.Report(events.AttestationCommittee{Subnet: subnet, Count: cfg.Committees})
	return n, nil
}

// Run accepts connections and dials the bootnodes until ctx is done. It then closes the network and
// returns the error of Close.
func (n *Network) Run(ctx context.Context) error {
	watchGossip, err := n.gossipWatch()
	if err != nil {
		return errors.Join(err, n.Close())
	}
	n.open.Store(true)
	n.keepBootnodes()
	n.spawn(watchGossip)
	select {
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return n.Close()
}

// Close ends all connections and waits for the goroutines that use them. After it returns, the
// handler is not called. Close may be called more than once.
func (n *Network) Close() error {
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	n.mu.Unlock()
	var err error
	if !closed {
		n.open.Store(false)
		for _, c := range n.peers.all() {
			c.setClosing("this node stops")
		}
		for _, cancel := range n.relays {
			cancel()
		}
		n.cancel()
		err = n.host.Close()
	}
	n.wg.Wait()
	return err
}

// spawn runs f in a goroutine that Close waits for, unless the network is closed.
func (n *Network) spawn(f func(ctx context.Context)) {
	if n.begin() {
		go func() {
			defer n.wg.Done()
			f(n.ctx)
		}()
	}
}

// begin makes Close wait for a call of n.wg.Done, and returns true. If the network is closed, it
// returns false.
func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.wg.Add(1)
	}
	return !n.closed
}

// Check returns an error if the node does not accept connections, does not listen on a configured
// address, or has no topic in common with its peers.
func (n *Network) Check() error {
	switch {
	case !n.open.Load():
		return errors.New("not started")
	case n.cfg.Listen != "" && len(n.host.Network().ListenAddresses()) == 0:
		return fmt.Errorf("not listening on %s", n.cfg.Listen)
	case n.Isolated():
		return fmt.Errorf("no peer has a gossip topic in common with the network %q", n.cfg.NetworkName)
	}
	return nil
}

// Queues returns the queues of messages in validation.
func (n *Network) Queues() []events.Queue {
	judged := func(name string, kind wire.TopicKind, capacity int) events.Queue {
		return events.Queue{Name: name, Capacity: capacity, Length: func() int { return int(n.validating[kind].Load()) }}
	}
	return []events.Queue{
		judged(events.QueueValidatingBlocks, wire.TopicBlock, maxValidatingBlocks),
		judged(events.QueueValidatingAttestations, wire.TopicAttestation, min(maxValidating, maxValidatingVotes*int(n.cfg.Committees))),
		judged(events.QueueValidatingAggregates, wire.TopicAggregation, maxValidatingAggregates),
	}
}

// byName returns the number of peers with each known name.
func (n *Network) byName(ids iter.Seq[peer.ID]) map[string]int {
	if len(n.cfg.PeerNames) == 0 {
		return nil
	}
	counts := make(map[string]int)
	for id := range ids {
		if name, ok := n.cfg.PeerNames[id]; ok {
			counts[name]++
		}
	}
	return counts
}

// reportPeers reports the connected peers.
func (n *Network) reportPeers() {
	n.reporting.Lock()
	defer n.reporting.Unlock()
	var ids []peer.ID
	for _, c := range n.peers.all() {
		ids = append(ids, c.id)
	}
	n.bus.Report(events.Peers{Connected: len(ids), ByName: n.byName(slices.Values(ids))})
}

// Peers returns the connected peers, sorted by id.
func (n *Network) Peers() []PeerInfo {
	var infos []PeerInfo
	for _, c := range n.peers.all() {
		infos = append(infos, c.peerInfo())
	}
	slices.SortFunc(infos, func(a, b PeerInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return infos
}

// Penalize implements Requester.
func (n *Network) Penalize(id peer.ID, reason string) { n.fault(id, reason, nil) }

// fault counts a fault of a peer and bans a peer with too many.
func (n *Network) fault(id peer.ID, reason string, err error) { n.weighedFault(id, 1, reason, err) }

func (n *Network) weighedFault(id peer.ID, weight float64, reason string, err error) {
	faults, banned := n.scores.fault(id, weight)
	n.bus.Report(events.PeerFault{
		Peer: id, Reason: reason, Faults: math.Round(faults*100) / 100, Err: err,
	})
	if banned {
		n.bus.Report(events.PeerBanned{Peer: id, Reason: reason})
		n.Disconnect(id, "banned: "+reason)
	}
}

// Disconnect ends the connections to a peer, and logs the reason.
func (n *Network) Disconnect(id peer.ID, reason string) {
	if c := n.peers.get(id); c != nil {
		c.setClosing(reason)
	}
	// Closing a connection waits for its streams, and the caller may be serving one.
	n.spawn(func(context.Context) {
		if err := n.host.Network().ClosePeer(id); err != nil {
			n.log.Debug("closing a connection failed", logging.Peer(id), logging.Err(err))
		}
	})
}

func direction(conn network.Conn) string {
	if conn.Stat().Direction == network.DirOutbound {
		return events.DirectionOutbound
	}
	return events.DirectionInbound
}
