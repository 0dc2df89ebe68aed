package api

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// topics is a set of topics of the event stream.
type topics uint16

const (
	topicHead topics = 1 << iota
	topicBlock
	topicBlockGossip
	topicAttestation
	topicAggregate
	topicJustified
	topicFinalized
	topicReorg
	topicRejected
	topicSync
)

// topicNames are the names of the topics in the order of their bits. The last three are additions to ethlambda's.
var topicNames = [...]string{
	"head", "block", "block_gossip", "attestation", "aggregate", "justified_checkpoint", "finalized_checkpoint",
	"chain_reorg", "rejected", "sync",
}

// Payloads of the event stream, in the shape of ethlambda's, and of the Beacon API's for chain_reorg.
type (
	blockEvent struct {
		Slot  lstar.Slot `json:"slot"`
		Block string     `json:"block"`
	}
	checkpointEvent struct {
		Slot  lstar.Slot `json:"slot"`
		Block string     `json:"block"`
		State string     `json:"state"`
	}
	attestationEvent struct {
		Validator lstar.ValidatorIndex `json:"validator_id"`
		Data      attestationDataBody  `json:"data"`
	}
	aggregateEvent struct {
		Participants []int               `json:"participants"`
		Data         attestationDataBody `json:"data"`
	}
	reorgEvent struct {
		Slot         lstar.Slot `json:"slot"`
		Depth        int        `json:"depth"`
		OldHeadBlock string     `json:"old_head_block"`
		NewHeadBlock string     `json:"new_head_block"`
		OldHeadState string     `json:"old_head_state"`
		NewHeadState string     `json:"new_head_state"`
	}
	rejectedEvent struct {
		Kind      string                `json:"kind"` // block, attestation or aggregate
		Slot      lstar.Slot            `json:"slot"`
		Block     string                `json:"block,omitempty"`        // of a block
		Validator *lstar.ValidatorIndex `json:"validator_id,omitempty"` // of an attestation
		Reason    string                `json:"reason"`
		Peer      string                `json:"peer,omitempty"` // that sent it; empty for this node
		Error     string                `json:"error,omitempty"`
	}
	syncEvent struct {
		IsSyncing bool   `json:"is_syncing"`
		Distance  uint64 `json:"sync_distance"`
		Reason    string `json:"reason,omitempty"`
	}
)

// topicsOf returns the topics that an event belongs to.
func topicsOf(e events.Event) topics {
	switch e := e.(type) {
	case events.HeadChanged:
		if e.ReorgDepth > 0 {
			return topicHead | topicReorg
		}
		return topicHead
	case events.BlockImported:
		return topicBlock
	case events.BlockGossiped:
		return topicBlockGossip
	case events.AttestationAccepted:
		return topicAttestation
	case events.AggregateAccepted, events.AggregateProduced:
		return topicAggregate
	case events.Justified:
		return topicJustified
	case events.Finalized:
		return topicFinalized
	case events.BlockRejected, events.AttestationRejected, events.AggregateRejected:
		return topicRejected
	case events.SyncState:
		return topicSync
	}
	return 0
}

// payload returns the body of an event for one of its topics.
func payload(topic topics, e events.Event) any {
	switch e := e.(type) {
	case events.HeadChanged:
		if topic == topicReorg {
			return reorgEvent{
				e.New.Slot, e.ReorgDepth, e.Old.Root.String(), e.New.Root.String(), e.OldStateRoot.String(), e.NewStateRoot.String(),
			}
		}
		return checkpointEvent{e.New.Slot, e.New.Root.String(), e.NewStateRoot.String()}
	case events.BlockImported:
		return blockEvent{e.Slot, e.Root.String()}
	case events.BlockGossiped:
		return blockEvent{e.Slot, e.Root.String()}
	case events.AttestationAccepted:
		return attestationEvent{e.Validator, toDataBody(&e.Data)}
	case events.AggregateAccepted:
		return aggregateEvent{participants(&e.Bits), toDataBody(&e.Data)}
	case events.AggregateProduced:
		return aggregateEvent{participants(&e.Bits), toDataBody(&e.Data)}
	case events.Justified:
		return checkpointEvent{e.Slot, e.Root.String(), e.StateRoot.String()}
	case events.Finalized:
		return checkpointEvent{e.Slot, e.Root.String(), e.StateRoot.String()}
	case events.BlockRejected:
		body := rejectedEvent{Kind: "block", Slot: e.Slot, Reason: e.Reason, Peer: peerName(e.Peer), Error: text(e.Err)}
		if !e.Root.IsZero() { // a block with too large a body is rejected before its root is computed
			body.Block = e.Root.String()
		}
		return body
	case events.AttestationRejected:
		return rejectedEvent{
			Kind: "attestation", Slot: e.Slot, Validator: &e.Validator, Reason: e.Reason, Peer: peerName(e.Peer), Error: text(e.Err),
		}
	case events.AggregateRejected:
		return rejectedEvent{Kind: "aggregate", Slot: e.Slot, Reason: e.Reason, Peer: peerName(e.Peer), Error: text(e.Err)}
	case events.SyncState:
		return syncEvent{!e.Synced, e.Distance, e.Reason}
	}
	return nil
}

func participants(bits *lstar.AggregationBits) []int {
	list := make([]int, 0, bits.Count())
	for i := range bits.All {
		list = append(list, i)
	}
	return list
}

func peerName(id peer.ID) string {
	if id == "" {
		return ""
	}
	return id.String()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
