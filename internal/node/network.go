package node

import (
	"context"
	"log/slog"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
)

// publishQueue bounds the aggregates that wait to be published.
const publishQueue = 64

// publisher sends to the network what this node makes.
type publisher struct {
	network    *p2p.Network
	sync       *syncer.Service
	bus        *events.Bus
	log        *slog.Logger
	aggregates chan *lstar.SignedAggregatedAttestation
	ctx        context.Context // of Run
}

// PublishBlock keeps an own block, to serve it, and sends it.
func (p *publisher) PublishBlock(b *lstar.SignedBlock) {
	p.sync.OnOwnBlock(b)
	p.report(p.network.PublishBlock(p.ctx, b), "block", b.Block.Slot)
}

// PublishAttestation sends an own vote.
func (p *publisher) PublishAttestation(a *lstar.SignedAttestation) {
	p.report(p.network.PublishAttestation(p.ctx, a), "attestation", a.Data.Slot)
}

// publishAggregates takes aggregates from the chain, which must not wait.
func (p *publisher) publishAggregates(made []*lstar.SignedAggregatedAttestation) {
	for _, a := range made {
		select {
		case p.aggregates <- a:
		default:
			p.bus.Report(events.QueueDropped{Queue: events.QueuePublishAggregates})
		}
	}
}

func (p *publisher) queues() []events.Queue {
	return []events.Queue{{
		Name: events.QueuePublishAggregates, Capacity: publishQueue, Length: func() int { return len(p.aggregates) },
	}}
}

// run sends aggregates until ctx is done.
func (p *publisher) run(ctx context.Context) error {
	for {
		select {
		case a := <-p.aggregates:
			p.report(p.network.PublishAggregate(ctx, a), "aggregate", a.Data.Slot)
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *publisher) report(err error, kind string, slot lstar.Slot) {
	if err != nil && p.ctx.Err() == nil {
		p.log.Warn("publishing failed", "kind", kind, logging.Slot(slot), logging.Err(err),
			logging.Advice("peers did not get it from this node; if it goes on, restart the node"))
	}
}

// anchor returns the state that the node starts from, genesis or what another node
// has finalized, and the block that it comes from. The block may lack its proof, or
// be nil.
//
// leanSpec: node/anchor.py, Anchor
func anchor(ctx context.Context, cfg *Config, crypto lstar.Crypto, log *slog.Logger) (*lstar.State, *lstar.SignedBlock, error) {
	validators := registry(cfg.Genesis)
	if cfg.CheckpointSyncURL == "" {
		state := lstar.GenesisState(cfg.Genesis.GenesisTime, validators)
		return state, &lstar.SignedBlock{Block: *lstar.GenesisBlock(state)}, nil
	}
	state, block, err := syncer.FetchCheckpoint(ctx, syncer.CheckpointSource{
		URL: cfg.CheckpointSyncURL, GenesisTime: cfg.Genesis.GenesisTime, Validators: validators, Time: cfg.Time, Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	if block != nil && len(block.Proof.Proof) > 0 {
		if err := lstar.VerifyBlockProof(crypto, block, validators); err != nil {
			// Peers would hold a bad proof against this node.
			log.Info("the checkpoint's block came with a proof that is not valid", logging.Slot(block.Block.Slot), logging.Err(err))
			block = &lstar.SignedBlock{Block: block.Block}
		}
	}
	return state, block, nil
}

// backend is what the API shows of the node.
type backend struct {
	*chain.Chain
	sync *syncer.Service
}

func (b backend) SignedBlock(root lstar.Root) *lstar.SignedBlock { return b.sync.BlockByRoot(root) }

// subnets returns the attestation subnets to take part in: those of the own
// validators, and those that an aggregator was given.
//
// leanSpec: cli/run.py, _build_event_source
func subnets(cfg *Config) []uint64 {
	seen := make(map[uint64]bool)
	var ids []uint64
	add := func(id uint64) {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for _, k := range cfg.Keys {
		add(lstar.ValidatorIndex(k.Index).SubnetID(cfg.Committees))
	}
	if cfg.IsAggregator {
		for _, id := range cfg.AggregateSubnetIDs {
			add(id)
		}
	}
	return ids
}

// identity is what the API says about the node in the network.
func (n *Node) identity() api.Identity {
	id := api.Identity{PeerID: n.network.PeerID().String(), ENR: n.network.ENR()}
	for _, a := range n.network.ListenAddrs() {
		id.Addresses = append(id.Addresses, a.String())
	}
	return id
}
