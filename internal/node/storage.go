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

// chainStorage is the storage of the chain and of the blocks that peers may request.
type chainStorage interface {
	chain.Storage
	syncer.Blocks
}

// openChain returns the store of the last run or a new one, and its storage. The database, which
// the caller must close, is nil without a data folder.
func openChain(ctx context.Context, cfg *Config, crypto lstar.Crypto, now clock.Clock, log *slog.Logger) (*lstar.Store, chainStorage, *storage.DB, error) {
	if cfg.DataDir == "" {
		store, _, block, err := newStore(ctx, cfg, crypto, log)
		if err != nil {
			return nil, nil, nil, err
		}
		return store, storage.NewMemory(store.Head(), block), nil, nil
	}
	started := time.Now()
	folder := filepath.Join(cfg.DataDir, "chain")
	db, err := storage.Open(folder, identity(cfg), storage.Options{Log: log})
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := resume(ctx, cfg, db, crypto, now, log)
	if err != nil {
		_ = db.Close()
		return nil, nil, nil, err
	}
	log.Info("storage ready", "folder", folder, logging.Slot(store.Head().Slot),
		logging.Root(store.Head().Root), "justified_slot", store.LatestJustified().Slot, "finalized_slot", store.LatestFinalized().Slot,
		logging.Duration(time.Since(started)))
	return store, db, db, nil
}

// resume returns the store in the database. If the database is empty, or if its chain is older than
// the blocks that peers serve and there is a newer checkpoint, resume replaces it by a store that
// starts from a new anchor.
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
			log.Info("saved chain resumed, checkpoint not needed", logging.Slot(head))
		}
		return store, nil
	}
	if cfg.CheckpointSyncURL == "" {
		log.Warn("saved chain is older than what peers serve", logging.Advice("Restart the node with a checkpoint sync URL."),
			logging.Slot(head), "oldest_served_slot", now.Slot()-p2p.MinSlotsForBlockRequests)
		return store, nil
	}
	// If the whole network was down, the saved chain may still be the newest one.
	newer, state, block, err := newStore(ctx, cfg, crypto, log)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		log.Warn("saved chain is older than what peers serve, and no checkpoint is available", logging.Slot(head), logging.Err(err),
			logging.Advice("The node resumes the saved chain. Check the checkpoint sync URL, then restart the node."))
		return store, nil
	case newer.Head().Slot <= head:
		log.Info("saved chain resumed, checkpoint not newer", logging.Slot(head), "checkpoint_slot", newer.Head().Slot)
		return store, nil
	}
	log.Warn("saved chain is older than what peers serve, replaced by the checkpoint",
		logging.Slot(head), "checkpoint_slot", newer.Head().Slot)
	return newer, db.Init(state, block)
}

// newStore returns a store that starts from an anchor, with the state and the block of the anchor.
// The block may be nil or without a proof.
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

// identity returns the identity of the chain for the database.
func identity(cfg *Config) storage.Identity {
	genesis := lstar.GenesisBlock(lstar.GenesisState(cfg.Genesis.GenesisTime, registry(cfg.Genesis)))
	return storage.Identity{GenesisRoot: genesis.Root().String(), Network: cfg.NetworkName, Scheme: cfg.Scheme.String()}
}
