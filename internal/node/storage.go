package node

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
)

// chainFolder is the folder of the database in the data folder.
const chainFolder = "chain"

// chainStorage is where the chain is kept.
type chainStorage interface {
	chain.Storage
	syncer.Blocks
}

// openChain returns the store as the last run left it, or a new one, and where
// its changes are kept. The database is nil where there is no data folder.
func openChain(ctx context.Context, cfg *Config, crypto lstar.Crypto, now clock.Clock, log *slog.Logger) (*lstar.Store, chainStorage, *storage.DB, error) {
	if cfg.DataDir == "" {
		store, _, block, err := newStore(ctx, cfg, crypto, log)
		if err != nil {
			return nil, nil, nil, err
		}
		return store, storage.NewMemory(store.Head(), block), nil, nil
	}
	started := time.Now()
	db, err := storage.Open(filepath.Join(cfg.DataDir, chainFolder), identity(cfg), storage.Options{Log: log})
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := resume(ctx, cfg, db, crypto, now, log)
	if err != nil {
		_ = db.Close()
		return nil, nil, nil, err
	}
	log.Info("storage ready", "folder", filepath.Join(cfg.DataDir, chainFolder), logging.Slot(store.Head().Slot),
		logging.Root(store.Head().Root), "justified_slot", uint64(store.LatestJustified().Slot), "finalized_slot", uint64(store.LatestFinalized().Slot),
		logging.Duration(time.Since(started)))
	return store, db, db, nil
}

// resume returns the store of the last run, or one of a new anchor.
func resume(ctx context.Context, cfg *Config, db *storage.DB, crypto lstar.Crypto, now clock.Clock, log *slog.Logger) (*lstar.Store, error) {
	store, err := db.Restore(crypto, lstar.NetworkRules)
	if err != nil {
		return nil, err
	}
	if store == nil {
		store, state, block, err := newStore(ctx, cfg, crypto, log)
		if err != nil {
			return nil, err
		}
		return store, db.Init(state, block)
	}
	head := store.Head().Slot
	if head+p2p.MinSlotsForBlockRequests >= now.Slot() {
		if cfg.CheckpointSyncURL != "" {
			log.Info("resuming from the data folder, the checkpoint is not needed", logging.Slot(head))
		}
		return store, nil
	}
	if cfg.CheckpointSyncURL == "" {
		log.Warn("the chain in the data folder is older than what peers serve", logging.Advice("Restart the node with a checkpoint sync URL."),
			logging.Slot(head), "oldest_served_slot", uint64(now.Slot()-p2p.MinSlotsForBlockRequests))
		return store, nil
	}
	// Older, but maybe all there is: a whole network can have been down.
	newer, state, block, err := newStore(ctx, cfg, crypto, log)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		log.Warn("the chain in the data folder is older than what peers serve, and the checkpoint cannot be had: resuming what is there",
			logging.Slot(head), logging.Err(err))
		return store, nil
	case newer.Head().Slot <= head:
		log.Info("resuming from the data folder, the checkpoint is not newer", logging.Slot(head), "checkpoint_slot", uint64(newer.Head().Slot))
		return store, nil
	}
	log.Warn("the chain in the data folder is older than what peers serve, and is replaced by the checkpoint",
		logging.Slot(head), "checkpoint_slot", uint64(newer.Head().Slot))
	return newer, db.Init(state, block)
}

// newStore returns a store that starts from genesis or a checkpoint.
func newStore(ctx context.Context, cfg *Config, crypto lstar.Crypto, log *slog.Logger) (*lstar.Store, *lstar.State, *lstar.SignedBlock, error) {
	state, block, err := anchor(ctx, cfg, crypto, log)
	if err != nil {
		return nil, nil, nil, err
	}
	if block == nil {
		return lstar.NewStoreFromState(crypto, lstar.NetworkRules, state), state, nil, nil
	}
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, &block.Block)
	return store, state, block, err
}

// identity is what tells the chain from others.
func identity(cfg *Config) storage.Identity {
	genesis := lstar.GenesisBlock(lstar.GenesisState(cfg.Genesis.GenesisTime, registry(cfg.Genesis)))
	return storage.Identity{GenesisRoot: genesis.Root().String(), Network: cfg.NetworkName, Scheme: cfg.Scheme.String()}
}
