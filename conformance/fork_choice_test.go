package conformance

import (
	"fmt"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
)

// forkChoiceFixture is an anchor of a store and a list of steps.
//
// leanSpec: test_fixtures/fork_choice.py, test_types/step_types.py
type forkChoiceFixture struct {
	envelope
	AnchorState state
	AnchorBlock lstar.Block
	Steps       []any
	MaxSlot     lstar.Slot // the highest slot for which the filler needed keys
}

// step holds the fields that all steps have.
type step struct {
	StepType        string
	Valid           bool
	RejectionReason *lstar.RejectionReason
	Checks          *storeChecks
	StoreSnapshot   storeSnapshot
}

type tickStep struct {
	step
	Time        *int64 // Unix seconds; either Time or Interval is set
	Interval    *lstar.Interval
	HasProposal bool
}

type blockStep struct {
	step
	TickToSlot bool
	Block      struct {
		lstar.Block
		BlockRootLabel *string
	}
}

type attestationStep struct {
	step
	Attestation  lstar.SignedAttestation
	IsAggregator bool
}

type aggregateStep struct {
	step
	Attestation lstar.SignedAggregatedAttestation
}

// anyStep is a step of one of the types above.
type anyStep interface {
	common() *step
	apply(c *chain) error
}

func (s *step) common() *step { return s }

// chain is the store under test.
type chain struct {
	store  *lstar.Store
	rules  lstar.Rules
	labels map[string]lstar.Root // of blocks
}

func (f *forkChoiceFixture) run(t *testing.T, env *environment) {
	crypto := lstar.Crypto{Signatures: env.scheme, Proofs: mockedProofs{}}
	store, err := lstar.NewStore(crypto, env.rules, f.AnchorState.decode(t), &f.AnchorBlock)
	if !checkRejection(t, err, f.RejectionReason) || err != nil {
		return
	}
	c := &chain{store: store, rules: env.rules, labels: map[string]lstar.Root{"genesis": f.AnchorBlock.Root()}}
	for i, j := range f.Steps {
		step, err := readStep(env.read, j)
		if err != nil {
			t.Fatalf("read step %d: %v", i, err)
		}
		oldHead := store.Head().Root
		err = step.apply(c)

		s := step.common()
		if s.Valid != (s.RejectionReason == nil) {
			t.Errorf("step %d: valid is %v, but the rejection reason is %v", i, s.Valid, s.RejectionReason)
		}
		checkRejection(t, err, s.RejectionReason)
		s.StoreSnapshot.check(t, store)
		if s.Checks != nil && err == nil { // checks are for accepted steps
			s.Checks.check(t, c, stepBlock(step), oldHead)
		}
		if t.Failed() {
			t.Fatalf("step %d (%s) failed; the steps after it did not run", i, s.StepType)
		}
	}
}

func readStep(r reader, j any) (anyStep, error) {
	object, _ := j.(map[string]any)
	var step anyStep
	switch object["stepType"] {
	case "tick":
		step = new(tickStep)
	case "block":
		step = new(blockStep)
	case "attestation":
		step = new(attestationStep)
	case "gossipAggregatedAttestation":
		step = new(aggregateStep)
	default:
		return nil, fmt.Errorf("unknown type %v", object["stepType"])
	}
	return step, r.into(step, j)
}

// stepBlock returns the block of a block step, or nil.
func stepBlock(s anyStep) *lstar.Block {
	if b, ok := s.(*blockStep); ok {
		return &b.Block.Block
	}
	return nil
}

func (s *tickStep) apply(c *chain) error {
	var to lstar.Interval
	switch {
	case s.Interval != nil && s.Time == nil:
		to = *s.Interval
	case s.Time != nil && s.Interval == nil:
		to = clock.SlotClock{GenesisTime: c.store.Config().GenesisTime}.TotalIntervals(*s.Time * 1000)
	default:
		return fmt.Errorf("a tick needs either a time or an interval")
	}
	_, err := c.store.OnTick(to, s.HasProposal, true)
	return err
}

func (s *attestationStep) apply(c *chain) error {
	return c.store.OnGossipAttestation(&s.Attestation, s.IsAggregator)
}

func (s *aggregateStep) apply(c *chain) error {
	return c.store.OnGossipAggregatedAttestation(&s.Attestation)
}

func (s *blockStep) apply(c *chain) error {
	block := &s.Block.Block
	if err := c.simulateFiller(s); err != nil {
		return err
	}
	if label := s.Block.BlockRootLabel; label != nil {
		c.labels[*label] = block.Root()
	}
	if s.TickToSlot {
		if _, err := c.store.OnTick(block.Slot.Interval(), true, true); err != nil {
			return err
		}
	}
	// The vector does not contain the block's proof. In steps that test an invalid proof,
	// leanSpec's is empty.
	proof := fingerprint(block.Root())
	if r := s.RejectionReason; r != nil && (*r == lstar.InvalidSignature || *r == lstar.InvalidBlockProof) {
		proof = nil
	}
	return c.store.OnBlock(&lstar.SignedBlock{Block: *block, Proof: lstar.MultiMessageAggregate{Proof: proof}})
}
