package p2p

import (
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// ErrNotConnected is the error of a request to a peer that is not connected.
var ErrNotConnected = errors.New("peer is not connected")

// peers are the connected peers.
type peers struct {
	now func() time.Time

	mu      sync.Mutex
	byID    map[peer.ID]*connectedPeer
	leaving map[peer.ID]chan struct{} // connectedPeer.finished of peers whose OnDisconnect has not returned
}

// connectedPeer is the state of a connected peer.
type connectedPeer struct {
	id peer.ID
	// inFlight has an element for each unanswered request of this node to the peer.
	inFlight chan struct{}
	// serving has an element for each request of the peer that is being answered.
	serving chan struct{}
	// requests, blocks and bytes limit the requests of the peer.
	requests, blocks, bytes *rate.Limiter
	// gossiped limits the blocks that the peer sends by gossip.
	gossiped *rate.Limiter
	gossip   gossipState
	// gone is closed when the last connection ends.
	gone chan struct{}

	// handler is held during calls of the Handler about this peer. announced is true after
	// OnConnect. finished is closed after OnDisconnect. previous is the channel finished of the
	// peer's previous connection if its OnDisconnect has not returned.
	handler   sync.Mutex
	announced bool
	finished  chan struct{}
	previous  <-chan struct{}

	// Guarded by the mutex of peers.
	conns    int  // number of open connections, plus one if expected is true
	expected bool // a connection is about to replace the present one

	mu          sync.Mutex
	info        PeerInfo
	unsupported map[string]time.Time
	closing     string // the reason if this node closes the connection
}

// add counts a connection. It returns the peer, and whether this is its first connection.
func (p *peers) add(conn network.Conn) (c *connectedPeer, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := conn.RemotePeer()
	c = p.byID[id]
	if c == nil {
		now := p.now()
		c = &connectedPeer{
			gossiped:    rate.NewLimiter(gossipedBlocksPerSecond, gossipedBlockBurst),
			id:          id,
			inFlight:    make(chan struct{}, maxInFlight),
			serving:     make(chan struct{}, maxServingPerPeer),
			requests:    rate.NewLimiter(requestsPerSecond, requestBurst),
			blocks:      rate.NewLimiter(blocksPerSecond, blockBurst),
			bytes:       rate.NewLimiter(bytesPerSecond, byteBurst),
			gone:        make(chan struct{}),
			finished:    make(chan struct{}),
			previous:    p.leaving[id],
			unsupported: make(map[string]time.Time),
			gossip:      gossipState{topics: make(map[string]bool)},
			info: PeerInfo{
				ID: id, Direction: direction(conn), Address: conn.RemoteMultiaddr().String(), Connected: now,
			},
		}
		p.byID[id] = c
		first = true
	}
	if c.expected {
		c.expected = false
		c.mu.Lock()
		c.info.Direction, c.info.Address = direction(conn), conn.RemoteMultiaddr().String()
		c.mu.Unlock()
	} else {
		c.conns++
	}
	return c, first
}

// expectReplacement keeps a peer after the end of its connection, until the next connection is
// added or cancelReplacement is called. It returns false if the peer is not connected or a
// connection is expected already.
func (p *peers) expectReplacement(id peer.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.byID[id]
	if c == nil || c.expected {
		return false
	}
	c.expected = true
	c.conns++
	return true
}

// cancelReplacement undoes expectReplacement if no connection was added since. If the old
// connection has ended, it returns the results of remove.
func (p *peers) cancelReplacement(id peer.ID) (c *connectedPeer, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c = p.byID[id]
	if c == nil || !c.expected {
		return nil, false
	}
	c.expected = false
	return p.drop(c)
}

// remove discounts a connection. It returns the peer, or nil if the connection was not added, and
// whether this was its last connection.
func (p *peers) remove(id peer.ID) (c *connectedPeer, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c = p.byID[id]
	if c == nil {
		return nil, false
	}
	return p.drop(c)
}

// drop discounts a connection of a peer. The caller holds the mutex.
func (p *peers) drop(c *connectedPeer) (_ *connectedPeer, last bool) {
	if c.conns--; c.conns > 0 {
		return c, false
	}
	delete(p.byID, c.id)
	p.leaving[c.id] = c.finished
	close(c.gone)
	return c, true
}

// forget removes a peer whose OnDisconnect has returned.
func (p *peers) forget(c *connectedPeer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving[c.id] == c.finished {
		delete(p.leaving, c.id)
	}
}

// announce calls the handler's OnConnect, unless it was called before, and then f, which may be
// nil. It does nothing if the peer has disconnected.
func (c *connectedPeer) announce(h Handler, f func()) {
	c.handler.Lock()
	defer c.handler.Unlock()
	if c.isGone() {
		return
	}
	if !c.announced {
		if c.previous != nil {
			<-c.previous
		}
		c.announced = true
		h.OnConnect(c.id, c.peerInfo().Direction == events.DirectionOutbound)
	}
	if f != nil {
		f()
	}
}

// finish calls the handler's OnDisconnect if OnConnect was called.
func (c *connectedPeer) finish(h Handler) {
	c.handler.Lock()
	defer c.handler.Unlock()
	if c.announced {
		h.OnDisconnect(c.id)
	}
	close(c.finished)
}

func (p *peers) get(id peer.ID) *connectedPeer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

func (p *peers) all() []*connectedPeer {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*connectedPeer, 0, len(p.byID))
	for _, c := range p.byID {
		all = append(all, c)
	}
	return all
}

func (p *peers) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}

// lacks reports whether the peer has recently refused a protocol.
func (c *connectedPeer) lacks(protocol string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.unsupported[protocol]
	return ok && now.Before(until)
}

func (c *connectedPeer) setLacks(protocol string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsupported[protocol] = until
}

func (c *connectedPeer) setStatus(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.Status = &s
}

func (c *connectedPeer) setClosing(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing == "" {
		c.closing = reason
	}
}

func (c *connectedPeer) closingReason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

func (c *connectedPeer) peerInfo() PeerInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

func (c *connectedPeer) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}
