package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// hasWarning reports whether a node's log has a warning with a message.
func hasWarning(t *testing.T, node *devnet.Node, message string) bool {
	t.Helper()
	log, err := os.ReadFile(node.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(log, []byte(`"level":"warn","msg":"`+message+`"`))
}

// TestWrongNetworkName: a node with another network name is not ready, and all nodes
// warn.
func TestWrongNetworkName(t *testing.T) {
	wrong := devnet.NodeOptions{Args: []string{"--network-name", "devnet0"}}
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6, NodeOptions: []devnet.NodeOptions{{}, {}, wrong}})
	within(t, n, time.Minute, "warnings", func(*devnet.Status) bool {
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
				t.Errorf("%s of %s: %d %s, want %d", path, node.Name, status, body, want)
			}
		}
	}
}

// TestSameIdentity: two nodes with one node key warn, and so does the third.
func TestSameIdentity(t *testing.T) {
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6, NodeOptions: []devnet.NodeOptions{{}, {}, {Late: true}}})
	if err := n.Nodes[2].Start("--node-key", filepath.Join(n.Dir, n.Nodes[1].Name+".key")); err != nil {
		t.Fatal(err)
	}
	within(t, n, time.Minute, "warnings", func(*devnet.Status) bool {
		return hasWarning(t, n.Nodes[0], "two nodes have the same peer id") &&
			hasWarning(t, n.Nodes[1], "another node has the peer id of this node") &&
			hasWarning(t, n.Nodes[2], "another node has the peer id of this node")
	})
}
