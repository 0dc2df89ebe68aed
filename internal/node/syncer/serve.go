package syncer

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// BlockByRoot returns a block with its proof, or the genesis block without one. It returns nil for
// an unknown block, and for a block that is not part of the published snapshot yet.
func (s *Service) BlockByRoot(root lstar.Root) *lstar.SignedBlock {
	b, err := s.cfg.Blocks.Block(root)
	if err != nil {
		s.cfg.Log.Error("a block cannot be served", logging.Root(root), logging.Err(err),
			logging.Advice("Check the disk. If the data folder is damaged, move it away and let the node sync again."))
	}
	if snap := s.cfg.Chain.Snapshot(); b != nil && b.Block.Slot > snap.LatestFinalized.Slot && snap.Block(root) == nil {
		return nil
	}
	return b
}

// CanonicalRoot returns the root of the block at a slot of the head's chain, and whether there is one.
func (s *Service) CanonicalRoot(slot lstar.Slot) (root lstar.Root, ok bool) {
	root = s.cfg.Chain.Snapshot().CanonicalRoot(slot)
	return root, !root.IsZero()
}
