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

// rival takes the place of a node of a network. It keeps to the protocol but for
// its proposals: it makes two blocks for one slot, or one too late, so that the
// others change their minds. It has no guard: its keys sign what they like.
type rival struct {
	chain     *chain.Chain
	sync      *syncer.Service
	network   *p2p.Network
	clock     clock.Clock
	crypto    lstar.Crypto
	keys      map[lstar.ValidatorIndex]config.ValidatorKeys
	log       *slog.Logger
	behaves   atomic.Bool // it makes one block, in time
	turns     atomic.Int64
	proposals [rivalPlans]atomic.Int64

	mu    sync.Mutex
	twins map[lstar.Slot][2]*lstar.Block
}

// What a rival does when it is its turn.
const (
	oneBlock = iota
	// Two blocks with one parent, the one that wins a tie second.
	twins
	// The same, but the second comes after the votes for the first one.
	lateTwin
	// One block, when the votes are cast.
	lateBlock
	rivalPlans
)

// startRival starts a rival that ends with the test, or when stop is called.
func startRival(t *testing.T, n *devnet.Network, node *devnet.Node) (r *rival, stop func()) {
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
	r = &rival{
		clock: n.Clock, log: log, crypto: lstar.Crypto{Signatures: n.Scheme, Proofs: proof.NewSigList(n.Scheme, verifier.Verify)},
		keys: make(map[lstar.ValidatorIndex]config.ValidatorKeys), twins: make(map[lstar.Slot][2]*lstar.Block),
	}
	for _, k := range keys {
		r.keys[lstar.ValidatorIndex(k.Index)] = k
	}
	state := lstar.GenesisState(genesis.GenesisTime, lstar.NewValidators(list))
	anchor := lstar.GenesisBlock(state)
	store, err := lstar.NewStore(r.crypto, lstar.NetworkRules, state, anchor)
	must(err)
	kept := storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *anchor})
	bus := events.NewBus(logging.Events(log))
	r.chain = chain.New(chain.Config{
		Store: store, Storage: kept, Verifier: verifier, Clock: n.Clock, Bus: bus, Log: log,
		OnSlotEnd: func(events.SlotSummary) {},
	})
	r.sync = syncer.New(syncer.Config{Chain: r.chain, Blocks: kept, Clock: n.Clock, Bus: bus, Log: log})
	var bootnodes []string
	for _, other := range n.Nodes {
		if other != node {
			bootnodes = append(bootnodes, other.ENR)
		}
	}
	r.network, err = p2p.New(p2p.Config{
		NodeKey: nodeKey, Listen: "/ip4/127.0.0.1/udp/" + port(node.QUIC) + "/quic-v1", Bootnodes: bootnodes, Subnets: []uint64{0},
		NetworkName: p2p.DefaultNetworkName,
		Scheme:      n.Scheme, Handler: r.sync, Bus: bus, Log: log,
	})
	must(err)
	r.sync.SetNetwork(r.network)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for name, service := range map[string]func(context.Context) error{
		"chain": r.chain.Run, "sync": r.sync.Run, "p2p": r.network.Run, "duties": r.run,
	} {
		running.Go(func() {
			if err := service(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("the rival's %s: %v", name, err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = r.network.Close()
		running.Wait()
	})
	t.Cleanup(stop)
	return r, stop
}

// run does the duties of all slots.
func (r *rival) run(ctx context.Context) error {
	var duties sync.WaitGroup
	defer duties.Wait()
	do := func(what string, slot lstar.Slot, duty func(context.Context, lstar.Slot) error) {
		duties.Go(func() {
			if err := duty(ctx, slot); err != nil && ctx.Err() == nil {
				r.log.Warn("rival: "+what, logging.Slot(slot), logging.Err(err))
			}
		})
	}
	_ = r.clock.Each(ctx, func(i lstar.Interval) {
		switch i.InSlot() {
		case 0:
			do("proposal", i.Slot(), r.propose)
		case 1:
			do("votes", i.Slot(), r.vote)
		}
	})
	return nil
}

// at waits for a moment of a slot.
func (r *rival) at(ctx context.Context, slot lstar.Slot, offset time.Duration) {
	_ = r.clock.Until(ctx, r.clock.StartOf(slot.Interval()).Add(offset))
}

func (r *rival) propose(ctx context.Context, slot lstar.Slot) error {
	index, err := lstar.ProposerForSlot(slot, r.chain.Snapshot().HeadState.Validators.Len())
	if _, ours := r.keys[index]; !ours || slot == 0 || err != nil {
		return err
	}
	plan := oneBlock
	if !r.behaves.Load() {
		plans := [...]int{twins, lateTwin, oneBlock, lateTwin, twins, lateBlock}
		plan = plans[int(r.turns.Add(1)-1)%len(plans)]
	}
	p, _, err := r.chain.ProduceBlock(ctx, slot, index)
	if err != nil {
		return err
	}
	first, err := r.finish(p)
	if err != nil {
		return err
	}
	var second *lstar.SignedBlock
	if plan == twins || plan == lateTwin {
		other, err := r.twin(p)
		if err != nil {
			return err
		}
		if other == nil {
			plan = lateBlock
		} else {
			if second, err = r.finish(other); err != nil {
				return err
			}
			if slices.Compare(p.Root[:], other.Root[:]) > 0 {
				first, second = second, first
			}
			if plan == twins {
				r.mu.Lock()
				r.twins[slot] = [2]*lstar.Block{&first.Block, &second.Block}
				r.mu.Unlock()
			}
		}
	}
	r.proposals[plan].Add(1)
	if plan == lateBlock {
		r.at(ctx, slot, 2500*time.Millisecond)
	}
	if err := r.publish(ctx, first); err != nil || second == nil {
		return err
	}
	if plan == lateTwin {
		r.at(ctx, slot, 1500*time.Millisecond)
	} else {
		r.at(ctx, slot, 300*time.Millisecond)
	}
	return r.publish(ctx, second)
}

// twin makes another block for the slot of a proposal: one that leaves out its last
// votes, or one beside its parent if it has none. It is nil where there is none.
func (r *rival) twin(p *lstar.Proposal) (*lstar.Proposal, error) {
	snap := r.chain.Snapshot()
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
	twin := &lstar.Block{Slot: p.Block.Slot, ProposerIndex: p.Block.ProposerIndex, ParentRoot: parent}
	twin.Body.Attestations = p.Block.Body.Attestations[:kept:kept]
	post, err := advanced.ProcessBlock(twin)
	if err != nil {
		return nil, err
	}
	twin.StateRoot = post.Root()
	return &lstar.Proposal{Block: twin, Root: twin.Root(), Proofs: p.Proofs[:kept], Validators: p.Validators}, nil
}

// finish signs a proposal.
func (r *rival) finish(p *lstar.Proposal) (*lstar.SignedBlock, error) {
	signature, err := r.keys[p.Block.ProposerIndex].Proposal.SignUnguarded(uint64(p.Block.Slot), p.Root)
	if err != nil {
		return nil, err
	}
	proofs, err := r.crypto.AggregatePayloads(p)
	if err != nil {
		return nil, err
	}
	merged, err := r.crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
	return &lstar.SignedBlock{Block: *p.Block, Proof: merged}, err
}

func (r *rival) publish(ctx context.Context, b *lstar.SignedBlock) error {
	if err := r.chain.ImportBlock(ctx, b, chain.Origin{Own: true}); err != nil {
		return err
	}
	r.sync.OnOwnBlock(b)
	return r.network.PublishBlock(ctx, b)
}

// vote casts the votes of a slot: where there are twins, each second one for the
// one that is not the head.
func (r *rival) vote(ctx context.Context, slot lstar.Slot) error {
	r.at(ctx, slot, 900*time.Millisecond)
	data, err := r.chain.AttestationData(ctx, slot)
	if err != nil {
		return err
	}
	other := r.otherTwin(data)
	n := 0
	for index, keys := range r.keys {
		vote := &lstar.SignedAttestation{ValidatorIndex: index, Data: data}
		if n++; n%2 == 0 {
			vote.Data = other
		}
		if vote.Signature, err = keys.Attestation.SignUnguarded(uint64(slot), vote.Data.Root()); err != nil {
			return err
		}
		if err := r.chain.AddAttestation(ctx, vote, chain.Origin{Own: true}); err != nil {
			return err
		}
		if err := r.network.PublishAttestation(ctx, vote); err != nil {
			return err
		}
	}
	return nil
}

// otherTwin is a vote for the twin of the head, if there is one that can have it.
func (r *rival) otherTwin(data lstar.AttestationData) lstar.AttestationData {
	r.mu.Lock()
	pair, ok := r.twins[data.Slot]
	r.mu.Unlock()
	if !ok || pair[0].ParentRoot != pair[1].ParentRoot || data.Target.Slot >= data.Slot {
		return data
	}
	snap := r.chain.Snapshot()
	for i, b := range pair {
		other := pair[1-i].Root()
		if state := snap.State(other); b.Root() == data.Head.Root && state != nil && state.LatestJustified == data.Source {
			data.Head.Root = other
			break
		}
	}
	return data
}
