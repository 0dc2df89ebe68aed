package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// recoveries is how often each of the tests below disturbs a network of its own: once,
// or LEANSPEC_RECOVERIES times (make recoverytest).
func recoveries(t *testing.T) int {
	s := os.Getenv("LEANSPEC_RECOVERIES")
	if s == "" {
		return 1
	}
	count, err := strconv.Atoi(s)
	if err != nil || count < 1 {
		t.Fatalf("LEANSPEC_RECOVERIES: %q: want a number", s)
	}
	return count
}

// wantRecovery disturbs a network without third nodes that could relay, and wants one
// head within 3 slots and finality within 10, counted from the slot in which the
// disturbance ends.
func wantRecovery(t *testing.T, nodes int, disturb func(t *testing.T, n *devnet.Network, run int)) {
	for run := range recoveries(t) {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			n := startNetwork(t, devnet.Options{Nodes: nodes, Validators: 2 * nodes})
			awaitFinalized(t, n, 2, 90*time.Second)
			disturb(t, n, run)
			end := uint64(n.Clock.Slot())
			s := awaitStatus(t, n, time.Minute, "one head", func(s *devnet.Status) bool { return s.Slot > end && oneHead(s, end) })
			if s.Slot > end+3 {
				t.Errorf("one head at slot %d, want within 3 slots of slot %d\n%s", s.Slot, end, s.Details())
			}
			f := awaitFinalized(t, n, end, time.Minute)
			if f.Slot > end+10 {
				t.Errorf("slot %d was final at slot %d, want within 10 slots\n%s", end, f.Slot, f.Details())
			}
			if len(f.Disagreements) != 0 {
				t.Errorf("disagreements: %v, want none", f.Disagreements)
			}
			t.Logf("end of the disturbance: slot %d, one head: slot %d, final: slot %d", end, s.Slot, f.Slot)
			noErrors(t, n)
		})
	}
}

// oneHead reports whether all nodes have the same head, at or after a slot.
func oneHead(s *devnet.Status, slot uint64) bool {
	for _, v := range s.Nodes {
		if v.State != devnet.Up || v.Head.Slot < slot || v.Head.Root != s.Nodes[0].Head.Root {
			return false
		}
	}
	return true
}

// TestPauseOfOneOfTwo: a node that was stopped for 8 slots gossips with the other again,
// in both directions.
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

// TestKillOfOneOfTwo: a node that is killed, and back before the other has missed it,
// gossips with it again.
func TestKillOfOneOfTwo(t *testing.T) {
	wantRecovery(t, 2, func(t *testing.T, n *devnet.Network, run int) {
		node := n.Nodes[run%2]
		node.Kill()
		killed := n.Clock.Slot()
		if run%3 > 0 { // at once, or one slot later, or two
			awaitStatus(t, n, time.Minute, "slots to pass", func(*devnet.Status) bool { return int(n.Clock.Slot()-killed) >= run%3 })
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKillOfTwoOfThree: of three nodes two are killed at once.
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
