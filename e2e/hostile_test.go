package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire/wiretest"
)

// Limits of the resources of a node under attack.
const (
	maxResident   = 400 << 20
	maxGoroutines = 500
)

// victim is a node under attack, with its log and a peer that receives what it forwards.
type victim struct {
	*devnet.Node
	network  *devnet.Network
	log      *follower
	listener *listener
	sent     [][]byte // messages that the node must not forward
}

// gossip publishes messages that the node must not forward.
func (v *victim) gossip(t *testing.T, h *peerHost, topic wire.Topic, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		h.publish(t, rpc(topic.String(), m))
	}
	v.sent = append(v.sent, messages...)
}

// TestHostilePeers attacks a node of a network in the ways that a peer can. The node must respond to each attack as specified,
// stay healthy, and keep its honest peers.
func TestHostilePeers(t *testing.T) {
	n := startNetwork(t, devnet.Options{
		Nodes: 4, Validators: 3, LogLevel: "debug", NodeOptions: []devnet.NodeOptions{{}, {}, {}, {Late: true}},
	})
	s := awaitFinalized(t, n, 1, 90*time.Second)
	v := &victim{Node: n.Nodes[0], network: n, log: follow(t, n.Nodes[0])}
	others := []*follower{follow(t, n.Nodes[1]), follow(t, n.Nodes[2])}
	v.listener = newListener(t, v.Node, topic(wire.TopicBlock), topic(wire.TopicAttestation), topic(wire.TopicAggregation), unknownTopic)
	for _, kind := range []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation} {
		v.listener.awaitLatest(t, kind)
	}

	for _, attack := range []struct {
		name string
		run  func(*testing.T, *victim)
	}{
		{"malformed requests", malformedRequests},
		{"requests for absent blocks", absentBlocks},
		{"status of another network", statusOfOtherNetwork},
		{"slow streams", slowStreams},
		{"bad responses", badResponses},
		{"invalid gossip", badGossip},
		{"gossip of another network", gossipOfOtherNetwork},
		{"forged gossip", forgedGossip},
		{"blocks without parents", orphanFlood},
		{"persistent offender", persistentOffender},
		{"false finality", falseFinality},
		{"late joiner among lying peers", lyingPeers},
	} {
		began := time.Now()
		t.Run(attack.name, func(t *testing.T) { attack.run(t, v) })
		checkResources(t, v, attack.name)
		if !eventually(func() bool { status, _ := get(t, v.HealthURL()); return status == 200 }) {
			t.Errorf("/health after %s: not 200 within %s", attack.name, patience)
		}
		t.Logf("%s: %s", attack.name, time.Since(began).Round(100*time.Millisecond))
	}

	// After the attacks the network finalizes, and the node is healthy.
	s = awaitFinalized(t, n, max(s.Slot, uint64(n.Clock.Slot()))+3, 60*time.Second)
	if len(s.Disagreements) > 0 {
		t.Errorf("disagreements = %v, want none", s.Disagreements)
	}
	for _, m := range v.sent {
		if v.listener.hasReceived(m) {
			t.Errorf("the node has forwarded an invalid message of %d bytes", len(m))
		}
	}
	v.log.wantNoFault(t, v.listener.ID())
	if !v.listener.connected() {
		t.Error("the honest listener is not connected at the end")
	}
	_ = v.listener.Close()
	if !eventually(func() bool { return value(t, scrape(t, port(v.Metrics)), "leanspec_peers_connected") == 3 }) {
		t.Errorf("connected peers at the end = %v, want 3", value(t, scrape(t, port(v.Metrics)), "leanspec_peers_connected"))
	}
	if status, h := getHealth(t, port(v.Metrics)); status != 200 || !h.Synced {
		t.Errorf("/health at the end = %d %+v, want 200 and synced", status, h)
	}
	checkResources(t, v, "the end")
	for _, log := range append(others, v.log) {
		for _, node := range n.Nodes {
			id, err := peer.Decode(node.PeerID)
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range []string{"peer at fault", "peer banned", "peer disconnected"} {
				if lines := log.about(t, id, msg); len(lines) > 0 {
					t.Errorf("log about the honest peer %s = %v, want no %q", node.Name, lines, msg)
				}
			}
		}
	}
	noErrors(t, n)
}

// checkResources checks the memory and the number of goroutines of a node.
func checkResources(t *testing.T, v *victim, when string) {
	t.Helper()
	families := scrape(t, port(v.Metrics))
	resident, goroutines := value(t, families, "process_resident_memory_bytes"), value(t, families, "go_goroutines")
	t.Logf("after %s: %.0f MiB, %.0f goroutines, %.0f peers", when, resident/(1<<20), goroutines, value(t, families, "leanspec_peers_connected"))
	if resident > maxResident || goroutines > maxGoroutines {
		t.Errorf("after %s: %.0f bytes of memory and %.0f goroutines, want at most %d and %d", when, resident, goroutines, maxResident, maxGoroutines)
	}
}

// topic returns a topic of the network.
func topic(kind wire.TopicKind) wire.Topic {
	return wire.Topic{Kind: kind, Network: p2p.DefaultNetworkName}
}

// unknownTopic is a topic of another network.
var unknownTopic = wire.Topic{Kind: wire.TopicBlock, Network: "deadbeef"}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func randomRoot() (r lstar.Root) {
	copy(r[:], randomBytes(32))
	return r
}

// slot returns the current slot.
func (v *victim) slot() lstar.Slot { return v.network.Clock.Slot() }

// snappyBomb returns a payload that decompresses to 4 MiB of zeros and declares another length.
func snappyBomb(declared uint64) []byte {
	return append(protowire.AppendVarint(nil, declared), wiretest.Frames(make([]byte, 4<<20))...)
}

// malformedRequests sends requests that cannot be decoded or are out of range.
func malformedRequests(t *testing.T, v *victim) {
	status := wire.AppendRequest(nil, make([]byte, 80))
	badCRC := slices.Clone(status)
	badCRC[1+10+4] ^= 1 // after the length, the stream identifier and the frame header
	bigFrame := append(slices.Clone(status[:11]), 0x01, 0xff, 0xff, 0xff)
	skipping := slices.Clone(status[:11])
	for range 4096 {
		skipping = append(skipping, 0xfe, 0xff, 0, 0)
		skipping = append(skipping, make([]byte, 0xff)...)
	}
	roots := make([]lstar.Root, wire.MaxRequestBlocks+1)
	badOffset := wire.EncodeRoots(roots[:2])
	badOffset[0]++
	count := func(n uint64) []byte { return wire.AppendRequest(nil, wire.EncodeRange(1, n)) }

	for _, tt := range []struct {
		name     string
		protocol protocol.ID
		request  []byte
	}{
		{"no bytes", wire.StatusProtocol, nil},
		{"status of 0 bytes", wire.StatusProtocol, wire.AppendRequest(nil, nil)},
		{"status of 79 bytes", wire.StatusProtocol, wire.AppendRequest(nil, make([]byte, 79))},
		{"status of 81 bytes", wire.StatusProtocol, wire.AppendRequest(nil, make([]byte, 81))},
		{"junk", wire.StatusProtocol, randomBytes(4096)},
		{"length without an end", wire.StatusProtocol, bytes.Repeat([]byte{0xff}, 64)},
		{"no frames", wire.StatusProtocol, status[:1]},
		{"truncated frame", wire.StatusProtocol, status[:len(status)-3]},
		{"wrong checksum", wire.StatusProtocol, badCRC},
		{"oversized frame", wire.StatusProtocol, append(bigFrame, make([]byte, 1<<20)...)},
		{"endless skippable frames", wire.StatusProtocol, skipping},
		{"huge length", wire.StatusProtocol, protowire.AppendVarint(nil, math.MaxUint64)},
		{"status bomb", wire.StatusProtocol, snappyBomb(80)},
		{"root bomb", wire.BlocksByRootProtocol, snappyBomb(wire.MaxRootsSize)},
		{"oversized roots", wire.BlocksByRootProtocol, snappyBomb(4 << 20)},
		{"1025 roots", wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(roots))},
		{"roots at a wrong offset", wire.BlocksByRootProtocol, wire.AppendRequest(nil, badOffset)},
		{"half a root", wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(roots[:1])[:20])},
		{"range of 0 slots", wire.BlocksByRangeProtocol, count(0)},
		{"range of 1025 slots", wire.BlocksByRangeProtocol, count(wire.MaxRequestBlocks + 1)},
		{"range of all slots", wire.BlocksByRangeProtocol, count(math.MaxUint64)},
		{"range of 15 bytes", wire.BlocksByRangeProtocol, wire.AppendRequest(nil, make([]byte, 15))},
		{"range bomb", wire.BlocksByRangeProtocol, snappyBomb(wire.BlocksByRangeSize)},
	} {
		h := newPeer(t, v.Node).connect(t)
		parts, err := h.request(t.Context(), tt.protocol, tt.request)
		if err != nil || len(parts) != 1 || parts[0].Code != wire.InvalidRequest {
			t.Errorf("%s: response = %v (error %v), want %s", tt.name, parts, err, wire.InvalidRequest)
		}
		reason := "malformed request"
		if _, n, err := wire.DecodeRange(decoded(tt.request)); tt.protocol == wire.BlocksByRangeProtocol && err == nil && n != 1 {
			reason = "range request with an invalid count"
		}
		v.log.wantFault(t, h.ID(), reason, 1)
		_ = h.Close()
	}
}

// decoded returns the payload of a request, or nil if it is invalid.
func decoded(request []byte) []byte {
	payload, _ := wiretest.Request(request)
	return payload
}

// absentBlocks requests blocks that do not exist, first few and then more than its share.
func absentBlocks(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	roots := make([]lstar.Root, wire.MaxRequestBlocks)
	for i := range roots {
		roots[i] = randomRoot()
	}
	for _, tt := range []struct {
		name     string
		protocol protocol.ID
		payload  []byte
	}{
		{"no roots", wire.BlocksByRootProtocol, wire.EncodeRoots[lstar.Root](nil)},
		{"unknown roots", wire.BlocksByRootProtocol, wire.EncodeRoots(roots)},
		{"future slots", wire.BlocksByRangeProtocol, wire.EncodeRange(1<<40, wire.MaxRequestBlocks)},
		{"the last possible slots", wire.BlocksByRangeProtocol, wire.EncodeRange(math.MaxUint64-1, wire.MaxRequestBlocks)},
	} {
		if parts, err := h.request(t.Context(), tt.protocol, wire.AppendRequest(nil, tt.payload)); err != nil || len(parts) != 0 {
			t.Errorf("%s: response = %v (error %v), want an empty one", tt.name, parts, err)
		}
	}
	v.log.wantNoFault(t, h.ID())

	// The node refuses requests beyond the share of a peer, but does not count them as faults.
	refused := 0
	for range 200 {
		parts, err := h.request(t.Context(), wire.BlocksByRangeProtocol, wire.AppendRequest(nil, wire.EncodeRange(1<<40, 1)))
		if err != nil {
			t.Fatalf("request of a burst: %v", err)
		}
		if len(parts) == 1 && parts[0].Code == wire.ServerError {
			refused++
		}
	}
	if refused == 0 {
		t.Error("0 of 200 requests in a burst were refused, want more")
	}
	v.log.wantNoFault(t, h.ID())
	_ = h.Close()
}

// statusOfOtherNetwork sends the status of another network, and one whose slots are far in the future.
func statusOfOtherNetwork(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	status := p2p.Status{Finalized: lstar.Checkpoint{Root: randomRoot()}, Head: lstar.Checkpoint{Root: randomRoot(), Slot: 1}}
	// The node may or may not respond before it closes the connection.
	_, _ = h.request(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status)))
	if !eventually(func() bool { return !h.connected() }) {
		t.Errorf("a peer of another network is still connected after %s", patience)
	}
	var detail any
	if !eventually(func() bool {
		for _, l := range v.log.about(t, h.ID(), "peer disconnected") {
			detail = l["detail"]
			return true
		}
		return false
	}) || detail == nil {
		t.Errorf("detail of the disconnection in the log = %v, want a reason", detail)
	}

	// The node ignores a status from the far future, and does not count it as a fault.
	h = newPeer(t, v.Node).connect(t)
	h.sendStatus(t, p2p.Status{
		Finalized: lstar.Checkpoint{Root: randomRoot(), Slot: math.MaxUint64},
		Head:      lstar.Checkpoint{Root: randomRoot(), Slot: math.MaxUint64},
	})
	v.log.wantNoFault(t, h.ID())
	_ = h.Close()
}

// slowStreams sends requests and a response at one byte per second.
func slowStreams(t *testing.T, v *victim) {
	drip := func(w io.Writer) {
		b := wire.AppendRequest(nil, make([]byte, 80))
		for i := range b {
			if _, err := w.Write(b[i : i+1]); err != nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-t.Context().Done():
				return
			}
		}
	}
	h := newPeer(t, v.Node).connect(t)
	var ends []chan error
	for range 12 {
		s, err := h.stream(t.Context(), wire.StatusProtocol)
		if err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		ends = append(ends, end)
		go drip(s)
		go func() {
			_, err := io.ReadAll(s)
			end <- err
		}()
	}
	slow := newPeer(t, v.Node)
	slow.serve(wire.BlocksByRootProtocol, func(_ []byte, w io.Writer) { drip(w) })
	slow.connect(t)
	slow.sendStatus(t, p2p.Status{Head: lstar.Checkpoint{Root: randomRoot(), Slot: v.slot()}})

	// Other peers do not have to wait for the slow streams.
	other := newPeer(t, v.Node).connect(t)
	began := time.Now()
	other.sendStatus(t, p2p.Status{})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("request of another peer took %s, want at most 5s", took)
	}
	_ = other.Close()

	cut := 0
	for _, end := range ends {
		select {
		case err := <-end:
			if err != nil { // otherwise the node has refused the stream, because there are too many
				cut++
			}
		case <-time.After(patience):
			t.Fatalf("a slow request is still open after %s", patience)
		}
	}
	if cut == 0 || cut == len(ends) {
		t.Errorf("%d of %d streams timed out, want some, and the others refused", cut, len(ends))
	}
	v.log.wantFault(t, h.ID(), "incomplete request", cut)
	v.log.wantFault(t, slow.ID(), "", 1)
	_ = h.Close()
	_ = slow.Close()
}

// badResponses reports heads that the node then requests, and sends invalid responses.
func badResponses(t *testing.T, v *victim) {
	part := func(b *lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.Success, ssz.Marshal(b)) }
	good := part(v.orphan(0))
	attacks := map[string]func(head *lstar.SignedBlock) []byte{
		"junk":                   func(*lstar.SignedBlock) []byte { return randomBytes(4096) },
		"not a block":            func(*lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.Success, randomBytes(512)) },
		"another block":          func(*lstar.SignedBlock) []byte { return good },
		"the same block twice":   func(b *lstar.SignedBlock) []byte { return append(part(b), part(b)...) },
		"a second block":         func(b *lstar.SignedBlock) []byte { return append(part(b), good...) },
		"a truncated block":      func(b *lstar.SignedBlock) []byte { return part(b)[:60] },
		"an error of 4096 bytes": func(*lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.ServerError, make([]byte, 4096)) },
		"a huge length":          func(*lstar.SignedBlock) []byte { return protowire.AppendVarint([]byte{0}, wire.MaxPayloadSize+1) },
		"a bomb":                 func(*lstar.SignedBlock) []byte { return append([]byte{0}, snappyBomb(200)...) },
		"zeros":                  func(*lstar.SignedBlock) []byte { return append([]byte{0}, snappyBomb(4<<20)...) },
		"blocks without end": func(b *lstar.SignedBlock) []byte {
			return append(part(b), bytes.Repeat(good, 4096)...)
		},
	}
	peers := make(map[string]*peerHost)
	for name, attack := range attacks {
		h := newPeer(t, v.Node)
		head := v.orphan(0)
		response := attack(head)
		h.serve(wire.BlocksByRootProtocol, func(_ []byte, w io.Writer) { _, _ = w.Write(response) })
		h.connect(t)
		h.sendStatus(t, p2p.Status{Head: lstar.Checkpoint{Root: head.Block.Root(), Slot: head.Block.Slot}})
		peers[name] = h
	}
	for name, h := range peers {
		t.Run(name, func(t *testing.T) { v.log.wantFault(t, h.ID(), "bad response", 1) })
		_ = h.Close()
	}

	// A peer cannot send an unsolicited response, because a stream that it opens carries a request.
	h := newPeer(t, v.Node).connect(t)
	parts, err := h.request(t.Context(), wire.BlocksByRootProtocol, good)
	if err != nil || len(parts) != 1 || parts[0].Code != wire.InvalidRequest {
		t.Errorf("unsolicited block: response = %v (error %v), want %s", parts, err, wire.InvalidRequest)
	}
	_ = h.Close()
}

// orphan returns a well-formed block of the current slot with a random parent and a random proof of the given size.
func (v *victim) orphan(proof int) *lstar.SignedBlock {
	slot := v.slot()
	return &lstar.SignedBlock{
		Block: lstar.Block{
			Slot: slot, ProposerIndex: lstar.ValidatorIndex(slot % 3), ParentRoot: randomRoot(), StateRoot: randomRoot(),
		},
		Proof: lstar.MultiMessageAggregate{Proof: randomBytes(proof)},
	}
}

// badGossip publishes messages that cannot be decoded.
func badGossip(t *testing.T, v *victim) {
	for _, kind := range []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation} {
		h := newPeer(t, v.Node).connect(t)
		payloads := [][]byte{
			{},
			randomBytes(200),
			wire.CompressBlock(randomBytes(200)),
			append(protowire.AppendVarint(nil, math.MaxUint32), randomBytes(100)...),        // declares 4 GiB
			append(protowire.AppendVarint(nil, wire.MaxPayloadSize+1), randomBytes(100)...), // declares one byte too many
			wire.CompressBlock(make([]byte, wire.MaxPayloadSize)),                           // has the largest size, but only zeros
		}
		v.gossip(t, h, topic(kind), payloads...)
		v.log.wantFault(t, h.ID(), "gossip: undecodable "+string(kind), len(payloads))
		_ = h.Close()
	}

	signed := append([]byte{0x2a, 64}, randomBytes(64)...) // field 5, signature
	h := newPeer(t, v.Node).connect(t)
	h.publish(t, rpc(topic(wire.TopicBlock).String(), wire.CompressBlock(ssz.Marshal(v.orphan(0))), signed...))
	v.log.wantFault(t, h.ID(), "gossip: message is not anonymous", 1)
	_ = h.Close()

	// The node closes a stream with a message that is too long.
	h = newPeer(t, v.Node).connect(t)
	h.publish(t, protowire.AppendVarint(nil, 1<<30))
	if !eventually(func() bool {
		_, err := h.gossip.Write(make([]byte, 1<<16))
		return err != nil
	}) {
		t.Errorf("the node still reads a message of 1 GiB after %s", patience)
	}
	_ = h.Close()
}

// gossipOfOtherNetwork publishes on unknown topics, which the node ignores.
func gossipOfOtherNetwork(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	payload := wire.CompressBlock(ssz.Marshal(v.orphan(0)))
	v.gossip(t, h, unknownTopic, payload)
	h.publish(t, rpc("", payload), rpc(string(randomBytes(100)), payload))
	v.awaitAllRead(t, h)
	if faults := v.log.about(t, h.ID(), "peer at fault"); len(faults) != 1 {
		t.Errorf("%d faults, want 1, that of the last message: %v", len(faults), faults)
	}
	_ = h.Close()
}

// awaitAllRead waits until the node has read all messages of a peer: it sends an invalid message and waits for its fault.
func (v *victim) awaitAllRead(t *testing.T, h *peerHost) {
	t.Helper()
	v.gossip(t, h, topic(wire.TopicAttestation), wire.CompressBlock(randomBytes(200)))
	v.log.wantFault(t, h.ID(), "gossip: undecodable attestation", 1)
}

// forgedGossip publishes well-formed messages with wrong signatures, validators or checkpoints.
func forgedGossip(t *testing.T, v *victim) {
	send := func(name string, kind wire.TopicKind, reason lstar.RejectionReason, make func() []byte) {
		t.Run(name, func(t *testing.T) {
			h := newPeer(t, v.Node).connect(t)
			payload := wire.CompressBlock(make())
			v.gossip(t, h, topic(kind), payload)
			v.log.wantFault(t, h.ID(), fmt.Sprintf("gossip: rejected %s", kind), 1)
			var reasons []any
			for _, l := range v.log.lines {
				if l["peer_id"] == h.ID().String() && (l["msg"] == "vote rejected" || l["msg"] == "block rejected" || l["msg"] == "aggregate rejected") {
					reasons = append(reasons, l["reason"])
				}
			}
			if !slices.Contains(reasons, any(string(reason))) {
				t.Errorf("rejection reasons = %v, want %s", reasons, reason)
			}
			_ = h.Close()
		})
	}
	send("vote with the signature of another vote", wire.TopicAttestation, lstar.InvalidSignature, func() []byte {
		a := v.listener.vote(t)
		a.Data.Target = a.Data.Source // valid, but not what was signed
		return a.Encode()
	})
	send("vote of a validator that does not exist", wire.TopicAttestation, lstar.ValidatorNotInState, func() []byte {
		a := v.listener.vote(t)
		a.ValidatorIndex = 3
		return a.Encode()
	})
	send("vote of validator 2^64-1", wire.TopicAttestation, lstar.ValidatorNotInState, func() []byte {
		a := v.listener.vote(t)
		a.ValidatorIndex = math.MaxUint64
		return a.Encode()
	})
	send("vote with source after target", wire.TopicAttestation, lstar.SourceAfterTarget, func() []byte {
		a := v.listener.vote(t)
		a.Data.Source, a.Data.Target = a.Data.Head, a.Data.Source
		return a.Encode()
	})
	send("aggregate with the proof of another vote", wire.TopicAggregation, lstar.InvalidSignature, func() []byte {
		a := v.listener.aggregate(t)
		a.Data.Target = a.Data.Source // valid, but not what was signed
		return ssz.Marshal(a)
	})
	send("aggregate of validators that do not exist", wire.TopicAggregation, lstar.ValidatorNotInState, func() []byte {
		a := v.listener.aggregate(t)
		a.Data.Target = a.Data.Source // valid, but not what was signed
		a.Proof.Participants = ssz.NewBitlist(lstar.ValidatorRegistryLimit)
		a.Proof.Participants.Set(lstar.ValidatorRegistryLimit - 1)
		return ssz.Marshal(a)
	})
	send("block with a forged proof", wire.TopicBlock, lstar.InvalidBlockProof, func() []byte {
		b := v.listener.block(t)
		b.Block.StateRoot = randomRoot()
		return ssz.Marshal(b)
	})
	send("block of another proposer", wire.TopicBlock, lstar.WrongProposer, func() []byte {
		b := v.listener.block(t)
		b.Block.ProposerIndex = (b.Block.ProposerIndex + 1) % 3
		return ssz.Marshal(b)
	})
}

// orphanFlood sends thousands of blocks without parents: small ones, large ones, and blocks of future slots. Their proposers
// have not signed them, so the node keeps none of them. It bans the peer, but ignores blocks of future slots.
func orphanFlood(t *testing.T, v *victim) {
	for _, wave := range []struct {
		what         string
		count, proof int
		ahead        lstar.Slot
	}{
		{"small", 4000, 0, 0},
		{"large", 300, 400 << 10, 0},
		{"future", 1000, 0, 1000},
	} {
		h := newPeer(t, v.Node)
		h.serve(wire.BlocksByRootProtocol, func([]byte, io.Writer) {}) // without blocks
		h.connect(t)
		h.sendStatus(t, p2p.Status{})
		for range wave.count {
			b := v.orphan(wave.proof)
			b.Block.Slot += 3 * wave.ahead // keeps the proposer
			v.gossip(t, h, topic(wire.TopicBlock), wire.CompressBlock(ssz.Marshal(b)))
		}
		if wave.ahead > 0 {
			v.awaitAllRead(t, h)
		} else if !eventually(func() bool { return !h.connected() }) {
			t.Errorf("%s: the peer is still connected after %s, want a ban", wave.what, patience)
		}
		checkResources(t, v, "blocks without parents, "+wave.what)
		if waiting := len(v.log.about(t, h.ID(), "block waits for parent")); waiting > 0 {
			t.Errorf("%s: %d blocks wait for their parents, want 0", wave.what, waiting)
		}
		if wave.ahead == 0 {
			v.log.wantFault(t, h.ID(), "gossip: rejected block", 1)
		}
		_ = h.Close()
	}
}

// persistentOffender sends invalid messages until the node bans it, and then tries to connect again.
func persistentOffender(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	for range 25 {
		v.gossip(t, h, topic(wire.TopicBlock), wire.CompressBlock(randomBytes(100)))
	}
	if !eventually(func() bool { return !h.connected() }) {
		t.Fatalf("a peer with 25 faults is still connected after %s", patience)
	}
	if got := len(v.log.about(t, h.ID(), "peer banned")); got != 1 {
		t.Errorf("%d lines \"peer banned\", want 1", got)
	}

	// A banned peer may complete the handshake, but gets no response.
	var status p2p.Status
	if err := h.Connect(t.Context(), h.target); err == nil {
		if parts, err := h.request(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status))); err == nil {
			t.Errorf("response to a banned peer = %v, want an error", parts)
		}
	}
	if !eventually(func() bool { return !h.connected() }) {
		t.Errorf("a banned peer is connected after %s", patience)
	}
	if !eventually(func() bool { return len(v.log.about(t, h.ID(), "peer did not connect")) > 0 }) {
		t.Error("no line \"peer did not connect\" about the banned peer")
	}
	_ = h.Close()
}

// falseFinality connects more peers than there are honest ones. All of them report the same impossible finalized slot.
func falseFinality(t *testing.T, v *victim) {
	finalized := lstar.Checkpoint{Root: randomRoot(), Slot: v.slot() + 1000}
	var peers []*peerHost
	for range 5 {
		h := newPeer(t, v.Node).connect(t)
		status := p2p.Status{Finalized: finalized, Head: lstar.Checkpoint{Root: randomRoot(), Slot: finalized.Slot + 3}}
		_, _ = h.request(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status)))
		peers = append(peers, h)
	}
	// The node must stay synced and its validators must perform their duties. In four slots each of them proposes.
	seen, end := len(v.log.read(t)), v.slot()+4
	awaitStatus(t, v.network, 30*time.Second, "four slots", func(s *devnet.Status) bool {
		if !s.Nodes[0].Synced {
			t.Errorf("the node is not synced at slot %d", s.Slot)
		}
		return s.Slot >= uint64(end)
	})
	for _, msg := range []string{"block produced", "vote produced"} {
		if !slices.ContainsFunc(v.log.read(t)[seen:], func(l line) bool { return l["msg"] == msg }) {
			t.Errorf("no line %q while peers report a false finalized slot", msg)
		}
	}
	for _, h := range peers {
		_ = h.Close()
	}
}

// lyingPeers starts a node that joins late and has lying peers among its bootnodes. They report a head after that of the
// honest nodes, and serve random bytes, nothing, or unconnected blocks.
func lyingPeers(t *testing.T, v *victim) {
	late := v.network.Nodes[3]
	var bootnodes []string
	var ids []peer.ID
	for _, answer := range []func() []byte{
		func() []byte { return randomBytes(1000) },
		func() []byte { return nil },
		func() []byte { // unconnected blocks
			var b []byte
			for range 3 {
				b = append(b, wire.AppendResponse(nil, wire.Success, ssz.Marshal(v.orphan(0)))...)
			}
			return b
		},
	} {
		h := newPeer(t, late, libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
		head := v.orphan(0)
		status := p2p.Status{
			Finalized: lstar.Checkpoint{Root: head.Block.ParentRoot, Slot: head.Block.Slot - 1},
			Head:      lstar.Checkpoint{Root: head.Block.Root(), Slot: head.Block.Slot + 1},
		}
		h.serve(wire.StatusProtocol, func(_ []byte, w io.Writer) {
			_, _ = w.Write(wire.AppendResponse(nil, wire.Success, ssz.Marshal(&status)))
		})
		for _, id := range []protocol.ID{wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol} {
			h.serve(id, func(_ []byte, w io.Writer) { _, _ = w.Write(answer()) })
		}
		bootnodes = append(bootnodes, "--bootnode", fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID()))
		ids = append(ids, h.ID())
	}
	if err := late.Start(bootnodes...); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	slot := uint64(v.slot())
	awaitFinalized(t, v.network, slot, 60*time.Second)
	t.Logf("slot %d is final at a node that started among lying peers %s ago", slot, time.Since(began).Round(time.Second))
	log := &follower{path: late.LogPath()}
	log.wantFault(t, ids[0], "bad response", 1)
	for _, node := range v.network.Nodes[:3] {
		id, err := peer.Decode(node.PeerID)
		if err != nil {
			t.Fatal(err)
		}
		log.wantNoFault(t, id)
	}
}
