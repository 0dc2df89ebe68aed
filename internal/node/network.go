package node

import (
	"context"
	"log/slog"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
)

// publishQueue bounds the queue of aggregates to publish.
const publishQueue = 64

// publisher publishes the node's own blocks, votes and aggregates.
type publisher struct {
	network    *p2p.Network
	sync       *syncer.Service
	bus        *events.Bus
	log        *slog.Logger
	aggregates chan *lstar.SignedAggregatedAttestation
	ctx        context.Context // of Run
}

// PublishBlock publishes a block of this node, and reports it to the syncer.
func (p *publisher) PublishBlock(b *lstar.SignedBlock) {
	p.sync.OnOwnBlock(b)
	p.report(p.network.PublishBlock(p.ctx, b), "block", b.Block.Slot)
}

// PublishAttestation publishes a vote of this node.
func (p *publisher) PublishAttestation(a *lstar.SignedAttestation) {
	p.report(p.network.PublishAttestation(p.ctx, a), "attestation", a.Data.Slot)
}

// publishAggregates queues aggregates of this node. It does not block, and drops those that do not
// fit into the queue.
func (p *publisher) publishAggregates(made []*lstar.SignedAggregatedAttestation) {
	for _, a := range made {
		select {
		case p.aggregates <- a:
		default:
			p.bus.Report(events.QueueDropped{Queue: events.QueuePublishAggregates})
		}
	}
}

// queues returns the queue of aggregates, for metrics.
func (p *publisher) queues() []events.Queue {
	return []events.Queue{{
		Name: events.QueuePublishAggregates, Capacity: publishQueue, Length: func() int { return len(p.aggregates) },
	}}
}

// run publishes the queued aggregates until ctx ends.
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

// report logs an error of a publication, unless the node stops.
func (p *publisher) report(err error, kind string, slot lstar.Slot) {
	if err != nil && p.ctx.Err() == nil {
		p.log.Warn("publishing failed", "kind", kind, logging.Slot(slot), logging.Err(err),
			logging.Advice("Peers did not receive it from this node. If this repeats, restart the node."))
	}
}

// anchor returns the state that the node starts from, and the block that results in the state:
// genesis or, if a checkpoint sync URL is set, the finalized state of another node. The block of a
// checkpoint may be nil or have no proof.
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
			// Peers would lower the score of a node that serves an invalid proof.
			log.Info("checkpoint block has an invalid proof", logging.Slot(block.Block.Slot), logging.Err(err))
			block = &lstar.SignedBlock{Block: block.Block}
		}
	}
	return state, block, nil
}

// backend implements api.Backend.
type backend struct {
	*chain.Chain
	sync *syncer.Service
}

func (b backend) SignedBlock(root lstar.Root) *lstar.SignedBlock { return b.sync.BlockByRoot(root) }

// subnets returns the attestation subnets to join, in ascending order: those of the node's
// validators and, for an aggregator, the configured ones.
//
// leanSpec: cli/run.py, _build_event_source
func subnets(cfg *Config) []uint64 {
	var ids []uint64
	for _, k := range cfg.Keys {
		ids = append(ids, lstar.ValidatorIndex(k.Index).SubnetID(cfg.Committees))
	}
	if cfg.IsAggregator {
		ids = append(ids, cfg.AggregateSubnetIDs...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// peers returns the connected peers, for the API.
func (n *Node) peers() []api.Peer {
	infos := n.network.Peers()
	peers := make([]api.Peer, len(infos))
	for i, p := range infos {
		peers[i] = api.Peer{
			PeerID: p.ID.String(), Name: n.cfg.PeerNames[p.ID], Address: p.Address, State: "connected",
			Direction: p.Direction, Connected: p.Connected.UTC(),
		}
		if p.Status != nil {
			peers[i].Head, peers[i].Finalized = &p.Status.Head, &p.Status.Finalized
		}
	}
	return peers
}

// identity returns the node's version and its identity in the network, for the API.
func (n *Node) identity() api.Identity {
	id := api.Identity{Version: "leanspec-node/" + n.cfg.Version, PeerID: n.network.PeerID().String(), ENR: n.network.ENR()}
	for _, a := range n.network.ListenAddrs() {
		id.Addresses = append(id.Addresses, a.String())
	}
	return id
}
