package syncer

import (
	"bytes"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	slotTime     = lstar.SecondsPerSlot * time.Second
	intervalTime = lstar.MillisecondsPerInterval * time.Millisecond
	// requestTimeout is the time in which a peer must have sent its whole response.
	requestTimeout = 10 * time.Second
	// jumpIntervals is the smallest step of the clock that counts as a jump: the process was
	// stopped, or the clock was set. A busy machine causes smaller ones.
	jumpIntervals = 2 * lstar.IntervalsPerSlot
	// maxBadBlocks is the number of blocks that each of planner's sets of blocks keeps at least.
	maxBadBlocks = 1024
)

// planner decides what the node does to follow the chain. The package comment explains how it is driven.
type planner struct {
	clock   clock.SlotClock
	random  *rand.Rand
	now     time.Time       // of the latest event
	snap    *lstar.Snapshot // the latest
	effects []effect        // since the last call of Effects
	changed bool            // since the last plan

	interval lstar.Interval // of the latest tick
	ticked   bool           // there was a tick
	started  lstar.Slot     // the slot of newPlanner
	isolated bool
	view     View
	// The latest reported ones.
	syncState events.SyncState
	agreement events.Agreement

	peers     []*syncPeer           // connected peers, ordered by id
	conflicts map[peer.ID]time.Time // peers of another chain, and when they connected
	requests  []*request            // that wait for a response, or whose response is being checked

	parked      *parked
	importing   map[lstar.Root]bool
	next        *candidate               // the parked block that the plan imports next
	serial      *candidate               // the block that is being imported for the plan, or nil
	bad         *bounded.Set[lstar.Root] // blocks of which no copy is valid
	conflicting *bounded.Set[lstar.Root] // blocks of a fork that branches off before the finalized block
	faulted     *bounded.Set[copyKey]    // copies that were counted against their peers
	finalized   lstar.Slot               // of the last plan

	missing       map[lstar.Root]*missingBlock
	run           *rangeRun // or nil
	rangeFailures int
	rangeAfter    time.Time
	warned        bool          // that the chain is too far ahead
	anchor        *anchorSearch // or nil

	pendingAttestations, pendingAggregates *pendingVotes
	unlocked                               []*vote // whose block has arrived
	replaying                              int
	seenVotes                              *bounded.Set[voteKey]
}

// newPlanner returns a planner for a node that has a chain and no peers. The same seed and the same
// events give the same effects.
func newPlanner(c clock.SlotClock, now time.Time, snap *lstar.Snapshot, seed uint64) *planner {
	p := &planner{
		clock: c, random: rand.New(rand.NewPCG(seed, seed)), now: now, snap: snap,
		interval: c.TotalIntervals(now.UnixMilli()), started: c.CurrentSlot(now.UnixMilli()),

		conflicts:           make(map[peer.ID]time.Time),
		parked:              newParked(),
		importing:           make(map[lstar.Root]bool),
		bad:                 bounded.NewSet[lstar.Root](maxBadBlocks),
		conflicting:         bounded.NewSet[lstar.Root](maxBadBlocks),
		faulted:             bounded.NewSet[copyKey](maxBadBlocks),
		missing:             make(map[lstar.Root]*missingBlock),
		pendingAttestations: newPendingVotes(events.QueuePendingAttestations),
		pendingAggregates:   newPendingVotes(events.QueuePendingAggregates),
		seenVotes:           bounded.NewSet[voteKey](maxSeenVotes),
	}
	p.view = p.currentView(gap{})
	return p
}

// event is something that has happened. apply updates the planner.
type event interface{ apply(p *planner) }

// Step takes an event. It costs little, because Effects does the planning.
func (p *planner) Step(now time.Time, e event) {
	p.now = now
	e.apply(p)
}

// Effects plans and returns the effects since the last call, in order.
func (p *planner) Effects() []effect {
	for p.changed {
		p.changed = false
		p.plan()
	}
	effects := p.effects
	p.effects = nil
	return effects
}

// The events that concern the whole planner.
type (
	// chainChanged comes with a new snapshot, before any event that follows from it.
	chainChanged struct{ snap *lstar.Snapshot }
	// ticked comes at the start of every interval. isolated is true if all peers use the gossip
	// topics of other networks.
	ticked struct{ isolated bool }
	// answered comes when a request has ended. Blocks that arrived before an error are valid responses.
	answered struct {
		request *request
		blocks  []*candidate
		err     error
	}
	// proposersChecked comes after a checkProposers. errs has an error for each block, nil if the
	// proposer signed it.
	proposersChecked struct {
		checkProposers
		errs []error
	}
)

// effect is one of the following types, which are plain data. After an effect that takes time, the
// named event follows.
type effect any

type (
	send           struct{ *request }   // answered follows
	cancel         struct{ *request }   // the response is not needed any more
	importBlock    struct{ *candidate } // blockImported follows
	judgeVote      struct{ *vote }      // voteJudged follows
	checkProposers struct {             // proposersChecked follows
		blocks  []*candidate
		request *request // that brought the blocks, or nil for a block by gossip
	}
	checkAnchor struct { // the block is kept if its proof is valid; anchorChecked follows
		request *request
		block   *lstar.SignedBlock
	}
	verdict struct { // every gossip message gets exactly one
		message any // *candidate or *vote
		verdict p2p.Verdict
	}
	statusJudged struct { // an error ends the connection
		message *statusMessage
		err     error
	}
	penalize struct { // counts a fault against a peer
		peer   peer.ID
		reason string
	}
	show    struct{ View }
	report  struct{ event events.Event }
	logLine struct {
		level   slog.Level
		message string
		fields  []any
	}
)

func (p *planner) emit(e effect) { p.effects = append(p.effects, e) }

func (p *planner) log(level slog.Level, message string, fields ...any) {
	p.emit(logLine{level, message, fields})
}

// slot returns the slot of the wall clock.
func (p *planner) slot() lstar.Slot { return p.clock.CurrentSlot(p.now.UnixMilli()) }

// known reports whether a block is part of the chain.
func (p *planner) known(root lstar.Root) bool { return p.snap.Block(root) != nil }

func (e chainChanged) apply(p *planner) {
	p.snap = e.snap
	p.changed = true
}

func (e ticked) apply(p *planner) {
	last := p.interval
	p.interval = p.clock.TotalIntervals(p.now.UnixMilli())
	p.isolated = e.isolated
	p.changed = true
	if p.ticked && (p.interval > last+jumpIntervals || p.interval+jumpIntervals < last) {
		p.jumped()
		return
	}
	p.ticked = true
	for _, r := range slices.Clone(p.requests) {
		if r.answered || p.now.Before(r.deadline) {
			continue
		}
		p.penalize(r.peer, "request timed out")
		p.emit(cancel{r})
		answered{request: r, err: p2p.ErrNoResponse}.apply(p)
	}
}

// jumped resets all times after a jump of the clock. It cancels the requests in flight, which is
// not a fault of the peers. All statuses are old, so the planner requests them again.
func (p *planner) jumped() {
	p.log(slog.LevelInfo, "the clock jumped, asking peers for their status", logging.Slot(p.slot()))
	for _, r := range slices.Clone(p.requests) {
		if !r.answered {
			p.end(r)
		}
	}
	for _, s := range p.peers {
		s.statusAt, s.askAfter, s.after = time.Time{}, time.Time{}, [methods]time.Time{}
	}
	for _, m := range p.missing {
		m.since, m.after = p.now, p.now
	}
	for id := range p.conflicts {
		p.conflicts[id] = p.now
	}
	p.rangeAfter = time.Time{}
	if p.anchor != nil {
		p.anchor.after, p.anchor.warnAt = p.now, p.now.Add(anchorReminder)
	}
}

// plan updates the view, and starts the imports, checks and requests that are due.
func (p *planner) plan() {
	if finalized := p.snap.LatestFinalized.Slot; finalized != p.finalized {
		if finalized < p.finalized { // by a reorganization
			p.conflicting = bounded.NewSet[lstar.Root](maxBadBlocks)
		}
		p.finalized = finalized
	}
	gap := p.collectMissing()
	p.show(gap)
	p.reportAgreement()
	p.planImport()
	p.planVotes()
	p.planStatuses()
	p.planRange()
	p.planRoots()
	p.planAnchor()
}

// method is a kind of request. A peer that fails at byRoot may serve byRange and vice versa, so
// each has its own backoff.
type method int

const (
	byRoot method = iota
	byRange
	methods
	statusRequest = methods
	anchorRequest = methods + 1
)

// request is a request to a peer.
type request struct {
	peer     peer.ID
	to       *syncPeer // peer, which may have disconnected since
	kind     method
	deadline time.Time
	answered bool // the response is being checked, for which the peer has no deadline

	roots   []lstar.Root    // of byRoot and anchorRequest
	missing []*missingBlock // of byRoot, in the order of roots
	batch   *batch          // of byRange
	blocks  []*candidate    // of the response to byRoot
}

// request sends a request to a peer.
func (p *planner) request(to *syncPeer, r *request) {
	r.peer, r.to, r.deadline = to.id, to, p.now.Add(requestTimeout)
	to.inFlight++
	if r.kind == byRoot {
		to.roots++
	}
	for _, m := range r.missing {
		m.request = r
	}
	p.requests = append(p.requests, r)
	p.emit(send{r})
}

// release removes a request, so that the peer may get another one. It returns false if the request
// was removed before, because it was late or the peer is gone.
func (p *planner) release(r *request) bool {
	i := slices.Index(p.requests, r)
	if i < 0 {
		return false
	}
	p.requests = slices.Delete(p.requests, i, i+1)
	r.to.inFlight--
	switch r.kind {
	case byRoot:
		r.to.roots--
	case statusRequest:
		r.to.asking = false
	case anchorRequest:
		p.anchor.busy = false
	}
	for _, m := range r.missing {
		m.request = nil
	}
	if r.batch != nil {
		r.batch.busy = false
	}
	p.changed = true
	return true
}

// end cancels a request.
func (p *planner) end(r *request) {
	p.emit(cancel{r})
	p.release(r)
}

func (e answered) apply(p *planner) {
	r := e.request
	if !slices.Contains(p.requests, r) {
		return
	}
	if e.err != nil {
		p.log(slog.LevelDebug, "request failed", logging.Peer(r.peer), logging.Err(e.err))
		if r.kind < methods {
			r.to.fail(r.kind, p.now, causeOf(e.err))
		} else if r.kind == statusRequest {
			r.to.askAfter = p.now.Add(staleTime)
		}
	}
	switch r.kind {
	case byRoot:
		p.rootsAnswered(r, e.blocks, e.err)
	case byRange:
		p.rangeAnswered(r, e.blocks, e.err)
	case anchorRequest:
		p.anchorAnswered(r, e.blocks)
	default:
		p.release(r)
	}
}

func (e proposersChecked) apply(p *planner) {
	if e.request != nil {
		p.rootsChecked(e)
		return
	}
	for i, c := range e.blocks {
		p.proposerChecked(c, e.errs[i])
	}
}

// penalize counts a fault against a peer.
func (p *planner) penalize(id peer.ID, reason string) { p.emit(penalize{id, reason}) }

// penalizeCopy counts an invalid copy of a block against its peer, but only once: this node may
// request the same copy again.
func (p *planner) penalizeCopy(c *candidate, reason string) {
	if key := c.key(); !p.faulted.Has(key) {
		p.faulted.Add(key)
		p.penalize(c.from, reason)
	}
}

// dropped reports that a full queue dropped n values.
func (p *planner) dropped(queue string, n int) {
	for range n {
		p.emit(report{events.QueueDropped{Queue: queue}})
	}
}

// sortedRoots returns the keys of a map in ascending order, so that the planner is deterministic.
func sortedRoots[V any](m map[lstar.Root]V) []lstar.Root {
	return slices.SortedFunc(maps.Keys(m), compareRoots)
}

func compareRoots(a, b lstar.Root) int { return bytes.Compare(a[:], b[:]) }
