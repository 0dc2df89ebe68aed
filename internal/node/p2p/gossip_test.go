package p2p

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// testSignature returns a signature of the test scheme.
var testSignature = sync.OnceValue(func() *xmss.Signature {
	key, err := xmss.Test.GenerateKey(context.Background(), xmss.KeyGenOptions{NumActiveSlots: 2, Short: true})
	if err != nil {
		panic(err)
	}
	signature, err := key.SignUnguarded(0, [32]byte{})
	if err != nil {
		panic(err)
	}
	return signature
})

func block(slot lstar.Slot) *lstar.SignedBlock {
	return &lstar.SignedBlock{Block: lstar.Block{Slot: slot}}
}

func vote(validator lstar.ValidatorIndex, slot lstar.Slot) *lstar.SignedAttestation {
	return &lstar.SignedAttestation{
		ValidatorIndex: validator, Data: lstar.AttestationData{Slot: slot}, Signature: testSignature(),
	}
}

func aggregate(slot lstar.Slot) *lstar.SignedAggregatedAttestation {
	bits := ssz.NewBitlist(3)
	bits.Set(1)
	return &lstar.SignedAggregatedAttestation{
		Data:  lstar.AttestationData{Slot: slot},
		Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte("proof")},
	}
}

func (t *tracer) topics(id peer.ID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mesh[id]
}

// line starts three nodes, connects the middle one to the others, and waits until they gossip on a
// number of topics.
func line(t *testing.T, topics int, change ...func(*Config, *testNode)) (left, middle, right *testNode) {
	t.Helper()
	left, right = startNode(t, change...), startNode(t, change...)
	middle = startNode(t, append(change, dialing(left, right))...)
	for _, o := range []*testNode{left, right} {
		eventually(t, "a mesh", func() bool {
			return middle.tracer.topics(o.PeerID()) == topics && o.tracer.topics(middle.PeerID()) == topics
		})
	}
	return left, middle, right
}

func TestGossipIsForwarded(t *testing.T) {
	left, middle, right := line(t, 3, func(cfg *Config, _ *testNode) { cfg.Subnets = []uint64{0} })
	for want, publish := range map[string]func() error{
		"block 4":       func() error { return left.PublishBlock(t.Context(), block(4)) },
		"attestation 5": func() error { return left.PublishAttestation(t.Context(), vote(3, 5)) },
		"aggregate 6":   func() error { return left.PublishAggregate(t.Context(), aggregate(6)) },
	} {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
		for _, n := range []*testNode{middle, right} {
			if got := receive(t, want, n.handler.gossiped); got != want {
				t.Errorf("received %s, want %s", got, want)
			}
		}
	}
	if n := len(left.handler.gossiped); n != 0 {
		t.Errorf("the publisher validated %d of its own messages, want 0", n)
	}
	eventually(t, "sizes in the metrics", func() bool {
		return metricstest.Value(t, middle.metrics, "lean_gossip_block_size_bytes") == 1 &&
			metricstest.Value(t, middle.metrics, "lean_gossip_attestation_size_bytes") == 1 &&
			metricstest.Value(t, middle.metrics, "lean_gossip_aggregation_size_bytes") == 1
	})
	if got := metricstest.Value(t, middle.metrics, "lean_gossip_mesh_peers"); got != 2 {
		t.Errorf("lean_gossip_mesh_peers is %v, want 2", got)
	}
	for _, n := range []*testNode{left, middle, right} { // before any stops, of which the others warn
		for line := range strings.Lines(n.log.String()) {
			if strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`) {
				t.Errorf("log line without an event: %s", line)
			}
		}
	}
}

// TestSubnetsBeyondCommittees checks that a node subscribes to subnets without validators, as
// leanSpec's node does.
func TestSubnetsBeyondCommittees(t *testing.T) {
	left, middle, _ := line(t, 5, func(cfg *Config, _ *testNode) { cfg.Subnets = []uint64{0, 1, 77} })
	if err := left.PublishAttestation(t.Context(), vote(3, 5)); err != nil {
		t.Fatal(err)
	}
	if got, want := receive(t, "the vote", middle.handler.gossiped), "attestation 5"; got != want {
		t.Errorf("received %s, want %s", got, want)
	}
}

// TestVerdicts checks that only accepted messages are forwarded, and that a rejected one counts as
// a fault of its sender.
func TestVerdicts(t *testing.T) {
	left, middle, right := line(t, 2)
	for slot, test := range []struct {
		verdict Verdict
		faults  bool
	}{{Ignore, false}, {Reject, true}} {
		middle.handler.set(func(h *fakeHandler) { h.verdict = test.verdict })
		if err := left.PublishBlock(t.Context(), block(lstar.Slot(slot))); err != nil {
			t.Fatal(err)
		}
		receive(t, "the block", middle.handler.gossiped)
		if test.faults {
			eventually(t, "a fault of the sender", func() bool { return strings.Contains(middle.log.String(), "peer at fault") })
		}
	}
	// The next accepted message is the first one that the right node receives.
	middle.handler.set(func(h *fakeHandler) { h.verdict = Accept })
	if err := left.PublishBlock(t.Context(), block(9)); err != nil {
		t.Fatal(err)
	}
	if got, want := receive(t, "a block", right.handler.gossiped), "block 9"; got != want {
		t.Errorf("received %s, want %s", got, want)
	}
	if n := strings.Count(middle.log.String(), "peer at fault"); n != 1 {
		t.Errorf("%d faults, want 1", n)
	}
}

// TestPublishToOtherSubnets publishes votes on subnets that the node is not subscribed to.
func TestPublishToOtherSubnets(t *testing.T) {
	committees := func(subnets ...uint64) func(*Config, *testNode) {
		return func(cfg *Config, _ *testNode) { cfg.Committees, cfg.Subnets = 4, subnets }
	}
	one, three := startNode(t, committees(1)), startNode(t, committees(3))
	voter := startNode(t, committees(), dialing(one, three))
	waitConnected(t, voter, one)
	waitConnected(t, voter, three)
	for _, n := range []*testNode{one, three} {
		eventually(t, "the subscriptions to be known", func() bool {
			for subnet := range uint64(4) {
				if ids := voter.topics[voter.attestationTopic(subnet)].ListPeers(); len(ids) == 1 && ids[0] == n.PeerID() {
					return true
				}
			}
			return false
		})
	}
	for validator, n := range map[lstar.ValidatorIndex]*testNode{5: one, 7: three} {
		if err := voter.PublishAttestation(t.Context(), vote(validator, lstar.Slot(validator))); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("attestation ", validator)
		if got := receive(t, "the vote", n.handler.gossiped); got != want {
			t.Errorf("received %s, want %s", got, want)
		}
	}
}

// TestRubbishIsBanned sends undecodable blocks until the sender is banned, and checks that it
// cannot connect again.
func TestRubbishIsBanned(t *testing.T) {
	victim := startNode(t)
	sender := startNode(t, dialing(victim))
	eventually(t, "a mesh", func() bool { return sender.tracer.topics(victim.PeerID()) == 2 })
	topic := sender.topics[wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName}]
	rubbish := [][]byte{
		[]byte("no snappy"), // declares more than it has
		wire.CompressBlock([]byte("no SSZ")),
		{0x80, 0x80, 0x80, 0x05, 0},                        // declares 10 MiB and has 0 bytes
		wire.CompressBlock(ssz.Marshal(block(1))[1:]),      // truncated
		append(wire.CompressBlock([]byte("x")), "more"...), // goes on
	}
	for i := range 5 * len(rubbish) {
		message := slices.Concat(rubbish[i%len(rubbish)], make([]byte, i/len(rubbish))) // each only once
		if err := topic.Publish(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	if got := receive(t, "the disconnection of the sender", victim.handler.disconnected); got != sender.PeerID() {
		t.Errorf("%s was disconnected, want %s", got, sender.PeerID())
	}
	if !victim.scores.banned(sender.PeerID()) {
		t.Error("the sender is not banned")
	}
	if len(victim.handler.gossiped) != 0 {
		t.Error("the handler received an undecodable message")
	}
	if _, err := victim.dial(t.Context(), Bootnode{ID: sender.PeerID(), Addr: sender.host.Addrs()[0]}); err == nil {
		t.Error("the victim dials a banned peer")
	}
	receive(t, "the sender to notice", sender.handler.disconnected)
	if _, err := sender.dial(t.Context(), sender.bootnodes[0]); err == nil {
		receive(t, "the sender to be refused", sender.handler.disconnected)
	}
	eventually(t, "the ban in the log", func() bool { return strings.Contains(victim.log.String(), "peer banned") })
}

func TestGossipParameters(t *testing.T) {
	if got, want := seenTTL.Seconds(), 24.0; got != want {
		t.Errorf("message ids are stored for %v s, want %v", got, want)
	}
	node := startNode(t)
	var got []string
	for _, id := range node.host.Mux().Protocols() {
		if strings.Contains(string(id), "sub/") {
			got = append(got, string(id))
		}
	}
	slices.Sort(got)
	if want := []string{"/meshsub/1.0.0", "/meshsub/1.1.0", "/meshsub/1.2.0"}; !slices.Equal(got, want) {
		t.Errorf("gossip protocols are %v, want %v", got, want)
	}
}

// TestBlockFlood checks that a peer that sends too many blocks does not use up the places of other peers.
func TestBlockFlood(t *testing.T) {
	n := startNode(t)
	name := wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName}.String()
	flooder, honest := startNode(t, dialing(n)), startNode(t, dialing(n))
	eventually(t, "two peers", func() bool { return n.peers.len() == 2 })
	rpc := func(count int, topic string) *pubsub.RPC {
		r := new(pubsub.RPC)
		for range count {
			r.Publish = append(r.Publish, &pubsubpb.Message{Topic: &topic})
		}
		return r
	}
	inspect := n.inspect(name)
	if err := inspect(flooder.PeerID(), rpc(gossipedBlockBurst, name)); err != nil {
		t.Errorf("a burst: %v", err)
	}
	refused := 0
	for range 100 {
		if inspect(flooder.PeerID(), rpc(1, name)) != nil {
			refused++
		}
	}
	if refused < 80 {
		t.Errorf("%d of 100 blocks after a burst were refused, want nearly all", refused)
	}
	if err := inspect(flooder.PeerID(), rpc(1000, "another topic")); err != nil {
		t.Errorf("votes of the flooder: %v", err)
	}
	if err := inspect(honest.PeerID(), rpc(1, name)); err != nil {
		t.Errorf("an honest peer's block: %v", err)
	}
}
