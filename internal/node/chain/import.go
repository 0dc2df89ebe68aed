package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Origin is the source of a block or a vote.
type Origin struct {
	Own    bool    // made by this node
	Gossip bool    // received by gossip
	Peer   peer.ID // the sender, empty for this node
}

// stepTimer measures the steps of the core, which has no clock.
type stepTimer struct {
	last  time.Time
	spent [lstar.Steps]time.Duration
}

func startSteps() *stepTimer { return &stepTimer{last: time.Now()} }

// end implements lstar.StepFunc.
func (t *stepTimer) end(step lstar.Step) {
	now := time.Now()
	t.spent[step] += now.Sub(t.last)
	t.last = now
}

// ImportBlock verifies a block and adds it to the chain. It returns once the block is saved and
// published. The error is lstar.ErrKnown, a *lstar.Rejection, ErrStopped or that of ctx.
//
// leanSpec: fork_choice.py, on_block
func (c *Chain) ImportBlock(ctx context.Context, b *lstar.SignedBlock, from Origin) error {
	given := time.Now()
	root, slots, stages, err := c.importBlock(ctx, b, from)
	stages.Elapsed = time.Since(given)
	stages.Wait = max(0, stages.Elapsed-stages.Total-stages.Save)
	var rejection *lstar.Rejection
	if errors.As(err, &rejection) && !mayBecomeValid(rejection) {
		c.cfg.Bus.Report(events.BlockRejected{
			Slot: b.Block.Slot, Root: root, Reason: string(rejection.Reason),
			Own: from.Own, Gossip: from.Gossip, Peer: from.Peer, Err: err,
		})
	}
	if err != nil {
		return err
	}
	votes := 0
	for i := range b.Block.Body.Attestations {
		votes += b.Block.Body.Attestations[i].AggregationBits.Count()
	}
	c.cfg.Bus.Report(events.BlockImported{
		Slot: b.Block.Slot, ProposerIndex: b.Block.ProposerIndex,
		Root: root, ParentRoot: b.Block.ParentRoot,
		Attestations: len(b.Block.Body.Attestations), Participants: votes,
		Slots: slots, Own: from.Own, Gossip: from.Gossip, Peer: from.Peer, Stages: stages,
		Delay: c.cfg.Clock.Now().Sub(c.cfg.Clock.StartOf(b.Block.Slot.Interval())),
	})
	return nil
}

// VerifyProposer checks the limits of a block's body and the proposer's signature. The parent need
// not be known. The error is a *lstar.Rejection or that of ctx.
func (c *Chain) VerifyProposer(ctx context.Context, b *lstar.SignedBlock, root lstar.Root) error {
	_, err := c.cfg.Verifier.run(ctx, func() error { return c.Snapshot().VerifyProposer(b, root) })
	return err
}

// mayBecomeValid reports whether a block or a vote was rejected only because a block that it refers
// to is not known yet.
func mayBecomeValid(r *lstar.Rejection) bool {
	switch r.Reason {
	case lstar.UnknownParentBlock, lstar.UnknownSourceBlock, lstar.UnknownTargetBlock, lstar.UnknownHeadBlock:
		return true
	}
	return false
}

func (c *Chain) importBlock(ctx context.Context, b *lstar.SignedBlock, from Origin) (root lstar.Root, slots uint64, stages events.Stages, err error) {
	if err := lstar.CheckBody(&b.Block.Body); err != nil {
		return root, slots, stages, err
	}
	root = b.Block.Root()
	task, err := c.Snapshot().PrepareBlock(b, root)
	if err != nil {
		return root, slots, stages, err
	}
	stages.Total, err = c.cfg.Verifier.run(ctx, func() error {
		started := time.Now()
		err := task.VerifySignatures()
		if !from.Own { // the signatures of an own block were checked before
			stages.SignatureVerification = time.Since(started)
		}
		if err != nil {
			return err
		}
		steps := startSteps()
		transition := steps.last
		err = task.Transition(steps.end)
		stages.StateTransition = time.Since(transition)
		stages.Slots, stages.Attestations = steps.spent[lstar.StepSlots], steps.spent[lstar.StepAttestations]
		stages.Block = steps.spent[lstar.StepHeader] + stages.Attestations
		return err
	})
	if err != nil {
		return root, slots, stages, err
	}
	slots = task.Slots()

	var added time.Time
	var votes []*lstar.ProofTask
	publish := c.IsAggregator() && !from.Own
	e := c.do(ctx, func(s *lstar.Store) {
		forkChoice := time.Now()
		if err = s.ImportBlock(task); err == nil {
			c.summary.block(b.Block.Slot)
			votes = s.RecoveryTasks(b)
			publish = publish && b.Block.Slot+1 >= s.Time().Slot() // other nodes already have the votes of old blocks
		}
		added = time.Now()
		stages.ForkChoice = added.Sub(forkChoice)
		stages.Total += stages.ForkChoice
	})
	if e == nil {
		stages.Save = time.Since(added)
	}
	c.recover(ctx, votes, publish)
	return root, slots, stages, errors.Join(e, err)
}

// AddAttestation verifies the vote of one validator, and keeps its signature for aggregation if
// this node is an aggregator. The error is a *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) AddAttestation(ctx context.Context, a *lstar.SignedAttestation, from Origin) error {
	started := time.Now()
	verification, err := c.addAttestation(ctx, a)
	var rejection *lstar.Rejection
	switch {
	case errors.As(err, &rejection) && !mayBecomeValid(rejection):
		c.cfg.Bus.Report(events.AttestationRejected{
			Slot: a.Data.Slot, Validator: a.ValidatorIndex, Reason: string(rejection.Reason),
			Own: from.Own, Gossip: from.Gossip, Peer: from.Peer, Err: err, SignatureVerification: verification,
		})
	case err == nil:
		c.cfg.Bus.Report(events.AttestationAccepted{
			Slot: a.Data.Slot, Validator: a.ValidatorIndex, Data: a.Data, Peer: from.Peer, Own: from.Own,
			Duration: time.Since(started), SignatureVerification: verification,
		})
	}
	return err
}

func (c *Chain) addAttestation(ctx context.Context, a *lstar.SignedAttestation) (verification time.Duration, err error) {
	task, err := c.Snapshot().PrepareAttestation(a)
	if err != nil {
		return 0, err
	}
	verification, err = c.cfg.Verifier.run(ctx, func() error { return c.cfg.Verifier.attestation(task) })
	if err == nil && c.IsAggregator() { // only an aggregator needs the signature
		err = c.do(ctx, func(s *lstar.Store) { s.AddAttestation(task) })
	}
	return verification, err
}

// AddAggregate verifies an aggregate and adds it to the store. The error is lstar.ErrNothingNew, a
// *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) AddAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation, from Origin) error {
	verification, err := c.addAggregate(ctx, a)
	var rejection *lstar.Rejection
	switch {
	case errors.As(err, &rejection) && !mayBecomeValid(rejection):
		c.cfg.Bus.Report(events.AggregateRejected{
			Slot: a.Data.Slot, Reason: string(rejection.Reason),
			Own: from.Own, Gossip: from.Gossip, Peer: from.Peer, Err: err,
		})
	case err == nil:
		c.cfg.Bus.Report(events.AggregateAccepted{
			Slot: a.Data.Slot, Participants: a.Proof.Participants.Count(), Data: a.Data, Bits: a.Proof.Participants,
			Own: from.Own, Peer: from.Peer, Duration: verification,
		})
	}
	return err
}

func (c *Chain) addAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation) (verification time.Duration, err error) {
	task, err := c.Snapshot().PrepareAggregate(a)
	if err != nil {
		return 0, err
	}
	if e := c.do(ctx, func(s *lstar.Store) { err = s.CheckNew(task) }); e != nil || err != nil {
		return 0, cmp.Or(e, err)
	}
	if verification, err = c.cfg.Verifier.run(ctx, task.VerifyProof); err != nil {
		return verification, err
	}
	e := c.do(ctx, func(s *lstar.Store) {
		if err = s.AddAggregate(task); err == nil {
			c.summary.votes(a.Data.Slot, a.Proof.Participants.Count())
		}
	})
	return verification, cmp.Or(e, err)
}

// ProduceBlock builds the block of a slot without a proof. The caller must sign and import it.
// payloads is the time that the choice of the attestations took.
func (c *Chain) ProduceBlock(ctx context.Context, slot lstar.Slot, proposer lstar.ValidatorIndex) (p *lstar.Proposal, payloads time.Duration, err error) {
	if e := c.do(ctx, func(s *lstar.Store) {
		if s.Time() > slot.Interval()+lstar.IntervalsPerSlot-1 {
			err = fmt.Errorf("slot %d is over: the store is at slot %d", slot, s.Time().Slot())
			return
		}
		c.catchUp(s, slot.Interval())
		steps := startSteps()
		p, err = s.ProduceBlock(slot, proposer, steps.end)
		payloads = steps.spent[lstar.StepPayloads]
	}); e != nil {
		return nil, 0, e
	}
	return p, payloads, err
}

// AttestationData updates the head and returns the vote of this node's validators for a slot. The
// error is a *lstar.Rejection, ErrStopped or that of ctx.
func (c *Chain) AttestationData(ctx context.Context, slot lstar.Slot) (data lstar.AttestationData, err error) {
	if e := c.do(ctx, func(s *lstar.Store) {
		s.UpdateHead()
		data, err = s.AttestationData(slot)
	}); e != nil {
		return data, e
	}
	return data, err
}
