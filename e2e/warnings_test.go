package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// TestQuietStart checks that the nodes of a new network log nothing above level info.
func TestQuietStart(t *testing.T) {
	for _, test := range []struct {
		name              string
		nodes, validators int
		slots             uint64 // number of slots that the keys can sign
		delay             time.Duration
	}{
		{"4 nodes", 4, 8, 64, 0},
		{"1000 validators", 2, 1000, 16, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := startNetwork(t, devnet.Options{
				Nodes: test.nodes, Validators: test.validators, Scheme: xmss.Test, ActiveSlots: test.slots, GenesisDelay: test.delay,
			})
			awaitFinalized(t, n, 1, 90*time.Second)
			checkLevels(t, n, func(level string) bool { return level == "info" })
		})
	}
}

// hasWarning reports whether a node has logged a warning with this message.
func hasWarning(t *testing.T, node *devnet.Node, message string) bool {
	t.Helper()
	log, err := os.ReadFile(node.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(log, []byte(`"level":"warn","msg":"`+message+`"`))
}

// TestWrongNetworkName checks that a node with another network name is not ready, and that all nodes log a warning.
func TestWrongNetworkName(t *testing.T) {
	wrong := devnet.NodeOptions{Args: []string{"--network-name", "devnet0"}}
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6, NodeOptions: []devnet.NodeOptions{{}, {}, wrong}})
	awaitStatus(t, n, time.Minute, "warnings", func(*devnet.Status) bool {
		for _, node := range n.Nodes {
			if !hasWarning(t, node, "peer has no gossip topic in common") {
				return false
			}
		}
		return true
	})
	for i, node := range n.Nodes {
		for _, path := range []string{"/readyz", "/health"} {
			want := 200
			if i == 2 {
				want = 503
			}
			if status, body := get(t, strings.TrimSuffix(node.HealthURL(), "/health")+path); status != want {
				t.Errorf("%s of %s = %d %s, want %d", path, node.Name, status, body, want)
			}
		}
	}
}

// TestSameIdentity checks that two nodes with the same node key log a warning, and that the third node does too.
func TestSameIdentity(t *testing.T) {
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6, NodeOptions: []devnet.NodeOptions{{}, {}, {Late: true}}})
	if err := n.Nodes[2].Start("--node-key", filepath.Join(n.Dir, n.Nodes[1].Name+".key")); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, n, time.Minute, "warnings", func(*devnet.Status) bool {
		return hasWarning(t, n.Nodes[0], "two nodes have the same peer id") &&
			hasWarning(t, n.Nodes[1], "another node has the peer id of this node") &&
			hasWarning(t, n.Nodes[2], "another node has the peer id of this node")
	})
}
