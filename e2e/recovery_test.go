package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// recoveries returns how many networks each of the tests below disturbs: LEANSPEC_RECOVERIES, or 1.
func recoveries(t *testing.T) int {
	s := os.Getenv("LEANSPEC_RECOVERIES")
	if s == "" {
		return 1
	}
	count, err := strconv.Atoi(s)
	if err != nil || count < 1 {
		t.Fatalf("LEANSPEC_RECOVERIES: %q: want a whole number, 1 or more", s)
	}
	return count
}

// wantRecovery disturbs networks in which no other node can relay. After the slot in which the disturbance ends, the nodes must
// have the same head within 3 slots, and finalize that slot within 10.
func wantRecovery(t *testing.T, nodes int, disturb func(t *testing.T, n *devnet.Network, run int)) {
	for run := range recoveries(t) {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			n := startNetwork(t, devnet.Options{Nodes: nodes, Validators: 2 * nodes})
			awaitFinalized(t, n, 2, 90*time.Second)
			disturb(t, n, run)
			end := uint64(n.Clock.Slot())
			s := awaitStatus(t, n, time.Minute, "the same head", func(s *devnet.Status) bool { return s.Slot > end && sameHead(s, end) })
			if s.Slot > end+3 {
				t.Errorf("same head at slot %d, want at most %d\n%s", s.Slot, end+3, s.Details())
			}
			f := awaitFinalized(t, n, end, time.Minute)
			if f.Slot > end+10 {
				t.Errorf("slot %d was final at slot %d, want at most %d\n%s", end, f.Slot, end+10, f.Details())
			}
			if len(f.Disagreements) != 0 {
				t.Errorf("disagreements = %v, want none", f.Disagreements)
			}
			t.Logf("end of the disturbance: slot %d, same head: slot %d, final: slot %d", end, s.Slot, f.Slot)
			noErrors(t, n)
		})
	}
}

// sameHead reports whether all nodes have the same head, at this slot or later.
func sameHead(s *devnet.Status, slot uint64) bool {
	for _, v := range s.Nodes {
		if v.State != devnet.Up || v.Head.Slot < slot || v.Head.Root != s.Nodes[0].Head.Root {
			return false
		}
	}
	return true
}

// TestPauseOfOneOfTwo checks that gossip between two nodes recovers in both directions after one was paused for 8 slots.
func TestPauseOfOneOfTwo(t *testing.T) {
	wantRecovery(t, 2, func(t *testing.T, n *devnet.Network, run int) {
		node := n.Nodes[run%2]
		if err := node.Pause(); err != nil {
			t.Fatal(err)
		}
		paused := n.Clock.Slot()
		awaitStatus(t, n, time.Minute, "8 slots to pass", func(*devnet.Status) bool { return n.Clock.Slot() >= paused+8 })
		if err := node.Resume(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKillOfOneOfTwo checks that gossip recovers after a node is killed and restarted before the other one has closed the
// connection.
func TestKillOfOneOfTwo(t *testing.T) {
	wantRecovery(t, 2, func(t *testing.T, n *devnet.Network, run int) {
		node := n.Nodes[run%2]
		node.Kill()
		killed := n.Clock.Slot()
		if run%3 > 0 { // restart at once, or after one or two slots
			awaitStatus(t, n, time.Minute, "slots to pass", func(*devnet.Status) bool { return int(n.Clock.Slot()-killed) >= run%3 })
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKillOfTwoOfThree checks that gossip recovers after two of three nodes are killed at the same time.
func TestKillOfTwoOfThree(t *testing.T) {
	wantRecovery(t, 3, func(t *testing.T, n *devnet.Network, run int) {
		killed := n.Nodes[run%2 : run%2+2]
		for _, node := range killed {
			node.Kill()
		}
		for _, node := range killed {
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
