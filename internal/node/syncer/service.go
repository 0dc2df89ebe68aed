// Package sync brings the chain to where the network is and keeps it there: it
// judges gossip, parks what comes too early, fetches what is missing, and serves
// blocks to peers.
//
// What is missing is found in two places: in what peers say about their heads,
// and in blocks whose parents we do not have. A long way is gone by slots, many
// batches at a time from several peers; a short one, or one that leads to another
// fork, from block to parent. Each is the fallback of the other, and every
// failure ends in a bounded wait, never in a state that nothing leaves.
//
// leanSpec: node/sync
package syncer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// requestTimeout is when a request is given up, also where the network has not
	// noticed: the whole answer has 10 s.
	requestTimeout = 10 * time.Second
	// pauseIntervals is a step of the clock that no busy machine explains: the
	// process was stopped, or the clock was set.
	pauseIntervals = 2 * lstar.IntervalsPerSlot
	// maxBadBlocks is the number of invalid blocks that are remembered, twice over.
	maxBadBlocks = 1024
	// maxUnlocked bounds the votes that are about to be replayed.
	maxUnlocked = 2 * maxPendingVotes
)

// State is the phase that a node is in.
//
// leanSpec: node/sync/states.py, SyncState
type State int

const (
	// Idle: no peer is known.
	Idle State = iota
	// Syncing: behind the network's finalized slot, or about to find out.
	Syncing
	// Synced: caught up with the network's finalized slot.
	Synced
)

func (s State) String() string { return [...]string{"idle", "syncing", "synced"}[s] }

// Chain is the chain that is synced.
type Chain interface {
	ImportBlock(ctx context.Context, b *lstar.SignedBlock, from chain.Origin) error
	VerifyProposer(ctx context.Context, b *lstar.SignedBlock, root lstar.Root) error
	AddAttestation(ctx context.Context, a *lstar.SignedAttestation, from chain.Origin) error
	AddAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation, from chain.Origin) error
	Snapshot() *lstar.Snapshot
	Watch() (*lstar.Snapshot, <-chan struct{})
}

// Blocks are the blocks of the chain that peers are served.
type Blocks interface {
	// Block returns a block with its proof, or nil if it is not kept.
	Block(root lstar.Root) (*lstar.SignedBlock, error)
	// MissingAnchor returns the block that the chain starts from, if it is not kept
	// or has no proof. AddAnchor adds it, with a proof that was verified.
	MissingAnchor() (at lstar.Checkpoint, missing bool)
	AddAnchor(b *lstar.SignedBlock) error
}

// Config is what a Service needs.
type Config struct {
	Chain  Chain // which has not imported anything yet
	Clock  clock.Clock
	Bus    *events.Bus
	Log    *slog.Logger
	Blocks Blocks // to serve
	// VerifyProof checks the proof of a block. It is needed where the anchor of
	// Blocks is missing.
	VerifyProof func(b *lstar.SignedBlock) error
	// Network may be given later, by SetNetwork.
	Network p2p.Requester
	// Pulse beats while the service looks at what it waits for. It may be nil.
	Pulse *health.Pulse
}

// Service is a p2p.Handler.
type Service struct {
	cfg  Config
	view atomic.Pointer[View]

	// Each has at most one element: something is to be planned, imported or
	// replayed.
	planned, unlocked, votesUnlocked chan struct{}

	mu            sync.Mutex
	state         State
	peers         map[peer.ID]*syncPeer
	conflicts     map[peer.ID]time.Time // peers of another chain, by when they came
	orphans       *orphans
	bad           *bounded.Set[lstar.Root] // blocks that can never be valid
	conflicting   *bounded.Set[lstar.Root] // blocks of a fork that branches off before what is final
	finalized     lstar.Slot               // of the last plan
	faulted       *bounded.Set[orphanKey]  // copies that were counted against their peers
	importing     map[lstar.Root]int       // number of imports under way
	ready         []lstar.Root             // imported blocks that others waited for
	wants         map[lstar.Root]*want
	requests      map[*blockRequest]struct{}
	faults        []fault
	run           *rangeRun
	rangeFailures int
	rangeAfter    time.Time
	warned        bool // of a chain that is too far ahead
	lastInterval  lstar.Interval
	ticked        bool

	pendingAttestations, pendingAggregates *pendingVotes
	unlockedVotes                          []*vote
	unlockedCount                          atomic.Int64 // of them
	seenVotes                              *bounded.Set[voteKey]
}

var _ p2p.Handler = (*Service)(nil)

// View is how far the node is, as the service sees it. With the head and the clock,
// it is all that health.Evaluate needs to decide whether the node is synced.
type View struct {
	State State
	// Distance is the number of slots from our head to the best block known, 0 where
	// there is no gap.
	Distance uint64
	// Gap says that blocks exist that are yet to be imported: a proposer signed a
	// descendant, or a peer claims so that has not failed to show it. A block that is
	// just on its way does not count.
	Gap bool
	// MissingAncestor says that blocks that their proposers signed wait for one that
	// was asked of several peers in vain.
	MissingAncestor bool
	// Agree is the number of peers that said not long ago that their head is not newer
	// than ours.
	Agree int
	// Peers is the number of peers whose status is known.
	Peers int

	interval lstar.Interval // of the last tick
	outdated chan struct{}  // closed once there is a newer one
}

// Outdated returns a channel that is closed once there is a newer View.
func (v *View) Outdated() <-chan struct{} { return v.outdated }

// New returns a service that judges and serves from the start, and fetches what
// is missing while it runs.
func New(cfg Config) *Service {
	s := &Service{
		cfg:           cfg,
		planned:       make(chan struct{}, 1),
		unlocked:      make(chan struct{}, 1),
		votesUnlocked: make(chan struct{}, 1),

		peers:               make(map[peer.ID]*syncPeer),
		conflicts:           make(map[peer.ID]time.Time),
		orphans:             newOrphans(),
		bad:                 bounded.NewSet[lstar.Root](maxBadBlocks),
		conflicting:         bounded.NewSet[lstar.Root](maxBadBlocks),
		faulted:             bounded.NewSet[orphanKey](maxBadBlocks),
		importing:           make(map[lstar.Root]int),
		wants:               make(map[lstar.Root]*want),
		requests:            make(map[*blockRequest]struct{}),
		pendingAttestations: newPendingVotes(events.QueuePendingAttestations),
		pendingAggregates:   newPendingVotes(events.QueuePendingAggregates),
		seenVotes:           bounded.NewSet[voteKey](maxSeenVotes),
	}
	s.view.Store(&View{outdated: make(chan struct{})})
	return s
}

// Queues returns what waits here for something else.
func (s *Service) Queues() []events.Queue {
	return []events.Queue{
		{Name: events.QueueOrphanBlocks, Capacity: maxOrphans, Length: s.orphans.store.Len},
		{Name: events.QueuePendingAttestations, Capacity: maxPendingVotes, Length: s.pendingAttestations.store.Len},
		{Name: events.QueuePendingAggregates, Capacity: maxPendingVotes, Length: s.pendingAggregates.store.Len},
		{Name: events.QueueUnlockedVotes, Capacity: maxUnlocked, Length: func() int { return int(s.unlockedCount.Load()) }},
	}
}

// SetNetwork gives the service the network. It must be called before Run, where
// Config has none.
func (s *Service) SetNetwork(n p2p.Requester) { s.cfg.Network = n }

// View returns how far the node is. All that it says is of one moment.
func (s *Service) View() *View { return s.view.Load() }

// Distance returns the Distance of the View.
func (s *Service) Distance() uint64 { return s.View().Distance }

// CurrentSlot returns the slot of the wall clock.
func (s *Service) CurrentSlot() lstar.Slot { return s.cfg.Clock.Slot() }

// Run fetches what is missing until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	if s.cfg.Network == nil {
		return errors.New("sync: no network")
	}
	s.cfg.Pulse.Rest()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { _ = s.cfg.Clock.Each(ctx, s.tick) })
	running.Go(func() { s.importReady(ctx) })
	running.Go(func() { s.replay(ctx) })
	running.Go(func() { s.fetchAnchor(ctx) })
	for {
		for _, start := range s.plan(ctx) {
			running.Go(start)
		}
		select {
		case <-s.planned:
		case <-ctx.Done():
			return nil
		}
	}
}

// kick puts an element into a channel for one.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wake makes Run look at what there is to do.
func (s *Service) wake() { kick(s.planned) }

// tick is called with every interval.
func (s *Service) tick(i lstar.Interval) {
	s.cfg.Pulse.Beat()
	defer s.cfg.Pulse.Rest()
	s.mu.Lock()
	now := s.cfg.Clock.Now()
	paused := s.ticked && i > s.lastInterval+pauseIntervals
	s.lastInterval, s.ticked = i, true
	for r := range s.requests {
		if !r.answered && !now.Before(r.deadline) {
			if !paused && !r.late { // else it is us who were away
				s.blame(r.peer, "request timed out")
				r.unanswered = true
			}
			r.late = true
			r.cancel()
		}
	}
	if paused {
		for _, p := range s.peers { // what they said is old
			p.statusAt, p.askAfter = time.Time{}, time.Time{}
		}
	}
	s.reportAgreement()
	s.mu.Unlock()
	kick(s.unlocked) // for a batch whose import failed here
	if paused {
		s.cfg.Log.Info("the clock jumped, asking peers for their status", logging.Slot(i.Slot()))
	}
	s.penalize()
	s.wake()
}

// fault is something to be counted against a peer.
type fault struct {
	peer   peer.ID
	reason string
}

// blame notes a fault of a peer. The caller holds the lock, and calls penalize
// when it no longer does: the network may call us back.
func (s *Service) blame(id peer.ID, reason string) { s.faults = append(s.faults, fault{id, reason}) }

// blameBlock counts a peer's invalid copy of a block against it, once: the same
// copy can come again because this node asked for it again.
func (s *Service) blameBlock(id peer.ID, root lstar.Root, reason string) {
	s.mu.Lock()
	key := orphanKey{root, id}
	known := s.faulted.Has(key)
	if !known {
		s.faulted.Add(key)
		s.blame(id, reason)
	}
	s.mu.Unlock()
	s.penalize()
}

// penalize reports the faults that were noted.
func (s *Service) penalize() {
	s.mu.Lock()
	faults := s.faults
	s.faults = nil
	s.mu.Unlock()
	for _, f := range faults {
		s.cfg.Network.Penalize(f.peer, f.reason)
	}
}

// known reports whether a block is part of the chain.
func (s *Service) known(root lstar.Root) bool { return s.cfg.Chain.Snapshot().Block(root) != nil }

// dropped reports items that left a full queue.
func (s *Service) dropped(queue string, n int) {
	for range n {
		s.cfg.Bus.Report(events.QueueDropped{Queue: queue})
	}
}
