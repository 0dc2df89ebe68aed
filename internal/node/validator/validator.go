// Package validator does the duties of the validators whose keys the node holds:
// it proposes blocks and votes, at the intervals of the protocol.
//
// XMSS signatures are one-time signatures: whoever signs two messages for one
// slot with one key has given the key away. So every signature passes a guard,
// which remembers on disk what was signed and refuses a second message for a slot.
//
// leanSpec: node/validator/service.py
package validator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// blockWait is how long into interval 1 a vote waits for the block of its slot. A
// vote without it is for an old head, and holds up the safe target.
const blockWait = 400 * time.Millisecond

// recording is how many votes are recorded on disk at the same time. That is
// waiting, not work, so it is more than there are processors.
const recording = 32

// Keys are the keys of one validator.
type Keys struct {
	Index                 lstar.ValidatorIndex
	Attestation, Proposal Key
}

// Key is a signing key. Guard is the ledger of Signer.
type Key struct {
	Signer *xmss.Signer
	Guard  *guard.Key
}

// Publisher sends what the validators made to the network. What it sends is in
// the chain already.
type Publisher interface {
	PublishBlock(*lstar.SignedBlock)
	PublishAttestation(*lstar.SignedAttestation)
}

// Config is what a Service needs.
type Config struct {
	Chain *chain.Chain
	// Publisher may be nil: a network of one node needs none.
	Publisher Publisher
	Clock     clock.Clock
	Crypto    lstar.Crypto
	Keys      []Keys
	// Distance is how many slots the best head known from peers is ahead of ours;
	// nil means that there are no peers to ask.
	Distance func() uint64
	Bus      *events.Bus
	Log      *slog.Logger
	// Pulse beats while duties are done. It may be nil.
	Pulse *health.Pulse
}

// Service does duties.
type Service struct {
	Config
	validators map[lstar.ValidatorIndex]*validator
	order      []*validator
	gate       gate
	started    lstar.Slot // the slot of New
	// The first slots whose votes and whose block are not accounted for.
	votesDue, blockDue lstar.Slot
	windows            windows
	stop               context.CancelCauseFunc // ends Run
}

type validator struct {
	index                 lstar.ValidatorIndex
	attestation, proposal Key
}

// New returns a service that does nothing until Run.
func New(cfg Config) *Service {
	s := &Service{
		Config:     cfg,
		started:    cfg.Clock.Slot(),
		validators: make(map[lstar.ValidatorIndex]*validator),
		stop:       func(error) {},
	}
	for _, k := range cfg.Keys {
		v := &validator{k.Index, k.Attestation, k.Proposal}
		s.validators[k.Index] = v
		s.order = append(s.order, v)
	}
	s.votesDue, s.blockDue = s.started, s.started
	slices.SortFunc(s.order, func(a, b *validator) int { return int(a.index) - int(b.index) })
	return s
}

// Run does duties until ctx is done, which is no error, or until a signature
// cannot be recorded, which is a [*guard.WriteError]: a node that cannot remember
// what it signed must not go on.
func (s *Service) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.stop = stop
	s.Pulse.Rest()
	s.Bus.Report(events.ValidatorsLoaded{Count: len(s.order)})
	if len(s.order) == 0 {
		<-ctx.Done()
		return nil
	}
	s.votesDue, s.blockDue = s.Clock.Slot(), s.Clock.Slot()
	s.reportWindows(s.Clock.Slot())
	_ = s.Clock.Each(ctx, func(i lstar.Interval) { s.interval(ctx, i) })
	var failure *guard.WriteError
	if errors.As(context.Cause(ctx), &failure) {
		return failure
	}
	return nil
}

// interval does the duties of an interval: blocks at interval 0, votes from
// interval 1 on until they are cast.
//
// leanSpec: node/validator/service.py, run
func (s *Service) interval(ctx context.Context, i lstar.Interval) {
	s.Pulse.Beat()
	defer s.Pulse.Rest()
	slot := i.Slot()
	s.reportWindows(slot)
	if i.InSlot() == 0 || slot == s.started {
		s.missed(slot, slot)
	} else {
		s.missed(slot, slot+1)
	}
	if i.InSlot() == 0 {
		s.blockDuty(ctx, slot)
		// A slow proposal must not cost the vote.
		i = s.Clock.Interval()
	}
	s.blockDue = max(s.blockDue, slot+1)
	if i.Slot() == slot && i.InSlot() >= 1 && slot >= s.votesDue {
		if !s.allowed(slot, events.DutyAttestation) {
			if i.InSlot() == lstar.IntervalsPerSlot-1 { // until then it may open again
				s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonNotSynced, len(s.order))
				s.votesDue = slot + 1
			}
			return
		}
		s.attest(ctx, slot)
		s.votesDue = slot + 1
	}
}

// blockDuty proposes if it is our turn.
func (s *Service) blockDuty(ctx context.Context, slot lstar.Slot) {
	// The gate is asked in every slot: it remembers.
	proposer, ours := s.proposer(slot)
	open := s.allowed(slot, events.DutyBlock)
	switch {
	case !ours:
		return
	case !open:
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonNotSynced, 1)
		return
	case s.Chain.Snapshot().Head.Slot == slot: // by an earlier run, that ended moments ago
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonDuplicate, 1)
		return
	case proposer.proposal.Guard.ClosedAtStart(uint64(slot)):
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonSlotClosed, 1)
		return
	}
	built, err := s.propose(ctx, slot, proposer)
	switch {
	case err == nil:
		s.duty(events.DutyBlock, slot, s.madeBy(slot.Interval()), "", 1)
	case ctx.Err() != nil:
	case s.doneBefore(slot, err):
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, reason(err), 1)
	default:
		s.Bus.Report(events.BlockProductionFailed{
			Slot: slot, Validator: proposer.index, Built: built, Reason: reason(err), Err: err,
		})
	}
}

// missed reports the votes and the blocks before two slots that went by while the
// node did something else, or nothing at all.
func (s *Service) missed(votes, blocks lstar.Slot) {
	if votes > s.votesDue {
		lost := int(votes - s.votesDue)
		s.duty(events.DutyAttestation, votes-1, events.OutcomeMissed, events.ReasonClockSkipped, lost*len(s.order))
		s.votesDue = votes
	}
	lost := 0
	for ; s.blockDue < blocks; s.blockDue++ {
		if _, ours := s.proposer(s.blockDue); ours {
			lost++
		}
	}
	if lost > 0 {
		s.duty(events.DutyBlock, blocks-1, events.OutcomeMissed, events.ReasonClockSkipped, lost)
	}
}

// madeBy returns the outcome of a duty of an interval that is done now.
func (s *Service) madeBy(due lstar.Interval) string {
	if s.Clock.Interval() > due {
		return events.OutcomeLate
	}
	return events.OutcomeMade
}

func (s *Service) duty(duty string, slot lstar.Slot, outcome, reason string, count int) {
	s.Bus.Report(events.DutyEnded{Duty: duty, Outcome: outcome, Slot: slot, Reason: reason, Count: count})
}

// proposer returns the validator that proposes at the slot, if it is ours. Slot 0
// has the genesis block.
func (s *Service) proposer(slot lstar.Slot) (*validator, bool) {
	index, err := lstar.ProposerForSlot(slot, s.Chain.Snapshot().HeadState.Validators.Len())
	if slot == 0 || err != nil {
		return nil, false
	}
	v, ok := s.validators[index]
	return v, ok
}

// allowed asks the gate.
func (s *Service) allowed(slot lstar.Slot, duty string) bool {
	snap := s.Chain.Snapshot()
	highest := snap.HighestSlot
	if s.Distance != nil {
		// A node that is catching up has few blocks, and the network is not silent.
		highest = max(highest, snap.Head.Slot+lstar.Slot(s.Distance()))
	}
	// Who has just started has heard of nobody yet: that is no silence.
	if slot <= s.started {
		highest = max(highest, behind(networkStallThreshold, slot))
	}
	g := s.gate.check(slot, snap.Head.Slot, highest)
	if g.changed {
		s.Bus.Report(events.DutyGate{
			Open: g.open, Duty: duty, Slot: slot, HeadSlot: snap.Head.Slot, Lag: g.lag, Reason: g.reason,
		})
	}
	return g.open
}

// propose builds, signs and imports a block, and reports whether it was built.
//
// leanSpec: node/validator/service.py, _maybe_produce_block
func (s *Service) propose(ctx context.Context, slot lstar.Slot, v *validator) (built bool, err error) {
	started := time.Now()
	p, payloads, err := s.Chain.ProduceBlock(ctx, slot, v.index)
	if err != nil {
		return false, err
	}
	aggregating := time.Now()
	proofs, err := s.Crypto.AggregatePayloads(p)
	if err != nil {
		return false, err
	}
	payloads += time.Since(aggregating)
	signature, err := s.sign(ctx, v, &v.proposal, events.SignatureProposal, slot, p.Root)
	if err != nil {
		return false, err
	}
	merged, err := s.Crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
	if err != nil {
		return false, err
	}
	s.Bus.Report(events.BlockProduced{
		Slot: slot, Validator: v.index, Root: p.Root,
		Attestations: len(p.Block.Body.Attestations), Payloads: payloads, Duration: time.Since(started),
	})
	block := &lstar.SignedBlock{Block: *p.Block, Proof: merged}
	if err := s.Chain.ImportBlock(ctx, block, chain.Origin{Own: true}); err != nil {
		return true, err
	}
	if s.Publisher != nil {
		s.Publisher.PublishBlock(block)
	}
	return true, nil
}

// attest casts the votes of all our validators for a slot, those aside whose keys
// have a record that closes it.
//
// leanSpec: node/validator/service.py, _produce_attestations
func (s *Service) attest(ctx context.Context, slot lstar.Slot) {
	voters := slices.DeleteFunc(slices.Clone(s.order), func(v *validator) bool { return v.attestation.Guard.ClosedAtStart(uint64(slot)) })
	if closed := len(s.order) - len(voters); closed > 0 {
		s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonSlotClosed, closed)
	}
	if len(voters) == 0 {
		return
	}
	s.awaitBlock(ctx, slot)
	data, err := s.Chain.AttestationData(ctx, slot)
	if err != nil {
		var nothing *lstar.Rejection // to vote for, as leanSpec has it: for some slots after a time without votes
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &nothing) && nothing.Reason == lstar.SourceAfterTarget:
			s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonNoTarget, len(voters))
		default:
			s.duty(events.DutyAttestation, slot, events.OutcomeMissed, reason(err), len(voters))
		}
		return
	}
	message := data.Root()
	work := make(chan *validator)
	var wg sync.WaitGroup
	for range min(recording, len(voters)) {
		wg.Go(func() {
			for v := range work {
				s.vote(ctx, v, data, message)
			}
		})
	}
	for _, v := range voters {
		work <- v
	}
	close(work)
	wg.Wait()
}

func (s *Service) vote(ctx context.Context, v *validator, data lstar.AttestationData, message lstar.Root) {
	started := time.Now()
	signature, err := s.sign(ctx, v, &v.attestation, events.SignatureAttestation, data.Slot, message)
	if err != nil {
		switch {
		case ctx.Err() != nil:
		case s.doneBefore(data.Slot, err):
			s.duty(events.DutyAttestation, data.Slot, events.OutcomeSkipped, reason(err), 1)
		default:
			s.duty(events.DutyAttestation, data.Slot, events.OutcomeMissed, reason(err), 1)
		}
		return
	}
	s.Bus.Report(events.AttestationProduced{
		Slot: data.Slot, Validator: v.index, Duration: time.Since(started),
	})
	vote := &lstar.SignedAttestation{ValidatorIndex: v.index, Data: data, Signature: signature}
	if err := s.Chain.AddAttestation(ctx, vote, chain.Origin{Own: true}); err != nil && ctx.Err() == nil {
		s.Log.Warn("own vote was not accepted", logging.Slot(data.Slot), logging.Validator(v.index), logging.Err(err),
			logging.Advice("it was not sent; look for an earlier line about the chain, and report it if there is none"))
		s.duty(events.DutyAttestation, data.Slot, events.OutcomeMissed, reason(err), 1)
		return // others would refuse it too, and hold it against this node
	}
	if s.Publisher != nil {
		s.Publisher.PublishAttestation(vote)
	}
	s.duty(events.DutyAttestation, data.Slot, s.madeBy(data.Slot.Interval()+1), "", 1)
}

// awaitBlock waits a moment for the block of a slot.
func (s *Service) awaitBlock(ctx context.Context, slot lstar.Slot) {
	ctx, cancel := context.WithTimeout(ctx, blockWait)
	defer cancel()
	for {
		snap, newer := s.Chain.Watch()
		if snap.HighestSlot >= slot {
			return
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return
		}
	}
}

// sign signs a message and reports the result. The signer records the slot in the guard
// before the signature exists.
func (s *Service) sign(ctx context.Context, v *validator, key *Key, kind string, slot lstar.Slot, message lstar.Root) (*xmss.Signature, error) {
	started := time.Now()
	signature, err := key.Signer.Sign(ctx, uint64(slot), message)
	var (
		refused *guard.RefusedError
		failure *guard.WriteError
	)
	if s.doneBefore(slot, err) {
		return nil, err
	}
	if errors.As(err, &refused) {
		s.Bus.Report(events.SignatureRefused{
			Kind: kind, Slot: slot, Validator: v.index, LatestSlot: refused.Latest.Slot, Err: err,
		})
		return nil, err
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil, err // we are stopping
	}
	s.Bus.Report(events.SignatureMade{
		Kind: kind, Slot: slot, Validator: v.index, Duration: time.Since(started), Err: err,
	})
	if errors.As(err, &failure) {
		s.stop(failure)
	}
	if err != nil {
		return nil, signingError{err}
	}
	return signature, nil
}

// signingError is why there is no signature.
type signingError struct{ error }

func (e signingError) Unwrap() error { return e.error }

// doneBefore reports whether the error is that an earlier run signed in the slot in
// which this one started: nothing to alarm anybody.
func (s *Service) doneBefore(slot lstar.Slot, err error) bool {
	var refused *guard.RefusedError
	return errors.As(err, &refused) && refused.EarlierRun && slot <= s.started
}

// reason returns a short name for an error, for metrics and logs.
func reason(err error) string {
	var (
		rejection *lstar.Rejection
		refused   *guard.RefusedError
		unsigned  signingError
	)
	switch {
	case errors.As(err, &rejection):
		return string(rejection.Reason)
	case errors.As(err, &refused):
		return events.ReasonAlreadySigned
	case errors.As(err, &unsigned):
		return events.ReasonSigningFailed
	}
	return events.ReasonProductionFailed
}
