// Package validator performs the duties of the node's validators: it proposes blocks and votes at
// the intervals of the protocol.
//
// XMSS keys are one-time keys: two signatures of one key for one slot reveal the key. So each signer has
// a guard, which durably records each signature before it exists and refuses a second message for a slot.
//
// leanSpec: node/validator/service.py
package validator

import (
	"cmp"
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

// blockWait is the time that a vote waits in interval 1 for the block of its slot. A vote without
// that block is for an old head, and delays the safe target.
const blockWait = 400 * time.Millisecond

// maxVoting is the number of votes that are signed at a time. It exceeds the number of processors,
// because each vote mostly waits for the disk to record it.
const maxVoting = 32

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

// Publisher sends blocks and votes to the network. They are already in the chain.
type Publisher interface {
	PublishBlock(*lstar.SignedBlock)
	PublishAttestation(*lstar.SignedAttestation)
}

// Config configures a Service.
type Config struct {
	Chain     *chain.Chain
	Publisher Publisher // nil for a network of one node
	Clock     clock.Clock
	Crypto    lstar.Crypto
	Keys      []Keys
	// Gate returns the state of the duty gate at a slot of the wall clock. If it is nil, duties are
	// always allowed.
	Gate func(lstar.Slot) events.DutyGate
	Bus  *events.Bus
	Log  *slog.Logger
	// Pulse gets a beat at the start of each interval, and rests between. It may be nil.
	Pulse *health.Pulse
}

// Service performs duties.
type Service struct {
	Config
	validators map[lstar.ValidatorIndex]Keys
	paused     bool       // the gate was closed when allowed was last called
	started    lstar.Slot // slot in which New was called
	// The first slots whose votes and whose block are not reported.
	votesDue, blockDue lstar.Slot
	windows            windows
	stop               context.CancelCauseFunc // ends Run
}

// New returns a service. Nothing happens until Run is called.
func New(cfg Config) *Service {
	cfg.Keys = slices.SortedFunc(slices.Values(cfg.Keys), func(a, b Keys) int { return cmp.Compare(a.Index, b.Index) })
	s := &Service{
		Config:     cfg,
		started:    cfg.Clock.Slot(),
		validators: make(map[lstar.ValidatorIndex]Keys),
		windows:    windows{percent: make(map[*guard.Key]uint64)},
		stop:       func(error) {},
	}
	for _, keys := range cfg.Keys {
		s.validators[keys.Index] = keys
	}
	s.votesDue, s.blockDue = s.started, s.started
	return s
}

// Run performs duties until ctx ends, and then returns nil. If a signature cannot be recorded, it
// returns a [*guard.WriteError], and the node must stop.
func (s *Service) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.stop = stop
	s.Pulse.Rest()
	s.Bus.Report(events.ValidatorsLoaded{Count: len(s.Keys)})
	if len(s.Keys) == 0 {
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

// interval performs the duties of an interval: the block at interval 0, and the votes at interval
// 1, or later in the slot if they were not possible then.
//
// leanSpec: node/validator/service.py, run
func (s *Service) interval(ctx context.Context, i lstar.Interval) {
	s.Pulse.Beat()
	defer s.Pulse.Rest()
	slot := i.Slot()
	s.reportWindows(slot)
	if i.InSlot() == 0 || slot == s.started {
		s.reportMissed(slot, slot)
	} else {
		s.reportMissed(slot, slot+1)
	}
	if i.InSlot() == 0 {
		s.blockDuty(ctx, slot)
		// After a slow proposal the votes are due in the same call.
		i = s.Clock.Interval()
	}
	s.blockDue = max(s.blockDue, slot+1)
	if i.Slot() == slot && i.InSlot() >= 1 && slot >= s.votesDue {
		if !s.allowed(slot, events.DutyAttestation) {
			if i.InSlot() == lstar.IntervalsPerSlot-1 { // before that, the gate may open again
				s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonNotSynced, len(s.Keys))
				s.votesDue = slot + 1
			}
			return
		}
		s.attest(ctx, slot)
		s.votesDue = slot + 1
	}
}

// blockDuty proposes the block of a slot if the proposer is one of the node's validators.
func (s *Service) blockDuty(ctx context.Context, slot lstar.Slot) {
	// Call allowed in each slot, so that each change of the gate is reported.
	proposer, ours := s.proposer(slot)
	open := s.allowed(slot, events.DutyBlock)
	switch {
	case !ours:
		return
	case !open:
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonNotSynced, 1)
		return
	case s.Chain.Snapshot().Head.Slot == slot: // proposed by an earlier run in this slot
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonDuplicate, 1)
		return
	case proposer.Proposal.Guard.ClosedAtStart(uint64(slot)):
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, events.ReasonSlotClosed, 1)
		return
	}
	built, err := s.propose(ctx, slot, proposer)
	switch {
	case err == nil:
		s.duty(events.DutyBlock, slot, s.outcome(slot.Interval()), "", 1)
	case ctx.Err() != nil:
	case s.doneBefore(slot, err):
		s.duty(events.DutyBlock, slot, events.OutcomeSkipped, reason(err), 1)
	default:
		s.Bus.Report(events.BlockProductionFailed{
			Slot: slot, Validator: proposer.Index, Built: built, Reason: reason(err), Err: err,
		})
	}
}

// reportMissed reports the duties that the node missed while it was busy or suspended: votes for
// slots before votes, and blocks for slots before blocks.
func (s *Service) reportMissed(votes, blocks lstar.Slot) {
	if votes > s.votesDue {
		lost := int(votes - s.votesDue)
		s.duty(events.DutyAttestation, votes-1, events.OutcomeMissed, events.ReasonClockSkipped, lost*len(s.Keys))
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

// outcome returns the outcome of a duty that was due at an interval and has just been done.
func (s *Service) outcome(due lstar.Interval) string {
	if s.Clock.Interval() > due {
		return events.OutcomeLate
	}
	return events.OutcomeMade
}

// duty reports the outcome of count duties.
func (s *Service) duty(duty string, slot lstar.Slot, outcome, reason string, count int) {
	s.Bus.Report(events.DutyEnded{Duty: duty, Outcome: outcome, Slot: slot, Reason: reason, Count: count})
}

// proposer returns the keys of the proposer of a slot, and whether the proposer is one of the
// node's validators. Slot 0 has no proposer, because its block is genesis.
func (s *Service) proposer(slot lstar.Slot) (Keys, bool) {
	index, err := lstar.ProposerForSlot(slot, s.Chain.Snapshot().HeadState.Validators.Len())
	if slot == 0 || err != nil {
		return Keys{}, false
	}
	keys, ours := s.validators[index]
	return keys, ours
}

// allowed reports whether the duty gate is open at a slot. When the gate has opened or closed, it
// reports that to the bus, with the duty that is due.
func (s *Service) allowed(slot lstar.Slot, duty string) bool {
	if s.Gate == nil {
		return true
	}
	g := s.Gate(slot)
	if g.Open == s.paused {
		s.paused = !g.Open
		g.Duty = duty
		s.Bus.Report(g)
	}
	return g.Open
}

// propose builds, signs, imports and publishes a block, and returns whether it was built.
//
// leanSpec: node/validator/service.py, _maybe_produce_block
func (s *Service) propose(ctx context.Context, slot lstar.Slot, v Keys) (built bool, err error) {
	started := time.Now()
	p, payloads, err := s.Chain.ProduceBlock(ctx, slot, v.Index)
	if err != nil {
		return false, err
	}
	aggregating := time.Now()
	proofs, err := s.Crypto.AggregatePayloads(p)
	if err != nil {
		return false, err
	}
	payloads += time.Since(aggregating)
	signature, err := s.sign(ctx, v.Index, v.Proposal, events.SignatureProposal, slot, p.Root)
	if err != nil {
		return false, err
	}
	merged, err := s.Crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
	if err != nil {
		return false, err
	}
	s.Bus.Report(events.BlockProduced{
		Slot: slot, Validator: v.Index, Root: p.Root,
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

// attest makes and publishes the votes of the node's validators for a slot, except of those whose
// keys were closed for it at the start.
//
// leanSpec: node/validator/service.py, _produce_attestations
func (s *Service) attest(ctx context.Context, slot lstar.Slot) {
	voters := slices.DeleteFunc(slices.Clone(s.Keys), func(v Keys) bool { return v.Attestation.Guard.ClosedAtStart(uint64(slot)) })
	if closed := len(s.Keys) - len(voters); closed > 0 {
		s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonSlotClosed, closed)
	}
	if len(voters) == 0 {
		return
	}
	s.awaitBlock(ctx, slot)
	data, err := s.Chain.AttestationData(ctx, slot)
	if err != nil {
		// In some slots after a period without votes, leanSpec has no valid target.
		var rejection *lstar.Rejection
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &rejection) && rejection.Reason == lstar.SourceAfterTarget:
			s.duty(events.DutyAttestation, slot, events.OutcomeSkipped, events.ReasonNoTarget, len(voters))
		default:
			s.duty(events.DutyAttestation, slot, events.OutcomeMissed, reason(err), len(voters))
		}
		return
	}
	message := data.Root()
	limit := make(chan struct{}, maxVoting)
	var wg sync.WaitGroup
	for _, v := range voters {
		limit <- struct{}{}
		wg.Go(func() {
			s.vote(ctx, v, data, message)
			<-limit
		})
	}
	wg.Wait()
}

// vote signs the vote of one validator, adds it to the chain and publishes it.
func (s *Service) vote(ctx context.Context, v Keys, data lstar.AttestationData, message lstar.Root) {
	started := time.Now()
	signature, err := s.sign(ctx, v.Index, v.Attestation, events.SignatureAttestation, data.Slot, message)
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
		Slot: data.Slot, Validator: v.Index, Duration: time.Since(started),
	})
	vote := &lstar.SignedAttestation{ValidatorIndex: v.Index, Data: data, Signature: signature}
	if err := s.Chain.AddAttestation(ctx, vote, chain.Origin{Own: true}); err != nil && ctx.Err() == nil {
		s.Log.Warn("own vote was not accepted", logging.Slot(data.Slot), logging.Validator(v.Index), logging.Err(err),
			logging.Advice("The vote was not published. Check earlier lines about the chain; if there are none, report this as a bug."))
		s.duty(events.DutyAttestation, data.Slot, events.OutcomeMissed, reason(err), 1)
		return // peers would reject it too, and lower the score of this node
	}
	if s.Publisher != nil {
		s.Publisher.PublishAttestation(vote)
	}
	s.duty(events.DutyAttestation, data.Slot, s.outcome(data.Slot.Interval()+1), "", 1)
}

// awaitBlock waits for the block of a slot, for at most blockWait.
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

// sign signs a message and reports the result. The signer records the slot in the guard before it
// signs. If that fails, sign stops the service.
func (s *Service) sign(ctx context.Context, index lstar.ValidatorIndex, key Key, kind string, slot lstar.Slot, message lstar.Root) (*xmss.Signature, error) {
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
			Kind: kind, Slot: slot, Validator: index, LatestSlot: refused.Latest.Slot, Err: err,
		})
		return nil, err
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil, err // the node stops
	}
	s.Bus.Report(events.SignatureMade{
		Kind: kind, Slot: slot, Validator: index, Duration: time.Since(started), Err: err,
	})
	if errors.As(err, &failure) {
		s.stop(failure)
	}
	if err != nil {
		return nil, signingError{err}
	}
	return signature, nil
}

// signingError marks a failure to sign that is not a refusal.
type signingError struct{ error }

func (e signingError) Unwrap() error { return e.error }

// doneBefore reports whether a signature was refused because an earlier run of the node had signed
// for the slot in which this one started, as expected after a restart.
func (s *Service) doneBefore(slot lstar.Slot, err error) bool {
	var refused *guard.RefusedError
	return errors.As(err, &refused) && refused.EarlierRun && slot <= s.started
}

// reason returns the reason of an error for metrics and logs.
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
