package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang/snappy"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// Parameters of gossipsub.
//
// leanSpec: node/networking/gossipsub/parameters.py
const (
	meshD         = 8
	meshDLow      = 6
	meshDHigh     = 12
	meshDLazy     = 6
	meshDScore    = 4 // has no effect without peer scores
	meshDOut      = 2
	heartbeat     = 700 * time.Millisecond
	fanoutTTL     = time.Minute
	historyLength = 6
	historyGossip = 3
	seenTTL       = lstar.SecondsPerSlot * lstar.JustificationLookbackSlots * 2 * time.Second
	pruneBackoff  = time.Minute
)

// envelopeSize is an upper bound of the number of bytes that protobuf and the topic add to a message.
const envelopeSize = 1024

// Limits of the messages that are validated at a time, including those that wait for the chain.
// Further messages are dropped and counted.
const (
	validationQueue         = 1024 // messages that wait for a validator
	maxValidating           = 4096 // of all topics
	maxValidatingBlocks     = 64
	maxValidatingVotes      = 2048 // of each subnet
	maxValidatingAggregates = 256
)

// Limits of the blocks that one peer may send by gossip, which prevent a peer from filling the queue for
// all others. A block that a full queue drops counts as seen, so it does not arrive by gossip again.
const (
	gossipedBlocksPerSecond = 16
	gossipedBlockBurst      = maxValidatingBlocks * 3 / 4
)

var errTooManyBlocks = errors.New("too many blocks by gossip")

// inspect returns the function that pubsub calls for each RPC from a peer. It applies the limits of
// blocks and records the peer's subscriptions. The messages of an RPC that it refuses do not count
// as seen.
func (n *Network) inspect(blockTopic string) func(peer.ID, *pubsub.RPC) error {
	return func(from peer.ID, rpc *pubsub.RPC) error {
		blocks := 0
		for _, m := range rpc.GetPublish() {
			if m.GetTopic() == blockTopic {
				blocks++
			}
		}
		c := n.peers.get(from)
		if c == nil {
			return nil
		}
		if blocks == 0 || c.gossiped.AllowN(time.Now(), blocks) {
			c.subscribe(rpc.GetSubscriptions())
			return nil
		}
		n.bus.Report(events.QueueDropped{Queue: events.QueueGossip})
		return errTooManyBlocks
	}
}

// joinTopics starts gossip on the topics of the network. It joins all topics, and subscribes to
// blocks, aggregates and the configured attestation subnets.
func (n *Network) joinTopics() error {
	blocks := wire.Topic{Kind: wire.TopicBlock, Network: n.cfg.NetworkName}
	subscribed := map[wire.Topic]bool{blocks: true, {Kind: wire.TopicAggregation, Network: n.cfg.NetworkName}: true}
	for subnet := range n.cfg.Committees {
		subscribed[n.attestationTopic(subnet)] = false // joined, to publish
	}
	for _, subnet := range n.cfg.Subnets {
		subscribed[n.attestationTopic(subnet)] = true
	}
	var names []string
	for topic := range subscribed {
		names = append(names, topic.String())
	}

	params := pubsub.DefaultGossipSubParams()
	params.D, params.Dlo, params.Dhi, params.Dlazy = meshD, meshDLow, meshDHigh, meshDLazy
	params.Dscore, params.Dout = meshDScore, meshDOut
	params.HeartbeatInterval, params.FanoutTTL, params.PruneBackoff = heartbeat, fanoutTTL, pruneBackoff
	params.HistoryLength, params.HistoryGossip = historyLength, historyGossip
	n.tracer = &tracer{n: n, mesh: make(map[peer.ID]int), streams: make(map[peer.ID]chan struct{})}
	ps, err := pubsub.NewGossipSub(n.ctx, n.host,
		pubsub.WithGossipSubProtocols(
			[]protocol.ID{pubsub.GossipSubID_v12, pubsub.GossipSubID_v11, pubsub.GossipSubID_v10},
			pubsub.GossipSubDefaultFeatures),
		pubsub.WithGossipSubParams(params),
		pubsub.WithLogger(libraryLogger(n.cfg.Log).With("logger", "pubsub")),
		pubsub.WithFloodPublish(false),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pubsubpb.Message) string {
			id := wire.GossipID(m.GetTopic(), m.GetData())
			return string(id[:])
		}),
		pubsub.WithSeenMessagesTTL(seenTTL),
		pubsub.WithMaxMessageSize(snappy.MaxEncodedLen(MaxPayloadSize)+envelopeSize),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(names...), 2*len(names)+64)),
		pubsub.WithValidateQueueSize(validationQueue),
		pubsub.WithValidateThrottle(maxValidating),
		pubsub.WithRawTracer(n.tracer),
		pubsub.WithAppSpecificRpcInspector(n.inspect(blocks.String())),
	)
	if err != nil {
		return fmt.Errorf("p2p: gossip: %w", err)
	}
	for topic, subscribe := range subscribed {
		if err := n.joinTopic(ps, topic, subscribe); err != nil {
			return fmt.Errorf("p2p: topic %s: %w", topic, err)
		}
	}
	return nil
}

// joinTopic joins a topic to publish on it, and subscribes to it if subscribe is true.
func (n *Network) joinTopic(ps *pubsub.PubSub, topic wire.Topic, subscribe bool) error {
	err := ps.RegisterTopicValidator(topic.String(), n.validator(topic.Kind), pubsub.WithValidatorConcurrency(maxValidatingOf(topic.Kind)))
	if err != nil {
		return err
	}
	if n.topics[topic], err = ps.Join(topic.String()); err != nil || !subscribe {
		return err
	}
	// The validator handles the messages, so pubsub only forwards them.
	cancel, err := n.topics[topic].Relay()
	if err == nil {
		n.relays = append(n.relays, cancel)
	}
	return err
}

func maxValidatingOf(kind wire.TopicKind) int {
	switch kind {
	case wire.TopicBlock:
		return maxValidatingBlocks
	case wire.TopicAggregation:
		return maxValidatingAggregates
	default:
		return maxValidatingVotes
	}
}

func (n *Network) attestationTopic(subnet uint64) wire.Topic {
	return wire.Topic{Kind: wire.TopicAttestation, Network: n.cfg.NetworkName, Subnet: subnet}
}

// validator returns the function that pubsub calls for each message of a kind of topic. It accepts
// the node's own messages.
func (n *Network) validator(kind wire.TopicKind) pubsub.ValidatorEx {
	return func(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if from == n.host.ID() {
			return pubsub.ValidationAccept
		}
		if !n.begin() {
			return pubsub.ValidationIgnore
		}
		defer n.wg.Done()
		n.validating[kind].Add(1)
		defer n.validating[kind].Add(-1)
		n.bus.Report(events.GossipReceived{Kind: string(kind), Bytes: len(m.GetData())})
		verdict, err := n.judge(ctx, kind, from, m.GetData())
		n.bus.Report(events.GossipJudged{Kind: string(kind), Verdict: verdict.String(), Undecodable: err != nil})
		switch {
		case err != nil:
			n.weighedFault(from, relayedFault, "gossip: undecodable "+string(kind), err)
			return pubsub.ValidationReject
		case verdict == Accept:
			return pubsub.ValidationAccept
		case verdict == Reject:
			n.weighedFault(from, relayedFault, "gossip: rejected "+string(kind), nil)
			return pubsub.ValidationReject
		default:
			return pubsub.ValidationIgnore
		}
	}
}

// judge decodes a message and passes it to the handler. It returns an error if the bytes are invalid.
func (n *Network) judge(ctx context.Context, kind wire.TopicKind, from peer.ID, raw []byte) (Verdict, error) {
	message, err := decodeGossip(kind, raw, n.cfg)
	if err != nil {
		return Reject, err
	}
	switch m := message.(type) {
	case *lstar.SignedBlock:
		return n.cfg.Handler.OnBlock(ctx, from, m), nil
	case *lstar.SignedAttestation:
		return n.cfg.Handler.OnAttestation(ctx, from, m), nil
	case *lstar.SignedAggregatedAttestation:
		return n.cfg.Handler.OnAggregate(ctx, from, m), nil
	default:
		return Ignore, nil
	}
}

// decodeGossip decodes a message of a kind of topic: SSZ in a raw snappy block.
func decodeGossip(kind wire.TopicKind, raw []byte, cfg Config) (any, error) {
	data, err := wire.DecompressBlock(raw, wire.GossipLimit(kind))
	if err != nil {
		return nil, err
	}
	switch kind {
	case wire.TopicBlock:
		return lstar.DecodeSignedBlock(data)
	case wire.TopicAttestation:
		return lstar.DecodeSignedAttestation(data, cfg.Scheme)
	case wire.TopicAggregation:
		a := new(lstar.SignedAggregatedAttestation)
		return a, ssz.Unmarshal(data, a)
	default:
		return nil, fmt.Errorf("unknown kind of message %q", kind)
	}
}

// PublishBlock gossips a block. It returns once the message is queued, with or without peers.
func (n *Network) PublishBlock(ctx context.Context, b *lstar.SignedBlock) error {
	return n.publish(ctx, wire.Topic{Kind: wire.TopicBlock, Network: n.cfg.NetworkName}, ssz.Marshal(b))
}

// PublishAttestation gossips a vote on the subnet of its validator, to which the node need not be
// subscribed.
func (n *Network) PublishAttestation(ctx context.Context, a *lstar.SignedAttestation) error {
	subnet := uint64(a.ValidatorIndex) % n.cfg.Committees
	return n.publish(ctx, n.attestationTopic(subnet), a.Encode())
}

// PublishAggregate gossips an aggregate.
func (n *Network) PublishAggregate(ctx context.Context, a *lstar.SignedAggregatedAttestation) error {
	return n.publish(ctx, wire.Topic{Kind: wire.TopicAggregation, Network: n.cfg.NetworkName}, ssz.Marshal(a))
}

func (n *Network) publish(ctx context.Context, topic wire.Topic, data []byte) error {
	if len(data) > MaxPayloadSize {
		return fmt.Errorf("p2p: publish on %s: message of %d bytes, want at most %d", topic, len(data), MaxPayloadSize)
	}
	if err := n.topics[topic].Publish(ctx, wire.CompressBlock(data)); err != nil {
		return fmt.Errorf("p2p: publish on %s: %w", topic, err)
	}
	return nil
}
