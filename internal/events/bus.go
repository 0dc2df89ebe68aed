// Package events defines the events that the services of the node report, and the bus that passes
// them to consumers.
//
// A service reports plain values, bus.Report(events.BlockImported{…}), and has no counters and no
// log texts for them. The consumers present events to operators: internal/metrics folds them into
// collectors, and internal/logging writes log lines.
package events

import (
	"fmt"
	"runtime/debug"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Event is one of the event types of this package. Their common fields mean the same everywhere:
//
//   - Peer is the peer that sent the object, empty for an object of this node.
//   - Own marks an object that this node made. Its signature is not checked.
//   - Reason is one of the Reason constants or a rejection reason of leanSpec.
//   - A zero duration means that the step was not measured or did not happen.
//
// A service does not change an event, nor its maps and slices, after it has reported it.
type Event interface{ event() }

// Consumer receives every event. It runs on the reporting goroutines, among them the owner of the
// chain, so it must be safe for concurrent use and must not block. Events of one goroutine arrive
// in order. A consumer that passes events to slow readers must drop and count those that they do
// not accept. It may keep an event, but must not change it.
type Consumer func(Event)

// Bus passes events to its consumers. It is safe for concurrent use. A nil *Bus drops all events.
type Bus struct{ consumers []Consumer }

// NewBus returns a bus that calls the consumers in this order.
func NewBus(consumers ...Consumer) *Bus { return &Bus{consumers} }

// Report passes an event to all consumers and returns after the last of them. If a consumer panics,
// the others still receive the event, and all receive a ConsumerPanicked.
func (b *Bus) Report(e Event) {
	if b == nil {
		return
	}
	for _, consume := range b.consumers {
		b.deliver(consume, e)
	}
}

func (b *Bus) deliver(consume Consumer, e Event) {
	defer func() {
		if p := recover(); p != nil {
			if _, again := e.(ConsumerPanicked); !again {
				b.Report(ConsumerPanicked{Err: fmt.Errorf("%T: %v", e, p), Stack: debug.Stack()})
			}
		}
	}()
	consume(e)
}

// Epoch returns the epoch that logs and metrics show for a slot. A lean chain has no epochs, so the
// justification lookback, 3 slots, serves as their length.
func Epoch(slot lstar.Slot) uint64 { return uint64(slot) / lstar.JustificationLookbackSlots }

// ConsumerPanicked reports a panic of a consumer, which is a bug. Stack is the stack of the
// goroutine at the panic.
type ConsumerPanicked struct {
	Err   error
	Stack []byte
}

func (BlockImported) event()         {}
func (BlockGossiped) event()         {}
func (MessageSeen) event()           {}
func (MessageEarly) event()          {}
func (BlockRejected) event()         {}
func (BlockPending) event()          {}
func (AttestationAccepted) event()   {}
func (AttestationRejected) event()   {}
func (AggregateAccepted) event()     {}
func (AggregateRejected) event()     {}
func (AggregateProduced) event()     {}
func (HeadChanged) event()           {}
func (Justified) event()             {}
func (Finalized) event()             {}
func (SafeTarget) event()            {}
func (ChainLoaded) event()           {}
func (ChainSaved) event()            {}
func (SlotSummary) event()           {}
func (PoolSizes) event()             {}
func (Tick) event()                  {}
func (Fingerprint) event()           {}
func (Disk) event()                  {}
func (QueueDropped) event()          {}
func (SyncState) event()             {}
func (ValidatorsLoaded) event()      {}
func (AggregatorRole) event()        {}
func (BlockProduced) event()         {}
func (BlockProductionFailed) event() {}
func (AttestationProduced) event()   {}
func (DutyEnded) event()             {}
func (DutyGate) event()              {}
func (SignatureMade) event()         {}
func (SignatureRefused) event()      {}
func (SigningRecordsMissing) event() {}
func (KeyWindow) event()             {}
func (Peers) event()                 {}
func (MeshPeers) event()             {}
func (Agreement) event()             {}
func (PeerConnection) event()        {}
func (PeerDisconnection) event()     {}
func (PeerFault) event()             {}
func (PeerBanned) event()            {}
func (SubscriptionsLost) event()     {}
func (DuplicateIdentity) event()     {}
func (ForeignPeer) event()           {}
func (ForeignPeers) event()          {}
func (GossipReceived) event()        {}
func (GossipJudged) event()          {}
func (RequestEnded) event()          {}
func (AttestationCommittee) event()  {}
func (ConsumerPanicked) event()      {}
