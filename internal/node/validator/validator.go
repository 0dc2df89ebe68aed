// Package validator does the duties of the validators whose keys the node holds:
// it proposes blocks and votes, at the intervals of the protocol.
//
// XMSS signatures are one-time signatures: whoever signs two messages for one
// slot with one key has given the key away. So every signature passes a guard,
// which refuses a second message for a slot, and the service does nothing in the
// slot in which it starts, because a previous run may have signed in it.
//
// leanSpec: node/validator/service.py
package validator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// blockWait is how long into interval 1 a vote waits for the block of its slot. A
// vote without it is for an old head, and holds up the safe target.
const blockWait = 400 * time.Millisecond

// Keys are the signers of one validator.
type Keys struct {
	Index                 lstar.ValidatorIndex
	Attestation, Proposal *xmss.Signer
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
	Observer *telemetry.Observer
	Log      *slog.Logger
}

// Service does duties.
type Service struct {
	Config
	validators map[lstar.ValidatorIndex]*validator
	order      []*validator
	gate       gate
	firstSlot  lstar.Slot // with duties
	attested   lstar.Slot // latest slot that was voted in
	hasVoted   bool
}

type validator struct {
	index                 lstar.ValidatorIndex
	attestation, proposal guardedSigner
}

// New returns a service that does nothing until Run.
func New(cfg Config) *Service {
	s := &Service{Config: cfg, validators: make(map[lstar.ValidatorIndex]*validator)}
	for _, k := range cfg.Keys {
		v := &validator{
			index:       k.Index,
			attestation: guardedSigner{signer: k.Attestation},
			proposal:    guardedSigner{signer: k.Proposal},
		}
		s.validators[k.Index] = v
		s.order = append(s.order, v)
	}
	if !s.Clock.BeforeGenesis() {
		s.firstSlot = s.Clock.Slot() + 1
	}
	slices.SortFunc(s.order, func(a, b *validator) int { return int(a.index) - int(b.index) })
	return s
}

// Run does duties until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	s.Observer.ValidatorsLoaded(telemetry.ValidatorsLoaded{Count: len(s.order)})
	if len(s.order) == 0 {
		<-ctx.Done()
		return nil
	}
	_ = s.Clock.Each(ctx, func(i lstar.Interval) { s.interval(ctx, i) })
	return nil
}

// interval does the duties of an interval: blocks at interval 0, votes from
// interval 1 on until they are cast.
//
// leanSpec: node/validator/service.py, run
func (s *Service) interval(ctx context.Context, i lstar.Interval) {
	slot := i.Slot()
	if slot < s.firstSlot {
		return
	}
	if i.InSlot() == 0 {
		// The gate is asked in every slot: it remembers.
		proposer, ours := s.proposer(slot)
		if open := s.allowed(slot, telemetry.DutyBlock); ours && !open {
			s.skipped(slot, telemetry.DutyBlock)
		} else if ours {
			if err := s.propose(ctx, slot, proposer); err != nil && ctx.Err() == nil {
				s.Observer.BlockProductionFailed(telemetry.BlockProductionFailed{
					Slot: uint64(slot), Validator: uint64(proposer.index), Reason: reason(err), Err: err,
				})
			}
		}
		// A slow proposal must not cost the vote.
		i = s.Clock.Interval()
	}
	if i.Slot() == slot && i.InSlot() >= 1 && (!s.hasVoted || slot > s.attested) {
		if !s.allowed(slot, telemetry.DutyAttestation) {
			if i.InSlot() == lstar.IntervalsPerSlot-1 { // until then it may open again
				s.skipped(slot, telemetry.DutyAttestation)
			}
			return
		}
		s.attest(ctx, slot)
		s.attested, s.hasVoted = slot, true
	}
}

func (s *Service) skipped(slot lstar.Slot, duty string) {
	s.Observer.DutySkipped(telemetry.DutySkipped{Duty: duty, Slot: uint64(slot), Reason: telemetry.ReasonNotSynced})
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
	g := s.gate.check(slot, snap.Head.Slot, highest)
	if g.changed {
		s.Observer.DutyGate(telemetry.DutyGate{
			Open: g.open, Duty: duty, Slot: uint64(slot), HeadSlot: uint64(snap.Head.Slot), Lag: uint64(g.lag), Reason: g.reason,
		})
	}
	return g.open
}

// propose builds, signs and imports a block.
//
// leanSpec: node/validator/service.py, _maybe_produce_block
func (s *Service) propose(ctx context.Context, slot lstar.Slot, v *validator) error {
	started := time.Now()
	p, err := s.Chain.ProduceBlock(ctx, slot, v.index)
	if err != nil {
		return err
	}
	signature, err := s.sign(ctx, v, &v.proposal, telemetry.SignatureProposal, slot, p.Root)
	if err != nil {
		return err
	}
	merged, err := s.Crypto.MergeBlockProof(p.Block, p.Proofs, p.Validators, signature)
	if err != nil {
		return err
	}
	built := time.Since(started)
	block := &lstar.SignedBlock{Block: *p.Block, Proof: merged}
	if err := s.Chain.ImportBlock(ctx, block, chain.Origin{Own: true}); err != nil {
		return err
	}
	if s.Publisher != nil {
		s.Publisher.PublishBlock(block)
	}
	s.Observer.BlockProduced(telemetry.BlockProduced{
		Slot: uint64(slot), Validator: uint64(v.index), Root: p.Root,
		Attestations: len(p.Block.Body.Attestations), Duration: built,
	})
	return nil
}

// attest casts the votes of all our validators for a slot.
//
// leanSpec: node/validator/service.py, _produce_attestations
func (s *Service) attest(ctx context.Context, slot lstar.Slot) {
	s.awaitBlock(ctx, slot)
	data, err := s.Chain.AttestationData(ctx, slot)
	if err != nil {
		if ctx.Err() == nil {
			s.Observer.DutySkipped(telemetry.DutySkipped{Duty: telemetry.DutyAttestation, Slot: uint64(slot), Reason: reason(err)})
		}
		return
	}
	message := data.Root()

	// Signing is a search, and takes all processors where there are many keys.
	work := make(chan *validator)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(s.order)) {
		wg.Go(func() {
			for v := range work {
				s.vote(ctx, v, data, message)
			}
		})
	}
	for _, v := range s.order {
		work <- v
	}
	close(work)
	wg.Wait()
}

func (s *Service) vote(ctx context.Context, v *validator, data lstar.AttestationData, message lstar.Root) {
	started := time.Now()
	signature, err := s.sign(ctx, v, &v.attestation, telemetry.SignatureAttestation, data.Slot, message)
	if err != nil {
		if ctx.Err() == nil {
			s.Observer.DutySkipped(telemetry.DutySkipped{Duty: telemetry.DutyAttestation, Slot: uint64(data.Slot), Reason: reason(err)})
		}
		return
	}
	s.Observer.AttestationProduced(telemetry.AttestationProduced{
		Slot: uint64(data.Slot), Validator: uint64(v.index), Duration: time.Since(started),
	})
	vote := &lstar.SignedAttestation{ValidatorIndex: v.index, Data: data, Signature: signature}
	if err := s.Chain.AddAttestation(ctx, vote, chain.Origin{Own: true}); err != nil && ctx.Err() == nil {
		s.Log.Warn("own vote was not accepted", telemetry.Slot(uint64(data.Slot)),
			telemetry.Validator(uint64(v.index)), telemetry.Err(err))
		return // others would refuse it too, and hold it against this node
	}
	if s.Publisher != nil {
		s.Publisher.PublishAttestation(vote)
	}
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

func (s *Service) sign(ctx context.Context, v *validator, signer *guardedSigner, kind string, slot lstar.Slot, message lstar.Root) (*xmss.Signature, error) {
	started := time.Now()
	signature, err := signer.sign(ctx, slot, message)
	s.Observer.SignatureMade(telemetry.SignatureMade{
		Kind: kind, Slot: uint64(slot), Validator: uint64(v.index), Duration: time.Since(started), Err: err,
	})
	return signature, err
}

// errSignedOther is the refusal to sign a second message for a slot.
var errSignedOther = errors.New("refused to sign a second message for one slot: it would give the key away")

// guardedSigner signs one message a slot, and slots in ascending order.
type guardedSigner struct {
	signer *xmss.Signer

	mu      sync.Mutex
	used    bool
	slot    lstar.Slot // latest that was signed
	message lstar.Root
}

func (g *guardedSigner) sign(ctx context.Context, slot lstar.Slot, message lstar.Root) (*xmss.Signature, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.used && (slot < g.slot || slot == g.slot && message != g.message) {
		return nil, fmt.Errorf("%w: slot %d, latest signed slot %d", errSignedOther, slot, g.slot)
	}
	g.used, g.slot, g.message = true, slot, message
	return g.signer.Sign(ctx, uint64(slot), message)
}

// reason returns a short name for an error, for metrics and logs.
func reason(err error) string {
	var rejection *lstar.Rejection
	switch {
	case errors.As(err, &rejection):
		return string(rejection.Reason)
	case errors.Is(err, errSignedOther):
		return telemetry.ReasonAlreadySigned
	}
	return telemetry.ReasonSigningFailed
}
