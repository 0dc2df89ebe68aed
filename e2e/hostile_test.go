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

// Bounds of a node under attack.
const (
	maxResident   = 400 << 20
	maxGoroutines = 500
)

// victim is a node under attack, with what shows how it bears it.
type victim struct {
	*devnet.Node
	network *devnet.Network
	log     *follower
	hears   *listener // what it forwards
	sent    [][]byte  // messages that it must not forward
}

// gossip has a peer publish messages that are not to be forwarded.
func (v *victim) gossip(t *testing.T, h *peerHost, topic wire.Topic, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		h.publish(t, rpc(topic.String(), m))
	}
	v.sent = append(v.sent, messages...)
}

// TestHostilePeers attacks a node of a network in every way that a peer can. Each
// attack gets the answer that is specified for it, and none hurts the node, or
// what it has with its honest peers.
func TestHostilePeers(t *testing.T) {
	n := startNetwork(t, devnet.Options{
		Nodes: 4, Validators: 3, LogLevel: "debug", NodeOptions: []devnet.NodeOptions{{}, {}, {}, {Late: true}},
	})
	s := finalizes(t, n, 1, 90*time.Second)
	v := &victim{Node: n.Nodes[0], network: n, log: follow(t, n.Nodes[0])}
	others := []*follower{follow(t, n.Nodes[1]), follow(t, n.Nodes[2])}
	v.hears = newListener(t, v.Node, topic(wire.TopicBlock), topic(wire.TopicAttestation), topic(wire.TopicAggregation), otherTopic)
	for _, kind := range []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation} {
		v.hears.latest(t, kind)
	}

	for _, attack := range []struct {
		name string
		run  func(*testing.T, *victim)
	}{
		{"malformed requests", malformedRequests},
		{"requests for what is not there", vainRequests},
		{"status of another network", otherNetwork},
		{"slow drips", slowDrips},
		{"bad answers", badAnswers},
		{"gossip of bad bytes", badGossip},
		{"gossip of another network", otherGossip},
		{"forged gossip", forgedGossip},
		{"blocks without parents", orphanFlood},
		{"persistent offender", persistentOffender},
		{"lies about finality", falseFinality},
		{"late joiner among liars", liars},
	} {
		began := time.Now()
		t.Run(attack.name, func(t *testing.T) { attack.run(t, v) })
		bounded(t, v, attack.name)
		if !eventually(func() bool { status, _ := get(t, v.HealthURL()); return status == 200 }) {
			t.Errorf("the node is not healthy after %s", attack.name)
		}
		t.Logf("%s: %s", attack.name, time.Since(began).Round(100*time.Millisecond))
	}

	// The network goes on, and the node is well in it.
	s = finalizes(t, n, max(s.Slot, uint64(n.Clock.Slot()))+3, 60*time.Second)
	if len(s.Disagreements) > 0 {
		t.Error(s.Disagreements)
	}
	for _, m := range v.sent {
		if v.hears.has(m) {
			t.Errorf("a message was forwarded that must not be, of %d bytes", len(m))
		}
	}
	v.log.blameless(t, v.hears.ID())
	if !v.hears.connected() {
		t.Error("the honest listener lost its connection")
	}
	_ = v.hears.Close()
	if !eventually(func() bool { return value(t, scrape(t, fmt.Sprint(v.Metrics)), "leanspec_peers_connected") == 3 }) {
		t.Errorf("%v peers at the end, want the 3 honest ones", value(t, scrape(t, fmt.Sprint(v.Metrics)), "leanspec_peers_connected"))
	}
	if status, h := getHealth(t, fmt.Sprint(v.Metrics)); status != 200 || !h.Synced {
		t.Errorf("/health at the end is %d %+v", status, h)
	}
	bounded(t, v, "the end")
	for _, log := range append(others, v.log) {
		for _, node := range n.Nodes {
			id, err := peer.Decode(node.PeerID)
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range []string{"peer at fault", "peer banned", "peer disconnected"} {
				if lines := log.about(t, id, msg); len(lines) > 0 {
					t.Errorf("%s, an honest peer: %v", node.Name, lines)
				}
			}
		}
	}
	noErrors(t, n)
}

// bounded wants the memory and the goroutines of a node within bounds.
func bounded(t *testing.T, v *victim, when string) {
	t.Helper()
	families := scrape(t, fmt.Sprint(v.Metrics))
	resident, goroutines := value(t, families, "process_resident_memory_bytes"), value(t, families, "go_goroutines")
	t.Logf("after %s: %.0f MiB, %.0f goroutines, %.0f peers", when, resident/(1<<20), goroutines, value(t, families, "leanspec_peers_connected"))
	if resident > maxResident || goroutines > maxGoroutines {
		t.Errorf("after %s: %.0f bytes of memory and %.0f goroutines, want at most %d and %d", when, resident, goroutines, maxResident, maxGoroutines)
	}
}

func topic(kind wire.TopicKind) wire.Topic {
	return wire.Topic{Kind: kind, Network: p2p.DefaultNetworkName}
}

// otherTopic is of a network that the node knows nothing of.
var otherTopic = wire.Topic{Kind: wire.TopicBlock, Network: "deadbeef"}

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

// slot is that of the wall clock.
func (v *victim) slot() lstar.Slot { return v.network.Clock.Slot() }

// snappyBomb declares little and holds much.
func snappyBomb(declared uint64) []byte {
	return append(protowire.AppendVarint(nil, declared), wiretest.Frames(make([]byte, 4<<20))...)
}

func malformedRequests(t *testing.T, v *victim) {
	status := wire.AppendRequest(nil, make([]byte, 80))
	badCRC := slices.Clone(status)
	badCRC[1+10+4] ^= 1 // behind the length, the stream identifier and the head of the frame
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
		{"nothing", wire.StatusProtocol, nil},
		{"status of 0 bytes", wire.StatusProtocol, wire.AppendRequest(nil, nil)},
		{"status of 79 bytes", wire.StatusProtocol, wire.AppendRequest(nil, make([]byte, 79))},
		{"status of 81 bytes", wire.StatusProtocol, wire.AppendRequest(nil, make([]byte, 81))},
		{"junk", wire.StatusProtocol, randomBytes(4096)},
		{"length without an end", wire.StatusProtocol, bytes.Repeat([]byte{0xff}, 64)},
		{"no frames", wire.StatusProtocol, status[:1]},
		{"truncated frame", wire.StatusProtocol, status[:len(status)-3]},
		{"wrong checksum", wire.StatusProtocol, badCRC},
		{"oversized frame", wire.StatusProtocol, append(bigFrame, make([]byte, 1<<20)...)},
		{"frames to skip for ever", wire.StatusProtocol, skipping},
		{"huge length", wire.StatusProtocol, protowire.AppendVarint(nil, math.MaxUint64)},
		{"status bomb", wire.StatusProtocol, snappyBomb(80)},
		{"root bomb", wire.BlocksByRootProtocol, snappyBomb(wire.MaxRootsSize)},
		{"oversized roots", wire.BlocksByRootProtocol, snappyBomb(4 << 20)},
		{"1025 roots", wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(roots))},
		{"roots at a wrong offset", wire.BlocksByRootProtocol, wire.AppendRequest(nil, badOffset)},
		{"half a root", wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(roots[:1])[:20])},
		{"range of no slots", wire.BlocksByRangeProtocol, count(0)},
		{"range of 1025 slots", wire.BlocksByRangeProtocol, count(wire.MaxRequestBlocks + 1)},
		{"range of all slots", wire.BlocksByRangeProtocol, count(math.MaxUint64)},
		{"range of 15 bytes", wire.BlocksByRangeProtocol, wire.AppendRequest(nil, make([]byte, 15))},
		{"range bomb", wire.BlocksByRangeProtocol, snappyBomb(wire.BlocksByRangeSize)},
	} {
		h := newPeer(t, v.Node).connect(t)
		parts, err := h.ask(t.Context(), tt.protocol, tt.request)
		if err != nil || len(parts) != 1 || parts[0].Code != wire.InvalidRequest {
			t.Errorf("%s: answer is %v, %v; want %s", tt.name, parts, err, wire.InvalidRequest)
		}
		reason := "malformed request"
		if _, n, err := wire.DecodeRange(decoded(tt.request)); tt.protocol == wire.BlocksByRangeProtocol && err == nil && n != 1 {
			reason = "range request with an invalid count"
		}
		v.log.fault(t, h.ID(), reason, 1)
		_ = h.Close()
	}
}

// decoded is the payload of a request, or nil.
func decoded(request []byte) []byte {
	payload, _ := wiretest.Request(request)
	return payload
}

func vainRequests(t *testing.T, v *victim) {
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
		{"slots to come", wire.BlocksByRangeProtocol, wire.EncodeRange(1<<40, wire.MaxRequestBlocks)},
		{"the last slots of all", wire.BlocksByRangeProtocol, wire.EncodeRange(math.MaxUint64-1, wire.MaxRequestBlocks)},
	} {
		if parts, err := h.ask(t.Context(), tt.protocol, wire.AppendRequest(nil, tt.payload)); err != nil || len(parts) != 0 {
			t.Errorf("%s: answer is %v, %v; want an empty one", tt.name, parts, err)
		}
	}
	v.log.blameless(t, h.ID())

	// More than its share of requests is refused, and no crime.
	refused := 0
	for range 200 {
		parts, err := h.ask(t.Context(), wire.BlocksByRangeProtocol, wire.AppendRequest(nil, wire.EncodeRange(1<<40, 1)))
		if err != nil {
			t.Fatalf("request in a row of many: %v", err)
		}
		if len(parts) == 1 && parts[0].Code == wire.ServerError {
			refused++
		}
	}
	if refused == 0 {
		t.Error("200 requests at once were all served")
	}
	v.log.blameless(t, h.ID())
	_ = h.Close()
}

func otherNetwork(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	status := p2p.Status{Finalized: lstar.Checkpoint{Root: randomRoot()}, Head: lstar.Checkpoint{Root: randomRoot(), Slot: 1}}
	// The node's own status may or may not get here before the connection ends.
	_, _ = h.ask(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status)))
	if !eventually(func() bool { return !h.connected() }) {
		t.Error("a peer of another network is still connected")
	}
	var detail any
	if !eventually(func() bool {
		for _, l := range v.log.about(t, h.ID(), "peer disconnected") {
			detail = l["detail"]
			return true
		}
		return false
	}) || detail == nil {
		t.Errorf("the log says %v about the disconnection, want why", detail)
	}

	// A chain that ends far in the future is one that the node cannot judge. It is
	// not followed, and not held against the peer.
	h = newPeer(t, v.Node).connect(t)
	h.tell(t, p2p.Status{
		Finalized: lstar.Checkpoint{Root: randomRoot(), Slot: math.MaxUint64},
		Head:      lstar.Checkpoint{Root: randomRoot(), Slot: math.MaxUint64},
	})
	v.log.blameless(t, h.ID())
	_ = h.Close()
}

// slowDrips sends requests, and answers, a byte a second.
func slowDrips(t *testing.T, v *victim) {
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
	slow.answers(wire.BlocksByRootProtocol, func(_ []byte, w io.Writer) { drip(w) })
	slow.connect(t)
	slow.tell(t, p2p.Status{Head: lstar.Checkpoint{Root: randomRoot(), Slot: v.slot()}})

	// Nobody else has to wait for that.
	other := newPeer(t, v.Node).connect(t)
	began := time.Now()
	other.tell(t, p2p.Status{})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("another peer's request took %s", took)
	}
	_ = other.Close()

	cut := 0
	for _, end := range ends {
		select {
		case err := <-end:
			if err != nil { // else it was refused: one too many
				cut++
			}
		case <-time.After(patience):
			t.Fatal("a request that drips is still open")
		}
	}
	if cut == 0 || cut == len(ends) {
		t.Errorf("%d of %d streams were cut off, want most: the others are too many", cut, len(ends))
	}
	v.log.fault(t, h.ID(), "request without an end", cut)
	v.log.fault(t, slow.ID(), "", 1)
	_ = h.Close()
	_ = slow.Close()
}

// badAnswers are those of peers that speak of a head which the node then asks for.
func badAnswers(t *testing.T, v *victim) {
	part := func(b *lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.Success, ssz.Marshal(b)) }
	good := part(v.orphan(0))
	attacks := map[string]func(head *lstar.SignedBlock) []byte{
		"junk":                  func(*lstar.SignedBlock) []byte { return randomBytes(4096) },
		"no block":              func(*lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.Success, randomBytes(512)) },
		"another block":         func(*lstar.SignedBlock) []byte { return good },
		"the same block twice":  func(b *lstar.SignedBlock) []byte { return append(part(b), part(b)...) },
		"a second block":        func(b *lstar.SignedBlock) []byte { return append(part(b), good...) },
		"a truncated block":     func(b *lstar.SignedBlock) []byte { return part(b)[:60] },
		"no success, and a lot": func(*lstar.SignedBlock) []byte { return wire.AppendResponse(nil, wire.ServerError, make([]byte, 4096)) },
		"a huge length":         func(*lstar.SignedBlock) []byte { return protowire.AppendVarint([]byte{0}, wire.MaxPayloadSize+1) },
		"a bomb":                func(*lstar.SignedBlock) []byte { return append([]byte{0}, snappyBomb(200)...) },
		"zeros":                 func(*lstar.SignedBlock) []byte { return append([]byte{0}, snappyBomb(4<<20)...) },
		"blocks without end": func(b *lstar.SignedBlock) []byte {
			return append(part(b), bytes.Repeat(good, 4096)...)
		},
	}
	peers := make(map[string]*peerHost)
	for name, attack := range attacks {
		h := newPeer(t, v.Node)
		head := v.orphan(0)
		answer := attack(head)
		h.answers(wire.BlocksByRootProtocol, func(_ []byte, w io.Writer) { _, _ = w.Write(answer) })
		h.connect(t)
		h.tell(t, p2p.Status{Head: lstar.Checkpoint{Root: head.Block.Root(), Slot: head.Block.Slot}})
		peers[name] = h
	}
	for name, h := range peers {
		t.Run(name, func(t *testing.T) { v.log.fault(t, h.ID(), "bad response", 1) })
		_ = h.Close()
	}

	// An answer that nobody asked for has no stream to come on: what is sent on one
	// of our own is a request, and a bad one.
	h := newPeer(t, v.Node).connect(t)
	parts, err := h.ask(t.Context(), wire.BlocksByRootProtocol, good)
	if err != nil || len(parts) != 1 || parts[0].Code != wire.InvalidRequest {
		t.Errorf("unsolicited block: answer is %v, %v; want %s", parts, err, wire.InvalidRequest)
	}
	_ = h.Close()
}

// orphan is a block of the current slot that looks right, and whose parent nobody
// has.
func (v *victim) orphan(proof int) *lstar.SignedBlock {
	slot := v.slot()
	return &lstar.SignedBlock{
		Block: lstar.Block{
			Slot: slot, ProposerIndex: lstar.ValidatorIndex(slot % 3), ParentRoot: randomRoot(), StateRoot: randomRoot(),
		},
		Proof: lstar.MultiMessageAggregate{Proof: randomBytes(proof)},
	}
}

// badGossip is rejected before it is forwarded.
func badGossip(t *testing.T, v *victim) {
	for _, kind := range []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation} {
		h := newPeer(t, v.Node).connect(t)
		payloads := [][]byte{
			{},
			randomBytes(200),
			wire.CompressBlock(randomBytes(200)),
			append(protowire.AppendVarint(nil, math.MaxUint32), randomBytes(100)...),        // a bomb that says so
			append(protowire.AppendVarint(nil, wire.MaxPayloadSize+1), randomBytes(100)...), // and one of the next size
			wire.CompressBlock(make([]byte, wire.MaxPayloadSize)),                           // and one that keeps its word
		}
		v.gossip(t, h, topic(kind), payloads...)
		v.log.fault(t, h.ID(), "gossip: bytes that are no "+string(kind), len(payloads))
		_ = h.Close()
	}

	signed := append([]byte{0x2a, 64}, randomBytes(64)...) // field 5, signature
	h := newPeer(t, v.Node).connect(t)
	h.publish(t, rpc(topic(wire.TopicBlock).String(), wire.CompressBlock(ssz.Marshal(v.orphan(0))), signed...))
	v.log.fault(t, h.ID(), "gossip: message is not anonymous", 1)
	_ = h.Close()

	// A message that is too long ends its stream.
	h = newPeer(t, v.Node).connect(t)
	h.publish(t, protowire.AppendVarint(nil, 1<<30))
	if !eventually(func() bool {
		_, err := h.gossip.Write(make([]byte, 1<<16))
		return err != nil
	}) {
		t.Error("the node goes on reading a message of 1 GiB")
	}
	_ = h.Close()
}

// otherGossip is not read at all.
func otherGossip(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	payload := wire.CompressBlock(ssz.Marshal(v.orphan(0)))
	v.gossip(t, h, otherTopic, payload)
	h.publish(t, rpc("", payload), rpc(string(randomBytes(100)), payload))
	v.allRead(t, h)
	if faults := v.log.about(t, h.ID(), "peer at fault"); len(faults) != 1 {
		t.Errorf("%d faults, want only that of the last message: %v", len(faults), faults)
	}
	_ = h.Close()
}

// allRead waits until the node has read all messages of a peer: it sends one more,
// whose fault shows.
func (v *victim) allRead(t *testing.T, h *peerHost) {
	t.Helper()
	v.gossip(t, h, topic(wire.TopicAttestation), wire.CompressBlock(randomBytes(200)))
	v.log.fault(t, h.ID(), "gossip: bytes that are no attestation", 1)
}

// forgedGossip is well-formed, and not by those who it says it is by.
func forgedGossip(t *testing.T, v *victim) {
	send := func(name string, kind wire.TopicKind, reason lstar.RejectionReason, make func() []byte) {
		t.Run(name, func(t *testing.T) {
			h := newPeer(t, v.Node).connect(t)
			payload := wire.CompressBlock(make())
			v.gossip(t, h, topic(kind), payload)
			v.log.fault(t, h.ID(), fmt.Sprintf("gossip: %s was rejected", kind), 1)
			var reasons []any
			for _, l := range v.log.lines {
				if l["peer_id"] == h.ID().String() && (l["msg"] == "vote rejected" || l["msg"] == "block rejected" || l["msg"] == "aggregate rejected") {
					reasons = append(reasons, l["reason"])
				}
			}
			if !slices.Contains(reasons, any(string(reason))) {
				t.Errorf("rejected for %v, want %s", reasons, reason)
			}
			_ = h.Close()
		})
	}
	send("vote with another's signature", wire.TopicAttestation, lstar.InvalidSignature, func() []byte {
		a := v.hears.vote(t)
		a.Data.Target = a.Data.Source // not what was signed, and as valid
		return a.Encode()
	})
	send("vote of a validator that does not exist", wire.TopicAttestation, lstar.ValidatorNotInState, func() []byte {
		a := v.hears.vote(t)
		a.ValidatorIndex = 3
		return a.Encode()
	})
	send("vote of the last validator of all", wire.TopicAttestation, lstar.ValidatorNotInState, func() []byte {
		a := v.hears.vote(t)
		a.ValidatorIndex = math.MaxUint64
		return a.Encode()
	})
	send("vote for a chain backwards", wire.TopicAttestation, lstar.SourceAfterTarget, func() []byte {
		a := v.hears.vote(t)
		a.Data.Source, a.Data.Target = a.Data.Head, a.Data.Source
		return a.Encode()
	})
	send("aggregate with another's proof", wire.TopicAggregation, lstar.InvalidSignature, func() []byte {
		a := v.hears.aggregate(t)
		a.Data.Target = a.Data.Source // not what was signed, and as valid
		return ssz.Marshal(a)
	})
	send("aggregate of validators that do not exist", wire.TopicAggregation, lstar.ValidatorNotInState, func() []byte {
		a := v.hears.aggregate(t)
		a.Data.Target = a.Data.Source // not what was signed, and as valid
		a.Proof.Participants = ssz.NewBitlist(lstar.ValidatorRegistryLimit)
		a.Proof.Participants.Set(lstar.ValidatorRegistryLimit - 1)
		return ssz.Marshal(a)
	})
	send("block with a forged proof", wire.TopicBlock, lstar.InvalidBlockProof, func() []byte {
		b := v.hears.block(t)
		b.Block.StateRoot = randomRoot()
		return ssz.Marshal(b)
	})
	send("block of another proposer", wire.TopicBlock, lstar.WrongProposer, func() []byte {
		b := v.hears.block(t)
		b.Block.ProposerIndex = (b.Block.ProposerIndex + 1) % 3
		return ssz.Marshal(b)
	})
}

// orphanFlood sends blocks by the thousand whose parents do not exist: small ones,
// large ones, and such as nobody can have made yet. Their proposers did not sign them,
// so the node keeps none, and bans the peer.
func orphanFlood(t *testing.T, v *victim) {
	for _, wave := range []struct {
		what         string
		count, proof int
		ahead        lstar.Slot
	}{
		{"small", 4000, 0, 0},
		{"large", 300, 400 << 10, 0},
		{"to come", 1000, 0, 1000},
	} {
		h := newPeer(t, v.Node)
		h.answers(wire.BlocksByRootProtocol, func([]byte, io.Writer) {}) // it has none of the parents
		h.connect(t)
		h.tell(t, p2p.Status{})
		for range wave.count {
			b := v.orphan(wave.proof)
			b.Block.Slot += 3 * wave.ahead // of the same proposer
			v.gossip(t, h, topic(wire.TopicBlock), wire.CompressBlock(ssz.Marshal(b)))
		}
		if wave.ahead > 0 {
			v.allRead(t, h)
		} else if !eventually(func() bool { return !h.connected() }) {
			t.Errorf("%s: the peer is still connected, want it to be banned", wave.what)
		}
		bounded(t, v, "blocks without parents, "+wave.what)
		if waiting := len(v.log.about(t, h.ID(), "block waits for parent")); waiting > 0 {
			t.Errorf("%s: %d blocks wait for their parents, want 0", wave.what, waiting)
		}
		if wave.ahead == 0 {
			v.log.fault(t, h.ID(), "gossip: block was rejected", 1)
		}
		_ = h.Close()
	}
}

// persistentOffender goes on until it is shut out.
func persistentOffender(t *testing.T, v *victim) {
	h := newPeer(t, v.Node).connect(t)
	for range 25 {
		v.gossip(t, h, topic(wire.TopicBlock), wire.CompressBlock(randomBytes(100)))
	}
	if !eventually(func() bool { return !h.connected() }) {
		t.Fatal("a peer with more faults than are allowed is still connected")
	}
	if len(v.log.about(t, h.ID(), "peer banned")) != 1 {
		t.Error("the log does not say that the peer is banned")
	}

	// It may get as far as to shake hands again, and no further.
	var status p2p.Status
	if err := h.Connect(t.Context(), h.target); err == nil {
		if parts, err := h.ask(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status))); err == nil {
			t.Errorf("a banned peer is served: %v", parts)
		}
	}
	if !eventually(func() bool { return !h.connected() }) {
		t.Error("a banned peer is connected again")
	}
	if !eventually(func() bool { return len(v.log.about(t, h.ID(), "peer did not connect")) > 0 }) {
		t.Error("the log does not say that a banned peer tried again")
	}
	_ = h.Close()
}

// falseFinality has more peers than are honest agree on a finalized slot that
// cannot be.
func falseFinality(t *testing.T, v *victim) {
	finalized := lstar.Checkpoint{Root: randomRoot(), Slot: v.slot() + 1000}
	var peers []*peerHost
	for range 5 {
		h := newPeer(t, v.Node).connect(t)
		status := p2p.Status{Finalized: finalized, Head: lstar.Checkpoint{Root: randomRoot(), Slot: finalized.Slot + 3}}
		_, _ = h.ask(t.Context(), wire.StatusProtocol, wire.AppendRequest(nil, ssz.Marshal(&status)))
		peers = append(peers, h)
	}
	// The node knows better, and its validators go on: four slots have each of them
	// propose.
	seen, end := len(v.log.read(t)), v.slot()+4
	within(t, v.network, 30*time.Second, "four slots", func(s *devnet.Status) bool {
		if !s.Nodes[0].Synced {
			t.Errorf("the node is not healthy at slot %d", s.Slot)
		}
		return s.Slot >= uint64(end)
	})
	for _, msg := range []string{"block produced", "vote produced"} {
		if !slices.ContainsFunc(v.log.read(t)[seen:], func(l line) bool { return l["msg"] == msg }) {
			t.Errorf("no %s while peers lie about finality", msg)
		}
	}
	for _, h := range peers {
		_ = h.Close()
	}
}

// liars are among the peers of a node that joins late. They speak of a chain that
// is longer than that of the others, and show something else.
func liars(t *testing.T, v *victim) {
	late := v.network.Nodes[3]
	var bootnodes []string
	var ids []peer.ID
	for _, answer := range []func() []byte{
		func() []byte { return randomBytes(1000) },
		func() []byte { return nil },
		func() []byte { // blocks that do not connect
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
		h.answers(wire.StatusProtocol, func(_ []byte, w io.Writer) {
			_, _ = w.Write(wire.AppendResponse(nil, wire.Success, ssz.Marshal(&status)))
		})
		for _, id := range []protocol.ID{wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol} {
			h.answers(id, func(_ []byte, w io.Writer) { _, _ = w.Write(answer()) })
		}
		bootnodes = append(bootnodes, "--bootnode", fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID()))
		ids = append(ids, h.ID())
	}
	if err := late.Start(bootnodes...); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	slot := uint64(v.slot())
	finalizes(t, v.network, slot, 60*time.Second)
	t.Logf("slot %d is final at a node that began among liars %s ago", slot, time.Since(began).Round(time.Second))
	log := &follower{path: late.LogPath()}
	log.fault(t, ids[0], "bad response", 1)
	for _, node := range v.network.Nodes[:3] {
		id, err := peer.Decode(node.PeerID)
		if err != nil {
			t.Fatal(err)
		}
		log.blameless(t, id)
	}
}
