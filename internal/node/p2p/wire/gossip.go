package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
)

// The parts of a topic that are the same on every network.
//
// leanSpec: node/networking/gossipsub/topic.py
const (
	topicPrefix   = "leanconsensus"
	topicEncoding = "ssz_snappy"
)

// TopicKind says what is gossiped on a topic.
//
// leanSpec: node/networking/gossipsub/topic.py, TopicKind
type TopicKind string

const (
	TopicBlock       TopicKind = "block"
	TopicAttestation TopicKind = "attestation"
	TopicAggregation TopicKind = "aggregation"
)

// Topic is a gossip topic of a network. Only attestations have a subnet.
//
// leanSpec: node/networking/gossipsub/topic.py, GossipTopic
type Topic struct {
	Kind    TopicKind
	Network string
	Subnet  uint64
}

// String returns the topic as it goes over the wire.
func (t Topic) String() string {
	name := string(t.Kind)
	if t.Kind == TopicAttestation {
		name += "_" + strconv.FormatUint(t.Subnet, 10)
	}
	return "/" + topicPrefix + "/" + t.Network + "/" + name + "/" + topicEncoding
}

// ParseTopic reads a topic. It takes the one spelling that String writes.
//
// leanSpec: node/networking/gossipsub/topic.py, GossipTopic.from_string, which
// also takes other spellings of numbers.
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
			return Topic{}, invalid("topic: no subnet")
		}
	} else if t.Kind != TopicBlock && t.Kind != TopicAggregation {
		return Topic{}, invalid("topic: unknown name")
	}
	if t.String() != s {
		return Topic{}, invalid("topic: not in canonical form")
	}
	return t, nil
}

// Domain keeps the ids of well-formed messages apart from those of others.
//
// leanSpec: node/networking/config.py, MESSAGE_DOMAIN_VALID_SNAPPY
type Domain [4]byte

var (
	DomainInvalidSnappy = Domain{0, 0, 0, 0}
	DomainValidSnappy   = Domain{1, 0, 0, 0}
)

// MessageIDSize is the length of a message id in bytes.
const MessageIDSize = 20

// MessageID hashes a topic and data into the id of a gossip message.
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

// GossipLimit is the largest uncompressed size of a message of a kind of topic
// that can be valid, in bytes, generously. What is larger is not decompressed:
// the id of a message is made before it is known whether it was seen already.
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

// GossipID is the id of a message as it goes over the wire: that of its
// decompressed data, or of its raw bytes where they do not decompress.
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
