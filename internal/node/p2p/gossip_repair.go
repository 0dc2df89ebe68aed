package p2p

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

const (
	// gossipCheck is the time between two checks of gossip with all peers.
	gossipCheck = 500 * time.Millisecond
	// gossipGrace is how long pubsub may be without a stream to a connected peer, or without
	// subscriptions that the peer announced, before the node acts.
	gossipGrace = 2 * time.Second
	// maxTopics and maxTopicName bound the number and the length of the topics that are recorded
	// for a peer.
	maxTopics    = 64
	maxTopicName = 256
	// firstReset and maxReset bound the time between two resets of the connection to one peer. See
	// resetGossip.
	firstReset = 15 * time.Second
	maxReset   = 10 * time.Minute
	// foreignAfter is how long a peer that gossips may announce only topics of other networks
	// before it counts as foreign.
	foreignAfter = 2 * lstar.SecondsPerSlot * time.Second
)

// gossipState is the state of gossip with a peer.
type gossipState struct {
	mu     sync.Mutex
	topics map[string]bool // announced by the peer, of any network
	// silent is the time since which pubsub has no stream to the peer, and lost the time since
	// which it lacks the peer's subscriptions. They are zero while pubsub has them.
	silent, lost time.Time
	reported     bool          // the loss has been reported
	wait         time.Duration // from silent until the next attempt to open a stream
	foreign      bool          // the peer has been reported as foreign
}

// subscribe records the changes that a peer announces to its subscriptions.
func (c *connectedPeer) subscribe(changes []*pubsubpb.RPC_SubOpts) {
	if len(changes) == 0 {
		return
	}
	g := &c.gossip
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range changes {
		name := s.GetTopicid()
		switch {
		case !s.GetSubscribe():
			delete(g.topics, name)
		case len(g.topics) < maxTopics && len(name) <= maxTopicName:
			g.topics[name] = true
		}
	}
}

// gossipWatch returns a function that maintains gossip with each connected peer, in both directions,
// until its context ends. The caller must call the function. Peers may connect before that.
//
// The function opens the streams that pubsub does not open: to peers that do not support the
// identify protocol, such as leanSpec's node, because pubsub waits for identify; and to peers whose
// streams failed, or ended more often than pubsub accepts (four times in ten minutes).
//
// It also closes the connection to a peer whose subscriptions pubsub has lost. Both sides then announce
// them again. links prevents the known cause of such a loss; this is the safety net for other causes.
func (n *Network) gossipWatch() (func(ctx context.Context), error) {
	bus := n.host.EventBus()
	failed, err := bus.Subscribe(new(event.EvtPeerIdentificationFailed))
	if err != nil {
		return nil, err
	}
	completed, err := bus.Emitter(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return nil, errors.Join(err, failed.Close())
	}
	openStream := func(id peer.ID) {
		conns := n.host.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			return
		}
		err := completed.Emit(event.EvtPeerIdentificationCompleted{
			Peer: id, Conn: conns[0], Protocols: []protocol.ID{pubsub.GossipSubID_v12},
		})
		if err != nil {
			n.log.Debug("no gossip with a peer", logging.Peer(id), logging.Err(err))
		}
	}
	return func(ctx context.Context) {
		defer failed.Close()
		defer completed.Close()
		check := time.NewTicker(gossipCheck)
		defer check.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-failed.Out():
				if !ok {
					return
				}
				openStream(e.(event.EvtPeerIdentificationFailed).Peer)
			case <-check.C:
				listed := n.listed()
				peers := n.peers.all()
				for _, c := range peers {
					if n.isSilent(c) {
						openStream(c.id)
					}
					if n.hasLost(c, listed[c.id]) {
						n.resetGossip(c)
					}
				}
				n.findForeign(peers)
			}
		}
	}, nil
}

// listed returns, for each peer, the number of this network's topics for which pubsub lists it as a
// subscriber.
func (n *Network) listed() map[peer.ID]int {
	counts := make(map[peer.ID]int)
	for _, topic := range n.topics {
		for _, id := range topic.ListPeers() {
			counts[id]++
		}
	}
	return counts
}

// isSilent reports whether pubsub has been without a stream to a peer for so long that the node
// should open one. The time between two attempts doubles.
func (n *Network) isSilent(c *connectedPeer) bool {
	g := &c.gossip
	g.mu.Lock()
	defer g.mu.Unlock()
	now := n.now()
	if n.tracer.hasStream(c.id) {
		g.silent, g.wait = time.Time{}, gossipGrace
		return false
	}
	if g.silent.IsZero() {
		g.silent, g.wait = now, gossipGrace
	}
	if now.Sub(g.silent) < g.wait {
		return false
	}
	g.silent, g.wait = now, min(2*g.wait, time.Minute)
	return true
}

// hasLost reports whether pubsub has lacked the subscriptions of a peer for gossipGrace. It returns
// true once per loss.
func (n *Network) hasLost(c *connectedPeer, listed int) bool {
	g := &c.gossip
	g.mu.Lock()
	defer g.mu.Unlock()
	if listed > 0 || n.common(g.topics) == 0 {
		g.lost, g.reported = time.Time{}, false
		return false
	}
	now := n.now()
	if g.lost.IsZero() {
		g.lost = now
	}
	if g.reported || now.Sub(g.lost) < gossipGrace {
		return false
	}
	g.reported = true
	return true
}

// findForeign reports peers that gossip only on topics of other networks.
func (n *Network) findForeign(peers []*connectedPeer) {
	foreign, ours := 0, 0
	for _, c := range peers {
		theirs, common := n.topicsOf(c)
		switch {
		case common > 0:
			ours++
		case len(theirs) == 0 && !n.tracer.hasStream(c.id) || n.now().Sub(c.peerInfo().Connected) < foreignAfter:
		default:
			foreign++
			if c.gossip.reportForeign() {
				n.bus.Report(events.ForeignPeer{Peer: c.id, Ours: n.topicNames(), Theirs: theirs})
			}
		}
	}
	n.isolated.Store(foreign > 0 && ours == 0)
	n.bus.Report(events.ForeignPeers{Count: foreign})
}

// topicsOf returns the topics of a peer, sorted, and how many of them belong to this network.
func (n *Network) topicsOf(c *connectedPeer) (topics []string, common int) {
	c.gossip.mu.Lock()
	defer c.gossip.mu.Unlock()
	return slices.Sorted(maps.Keys(c.gossip.topics)), n.common(c.gossip.topics)
}

// reportForeign reports whether this is the first call for the peer.
func (g *gossipState) reportForeign() (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first, g.foreign = !g.foreign, true
	return first
}

// topicNames returns the names of this network's topics, sorted.
func (n *Network) topicNames() []string {
	names := make([]string, 0, len(n.topics))
	for topic := range n.topics {
		names = append(names, topic.String())
	}
	slices.Sort(names)
	return names
}

// Isolated reports whether peers gossip, but all of them only on topics of other networks.
func (n *Network) Isolated() bool { return n.isolated.Load() }

// common returns the number of this network's topics in a set.
func (n *Network) common(topics map[string]bool) int {
	count := 0
	for topic := range n.topics {
		if topics[topic.String()] {
			count++
		}
	}
	return count
}

// resetGossip closes the connection to a peer and dials it again. It does neither if the previous
// reset was too recent, or if the node has no address of the peer: the peer may not dial again, and
// leanSpec's node does not.
func (n *Network) resetGossip(c *connectedPeer) {
	addrs := n.host.Peerstore().Addrs(c.id)
	reset := len(addrs) > 0 && n.resets.allow(c.id, n.now())
	n.bus.Report(events.SubscriptionsLost{Peer: c.id, Reset: reset})
	if !reset {
		return
	}
	n.Disconnect(c.id, "its gossip subscriptions were lost")
	n.spawn(func(ctx context.Context) {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		err := n.host.Connect(ctx, peer.AddrInfo{ID: c.id, Addrs: addrs})
		if err != nil && !errors.Is(err, context.Canceled) {
			n.log.Debug("peer cannot be dialed again", logging.Peer(c.id), logging.Err(err))
		}
	})
}

// resets records which connections were closed to restore gossip, and when.
type resets struct {
	mu    sync.Mutex
	peers *simplelru.LRU[peer.ID, pause]
}

// pause is the time that must pass between a reset and the next one.
type pause struct {
	from time.Time
	wait time.Duration
}

func newResets() resets {
	peers, _ := simplelru.NewLRU[peer.ID, pause](maxKnownFaulty, nil) // only fails without a size
	return resets{peers: peers}
}

// allow reports whether the connection to a peer may be closed now, and if so, records it. The
// pause doubles with each reset. After two pauses without a reset, it starts at firstReset again.
func (r *resets) allow(id peer.ID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.peers.Get(id)
	since := now.Sub(last.from)
	switch {
	case !ok || since > 2*last.wait:
		last.wait = firstReset
	case since < last.wait:
		return false
	default:
		last.wait = min(2*last.wait, maxReset)
	}
	last.from = now
	r.peers.Add(id, last)
	return true
}
