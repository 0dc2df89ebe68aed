package syncer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// maxPendingVotes bounds the votes, and as many aggregates, that wait for a
	// block. leanSpec: node/sync/config.py, MAX_PENDING_ATTESTATIONS
	maxPendingVotes     = 1024
	maxPendingVoteBytes = 32 << 20
	// maxSeenVotes is the number of accepted votes that are remembered, twice
	// over: four slots of the largest registry.
	maxSeenVotes = 4 * lstar.ValidatorRegistryLimit
)

// vote is an attestation or an aggregate.
type vote struct {
	from        peer.ID
	came        time.Time
	attestation *lstar.SignedAttestation
	aggregate   *lstar.SignedAggregatedAttestation
	missing     lstar.Root // that it waits for
}

func (v *vote) data() *lstar.AttestationData {
	if v.attestation != nil {
		return &v.attestation.Data
	}
	return &v.aggregate.Data
}

// voteKey names the vote of a validator. The signature is not part of it, which
// is why only votes with a valid one are remembered.
type voteKey struct {
	validator lstar.ValidatorIndex
	slot      lstar.Slot
	data      lstar.Root
}

func keyOf(a *lstar.SignedAttestation) voteKey {
	return voteKey{a.ValidatorIndex, a.Data.Slot, a.Data.Root()}
}

// pendingVotes are votes that wait for blocks.
//
// leanSpec: node/sync/service.py, SyncService._pending_attestations
type pendingVotes struct {
	queue     string // its name in metrics
	store     *bounded.Queue[*vote, peer.ID, *vote]
	byMissing map[lstar.Root][]*vote
}

func newPendingVotes(queue string) *pendingVotes {
	return &pendingVotes{queue, bounded.NewQueue[*vote, peer.ID, *vote](maxPendingVotes, maxPendingVoteBytes), make(map[lstar.Root][]*vote)}
}

func (p *pendingVotes) add(v *vote) (evicted int) {
	size := 0 // of an attestation: less than its share
	if v.aggregate != nil {
		size = ssz.Size(v.aggregate)
	}
	p.byMissing[v.missing] = append(p.byMissing[v.missing], v)
	out := p.store.Add(v, v, v.from, size)
	for _, e := range out {
		rest := slices.DeleteFunc(p.byMissing[e.missing], func(o *vote) bool { return o == e })
		if len(rest) == 0 {
			delete(p.byMissing, e.missing)
		} else {
			p.byMissing[e.missing] = rest
		}
	}
	return len(out)
}

// take removes and returns the votes that wait for a block.
func (p *pendingVotes) take(root lstar.Root) []*vote {
	votes := p.byMissing[root]
	delete(p.byMissing, root)
	for _, v := range votes {
		p.store.Remove(v)
	}
	return votes
}

// OnAttestation judges a vote that came by gossip.
//
// leanSpec: node/sync/service.py, SyncService.on_gossip_attestation
func (s *Service) OnAttestation(ctx context.Context, from peer.ID, a *lstar.SignedAttestation) p2p.Verdict {
	registry := s.cfg.Chain.Snapshot().HeadState.Validators.Len()
	if uint64(a.ValidatorIndex) >= uint64(registry) { // the registry never changes
		s.cfg.Bus.Report(events.AttestationRejected{
			Slot: a.Data.Slot, Validator: a.ValidatorIndex, Reason: string(lstar.ValidatorNotInState), Gossip: true, Peer: from,
		})
		return p2p.Reject
	}
	key := keyOf(a)
	s.mu.Lock()
	seen := s.seenVotes.Has(key)
	s.mu.Unlock()
	if seen {
		return p2p.Ignore
	}
	return s.judge(ctx, &vote{from: from, came: s.cfg.Clock.Now(), attestation: a})
}

// OnAggregate judges an aggregate that came by gossip.
//
// leanSpec: node/sync/service.py, SyncService.on_gossip_aggregated_attestation
func (s *Service) OnAggregate(ctx context.Context, from peer.ID, a *lstar.SignedAggregatedAttestation) p2p.Verdict {
	return s.judge(ctx, &vote{from: from, came: s.cfg.Clock.Now(), aggregate: a})
}

// judge gives a vote to the chain. One that is for unknown blocks waits for them.
func (s *Service) judge(ctx context.Context, v *vote) p2p.Verdict {
	if v.data().Slot > s.cfg.Clock.Slot()+1 {
		s.cfg.Bus.Report(events.MessageEarly(s.seenVote(v)))
		return p2p.Ignore
	}
	// Three blocks can be missing, and each may come in while the vote is about to
	// be put aside for it.
	for range 4 {
		verdict, missing := s.submit(ctx, v)
		if missing == nil {
			return verdict
		}
		if missing.Slot <= s.cfg.Chain.Snapshot().LatestFinalized.Slot || missing.Slot > v.data().Slot {
			return p2p.Ignore // no such block is ever imported
		}
		if s.park(v, missing.Root) {
			break
		}
	}
	return p2p.Ignore
}

// seenVote describes when a vote came.
func (s *Service) seenVote(v *vote) events.MessageSeen {
	if v.attestation != nil {
		return s.seen(events.GossipAttestation, v.from, v.data().Slot, 1, v.came)
	}
	return s.seen(events.GossipAggregation, v.from, v.data().Slot, 2, v.came)
}

// park puts a vote aside, unless the block that it waits for is there.
func (s *Service) park(v *vote, missing lstar.Root) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known(missing) {
		return false
	}
	v.missing = missing
	pending := s.pendingAttestations
	if v.aggregate != nil {
		pending = s.pendingAggregates
	}
	s.dropped(pending.queue, pending.add(v))
	return true
}

// submit gives a vote to the chain, and returns what becomes of it, or the block
// that must come first.
func (s *Service) submit(ctx context.Context, v *vote) (verdict p2p.Verdict, missing *lstar.Checkpoint) {
	origin := chain.Origin{Gossip: true, Peer: v.from}
	var err error
	if v.attestation != nil {
		err = s.cfg.Chain.AddAttestation(ctx, v.attestation, origin)
	} else {
		err = s.cfg.Chain.AddAggregate(ctx, v.aggregate, origin)
	}
	if err == nil {
		if v.attestation != nil {
			key := keyOf(v.attestation)
			s.mu.Lock()
			s.seenVotes.Add(key)
			s.mu.Unlock()
		}
		s.cfg.Bus.Report(s.seenVote(v))
		return p2p.Accept, nil
	}
	switch c := causeOf(err); {
	case c.invalid():
		return p2p.Reject, nil
	case c == causeEarly:
		return p2p.Ignore, missingBlock(v.data(), err)
	}
	return p2p.Ignore, nil
}

// missingBlock returns the block of a vote that an error names as unknown, or nil
// if it names none.
func missingBlock(data *lstar.AttestationData, err error) *lstar.Checkpoint {
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

// replay gives votes to the chain whose block has come.
//
// leanSpec: node/sync/service.py, SyncService._replay_pending_attestations
func (s *Service) replay(ctx context.Context) {
	for {
		s.mu.Lock()
		votes := s.unlockedVotes
		s.unlockedVotes = nil
		s.unlockedCount.Store(0)
		s.mu.Unlock()
		for _, v := range votes {
			if ctx.Err() != nil {
				return
			}
			if s.judge(ctx, v) == p2p.Reject {
				s.cfg.Network.Penalize(v.from, "invalid vote")
			}
		}
		if len(votes) > 0 {
			continue
		}
		select {
		case <-s.votesUnlocked:
		case <-ctx.Done():
			return
		}
	}
}
