package e2e

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
)

// equivocator replaces a node of a network. It follows the protocol except in its proposals: it makes two blocks for one
// slot, or a late one, and so causes reorgs. Its keys sign without a guard.
type equivocator struct {
	chain     *chain.Chain
	sync      *syncer.Service
	network   *p2p.Network
	clock     clock.Clock
	crypto    lstar.Crypto
	keys      map[lstar.ValidatorIndex]config.ValidatorKeys
	log       *slog.Logger
	honest    atomic.Bool  // make one block, in time
	turn      atomic.Int64 // number of proposals with a plan
	proposals [proposalPlans]atomic.Int64

	mu    sync.Mutex
	pairs map[lstar.Slot][2]*lstar.Block
}

// The plans for a proposal of an equivocator.
const (
	oneBlock      = iota
	twoBlocks     // two blocks in time; the one that wins a tie is published second
	twoBlocksLate // two blocks, the second after the votes for the first
	lateBlock     // one block, after the votes
	proposalPlans
)

// startEquivocator starts an equivocator, which ends with the test or when stop is called.
func startEquivocator(t *testing.T, n *devnet.Network, node *devnet.Node) (e *equivocator, stop func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	genesis, err := config.LoadGenesis(filepath.Join(n.Dir, "config.yaml"))
	must(err)
	keys, err := config.LoadValidatorKeys(n.Dir, node.Name, genesis, n.Scheme)
	must(err)
	nodeKey, err := config.LoadNodeKey(filepath.Join(n.Dir, node.Name+".key"))
	must(err)
	must(os.MkdirAll(node.Dir, 0o700))
	logFile, err := os.Create(node.LogPath())
	must(err)
	t.Cleanup(func() { _ = logFile.Close() })
	log, _ := logging.New(logging.Options{Format: logging.FormatJSON, Writer: logFile})

	list := make([]lstar.Validator, len(genesis.Validators))
	for i, v := range genesis.Validators {
		list[i] = lstar.Validator{AttestationPublicKey: v.AttestationPublicKey, ProposalPublicKey: v.ProposalPublicKey}
	}
	verifier := chain.NewVerifier(n.Scheme)
	e = &equivocator{
		clock: n.Clock, log: log, crypto: lstar.Crypto{Signatures: n.Scheme, Proofs: proof.NewSigList(n.Scheme, verifier.Verify)},
		keys: make(map[lstar.ValidatorIndex]config.ValidatorKeys), pairs: make(map[lstar.Slot][2]*lstar.Block),
	}
	for _, k := range keys {
		e.keys[lstar.ValidatorIndex(k.Index)] = k
	}
	state := lstar.GenesisState(genesis.GenesisTime, lstar.NewValidators(list))
	anchor := lstar.GenesisBlock(state)
	store, err := lstar.NewStore(e.crypto, lstar.NetworkRules, state, anchor)
	must(err)
	kept := storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *anchor})
	bus := events.NewBus(logging.Events(log))
	e.chain = chain.New(chain.Config{
		Store: store, Storage: kept, Verifier: verifier, Clock: n.Clock, Bus: bus, Log: log,
		OnSlotEnd: func(events.SlotSummary) {},
	})
	e.sync = syncer.New(syncer.Config{Chain: e.chain, Blocks: kept, Clock: n.Clock, Bus: bus, Log: log})
	var bootnodes []string
	for _, other := range n.Nodes {
		if other != node {
			bootnodes = append(bootnodes, other.ENR)
		}
	}
	e.network, err = p2p.New(p2p.Config{
		NodeKey: nodeKey, Listen: "/ip4/127.0.0.1/udp/" + port(node.QUIC) + "/quic-v1", Bootnodes: bootnodes, Subnets: []uint64{0},
		NetworkName: p2p.DefaultNetworkName,
		Scheme:      n.Scheme, Handler: e.sync, Bus: bus, Log: log,
	})
	must(err)
	e.sync.SetNetwork(e.network)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for name, service := range map[string]func(context.Context) error{
		"chain": e.chain.Run, "sync": e.sync.Run, "p2p": e.network.Run, "duties": e.run,
	} {
		running.Go(func() {
			if err := service(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s of the equivocator: %v", name, err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = e.network.Close()
		running.Wait()
	})
	t.Cleanup(stop)
	return e, stop
}

// run performs the duties of all slots until ctx is canceled.
func (e *equivocator) run(ctx context.Context) error {
	var duties sync.WaitGroup
	defer duties.Wait()
	do := func(what string, slot lstar.Slot, duty func(context.Context, lstar.Slot) error) {
		duties.Go(func() {
			if err := duty(ctx, slot); err != nil && ctx.Err() == nil {
				e.log.Warn("equivocator: "+what, logging.Slot(slot), logging.Err(err))
			}
		})
	}
	_ = e.clock.Each(ctx, func(i lstar.Interval) {
		switch i.InSlot() {
		case 0:
			do("proposal", i.Slot(), e.propose)
		case 1:
			do("votes", i.Slot(), e.vote)
		}
	})
	return nil
}

// at waits until a time after the start of a slot.
func (e *equivocator) at(ctx context.Context, slot lstar.Slot, offset time.Duration) {
	_ = e.clock.Until(ctx, e.clock.StartOf(slot.Interval()).Add(offset))
}

// propose proposes one or two blocks if it is this node's turn.
func (e *equivocator) propose(ctx context.Context, slot lstar.Slot) error {
	index, err := lstar.ProposerForSlot(slot, e.chain.Snapshot().HeadState.Validators.Len())
	if _, own := e.keys[index]; !own || slot == 0 || err != nil {
		return err
	}
	plan := oneBlock
	if !e.honest.Load() {
		plans := [...]int{twoBlocks, twoBlocksLate, oneBlock, twoBlocksLate, twoBlocks, lateBlock}
		plan = plans[int(e.turn.Add(1)-1)%len(plans)]
	}
	p, _, err := e.chain.ProduceBlock(ctx, slot, index)
	if err != nil {
		return err
	}
	first, err := e.finish(p)
	if err != nil {
		return err
	}
	var second *lstar.SignedBlock
	if plan == twoBlocks || plan == twoBlocksLate {
		other, err := e.secondBlock(p)
		if err != nil {
			return err
		}
		if other == nil {
			plan = lateBlock
		} else {
			if second, err = e.finish(other); err != nil {
				return err
			}
			if slices.Compare(p.Root[:], other.Root[:]) > 0 {
				first, second = second, first
			}
			if plan == twoBlocks {
				e.mu.Lock()
				e.pairs[slot] = [2]*lstar.Block{&first.Block, &second.Block}
				e.mu.Unlock()
			}
		}
	}
	e.proposals[plan].Add(1)
	if plan == lateBlock {
		e.at(ctx, slot, 2500*time.Millisecond)
	}
	if err := e.publish(ctx, first); err != nil || second == nil {
		return err
	}
	if plan == twoBlocksLate {
		e.at(ctx, slot, 1500*time.Millisecond)
	} else {
		e.at(ctx, slot, 300*time.Millisecond)
	}
	return e.publish(ctx, second)
}

// secondBlock makes another block for the slot of a proposal: without its last attestation, or, if it has none, with the
// parent of its parent. It returns nil if there is no such block.
func (e *equivocator) secondBlock(p *lstar.Proposal) (*lstar.Proposal, error) {
	snap := e.chain.Snapshot()
	parent := p.Block.ParentRoot
	kept := len(p.Block.Body.Attestations) - 1
	if kept < 0 {
		block := snap.Block(parent)
		if block == nil || block.Slot == 0 {
			return nil, nil
		}
		parent, kept = block.ParentRoot, 0
	}
	state := snap.State(parent)
	if state == nil {
		return nil, nil
	}
	advanced, err := state.ProcessSlots(p.Block.Slot)
	if err != nil {
		return nil, err
	}
	second := &lstar.Block{Slot: p.Block.Slot, ProposerIndex: p.Block.ProposerIndex, ParentRoot: parent}
	second.Body.Attestations = p.Block.Body.Attestations[:kept:kept]
	post, err := advanced.ProcessBlock(second)
	if err != nil {
		return nil, err
	}
	second.StateRoot = post.Root()
	return &lstar.Proposal{Block: second, Root: second.Root(), Proofs: p.Proofs[:kept], Validators: p.Validators}, nil
}

// finish signs a proposal and adds its proof.
func (e *equivocator) finish(p *lstar.Proposal) (*lstar.SignedBlock, error) {
	signature, err := e.keys[p.Block.ProposerIndex].Proposal.SignUnguarded(uint64(p.Block.Slot), p.Root)
	if err != nil {
		return nil, err
	}
	proofs, err := e.crypto.AggregatePayloads(p)
	if err != nil {
		return nil, err
	}
	merged, err := e.crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
	return &lstar.SignedBlock{Block: *p.Block, Proof: merged}, err
}

// publish imports a block and sends it by gossip.
func (e *equivocator) publish(ctx context.Context, b *lstar.SignedBlock) error {
	if err := e.chain.ImportBlock(ctx, b, chain.Origin{Own: true}); err != nil {
		return err
	}
	e.sync.OnOwnBlock(b)
	return e.network.PublishBlock(ctx, b)
}

// vote sends the votes of all keys for a slot. If there are two blocks, every second vote is for the one that is not the
// head.
func (e *equivocator) vote(ctx context.Context, slot lstar.Slot) error {
	e.at(ctx, slot, 900*time.Millisecond)
	data, err := e.chain.AttestationData(ctx, slot)
	if err != nil {
		return err
	}
	other := e.voteForOther(data)
	n := 0
	for index, keys := range e.keys {
		vote := &lstar.SignedAttestation{ValidatorIndex: index, Data: data}
		if n++; n%2 == 0 {
			vote.Data = other
		}
		if vote.Signature, err = keys.Attestation.SignUnguarded(uint64(slot), vote.Data.Root()); err != nil {
			return err
		}
		if err := e.chain.AddAttestation(ctx, vote, chain.Origin{Own: true}); err != nil {
			return err
		}
		if err := e.network.PublishAttestation(ctx, vote); err != nil {
			return err
		}
	}
	return nil
}

// voteForOther returns the vote for the other block of the head's slot, or data if no such vote is valid.
func (e *equivocator) voteForOther(data lstar.AttestationData) lstar.AttestationData {
	e.mu.Lock()
	pair, ok := e.pairs[data.Slot]
	e.mu.Unlock()
	if !ok || pair[0].ParentRoot != pair[1].ParentRoot || data.Target.Slot >= data.Slot {
		return data
	}
	snap := e.chain.Snapshot()
	for i, b := range pair {
		other := pair[1-i].Root()
		if state := snap.State(other); b.Root() == data.Head.Root && state != nil && state.LatestJustified == data.Source {
			data.Head.Root = other
			break
		}
	}
	return data
}
