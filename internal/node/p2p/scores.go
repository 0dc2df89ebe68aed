package p2p

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of the faults of a peer. A fault is an action that a correct peer does not take: it sends
// invalid bytes, a message that is rejected, a response that does not match the request, or an
// incomplete request. Failures of correct peers, such as a broken connection, an unknown protocol
// or a dial that times out, are not faults.
const (
	maxFaults      = 10 // a peer with this number of faults is banned
	faultHalfLife  = time.Minute
	banTime        = 5 * time.Minute
	maxKnownFaulty = 4096 // number of peers whose faults are stored
)

// scores counts the faults of peers across connections. Faults decay with faultHalfLife.
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
	peers, _ := simplelru.NewLRU[peer.ID, *score](maxKnownFaulty, nil) // only fails without a size
	return &scores{now: now, peers: peers}
}

// relayedFault is the weight of an invalid gossip message. leanSpec's node forwards messages before
// it validates them, so the sender need not be the author.
const relayedFault = 0.5

// fault adds a fault of a weight. It returns the sum of the peer's faults, and whether this fault
// bans the peer. A ban resets the sum to 0.
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

// banned reports whether a peer is banned.
func (s *scores) banned(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.peers.Peek(id)
	return ok && s.now().Before(p.bannedUntil)
}
