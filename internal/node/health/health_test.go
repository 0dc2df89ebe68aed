package health

import (
	"net/http/httptest"
	"testing"
)

func TestEvaluate(t *testing.T) {
	tests := []struct {
		name   string
		in     Input
		synced bool
		reason string
	}{
		{"nothing known", Input{}, false, UnsyncedNotReady},
		{"not ready though all else is well", Input{HeadSlot: 9, ClockSlot: 9, BeforeGenesis: true, Peers: 1, PeersAgreeNothingNewer: 1}, false, UnsyncedNotReady},
		{"ready before genesis", Input{Ready: true, BeforeGenesis: true}, true, ""},
		{"at genesis", Input{Ready: true}, true, ""},
		{"no common topic", Input{Ready: true, Isolated: true, HeadSlot: 100, ClockSlot: 100, Peers: 2, PeersAgreeNothingNewer: 2}, false, UnsyncedIsolated},
		{"no common topic before genesis", Input{Ready: true, BeforeGenesis: true, Isolated: true, Peers: 2}, false, UnsyncedIsolated},
		{"recent head", Input{Ready: true, HeadSlot: 100, ClockSlot: 101}, true, ""},
		{"recent head with a known gap", Input{Ready: true, KnownGap: true, HeadSlot: 100, ClockSlot: 100, Peers: 3, PeersAgreeNothingNewer: 3}, false, UnsyncedGap},
		{"signed blocks wait for an ancestor", Input{Ready: true, KnownGap: true, MissingAncestor: true, HeadSlot: 96, ClockSlot: 100, Peers: 3, PeersAgreeNothingNewer: 3}, false, UnsyncedAncestor},
		{"signed blocks wait for an ancestor, without a peer", Input{Ready: true, KnownGap: true, MissingAncestor: true, HeadSlot: 100, ClockSlot: 100}, false, UnsyncedAncestor},
		{"head 8 slots behind, no peers", Input{Ready: true, HeadSlot: 92, ClockSlot: 100}, true, ""},
		{"head 9 slots behind, no peers", Input{Ready: true, HeadSlot: 91, ClockSlot: 100}, false, UnsyncedNoPeers},
		{"head 9 slots behind, peers silent", Input{Ready: true, HeadSlot: 91, ClockSlot: 100, Peers: 5}, false, UnsyncedStaleHead},
		{"head 9 slots behind, one peer agrees", Input{Ready: true, HeadSlot: 91, ClockSlot: 100, Peers: 5, PeersAgreeNothingNewer: 1}, true, ""},
		{"the peer that agreed is gone", Input{Ready: true, HeadSlot: 91, ClockSlot: 100, PeersAgreeNothingNewer: 1}, false, UnsyncedNoPeers},
		{"head ahead of the clock", Input{Ready: true, HeadSlot: 101, ClockSlot: 100}, true, ""},
		{"stalled since genesis, alone", Input{Ready: true, ClockSlot: 9}, false, UnsyncedNoPeers},
		{"largest slots", Input{Ready: true, HeadSlot: 1<<64 - 1, ClockSlot: 0}, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synced, reason := Evaluate(test.in)
			if synced != test.synced || reason != test.reason {
				t.Errorf("Evaluate(%+v) = %v, %q, want %v, %q", test.in, synced, reason, test.synced, test.reason)
			}
		})
	}
}

func TestHealthHandler(t *testing.T) {
	synced := &Input{Ready: true, HeadSlot: 12345, ClockSlot: 12346}
	syncing := &Input{Ready: true, HeadSlot: 77, ClockSlot: 12346}
	tests := []struct {
		name, method string
		in           *Input
		status       int
		body         string
	}{
		{"synced", "GET", synced, 200, `{"status":"ok","slot":12345,"synced":true}`},
		{"syncing", "GET", syncing, 503, `{"status":"syncing","slot":77,"synced":false}`},
		{"without input", "GET", nil, 503, `{"status":"syncing","slot":0,"synced":false}`},
		{"HEAD synced", "HEAD", synced, 200, ""},
		{"HEAD syncing", "HEAD", syncing, 503, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h Monitor
			if test.in != nil {
				h.Update(*test.in)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(test.method, "/health", nil))
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			if w.Body.String() != test.body {
				t.Errorf("body %q, want %q", w.Body, test.body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %q, want application/json", got)
			}
		})
	}
}

// TestHealthAges checks that a node that stops calling Update stops being synced.
func TestHealthAges(t *testing.T) {
	var h Monitor
	var slot uint64
	h.SetClock(func() uint64 { return slot })
	h.Update(Input{Ready: true, BeforeGenesis: true})
	for _, test := range []struct {
		slot   uint64
		synced bool
	}{{0, true}, {1, true}, {8, true}, {9, false}} {
		slot = test.slot
		if synced, reason := h.Synced(); synced != test.synced {
			t.Errorf("at slot %d with a head of slot 0: synced %v (%s), want %v", slot, synced, reason, test.synced)
		}
	}
}

// TestEvaluateReasons checks for every combination that a node is synced exactly if the reason is empty, and never
// while it lacks a block that is known to exist.
func TestEvaluateReasons(t *testing.T) {
	for bits := range 1 << 7 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		in := Input{Ready: on(0), BeforeGenesis: on(1), KnownGap: on(2) || on(3), MissingAncestor: on(3), ClockSlot: 100}
		if on(4) {
			in.Peers = 3
		}
		if on(5) {
			in.PeersAgreeNothingNewer = 2
		}
		if on(6) {
			in.HeadSlot = 100
		}
		synced, reason := Evaluate(in)
		if synced != (reason == "") {
			t.Errorf("Evaluate(%+v) = %v, %q, want a reason exactly if it is false", in, synced, reason)
		}
		if gap := in.KnownGap && !in.BeforeGenesis; synced && (!in.Ready || gap) {
			t.Errorf("Evaluate(%+v) = true, want false", in)
		}
	}
}
