package syncer

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// anchorInterval is the time between two requests for the anchor's block, each
	// to another peer.
	anchorInterval = slotTime
	// anchorReminder is the time between two warnings that no peer has it.
	anchorReminder = 5 * time.Minute
)

// fetchAnchor asks peers for the block that the chain starts from, where it came
// without its body or proof. The chain does not wait for it: it is for the peers
// and the checkpoints that this node serves.
func (s *Service) fetchAnchor(ctx context.Context) {
	at, missing := s.cfg.Blocks.MissingAnchor()
	if !missing {
		return
	}
	s.cfg.Log.Info("waiting for a peer with the block that the chain starts from; until then this node does not serve it",
		logging.Slot(at.Slot), logging.Root(at.Root))
	warnAt := s.cfg.Clock.Now().Add(anchorReminder)
	for asked := 0; ; {
		if at.Slot+p2p.MinSlotsForBlockRequests < s.cfg.Clock.Slot() {
			return // neither is it served any more
		}
		if id, ok := s.nextPeer(asked); ok {
			asked++
			if b := s.anchorFrom(ctx, id, at); b != nil {
				if err := s.cfg.Blocks.AddAnchor(b); err != nil {
					return // the storage has failed, and stops the node
				}
				s.cfg.Log.Info("the block that the chain starts from is there", logging.Slot(at.Slot), logging.Root(at.Root),
					logging.Peer(id))
				return
			}
		}
		if now := s.cfg.Clock.Now(); !now.Before(warnAt) {
			warnAt = now.Add(anchorReminder)
			s.cfg.Log.Warn("no peer has the block that the chain starts from", logging.Slot(at.Slot), logging.Root(at.Root), "requests", asked,
				logging.Advice("The chain goes on without it, but nodes that start from this one may not get it. Connect this node to one that has the block: the node that --checkpoint-sync-url names, for example."))
		}
		if s.cfg.Clock.Until(ctx, s.cfg.Clock.Now().Add(anchorInterval)) != nil {
			return
		}
	}
}

// nextPeer returns each of the peers in turn.
func (s *Service) nextPeer(turn int) (peer.ID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]peer.ID, 0, len(s.peers))
	for id := range s.peers {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return "", false
	}
	slices.SortFunc(ids, cmp.Compare[peer.ID])
	return ids[turn%len(ids)], true
}

// anchorFrom asks a peer for a block, and returns it if its proof is good.
func (s *Service) anchorFrom(ctx context.Context, id peer.ID, at lstar.Checkpoint) *lstar.SignedBlock {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	blocks, err := s.cfg.Network.BlocksByRoot(ctx, id, []lstar.Root{at.Root})
	if len(blocks) == 0 {
		s.cfg.Log.Debug("a peer does not have the block that the chain starts from", logging.Peer(id), logging.Err(err))
		return nil
	}
	if err := s.cfg.VerifyProof(blocks[0]); err != nil {
		// It may have started from there as well, and not know the proof either.
		s.cfg.Log.Debug("a peer has the block that the chain starts from without a good proof", logging.Peer(id), logging.Err(err))
		return nil
	}
	return blocks[0]
}
