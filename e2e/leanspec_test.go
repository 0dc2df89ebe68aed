package e2e

import (
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/leanspectest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// TestLeanSpecPeer holds that two nodes finalize that are connected only through a
// peer that behaves as leanSpec's node does. The peer dials one of them, and the
// other one dials the peer.
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
		t.Fatalf("the peer dials a node: %v", err)
	}
	awaitFinalized(t, n, 4, 90*time.Second)
	if refused, deaf, lost := p.Counts(); refused < 2 || deaf != 0 || lost != 0 {
		t.Errorf("the peer refused %d protocols, stopped accepting streams on %d connections and lost %d; want at least 2, 0 and 0",
			refused, deaf, lost)
	}
	noErrors(t, n)
}
