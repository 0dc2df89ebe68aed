package p2p

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/metrics/metricstest"
)

// TestWrongNetworkName checks that both sides log a warning about a peer without a common topic,
// and that a node with only such peers is not ready.
func TestWrongNetworkName(t *testing.T) {
	var later atomic.Int64
	clock := func(_ *Config, n *testNode) {
		n.prepare = func(n *Network) { n.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) } }
	}
	right, other := startNode(t, clock), startNode(t, clock)
	waitConnected := func(a, b *testNode) {
		t.Helper()
		eventually(t, "topics of the peer", func() bool {
			c := a.peers.get(b.PeerID())
			if c == nil {
				return false
			}
			topics, _ := a.topicsOf(c)
			return len(topics) > 0
		})
	}
	friend := startNode(t, clock, dialing(right))
	wrong := startNode(t, clock, dialing(right), func(cfg *Config, _ *testNode) { cfg.NetworkName = "devnet0" })
	waitConnected(right, friend)
	waitConnected(right, wrong)
	waitConnected(wrong, right)
	time.Sleep(2 * gossipCheck) // nothing is to happen yet
	for _, n := range []*testNode{right, wrong} {
		if err := n.Check(); err != nil || strings.Contains(n.log.String(), "no gossip topic in common") {
			t.Errorf("before two slots: %v, want no error and no warning", err)
		}
	}
	later.Store(int64(foreignAfter))
	for _, n := range []*testNode{right, wrong} {
		eventually(t, "a warning that names both topics", func() bool {
			for line := range strings.Lines(n.log.String()) {
				if strings.Contains(line, `"level":"warn","msg":"peer has no gossip topic in common"`) &&
					strings.Contains(line, "/leanconsensus/12345678/block/ssz_snappy") && strings.Contains(line, "/leanconsensus/devnet0/block/ssz_snappy") {
					return true
				}
			}
			return false
		})
		eventually(t, "one peer without a common topic", func() bool {
			return metricstest.Value(t, n.metrics, "leanspec_peers_without_common_topic") == 1
		})
		if got := strings.Count(n.log.String(), "peer has no gossip topic in common"); got != 1 {
			t.Errorf("%d warnings, want 1", got)
		}
	}
	if err := right.Check(); err != nil {
		t.Errorf("a node with a peer of its network: %v, want nil", err)
	}
	const want = `no peer has a gossip topic in common with the network "devnet0"`
	if err := wrong.Check(); err == nil || err.Error() != want {
		t.Errorf("a node of another network: %v, want %s", err, want)
	}
	if err := other.Check(); err != nil {
		t.Errorf("a node without peers: %v, want nil", err)
	}
}
