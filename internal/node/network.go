package node

import (
	"context"
	"log/slog"

	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/sync"
	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// publishQueue bounds the aggregates that wait to be published.
const publishQueue = 64

// publisher sends to the network what this node makes.
type publisher struct {
	network    *p2p.Network
	sync       *sync.Service
	observer   *telemetry.Observer
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
			p.observer.QueueDropped(telemetry.QueueDropped{Queue: telemetry.QueuePublishAggregates})
		}
	}
}

func (p *publisher) queues() []telemetry.Queue {
	return []telemetry.Queue{{
		Name: telemetry.QueuePublishAggregates, Capacity: publishQueue, Length: func() int { return len(p.aggregates) },
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
		p.log.Warn("publishing failed", "kind", kind, telemetry.Slot(uint64(slot)), telemetry.Err(err),
			telemetry.Advice("peers did not get it from this node; if it goes on, restart the node"))
	}
}

// anchor returns the state and the block that the node starts from: genesis, or
// what another node has finalized.
//
// leanSpec: node/anchor.py, Anchor
func anchor(ctx context.Context, cfg *Config) (*lstar.State, *lstar.Block, error) {
	validators := registry(cfg.Genesis)
	if cfg.CheckpointSyncURL == "" {
		state := lstar.GenesisState(cfg.Genesis.GenesisTime, validators)
		return state, lstar.GenesisBlock(state), nil
	}
	state, block, err := sync.FetchCheckpoint(ctx, cfg.CheckpointSyncURL, cfg.Genesis.GenesisTime, validators)
	if err != nil {
		return nil, nil, err
	}
	return state, &block.Block, nil
}

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
