package p2p

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"
)

// How faults of peers add up. A fault is something that no correct peer does: bad
// bytes, a message that was rejected, an answer to something else than was asked,
// a request without an end. What happens to honest peers, such as connections
// that break, unknown protocols and dials that time out, is none.
const (
	maxFaults      = 10 // a peer with that many is banned
	faultHalfLife  = time.Minute
	banTime        = 5 * time.Minute
	maxKnownFaulty = 4096 // peers whose faults are remembered; those of others are forgotten first
)

// scores counts the faults of peers, across their connections.
type scores struct {
	now func() time.Time

	mu    sync.Mutex
	peers *simplelru.LRU[peer.ID, *score]
}

type score struct {
	faults      float64 // as of at
	at          time.Time
	bannedUntil time.Time
}

func newScores(now func() time.Time) *scores {
	peers, err := simplelru.NewLRU[peer.ID, *score](maxKnownFaulty, nil)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &scores{now: now, peers: peers}
}

// relayedFault is what a bad gossip message counts: who sent it to us may only
// have passed it on. leanSpec's node forwards before it judges, and must not be
// banned for what others sent to it.
const relayedFault = 0.5

// fault counts a fault of some weight, and reports how many there are now and
// whether this one bans the peer. The ban starts with a clean slate.
func (s *scores) fault(id peer.ID, weight float64) (faults float64, banned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	p, ok := s.peers.Get(id)
	if !ok {
		p = &score{at: now}
		s.peers.Add(id, p)
	}
	p.faults = p.faults*math.Exp2(-float64(now.Sub(p.at))/float64(faultHalfLife)) + weight
	p.at = now
	faults = p.faults
	if faults <= maxFaults-1 || now.Before(p.bannedUntil) {
		return faults, false
	}
	p.faults, p.bannedUntil = 0, now.Add(banTime)
	return faults, true
}

// banned reports whether a peer is to be kept out.
func (s *scores) banned(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.peers.Peek(id)
	return ok && s.now().Before(p.bannedUntil)
}
