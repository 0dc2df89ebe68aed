// Package syncer brings the chain to the head of the network and keeps it there: it judges gossip,
// parks blocks and votes that arrive too early, fetches missing blocks, and serves blocks to peers.
//
// All decisions are made by planner, a deterministic state machine. It has no clock, lock,
// goroutine, channel, socket or logger, and its randomness comes from a seed. Step takes an event:
// a block or a vote came by gossip, a request was answered, a block was imported, a peer connected,
// an interval began. Effects returns the resulting actions: send a request, import a block, check a
// signature, give the verdict on a gossip message, count a fault of a peer. An effect that takes
// time ends with another event, which brings its result. The same events give the same effects, so
// every behavior is tested by calling two functions, and FuzzPlanner checks the invariants after
// every event. The pattern is that of Ready in go.etcd.io/raft.
//
// Service is the shell around the planner. One goroutine, in Run, owns the planner: it passes
// events on, in the order in which they come, and starts the effects. It never waits for an effect.
// Goroutines of the network wait in the methods of p2p.Handler for the verdict on their message, so
// a full queue of events slows gossip down and takes no memory. The planner bounds all that is in
// progress, and so the number of goroutines.
//
// Missing blocks are found in two places: in the statuses of peers, and in blocks whose parents
// this node does not have. A long gap is closed by ranges of slots, many batches at a time from
// several peers; a short one, or one that leads to another fork, from block to parent. Each is the
// fallback of the other, and every failure ends in a bounded wait.
//
//	planner.go          events, effects, requests, the plan
//	planner_peers.go    connected peers, statuses, scores
//	planner_blocks.go   blocks by gossip, imports
//	planner_parked.go   blocks that wait for their parents
//	planner_missing.go  missing blocks, requests by root
//	planner_range.go    requests by range
//	planner_votes.go    votes by gossip, votes that wait for a block
//	planner_anchor.go   the block that the chain starts from
//	view.go             whether the node is synced, and whether duties are allowed
//	cause.go            which errors are faults of a peer
//
// leanSpec: node/sync
package syncer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// inputQueue bounds the events that wait for the planner's owner.
	inputQueue = 1024
	// maxTickWait bounds the time between two ticks, so that the planner soon notices a clock that
	// is set back.
	maxTickWait = 2 * intervalTime
)

// Chain is the chain that is synced.
type Chain interface {
	ImportBlock(ctx context.Context, b *lstar.SignedBlock, from chain.Origin) error
	VerifyProposer(ctx context.Context, b *lstar.SignedBlock, root lstar.Root) error
	AddAttestation(ctx context.Context, a *lstar.SignedAttestation, from chain.Origin) error
	AddAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation, from chain.Origin) error
	Snapshot() *lstar.Snapshot
	Watch() (*lstar.Snapshot, <-chan struct{})
}

// Blocks is the storage of the blocks that this node serves to peers.
type Blocks interface {
	// Block returns a block with its proof, or nil if it is not kept.
	Block(root lstar.Root) (*lstar.SignedBlock, error)
	// MissingAnchor returns the block that the chain starts from, and whether it or its proof is
	// missing. AddAnchor adds it with a verified proof.
	MissingAnchor() (at lstar.Checkpoint, missing bool)
	AddAnchor(b *lstar.SignedBlock) error
}

// Config has the dependencies of a Service.
type Config struct {
	Chain  Chain
	Clock  clock.Clock
	Bus    *events.Bus
	Log    *slog.Logger
	Blocks Blocks // to serve
	// VerifyProof checks the proof of a block. It is required if the anchor of Blocks is missing.
	VerifyProof func(b *lstar.SignedBlock) error
	// Network may be set later, by SetNetwork.
	Network p2p.Requester
	// Pulse gets a beat at each turn of the planner's owner. It may be nil.
	Pulse *health.Pulse
}

// Service is a p2p.Handler. It judges messages and fetches blocks while Run runs, and serves blocks
// at any time.
type Service struct {
	cfg      Config
	planner  *planner // of Run
	inputs   chan input
	stopped  chan struct{} // closed at the end of Run
	view     atomic.Pointer[published]
	unlocked atomic.Int64 // length of planner.unlocked
}

var _ p2p.Handler = (*Service)(nil)

// published is a View, and a channel that is closed once there is a newer one.
type published struct {
	View
	outdated chan struct{}
}

// input is an event. If it is a message that waits for an answer, reply gets it.
type input struct {
	event   event
	message any // *candidate, *vote or *statusMessage
	reply   chan<- reply
}

// reply is the answer to a message. If judge is set, the goroutine that waits must check its vote.
type reply struct {
	verdict p2p.Verdict
	judge   bool
	err     error // of a status
}

// New returns a service that does nothing until Run.
func New(cfg Config) *Service {
	s := &Service{
		cfg:     cfg,
		planner: newPlanner(cfg.Clock.SlotClock, cfg.Clock.Now(), cfg.Chain.Snapshot(), rand.Uint64()),
		inputs:  make(chan input, inputQueue),
		stopped: make(chan struct{}),
	}
	s.view.Store(&published{s.planner.view, make(chan struct{})})
	return s
}

// Queues returns the queues of waiting blocks and votes, for metrics.
func (s *Service) Queues() []events.Queue {
	p := s.planner
	return []events.Queue{
		{Name: events.QueueOrphanBlocks, Capacity: maxParked, Length: p.parked.queue.Len},
		{Name: events.QueuePendingAttestations, Capacity: maxPendingVotes, Length: p.pendingAttestations.queue.Len},
		{Name: events.QueuePendingAggregates, Capacity: maxPendingVotes, Length: p.pendingAggregates.queue.Len},
		{Name: events.QueueUnlockedVotes, Capacity: maxUnlocked, Length: func() int { return int(s.unlocked.Load()) }},
	}
}

// SetNetwork sets the network. It must be called before Run if Config has none.
func (s *Service) SetNetwork(n p2p.Requester) { s.cfg.Network = n }

// View returns the latest view.
func (s *Service) View() View { return s.view.Load().View }

// Watch returns the latest view, and a channel that is closed once there is a newer one.
func (s *Service) Watch() (View, <-chan struct{}) {
	v := s.view.Load()
	return v.View, v.outdated
}

// Duties returns the state of the duty gate at a slot of the wall clock.
func (s *Service) Duties(slot lstar.Slot) events.DutyGate {
	v := s.View()
	return v.Duties(slot)
}

// CurrentSlot returns the slot of the wall clock.
func (s *Service) CurrentSlot() lstar.Slot { return s.cfg.Clock.Slot() }

// OnBlock judges a block that came by gossip.
func (s *Service) OnBlock(ctx context.Context, from peer.ID, b *lstar.SignedBlock) p2p.Verdict {
	c, refused, why := received(s.cfg.Clock.SlotClock, s.cfg.Clock.Now(), from, b)
	if c == nil {
		s.cfg.Bus.Report(why)
		return refused
	}
	s.cfg.Bus.Report(events.BlockGossiped{Slot: b.Block.Slot, Root: c.root, Peer: from})
	return s.ask(ctx, blockGossiped{c}, c, make(chan reply, 1)).verdict
}

// OnAttestation judges a vote that came by gossip.
func (s *Service) OnAttestation(ctx context.Context, from peer.ID, a *lstar.SignedAttestation) p2p.Verdict {
	return s.judge(ctx, newVote(s.cfg.Clock.Now(), from, a))
}

// OnAggregate judges an aggregate that came by gossip.
func (s *Service) OnAggregate(ctx context.Context, from peer.ID, a *lstar.SignedAggregatedAttestation) p2p.Verdict {
	return s.judge(ctx, &vote{from: from, came: s.cfg.Clock.Now(), aggregate: a})
}

// judge returns the planner's verdict on a vote. The waiting goroutine checks the vote, so no other
// one is needed.
func (s *Service) judge(ctx context.Context, v *vote) p2p.Verdict {
	replies := make(chan reply, 1)
	r := s.ask(ctx, voteGossiped{v}, v, replies)
	for r.judge {
		r = s.ask(ctx, voteJudged{v, s.submit(ctx, v)}, v, replies)
	}
	return r.verdict
}

// submit passes a vote to the chain.
func (s *Service) submit(ctx context.Context, v *vote) error {
	origin := chain.Origin{Gossip: true, Peer: v.from}
	if v.attestation != nil {
		return s.cfg.Chain.AddAttestation(ctx, v.attestation, origin)
	}
	return s.cfg.Chain.AddAggregate(ctx, v.aggregate, origin)
}

// Status returns the status of this node for peers.
func (s *Service) Status() p2p.Status {
	snap := s.cfg.Chain.Snapshot()
	return p2p.Status{Finalized: snap.LatestFinalized, Head: snap.Head}
}

// OnConnect adds a peer. dialed is true if this node opened the connection.
func (s *Service) OnConnect(id peer.ID, dialed bool) { s.post(peerConnected{id, dialed}) }

// OnDisconnect removes a peer and ends the requests to it.
func (s *Service) OnDisconnect(id peer.ID) { s.post(peerGone{id}) }

// OnStatus handles the status of a peer. It returns an error if the peer is on another chain.
func (s *Service) OnStatus(from peer.ID, status p2p.Status) error {
	m := &statusMessage{from, status}
	return s.ask(context.Background(), statusReceived{m}, m, make(chan reply, 1)).err
}

// OnOwnBlock handles a block that this node made and imported.
func (s *Service) OnOwnBlock(b *lstar.SignedBlock) { s.post(blockProduced{b.Block.Root()}) }

// post passes an event to the planner's owner, unless Run has ended.
func (s *Service) post(e event) {
	select {
	case s.inputs <- input{event: e}:
	case <-s.stopped:
	}
}

// ask passes an event to the planner's owner and returns the reply to its message. If ctx or Run
// ends first, the verdict is Ignore.
func (s *Service) ask(ctx context.Context, e event, message any, replies chan reply) reply {
	select {
	case s.inputs <- input{e, message, replies}:
		select {
		case r := <-replies:
			return r
		case <-ctx.Done():
		case <-s.stopped:
		}
	case <-ctx.Done():
	case <-s.stopped:
	}
	return reply{verdict: p2p.Ignore}
}

// owner is the goroutine that owns the planner.
type owner struct {
	*Service
	ctx     context.Context
	workers sync.WaitGroup
	waiting map[any]chan<- reply            // by message
	cancels map[*request]context.CancelFunc // of requests in flight
}

// Run owns the planner until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	if s.cfg.Network == nil {
		return errors.New("sync: no network")
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &owner{Service: s, ctx: ctx, waiting: make(map[any]chan<- reply), cancels: make(map[*request]context.CancelFunc)}
	defer o.workers.Wait()
	defer cancel()
	defer close(s.stopped)
	o.workers.Go(o.tick)
	if at, missing := s.cfg.Blocks.MissingAnchor(); missing {
		s.planner.Step(s.cfg.Clock.Now(), anchorMissing{at})
	}
	for {
		_, newer := s.cfg.Chain.Watch()
		s.cfg.Pulse.Beat()
		o.turn()
		s.cfg.Pulse.Rest()
		select {
		case <-ctx.Done():
			return nil
		case <-newer:
		case in := <-s.inputs:
			o.take(in)
		}
	}
}

// tick posts an event at the start of every interval, also of those before genesis.
func (o *owner) tick() {
	genesis := o.cfg.Clock.StartOf(0)
	for o.ctx.Err() == nil {
		now := o.cfg.Clock.Now()
		o.post(ticked{o.cfg.Network.Isolated()})
		next := o.cfg.Clock.StartOf(o.cfg.Clock.TotalIntervals(now.UnixMilli()) + 1)
		if now.Before(genesis) {
			next = now.Add(min(intervalTime, genesis.Sub(now)))
		}
		wait, cancel := context.WithTimeout(o.ctx, maxTickWait)
		_ = o.cfg.Clock.Until(wait, next)
		cancel()
	}
}

// turn takes the queued events, and then starts all effects.
func (o *owner) turn() {
	for range len(o.inputs) {
		o.take(<-o.inputs)
	}
	o.refresh()
	for _, e := range o.planner.Effects() {
		o.start(e)
	}
	o.unlocked.Store(int64(len(o.planner.unlocked)))
}

// take passes an event to the planner.
func (o *owner) take(in input) {
	if in.reply != nil {
		o.waiting[in.message] = in.reply
	}
	if a, ok := in.event.(answered); ok {
		delete(o.cancels, a.request)
	}
	o.refresh()
	o.planner.Step(o.cfg.Clock.Now(), in.event)
}

// refresh passes the latest snapshot to the planner.
func (o *owner) refresh() {
	if snap := o.cfg.Chain.Snapshot(); snap != o.planner.snap {
		o.planner.Step(o.cfg.Clock.Now(), chainChanged{snap})
	}
}

// start starts an effect without waiting for it.
func (o *owner) start(e effect) {
	switch e := e.(type) {
	case verdict:
		o.answer(e.message, reply{verdict: e.verdict})
	case statusJudged:
		o.answer(e.message, reply{err: e.err})
	case judgeVote:
		if !o.answer(e.vote, reply{judge: true}) {
			o.workers.Go(func() { o.post(voteJudged{e.vote, o.submit(o.ctx, e.vote)}) })
		}
	case importBlock:
		o.workers.Go(func() { o.post(blockImported{e.candidate, o.importBlock(e.candidate)}) })
	case checkProposers:
		o.workers.Go(func() {
			errs := make([]error, len(e.blocks))
			for i, c := range e.blocks {
				errs[i] = o.cfg.Chain.VerifyProposer(o.ctx, c.block, c.root)
			}
			o.post(proposersChecked{e, errs})
		})
	case checkAnchor:
		o.workers.Go(func() {
			err := o.cfg.VerifyProof(e.block)
			if err == nil {
				err = o.cfg.Blocks.AddAnchor(e.block)
			}
			o.post(anchorChecked{e.request, err})
		})
	case send:
		ctx, cancel := context.WithCancel(o.ctx)
		o.cancels[e.request] = cancel
		o.workers.Go(func() {
			defer cancel()
			blocks, err := o.send(ctx, e.request)
			o.post(answered{e.request, blocks, err})
		})
	case cancel:
		if stop := o.cancels[e.request]; stop != nil {
			stop()
		}
	case penalize:
		o.cfg.Network.Penalize(e.peer, e.reason)
	case show:
		old := o.view.Load()
		o.view.Store(&published{e.View, make(chan struct{})})
		close(old.outdated)
	case report:
		o.cfg.Bus.Report(e.event)
	case logLine:
		o.cfg.Log.Log(o.ctx, e.level, e.message, e.fields...)
	}
}

// answer replies to a message, and returns false if no goroutine waits for the reply.
func (o *owner) answer(message any, r reply) bool {
	c, ok := o.waiting[message]
	if ok {
		delete(o.waiting, message)
		c <- r // there is room for one
	}
	return ok
}

// send sends a request and waits for the response.
func (o *owner) send(ctx context.Context, r *request) ([]*candidate, error) {
	var blocks []*lstar.SignedBlock
	var err error
	switch r.kind {
	case statusRequest:
		_, err = o.cfg.Network.Status(ctx, r.peer) // which calls OnStatus
	case byRange:
		blocks, err = o.cfg.Network.BlocksByRange(ctx, r.peer, r.batch.first, uint64(r.batch.last-r.batch.first)+1)
	default:
		blocks, err = o.cfg.Network.BlocksByRoot(ctx, r.peer, r.roots)
	}
	candidates := make([]*candidate, len(blocks))
	for i, b := range blocks {
		candidates[i] = &candidate{block: b, root: b.Block.Root(), from: r.peer}
	}
	return candidates, err
}

// importBlock passes a block to the chain. If the time of the store is behind the wall clock, as
// after a pause, it first waits until the store admits the block.
func (o *owner) importBlock(c *candidate) error {
	for c.slot() <= o.cfg.Clock.Slot()+1 {
		snap, newer := o.cfg.Chain.Watch()
		if c.slot() <= snap.Time.Slot()+1 {
			break
		}
		select {
		case <-newer:
		case <-o.ctx.Done():
			return o.ctx.Err()
		}
	}
	return o.cfg.Chain.ImportBlock(o.ctx, c.block, chain.Origin{Gossip: !c.came.IsZero(), Peer: c.from})
}
