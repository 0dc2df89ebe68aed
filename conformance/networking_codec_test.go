package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	cryptopb "github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire/wiretest"
)

// networkingCodecFixture is a value with its bytes on the wire, or invalid bytes. The
// fields of Codec and Output depend on the kind.
//
// leanSpec: test_fixtures/networking_codec.py
type networkingCodecFixture struct {
	envelope
	Codec  map[string]any
	Output any
}

// codecCase is the content of a vector of one kind.
type codecCase interface {
	run(t *testing.T, reason *lstar.RejectionReason)
}

var codecKinds = map[string]func() (codec codecCase, output any){
	"varint":                  codecKind(func(c *varintCodec) any { return &c.output }),
	"gossip_topic":            codecKind(func(c *gossipTopicCodec) any { return &c.output }),
	"gossip_message_id":       codecKind(func(c *gossipMessageIDCodec) any { return &c.output }),
	"gossipsub_rpc":           codecKind(func(c *gossipsubRPCCodec) any { return &c.output }),
	"reqresp_request":         codecKind(func(c *requestCodec) any { return &c.output }),
	"reqresp_response":        codecKind(func(c *responseCodec) any { return &c.output }),
	"reqresp_response_stream": codecKind(func(c *responseStreamCodec) any { return &c.output }),
	"enr":                     codecKind(func(c *enrCodec) any { return &c.output }),
	"peer_id":                 codecKind(func(c *peerIDCodec) any { return &c.output }),
	"snappy_block":            codecKind(func(c *snappyBlockCodec) any { return &c.output }),
	"snappy_frame":            codecKind(func(c *snappyFrameCodec) any { return &c.output }),
	"decode_failure":          codecKind(func(c *decodeFailureCodec) any { return &c.output }),
}

func codecKind[T any, P interface {
	*T
	codecCase
}](output func(P) any) func() (codecCase, any) {
	return func() (codecCase, any) {
		c := P(new(T))
		return c, output(c)
	}
}

// codecInput is a codecCase. input returns a pointer to its input fields.
type codecInput interface{ input() any }

func (f *networkingCodecFixture) run(t *testing.T, env *environment) {
	kind, _ := f.Codec["kind"].(string)
	newCase, ok := codecKinds[kind]
	if !ok {
		t.Fatalf("unknown kind %q", kind)
	}
	c, output := newCase()
	delete(f.Codec, "kind")
	if err := env.read.into(c.(codecInput).input(), f.Codec); err != nil {
		t.Fatalf("read the codec: %v", err)
	}
	if err := env.read.into(output, f.Output); err != nil {
		t.Fatalf("read the output: %v", err)
	}
	c.run(t, f.RejectionReason)
}

func checkBytes(t *testing.T, name string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s =\n0x%x, want\n0x%x", name, got, want)
	}
}

func checkNoError(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

type varintCodec struct {
	in     struct{ Value uint64 }
	output struct {
		Encoded    hexBytes
		ByteLength int
	}
}

func (c *varintCodec) input() any { return &c.in }

func (c *varintCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	encoded := binary.AppendUvarint(nil, c.in.Value)
	checkBytes(t, "encoding", encoded, c.output.Encoded)
	r := bytes.NewReader(encoded)
	v, err := wire.ReadVarint(r)
	checkNoError(t, "decoding", err)
	checkEqual(t, "value", v, c.in.Value)
	checkEqual(t, "length", len(encoded)-r.Len(), c.output.ByteLength)
}

type gossipTopicCodec struct {
	in struct {
		TopicKind           wire.TopicKind
		NetworkName         string
		SubnetId            *uint64
		ExpectedNetworkName *string
	}
	output struct {
		TopicString string
		ForkValid   *bool
	}
}

func (c *gossipTopicCodec) input() any { return &c.in }

func (c *gossipTopicCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	topic := wire.Topic{Kind: c.in.TopicKind, Network: c.in.NetworkName, Subnet: valueOr(c.in.SubnetId, 0)}
	checkEqual(t, "topic", topic, c.output.TopicString)
	parsed, err := wire.ParseTopic(c.output.TopicString)
	checkNoError(t, "parsing", err)
	if parsed != topic {
		t.Errorf("parsed topic = %#v, want %#v", parsed, topic)
	}
	if c.in.ExpectedNetworkName != nil {
		checkEqual(t, "topic is of this fork", parsed.Network == *c.in.ExpectedNetworkName, valueOr(c.output.ForkValid, false))
	}
}

type gossipMessageIDCodec struct {
	in struct {
		Topic, Data hexBytes
		Domain      wire.Domain
	}
	output struct{ MessageId hexBytes }
}

func (c *gossipMessageIDCodec) input() any { return &c.in }

func (c *gossipMessageIDCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	id := wire.MessageID(c.in.Domain, string(c.in.Topic), c.in.Data)
	checkBytes(t, "message id", id[:], c.output.MessageId)

	// The same message on the wire.
	raw := []byte(c.in.Data)
	switch c.in.Domain {
	case wire.DomainValidSnappy:
		raw = referenceBlock(raw)
	case wire.DomainInvalidSnappy:
		if _, err := wire.DecompressBlock(raw, wire.MaxPayloadSize); err == nil {
			return // the data of this vector is valid snappy, in spite of the domain
		}
	default:
		return
	}
	id = wire.GossipID(string(c.in.Topic), raw)
	checkBytes(t, "id of the raw message", id[:], c.output.MessageId)
}

type gossipsubRPCCodec struct {
	in struct {
		Subscriptions []struct {
			Subscribe bool
			TopicId   string
		}
		Publish []struct {
			FromPeer, Data, Seqno, Signature, Key *hexBytes
			Topic                                 string
		}
		Control *struct {
			Ihave []struct {
				TopicId    string
				MessageIds []hexBytes
			}
			Iwant, Idontwant []struct{ MessageIds []hexBytes }
			Graft            []struct {
				TopicId string
			}
			Prune []struct {
				TopicId string
				Backoff uint64
			}
		}
	}
	output struct{ Encoded hexBytes }
}

func (c *gossipsubRPCCodec) input() any { return &c.in }

func (c *gossipsubRPCCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.rpc())
	checkNoError(t, "encoding", err)
	checkBytes(t, "encoding", encoded, c.output.Encoded)

	var decoded pubsubpb.RPC
	checkNoError(t, "decoding", proto.Unmarshal(c.output.Encoded, &decoded))
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(&decoded)
	checkNoError(t, "encoding again", err)
	checkBytes(t, "encoding of the decoded message", again, c.output.Encoded)
}

// rpc returns the message as a value of the library. leanSpec leaves out empty fields,
// except in subscriptions.
func (c *gossipsubRPCCodec) rpc() *pubsubpb.RPC {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	field := func(b *hexBytes) []byte {
		if b == nil || len(*b) == 0 {
			return nil
		}
		return *b
	}
	ids := func(list []hexBytes) (ids []string) {
		for _, id := range list {
			ids = append(ids, string(id))
		}
		return ids
	}
	rpc := new(pubsubpb.RPC)
	for _, s := range c.in.Subscriptions {
		rpc.Subscriptions = append(rpc.Subscriptions, &pubsubpb.RPC_SubOpts{Subscribe: &s.Subscribe, Topicid: &s.TopicId})
	}
	for _, m := range c.in.Publish {
		rpc.Publish = append(rpc.Publish, &pubsubpb.Message{
			From: field(m.FromPeer), Data: field(m.Data), Seqno: field(m.Seqno), Topic: text(m.Topic),
			Signature: field(m.Signature), Key: field(m.Key),
		})
	}
	if c.in.Control == nil {
		return rpc
	}
	control := new(pubsubpb.ControlMessage)
	for _, e := range c.in.Control.Ihave {
		control.Ihave = append(control.Ihave, &pubsubpb.ControlIHave{TopicID: text(e.TopicId), MessageIDs: ids(e.MessageIds)})
	}
	for _, e := range c.in.Control.Iwant {
		control.Iwant = append(control.Iwant, &pubsubpb.ControlIWant{MessageIDs: ids(e.MessageIds)})
	}
	for _, e := range c.in.Control.Graft {
		control.Graft = append(control.Graft, &pubsubpb.ControlGraft{TopicID: text(e.TopicId)})
	}
	for _, e := range c.in.Control.Prune {
		prune := &pubsubpb.ControlPrune{TopicID: text(e.TopicId)}
		if e.Backoff != 0 {
			prune.Backoff = &e.Backoff
		}
		control.Prune = append(control.Prune, prune)
	}
	for _, e := range c.in.Control.Idontwant {
		idontwant := new(pubsubpb.ControlIDontWant)
		for _, id := range e.MessageIds {
			idontwant.MessageIDs = append(idontwant.MessageIDs, string(id))
		}
		control.Idontwant = append(control.Idontwant, idontwant)
	}
	if proto.Size(control) > 0 {
		rpc.Control = control
	}
	return rpc
}

type requestCodec struct {
	in     struct{ SszData hexBytes }
	output struct{ Encoded hexBytes }
}

func (c *requestCodec) input() any { return &c.in }

func (c *requestCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	checkBytes(t, "encoding", referencePayload(c.in.SszData), c.output.Encoded)
	for name, encoded := range map[string][]byte{"the vector": c.output.Encoded, "our encoding": wire.AppendRequest(nil, c.in.SszData)} {
		payload, err := wiretest.Request(encoded)
		checkNoError(t, "decoding "+name, err)
		checkBytes(t, "payload of "+name, payload, c.in.SszData)
	}
}

type responseChunk struct {
	ResponseCode uint8
	SszData      hexBytes
}

type responseCodec struct {
	in     responseChunk
	output struct{ Encoded hexBytes }
}

func (c *responseCodec) input() any { return &c.in }

func (c *responseCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	code := wire.ResponseCode(c.in.ResponseCode)
	checkBytes(t, "encoding", append([]byte{byte(code)}, referencePayload(c.in.SszData)...), c.output.Encoded)
	for name, encoded := range map[string][]byte{"the vector": c.output.Encoded, "our encoding": wire.AppendResponse(nil, code, c.in.SszData)} {
		parts, err := wiretest.Responses(encoded)
		checkNoError(t, "decoding "+name, err)
		if len(parts) != 1 {
			t.Fatalf("%s decodes to %d parts, want 1", name, len(parts))
		}
		checkEqual(t, "code of "+name, parts[0].Code, code)
		checkBytes(t, "payload of "+name, parts[0].Payload, c.in.SszData)
	}
}

type responseStreamCodec struct {
	in     struct{ Chunks []responseChunk }
	output struct {
		Encoded    hexBytes
		ChunkCount int
	}
}

func (c *responseStreamCodec) input() any { return &c.in }

func (c *responseStreamCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	var reference, ours []byte
	for _, chunk := range c.in.Chunks {
		reference = append(append(reference, chunk.ResponseCode), referencePayload(chunk.SszData)...)
		ours = wire.AppendResponse(ours, wire.ResponseCode(chunk.ResponseCode), chunk.SszData)
	}
	checkBytes(t, "encoding", reference, c.output.Encoded)
	checkEqual(t, "number of chunks", len(c.in.Chunks), c.output.ChunkCount)
	for name, encoded := range map[string][]byte{"the vector": c.output.Encoded, "our encoding": ours} {
		responses, err := wiretest.Responses(encoded)
		checkNoError(t, "decoding "+name, err)
		if len(responses) != len(c.in.Chunks) {
			t.Fatalf("%s decodes to %d chunks, want %d", name, len(responses), len(c.in.Chunks))
		}
		for i, r := range responses {
			checkEqual(t, "code of "+name, r.Code, wire.ResponseCode(c.in.Chunks[i].ResponseCode))
			checkBytes(t, "payload of "+name, r.Payload, c.in.Chunks[i].SszData)
		}
	}
}

type enrCodec struct {
	in     struct{ EnrString string }
	output struct {
		Rlp               hexBytes
		Seq               uint64
		IdentityScheme    string
		NodeId, PublicKey *hexBytes
		Ip4, Multiaddr    *string
		UdpPort, QuicPort *uint16
		Eth2Data          *struct {
			ForkDigest, NextForkVersion [4]byte
			NextForkEpoch               uint64
		}
		AttestationSubnets                    *[]uint64
		IsAggregator, SignatureValid, IsValid bool
	}
}

func (c *enrCodec) input() any { return &c.in }

func (c *enrCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	r, err := enr.Parse(c.in.EnrString)
	if err != nil {
		t.Fatalf("parsing: %v", err)
	}
	want := &c.output
	checkEqual(t, "text", r, c.in.EnrString)
	checkBytes(t, "RLP", r.RLP(), want.Rlp)
	if again, err := enr.Decode(want.Rlp); err != nil || again.String() != c.in.EnrString {
		t.Errorf("decoded RLP = %v (error %v), want %s", again, err, c.in.EnrString)
	}
	checkEqual(t, "sequence number", r.Seq(), want.Seq)
	checkEqual(t, "identity scheme", string(r.Get("id")), want.IdentityScheme)
	checkBytes(t, "node id", nodeID(r), valueOr(want.NodeId, nil))
	checkBytes(t, "public key", r.PublicKey(), valueOr(want.PublicKey, nil))
	ip := ""
	if r.IP4().IsValid() {
		ip = r.IP4().String()
	}
	checkEqual(t, "IPv4 address", ip, valueOr(want.Ip4, ""))
	checkEqual(t, "multiaddr", r.Multiaddr(), valueOr(want.Multiaddr, ""))
	checkEqual(t, "UDP port", r.Port("udp"), valueOr(want.UdpPort, 0))
	checkEqual(t, "QUIC port", r.Port("quic"), valueOr(want.QuicPort, 0))
	eth2, ok := r.Eth2()
	checkEqual(t, "presence of eth2", ok, want.Eth2Data != nil)
	if want.Eth2Data != nil {
		checkEqual(t, "eth2", eth2, *want.Eth2Data)
	}
	subnets, ok := attestationSubnets(r)
	checkEqual(t, "presence of attnets", ok, want.AttestationSubnets != nil)
	if !slices.Equal(subnets, valueOr(want.AttestationSubnets, nil)) {
		t.Errorf("attestation subnets = %v, want %v", subnets, *want.AttestationSubnets)
	}
	checkEqual(t, "aggregator flag", r.IsAggregator(), want.IsAggregator)
	checkEqual(t, "signature is valid", r.VerifySignature(), want.SignatureValid)
	checkEqual(t, "record is valid", r.Valid(), want.IsValid)
}

// nodeID returns the hash of the public key in a record, or nil without a valid one. The node itself does not use it.
//
// leanSpec: node/networking/enr/enr.py, compute_node_id
func nodeID(r *enr.Record) []byte {
	key, err := gethcrypto.DecompressPubkey(r.PublicKey())
	if err != nil {
		return nil
	}
	return gethcrypto.Keccak256(gethcrypto.FromECDSAPub(key)[1:])
}

// attestationSubnets returns the subnets of the attnets entry in ascending order, and whether there is one. The node itself
// does not use them.
func attestationSubnets(r *enr.Record) (subnets []uint64, ok bool) {
	b := r.Get("attnets")
	if len(b) != 8 {
		return nil, false
	}
	for i := range uint64(64) {
		if b[i/8]>>(i%8)&1 == 1 {
			subnets = append(subnets, i)
		}
	}
	return subnets, true
}

type peerIDCodec struct {
	in struct {
		KeyType   string
		PublicKey hexBytes
	}
	output struct {
		ProtobufEncoded hexBytes
		PeerId          string
	}
}

func (c *peerIDCodec) input() any { return &c.in }

func (c *peerIDCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	types := map[string]cryptopb.KeyType{
		"ed25519": crypto.Ed25519, "secp256k1": crypto.Secp256k1, "ecdsa": crypto.ECDSA, "rsa": crypto.RSA,
	}
	keyType, ok := types[c.in.KeyType]
	if !ok {
		t.Fatalf("unknown key type %q", c.in.KeyType)
	}
	key, err := crypto.PubKeyUnmarshallers[keyType](c.in.PublicKey)
	if err != nil {
		t.Fatalf("public key: %v", err)
	}
	encoded, err := crypto.MarshalPublicKey(key)
	checkNoError(t, "encoding", err)
	checkBytes(t, "protobuf", encoded, c.output.ProtobufEncoded)
	id, err := peer.IDFromPublicKey(key)
	checkNoError(t, "deriving the peer id", err)
	checkEqual(t, "peer id", id, c.output.PeerId)
	if again, err := peer.Decode(c.output.PeerId); err != nil || again != id {
		t.Errorf("%s decodes to %v (error %v), want %v", c.output.PeerId, again, err, id)
	}
}

type snappyBlockCodec struct {
	in     struct{ Data hexBytes }
	output struct {
		Compressed                           hexBytes
		CompressedLength, UncompressedLength int
	}
}

func (c *snappyBlockCodec) input() any { return &c.in }

func (c *snappyBlockCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	checkBytes(t, "compressed data", referenceBlock(c.in.Data), c.output.Compressed)
	checkEqual(t, "compressed length", len(c.output.Compressed), c.output.CompressedLength)
	for name, compressed := range map[string][]byte{"the vector": c.output.Compressed, "our encoding": wire.CompressBlock(c.in.Data)} {
		data, err := wire.DecompressBlock(compressed, wire.MaxPayloadSize)
		checkNoError(t, "decompressing "+name, err)
		checkBytes(t, "data of "+name, data, c.in.Data)
		checkEqual(t, "uncompressed length of "+name, len(data), c.output.UncompressedLength)
	}
}

type snappyFrameCodec struct {
	in     struct{ Data hexBytes }
	output struct {
		Framed                           hexBytes
		FramedLength, UncompressedLength int
	}
}

func (c *snappyFrameCodec) input() any { return &c.in }

func (c *snappyFrameCodec) run(t *testing.T, _ *lstar.RejectionReason) {
	checkBytes(t, "frames", referenceFrames(c.in.Data), c.output.Framed)
	checkEqual(t, "length of the frames", len(c.output.Framed), c.output.FramedLength)
	for name, framed := range map[string][]byte{"the vector": c.output.Framed, "our encoding": wiretest.Frames(c.in.Data)} {
		data, err := wiretest.Request(append(binary.AppendUvarint(nil, uint64(len(c.in.Data))), framed...))
		checkNoError(t, "decompressing "+name, err)
		checkBytes(t, "data of "+name, data, c.in.Data)
		checkEqual(t, "uncompressed length of "+name, len(data), c.output.UncompressedLength)
	}
}

type decodeFailureCodec struct {
	in struct {
		Decoder  string
		RawBytes hexBytes
	}
	output struct{ Decoder string }
}

func (c *decodeFailureCodec) input() any { return &c.in }

func (c *decodeFailureCodec) run(t *testing.T, reason *lstar.RejectionReason) {
	if reason == nil || *reason != lstar.DecodeError {
		t.Errorf("rejection reason = %v, want %s", reason, lstar.DecodeError)
	}
	checkEqual(t, "decoder", c.output.Decoder, c.in.Decoder)
	var err error
	invalid := wire.ErrInvalid
	switch raw := []byte(c.in.RawBytes); c.in.Decoder {
	case "varint":
		_, err = wire.ReadVarint(bytes.NewReader(raw))
	case "snappy_frame":
		_, err = wiretest.Request(append([]byte{1}, raw...)) // a request of one byte, because the node decodes frames in requests only
	case "snappy_block":
		_, err = wire.DecompressBlock(raw, wire.MaxPayloadSize)
	case "reqresp_request":
		_, err = wiretest.Request(raw)
	case "reqresp_response":
		_, err = wiretest.Responses(raw)
	case "enr":
		_, err = enr.Decode(raw)
		invalid = enr.ErrInvalid
	case "gossipsub_rpc": // the library's decoder, and so its error
		if err := proto.Unmarshal(raw, new(pubsubpb.RPC)); err == nil {
			t.Errorf("decoding 0x%s: error = nil, want an error", hex.EncodeToString(raw))
		}
		return
	default:
		t.Fatalf("unknown decoder %q", c.in.Decoder)
	}
	if !errors.Is(err, invalid) {
		t.Errorf("decoding: error = %v, want %v", err, invalid)
	}
}
