package syncer

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// maxPendingVotes bounds the votes, and as many aggregates, that wait for a block.
	// leanSpec: node/sync/config.py, MAX_PENDING_ATTESTATIONS
	maxPendingVotes     = 1024
	maxPendingVoteBytes = 32 << 20
	// maxUnlocked bounds the votes whose block has arrived, and maxReplaying the number of those
	// that are checked at a time.
	maxUnlocked  = 2 * maxPendingVotes
	maxReplaying = 4
	// maxSeenVotes is the number of accepted votes that the planner remembers at least: those of
	// four slots with the largest registry.
	maxSeenVotes = 4 * lstar.ValidatorRegistryLimit
)

// vote is an attestation of one validator or an aggregate.
type vote struct {
	from        peer.ID
	came        time.Time
	attestation *lstar.SignedAttestation
	aggregate   *lstar.SignedAggregatedAttestation
	key         voteKey    // of an attestation
	waiting     bool       // its gossip message waits for a verdict
	missing     lstar.Root // the block that it waits for
}

// voteKey identifies the vote of a validator. It does not cover the signature, so only votes with a
// valid signature are remembered.
type voteKey struct {
	validator lstar.ValidatorIndex
	slot      lstar.Slot
	data      lstar.Root
}

func newVote(now time.Time, from peer.ID, a *lstar.SignedAttestation) *vote {
	return &vote{from: from, came: now, attestation: a, key: voteKey{a.ValidatorIndex, a.Data.Slot, a.Data.Root()}}
}

func (v *vote) data() *lstar.AttestationData {
	if v.attestation != nil {
		return &v.attestation.Data
	}
	return &v.aggregate.Data
}

// pendingVotes holds the votes that wait for blocks. All peers have the same share of the space.
//
// leanSpec: node/sync/service.py, SyncService._pending_attestations
type pendingVotes struct {
	name      string // in metrics
	queue     *bounded.Queue[*vote, peer.ID, *vote]
	byMissing map[lstar.Root][]*vote
}

func newPendingVotes(name string) *pendingVotes {
	return &pendingVotes{name, bounded.NewQueue[*vote, peer.ID, *vote](maxPendingVotes, maxPendingVoteBytes), make(map[lstar.Root][]*vote)}
}

// add adds a vote and returns the number of votes that it evicted.
func (k *pendingVotes) add(v *vote) (evicted int) {
	size := 0 // of an attestation: less than its share
	if v.aggregate != nil {
		size = ssz.Size(v.aggregate)
	}
	k.byMissing[v.missing] = append(k.byMissing[v.missing], v)
	out := k.queue.Add(v, v, v.from, size)
	for _, e := range out {
		without(k.byMissing, e.missing, e)
	}
	return len(out)
}

// take removes and returns the votes that wait for a block.
func (k *pendingVotes) take(root lstar.Root) []*vote {
	votes := k.byMissing[root]
	delete(k.byMissing, root)
	for _, v := range votes {
		k.queue.Remove(v)
	}
	return votes
}

type (
	// voteGossiped comes with a vote by gossip. A verdict or a judgeVote follows.
	voteGossiped struct{ *vote }
	// voteJudged comes after a judgeVote.
	voteJudged struct {
		*vote
		err error
	}
)

// leanSpec: node/sync/service.py, SyncService.on_gossip_attestation and
// on_gossip_aggregated_attestation
func (e voteGossiped) apply(p *planner) {
	v := e.vote
	v.waiting = true
	a := v.attestation
	switch {
	case a != nil && uint64(a.ValidatorIndex) >= uint64(p.snap.HeadState.Validators.Len()): // the registry never changes
		p.emit(report{events.AttestationRejected{
			Slot: a.Data.Slot, Validator: a.ValidatorIndex, Reason: string(lstar.ValidatorNotInState), Gossip: true, Peer: v.from,
		}})
		p.settle(v, p2p.Reject)
	case a != nil && p.seenVotes.Has(v.key):
		p.settle(v, p2p.Ignore)
	case v.data().Slot > p.slot()+1:
		p.emit(report{events.MessageEarly(p.seenVote(v))})
		p.settle(v, p2p.Ignore)
	default:
		p.emit(judgeVote{v})
	}
}

func (e voteJudged) apply(p *planner) {
	v := e.vote
	replayed := !v.waiting
	if replayed {
		p.replaying--
		p.changed = true
	}
	k := causeOf(e.err)
	switch {
	case e.err == nil:
		if v.attestation != nil {
			p.seenVotes.Add(v.key)
		}
		p.emit(report{p.seenVote(v)})
		p.settle(v, p2p.Accept)
	case k.invalid():
		if replayed {
			p.penalize(v.from, "invalid vote")
		}
		p.settle(v, p2p.Reject)
	case k != causeEarly || !p.postpone(v, e.err):
		p.settle(v, p2p.Ignore)
	}
}

// settle emits the verdict for the gossip message of a vote, if it waits for one.
func (p *planner) settle(v *vote, to p2p.Verdict) {
	if v.waiting {
		v.waiting = false
		p.emit(verdict{v, to})
	}
}

// postpone keeps a vote until its missing block arrives. If the block has arrived since, postpone
// has the vote judged again and returns true.
func (p *planner) postpone(v *vote, err error) (again bool) {
	missing := missingBlockOf(v.data(), err)
	switch {
	case missing == nil || missing.Slot <= p.snap.LatestFinalized.Slot || missing.Slot > v.data().Slot:
		return false // such a block is never imported
	case p.known(missing.Root) && v.waiting:
		p.emit(judgeVote{v})
		return true
	case p.known(missing.Root):
		p.unlock([]*vote{v})
		return true
	}
	v.missing = missing.Root
	pending := p.pendingAttestations
	if v.aggregate != nil {
		pending = p.pendingAggregates
	}
	p.dropped(pending.name, pending.add(v))
	return false
}

// missingBlockOf returns the block of a vote that an error names as unknown, or nil if it does not
// name one.
func missingBlockOf(data *lstar.AttestationData, err error) *lstar.Checkpoint {
	var rejection *lstar.Rejection
	errors.As(err, &rejection)
	switch rejection.Reason {
	case lstar.UnknownSourceBlock:
		return &data.Source
	case lstar.UnknownTargetBlock:
		return &data.Target
	case lstar.UnknownHeadBlock:
		return &data.Head
	}
	return nil
}

// unlock queues votes to be judged again.
func (p *planner) unlock(votes []*vote) {
	if room := max(0, maxUnlocked-len(p.unlocked)); len(votes) > room {
		p.dropped(events.QueueUnlockedVotes, len(votes)-room)
		votes = votes[:room]
	}
	p.unlocked = append(p.unlocked, votes...)
	p.changed = p.changed || len(votes) > 0
}

// planVotes judges the votes whose block has arrived.
//
// leanSpec: node/sync/service.py, SyncService._replay_pending_attestations
func (p *planner) planVotes() {
	for p.replaying < maxReplaying && len(p.unlocked) > 0 {
		p.replaying++
		p.emit(judgeVote{p.unlocked[0]})
		p.unlocked = p.unlocked[1:]
	}
}

// seenVote returns the event for the arrival of a vote.
func (p *planner) seenVote(v *vote) events.MessageSeen {
	kind, interval := events.GossipAttestation, lstar.Interval(1)
	if v.aggregate != nil {
		kind, interval = events.GossipAggregation, 2
	}
	return seen(p.clock, kind, v.from, v.data().Slot, interval, v.came)
}
