package syncer

import (
	"log/slog"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

const (
	// anchorInterval is the time between two requests for the anchor block, each to another peer.
	anchorInterval = slotTime
	// anchorReminder is the time between two warnings that no peer has the block.
	anchorReminder = 5 * time.Minute
)

// anchorSearch is the search for the anchor block, from which the chain starts. This node needs the
// block to serve it to peers and as a checkpoint. The chain does not wait for it.
type anchorSearch struct {
	at            lstar.Checkpoint
	asked, turn   int
	busy          bool
	after, warnAt time.Time
}

type (
	// anchorMissing comes at the start if the anchor block or its proof is missing.
	anchorMissing struct{ at lstar.Checkpoint }
	// anchorChecked comes after a checkAnchor. The block is kept if there is no error.
	anchorChecked struct {
		request *request
		err     error
	}
)

func (e anchorMissing) apply(p *planner) {
	p.log(slog.LevelInfo, "waiting for a peer with the block that the chain starts from; until then this node does not serve it",
		logging.Slot(e.at.Slot), logging.Root(e.at.Root))
	p.anchor = &anchorSearch{at: e.at, after: p.now, warnAt: p.now.Add(anchorReminder)}
	p.changed = true
}

// planAnchor requests the anchor block from one peer after another.
func (p *planner) planAnchor() {
	a := p.anchor
	if a == nil || a.busy || p.now.Before(a.after) {
		return
	}
	if a.at.Slot+p2p.MinSlotsForBlockRequests < p.slot() {
		p.anchor = nil // blocks of this age are not served
		return
	}
	if !p.now.Before(a.warnAt) {
		a.warnAt = p.now.Add(anchorReminder)
		p.log(slog.LevelWarn, "no peer has the block that the chain starts from", logging.Slot(a.at.Slot), logging.Root(a.at.Root), "requests", a.asked,
			logging.Advice("This node works without it, but cannot serve it to nodes that start from this one. Connect this node to one that has the block, such as the node of the checkpoint sync URL."))
	}
	for range p.peers {
		s := p.peers[a.turn%len(p.peers)]
		a.turn++
		if s.available(byRoot, p.now) {
			a.asked++
			a.busy, a.after = true, p.now.Add(anchorInterval)
			p.request(s, &request{kind: anchorRequest, roots: []lstar.Root{a.at.Root}})
			return
		}
	}
}

func (p *planner) anchorAnswered(r *request, blocks []*candidate) {
	r.answered = true
	if len(blocks) == 0 {
		p.release(r)
		p.log(slog.LevelDebug, "a peer does not have the block that the chain starts from", logging.Peer(r.peer))
		return
	}
	p.emit(checkAnchor{r, blocks[0].block})
}

func (e anchorChecked) apply(p *planner) {
	p.release(e.request)
	if e.err != nil {
		// A peer that started from the same block may not have the proof either.
		p.log(slog.LevelDebug, "a peer has the block that the chain starts from without a good proof", logging.Peer(e.request.peer), logging.Err(e.err))
		return
	}
	p.log(slog.LevelInfo, "the block that the chain starts from is there", logging.Slot(p.anchor.at.Slot), logging.Root(p.anchor.at.Root),
		logging.Peer(e.request.peer))
	p.anchor = nil
}
