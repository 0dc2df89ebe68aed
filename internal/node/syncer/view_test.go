package syncer

import (
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

func TestSynced(t *testing.T) {
	tests := []struct {
		name   string
		view   View
		slot   lstar.Slot
		reason string // empty if synced
	}{
		{"before Run", View{}, 0, UnsyncedNotReady},
		{"not ready though all else is well", View{HeadSlot: 9, Peers: 1, Agree: 1}, 9, UnsyncedNotReady},
		{"at genesis", View{Ready: true}, 0, ""},
		{"no common topic", View{Ready: true, Isolated: true, HeadSlot: 100, Peers: 2, Agree: 2}, 100, UnsyncedIsolated},
		{"recent head", View{Ready: true, HeadSlot: 100}, 101, ""},
		{"recent head with a gap", View{Ready: true, Gap: true, HeadSlot: 100, Peers: 3, Agree: 3}, 100, UnsyncedGap},
		{"missing ancestor", View{Ready: true, Gap: true, MissingAncestor: true, HeadSlot: 96, Peers: 3, Agree: 3}, 100, UnsyncedAncestor},
		{"missing ancestor without a peer", View{Ready: true, Gap: true, MissingAncestor: true, HeadSlot: 100}, 100, UnsyncedAncestor},
		{"head 8 slots behind, no peers", View{Ready: true, HeadSlot: 92}, 100, ""},
		{"head 9 slots behind, no peers", View{Ready: true, HeadSlot: 91}, 100, UnsyncedNoPeers},
		{"head 9 slots behind, peers silent", View{Ready: true, HeadSlot: 91, Peers: 5}, 100, UnsyncedStaleHead},
		{"head 9 slots behind, one peer agrees", View{Ready: true, HeadSlot: 91, Peers: 5, Agree: 1}, 100, ""},
		{"head ahead of the clock", View{Ready: true, HeadSlot: 101}, 100, ""},
		{"no blocks since genesis, alone", View{Ready: true}, 9, UnsyncedNoPeers},
		{"largest slots", View{Ready: true, HeadSlot: 1<<64 - 1}, 0, ""},
	}
	for _, test := range tests {
		if synced, reason := test.view.Synced(test.slot); synced != (test.reason == "") || reason != test.reason {
			t.Errorf("%s: synced = %v (%q), want %v (%q)", test.name, synced, reason, test.reason == "", test.reason)
		}
	}
}

// TestSyncedReasons checks for every combination that a node is synced exactly if the reason is
// empty, and never while it lacks a block that is known to exist.
func TestSyncedReasons(t *testing.T) {
	for bits := range 1 << 7 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		v := View{Ready: on(0), Isolated: on(1), Gap: on(2) || on(3), MissingAncestor: on(3)}
		if on(4) {
			v.Peers = 3
		}
		if on(5) {
			v.Agree = 2
		}
		if on(6) {
			v.HeadSlot = 100
		}
		synced, reason := v.Synced(100)
		if synced != (reason == "") || synced && (!v.Ready || v.Gap) {
			t.Errorf("%+v: synced = %v (%q), want a reason exactly if it is false", v, synced, reason)
		}
	}
}

func TestDuties(t *testing.T) {
	type step struct {
		slot, head, highest lstar.Slot
		open                bool
		reason              string
	}
	for name, steps := range map[string][]step{
		"at the head":                 {{10, 9, 9, true, ""}, {11, 11, 11, true, ""}},
		"head ahead of the clock":     {{10, 110, 110, true, ""}},
		"lag of four is open":         {{10, 6, 9, true, ""}},
		"lag of five closes":          {{10, 5, 9, false, "stale_head"}},
		"reopens at two, not before":  {{10, 5, 9, false, ""}, {11, 8, 10, false, ""}, {12, 10, 11, true, "caught_up"}, {13, 9, 12, true, ""}},
		"a silent network stays open": {{100, 10, 10, true, "network_stalled"}},
		"silence reopens":             {{10, 5, 9, false, ""}, {18, 5, 9, true, "network_stalled"}},
		"silence of eight is short":   {{10, 2, 2, false, ""}, {11, 2, 2, true, ""}},
		"the slot of the start":       {{1, 0, 0, true, ""}},
	} {
		v := View{started: 1}
		for i, s := range steps {
			v.HeadSlot, v.highest = s.head, s.highest
			got := v.Duties(s.slot)
			v.paused = !got.Open
			if got.Open != s.open || s.reason != "" && got.Reason != s.reason || got.Slot != s.slot || got.HeadSlot != s.head {
				t.Errorf("%s, step %d: gate %+v, want open %v (%s)", name, i, got, s.open, s.reason)
			}
		}
	}
	v := View{started: 100}
	if got := v.Duties(100); got.Open {
		t.Errorf("gate %+v in the slot of the start with an old head, want it closed", got)
	}
	if got := v.Duties(101); !got.Open {
		t.Errorf("gate %+v in the slot after the start of a silent network, want it open", got)
	}
}

// TestPausedDuties checks that the planner remembers the state of the duty gate.
func TestPausedDuties(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 20, false)
	w := newWorld(t, validators, 12)
	for slot := lstar.Slot(1); slot <= 10; slot++ {
		w.wantVerdict("block", w.OnBlock("a", c.at(slot)), 0)
	}
	open := func(when string, want bool) {
		t.Helper()
		if got := w.view.Duties(w.slot()); got.Open != want {
			t.Errorf("%s: gate %+v, want open %v", when, got, want)
		}
	}
	open("lag of 2", true)
	w.steps(3 * lstar.IntervalsPerSlot)
	open("lag of 5", false)
	w.wantVerdict("block", w.OnBlock("a", c.at(11)), 0)
	open("lag of 4 after it was closed", false)
	w.wantVerdict("block", w.OnBlock("a", c.at(12)), 0)
	w.wantVerdict("block", w.OnBlock("a", c.at(13)), 0)
	open("lag of 2", true)
}
