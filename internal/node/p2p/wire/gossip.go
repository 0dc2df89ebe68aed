package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
)

// The parts of a topic that are the same in every network.
//
// leanSpec: node/networking/gossipsub/topic.py
const (
	topicPrefix   = "leanconsensus"
	topicEncoding = "ssz_snappy"
)

// TopicKind is the kind of the messages on a topic.
//
// leanSpec: node/networking/gossipsub/topic.py, TopicKind
type TopicKind string

// The kinds of topics.
const (
	TopicBlock       TopicKind = "block"
	TopicAttestation TopicKind = "attestation"
	TopicAggregation TopicKind = "aggregation"
)

// Topic is a gossip topic of a network. Only attestation topics have a subnet.
//
// leanSpec: node/networking/gossipsub/topic.py, GossipTopic
type Topic struct {
	Kind    TopicKind
	Network string
	Subnet  uint64
}

// String returns the name of the topic on the wire.
func (t Topic) String() string {
	name := string(t.Kind)
	if t.Kind == TopicAttestation {
		name += "_" + strconv.FormatUint(t.Subnet, 10)
	}
	return "/" + topicPrefix + "/" + t.Network + "/" + name + "/" + topicEncoding
}

// ParseTopic parses the name of a topic. It accepts only what String returns.
//
// leanSpec: node/networking/gossipsub/topic.py, GossipTopic.from_string, which also accepts other
// notations of numbers
func ParseTopic(s string) (Topic, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != topicPrefix || parts[4] != topicEncoding {
		return Topic{}, invalid("topic: want /%s/<network>/<name>/%s", topicPrefix, topicEncoding)
	}
	t := Topic{Kind: TopicKind(parts[3]), Network: parts[2]}
	if subnet, ok := strings.CutPrefix(parts[3], string(TopicAttestation)+"_"); ok {
		t.Kind = TopicAttestation
		var err error
		if t.Subnet, err = strconv.ParseUint(subnet, 10, 64); err != nil {
			return Topic{}, invalid("topic: subnet is not a number of 64 bits")
		}
	} else if t.Kind != TopicBlock && t.Kind != TopicAggregation {
		return Topic{}, invalid("topic: unknown kind")
	}
	if t.String() != s {
		return Topic{}, invalid("topic: not canonical, want %s", t)
	}
	return t, nil
}

// Domain separates the ids of messages that can be decompressed from the ids of others.
//
// leanSpec: node/networking/config.py, MESSAGE_DOMAIN_VALID_SNAPPY
type Domain [4]byte

// The domains of message ids.
var (
	DomainInvalidSnappy = Domain{0, 0, 0, 0}
	DomainValidSnappy   = Domain{1, 0, 0, 0}
)

// MessageIDSize is the size of a message id, in bytes.
const MessageIDSize = 20

// MessageID returns the id of a gossip message: a hash of its topic and data.
//
// leanSpec: node/networking/gossipsub/message.py, compute_id
func MessageID(domain Domain, topic string, data []byte) (id [MessageIDSize]byte) {
	h := sha256.New()
	h.Write(domain[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(topic))))
	h.Write([]byte(topic))
	h.Write(data)
	copy(id[:], h.Sum(nil))
	return id
}

// GossipLimit returns an upper bound of the uncompressed size of valid messages on a kind of topic,
// in bytes. Larger messages are not decompressed. This bounds the work for duplicates, which are
// detected by the id.
func GossipLimit(kind TopicKind) int {
	switch kind {
	case TopicAttestation:
		return 16 << 10 // a vote and its signature
	case TopicAggregation:
		return 1 << 20 // a vote and a proof of at most 512 KiB
	case TopicBlock:
		return 2 << 20 // at most 8 votes of 4096 validators, and a proof
	}
	return MaxPayloadSize
}

// GossipID returns the id of a message on the wire: that of its decompressed data, or of its raw
// bytes if they cannot be decompressed.
func GossipID(topic string, raw []byte) [MessageIDSize]byte {
	limit := MaxPayloadSize
	if t, err := ParseTopic(topic); err == nil {
		limit = GossipLimit(t.Kind)
	}
	if data, err := DecompressBlock(raw, limit); err == nil {
		return MessageID(DomainValidSnappy, topic, data)
	}
	return MessageID(DomainInvalidSnappy, topic, raw)
}
