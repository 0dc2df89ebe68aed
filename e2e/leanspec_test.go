package e2e

import (
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/leanspectest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// TestLeanSpecPeer checks that two nodes finalize if they are connected only through a peer that behaves like leanSpec's node.
// The peer dials one of them, and the other one dials the peer.
func TestLeanSpecPeer(t *testing.T) {
	p := leanspectest.New(t, topic(wire.TopicBlock), topic(wire.TopicAttestation))
	n := startNetwork(t, devnet.Options{Nodes: 2, Validators: 4, NodeOptions: []devnet.NodeOptions{
		{Alone: true}, {Alone: true, Args: []string{"--bootnode", p.Addr()}},
	}})
	var err error
	if !eventually(func() bool {
		err = p.Dial(t.Context(), n.Nodes[0].Multiaddr())
		return err == nil
	}) {
		t.Fatalf("the peer cannot dial the node: %v", err)
	}
	awaitFinalized(t, n, 4, 90*time.Second)
	if refused, stuck, lost := p.Counts(); refused < 2 || stuck != 0 || lost != 0 {
		t.Errorf("refused protocols = %d, connections without new streams = %d, lost connections = %d; want at least 2, 0 and 0",
			refused, stuck, lost)
	}
	noErrors(t, n)
}
