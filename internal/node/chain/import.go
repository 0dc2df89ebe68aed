package chain

import (
	"context"
	"errors"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// Origin is where a block or a vote comes from.
type Origin struct {
	Own    bool   // made by this node
	PeerID string // that sent it, or empty
}

// ImportBlock adds a block to the chain. Nothing but a nil error means that it is
// in. The error is lstar.ErrKnown, a *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) ImportBlock(ctx context.Context, b *lstar.SignedBlock, from Origin) error {
	root, stages, err := c.importBlock(ctx, b, from)
	var rejection *lstar.Rejection
	if errors.As(err, &rejection) && rejection.Reason != lstar.UnknownParentBlock { // that one may become valid
		c.cfg.Observer.BlockRejected(telemetry.BlockRejected{
			Slot: uint64(b.Block.Slot), Root: root, Reason: string(rejection.Reason), PeerID: from.PeerID, Err: err,
		})
	}
	if err != nil {
		return err
	}
	votes := 0
	for i := range b.Block.Body.Attestations {
		votes += b.Block.Body.Attestations[i].AggregationBits.Count()
	}
	c.cfg.Observer.BlockImported(telemetry.BlockImported{
		Slot: uint64(b.Block.Slot), ProposerIndex: uint64(b.Block.ProposerIndex),
		Root: root, ParentRoot: b.Block.ParentRoot,
		Attestations: len(b.Block.Body.Attestations), Participants: votes,
		Own: from.Own, PeerID: from.PeerID, Stages: stages,
	})
	return nil
}

func (c *Chain) importBlock(ctx context.Context, b *lstar.SignedBlock, from Origin) (root lstar.Root, stages telemetry.Stages, err error) {
	if err := lstar.CheckBody(&b.Block.Body); err != nil {
		return root, stages, err
	}
	root = b.Block.Root()
	var task *lstar.BlockTask
	if e := c.do(ctx, func(s *lstar.Store) { task, err = s.PrepareBlockWithRoot(b, root) }); e != nil {
		return root, stages, e
	}
	if err != nil {
		return root, stages, err
	}

	if err := c.cfg.Verifier.acquire(ctx); err != nil {
		return root, stages, err
	}
	started := time.Now()
	err = task.VerifySignatures()
	if !from.Own { // its signatures were checked when they were made or came in
		stages.SignatureVerification = time.Since(started)
	}
	if err == nil {
		transition := time.Now()
		err = task.Transition()
		stages.StateTransition = time.Since(transition)
	}
	c.cfg.Verifier.release()
	stages.Total = time.Since(started)
	if err != nil {
		return root, stages, err
	}

	e := c.do(ctx, func(s *lstar.Store) {
		forkChoice := time.Now()
		if err = s.ImportBlock(task); err == nil {
			c.summary.block(b.Block.Slot)
			recovered := s.RecoverProofs(b)
			recent := b.Block.Slot+1 >= s.Time().Slot() // others have the votes of old blocks
			if c.IsAggregator() && !from.Own && recent && len(recovered) > 0 && c.cfg.PublishAggregates != nil {
				c.cfg.PublishAggregates(recovered)
			}
		}
		stages.ForkChoice = time.Since(forkChoice)
		stages.Total += stages.ForkChoice
	})
	return root, stages, errors.Join(e, err)
}

// AddAttestation takes the vote of one validator. The error is a
// *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) AddAttestation(ctx context.Context, a *lstar.SignedAttestation, from Origin) error {
	started := time.Now()
	verification, err := c.addAttestation(ctx, a)
	var rejection *lstar.Rejection
	switch {
	case errors.As(err, &rejection):
		c.cfg.Observer.AttestationRejected(telemetry.AttestationRejected{
			Slot: uint64(a.Data.Slot), Validator: uint64(a.ValidatorIndex), Reason: string(rejection.Reason),
			PeerID: from.PeerID, Err: err, SignatureVerification: verification,
		})
	case err == nil:
		c.cfg.Observer.AttestationAccepted(telemetry.AttestationAccepted{
			Slot: uint64(a.Data.Slot), Validator: uint64(a.ValidatorIndex), PeerID: from.PeerID, Own: from.Own,
			Duration: time.Since(started), SignatureVerification: verification,
		})
	}
	return err
}

func (c *Chain) addAttestation(ctx context.Context, a *lstar.SignedAttestation) (verification time.Duration, err error) {
	var task *lstar.AttestationTask
	if e := c.do(ctx, func(s *lstar.Store) { task, err = s.PrepareAttestation(a) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	if err := c.cfg.Verifier.acquire(ctx); err != nil {
		return 0, err
	}
	started := time.Now()
	err = c.cfg.Verifier.attestation(task)
	verification = time.Since(started)
	c.cfg.Verifier.release()
	if err != nil {
		return verification, err
	}
	// An aggregator keeps the signature; the others have done their part.
	if c.IsAggregator() {
		err = c.do(ctx, func(s *lstar.Store) { s.AddAttestation(task) })
	}
	return verification, err
}

// AddAggregate takes an aggregated vote. The error is lstar.ErrNothingNew, a
// *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) AddAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation, from Origin) error {
	verification, err := c.addAggregate(ctx, a)
	var rejection *lstar.Rejection
	switch {
	case errors.As(err, &rejection):
		c.cfg.Observer.AggregateRejected(telemetry.AggregateRejected{
			Slot: uint64(a.Data.Slot), Reason: string(rejection.Reason), PeerID: from.PeerID, Err: err,
		})
	case err == nil:
		c.cfg.Observer.AggregateAccepted(telemetry.AggregateAccepted{
			Slot: uint64(a.Data.Slot), Participants: a.Proof.Participants.Count(),
			Own: from.Own, PeerID: from.PeerID, Duration: verification,
		})
	}
	return err
}

func (c *Chain) addAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation) (verification time.Duration, err error) {
	var task *lstar.AggregateTask
	if e := c.do(ctx, func(s *lstar.Store) { task, err = s.PrepareAggregate(a) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	if err := c.cfg.Verifier.acquire(ctx); err != nil {
		return 0, err
	}
	started := time.Now()
	err = task.VerifyProof()
	verification = time.Since(started)
	c.cfg.Verifier.release()
	if err != nil {
		return verification, err
	}
	return verification, c.do(ctx, func(s *lstar.Store) {
		s.AddAggregate(task)
		c.summary.votes(a.Data.Slot, a.Proof.Participants.Count())
	})
}

// ProduceBlock builds the block of a slot. It is not part of the chain until it
// is signed and imported.
func (c *Chain) ProduceBlock(ctx context.Context, slot lstar.Slot, proposer lstar.ValidatorIndex) (p *lstar.Proposal, err error) {
	if e := c.do(ctx, func(s *lstar.Store) {
		if s.Time() > slot.Interval()+lstar.IntervalsPerSlot-1 {
			err = errors.New("the slot is over")
			return
		}
		c.catchUp(s, slot.Interval())
		p, err = s.ProduceBlock(slot, proposer)
	}); e != nil {
		return nil, e
	}
	return p, err
}

// AttestationData returns what to vote for at a slot.
func (c *Chain) AttestationData(ctx context.Context, slot lstar.Slot) (data lstar.AttestationData, err error) {
	if e := c.do(ctx, func(s *lstar.Store) {
		s.UpdateHead()
		data, err = s.AttestationData(slot)
	}); e != nil {
		return data, e
	}
	return data, err
}
