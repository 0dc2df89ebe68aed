package p2p

import (
	"maps"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// tracer records the members of pubsub's meshes and pubsub's streams to peers.
type tracer struct {
	n *Network

	mu      sync.Mutex
	mesh    map[peer.ID]int           // number of meshes that contain a peer
	streams map[peer.ID]chan struct{} // for each peer with an outbound stream; closed with the stream
}

// RejectMessage reports messages that a full queue dropped, and faults that pubsub detects.
func (t *tracer) RejectMessage(m *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.n.bus.Report(events.QueueDropped{Queue: events.QueueGossip})
	case pubsub.RejectUnexpectedSignature, pubsub.RejectUnexpectedAuthInfo:
		t.n.fault(m.ReceivedFrom, "gossip: message is not anonymous", nil)
	}
}

func (t *tracer) Graft(p peer.ID, _ string) { t.updateMesh(func() { t.mesh[p]++ }) }

func (t *tracer) Prune(p peer.ID, _ string) {
	t.updateMesh(func() {
		if t.mesh[p]--; t.mesh[p] <= 0 {
			delete(t.mesh, p)
		}
	})
}

// OnClosedOutboundStream also removes the peer from the meshes, because pubsub does not call Prune
// for a peer that disconnects.
func (t *tracer) OnClosedOutboundStream(p peer.ID) {
	t.updateMesh(func() {
		delete(t.mesh, p)
		if end, ok := t.streams[p]; ok {
			delete(t.streams, p)
			close(end)
		}
	})
}

// OnNewOutboundStream is called before pubsub writes to the stream.
func (t *tracer) OnNewOutboundStream(p peer.ID, _ protocol.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.streams[p]; !ok {
		t.streams[p] = make(chan struct{})
	}
}

func (t *tracer) hasStream(p peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.streams[p]
	return ok
}

// stream returns a channel that is closed once pubsub has no stream to a peer.
func (t *tracer) stream(p peer.ID) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end, ok := t.streams[p]; ok {
		return end
	}
	end := make(chan struct{})
	close(end)
	return end
}

func (t *tracer) updateMesh(update func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	update()
	t.n.bus.Report(events.MeshPeers{Count: len(t.mesh), ByName: t.n.byName(maps.Keys(t.mesh))})
}

func (*tracer) Join(string)                                          {}
func (*tracer) Leave(string)                                         {}
func (*tracer) ValidateMessage(*pubsub.Message)                      {}
func (*tracer) DeliverMessage(*pubsub.Message)                       {}
func (*tracer) DuplicateMessage(*pubsub.Message)                     {}
func (*tracer) ThrottlePeer(peer.ID)                                 {}
func (*tracer) RecvRPC(*pubsub.RPC)                                  {}
func (*tracer) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (*tracer) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
func (*tracer) DropRPC(*pubsub.RPC, peer.ID)                         {}
func (*tracer) UndeliverableMessage(*pubsub.Message)                 {}
