package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// TestStall checks that a stall of finality or aggregation causes one warning, and its end one line
// at info, and that slots that the node did not see cause neither.
func TestStall(t *testing.T) {
	type moment struct {
		events.SlotSummary
		aggregate bool
	}
	// healthy is a slot of a synced node with an aggregate and finality 3 slots behind.
	healthy := func(slot lstar.Slot) moment {
		return moment{events.SlotSummary{Slot: slot, Finalized: lstar.Checkpoint{Slot: slot - min(slot, 3)}, Synced: true}, true}
	}
	between := func(slot, from, to lstar.Slot) bool { return slot >= from && slot <= to }
	for name, test := range map[string]struct {
		from, to lstar.Slot
		skip     func(slot lstar.Slot) bool
		at       func(m *moment)
		want     []string
	}{
		"healthy from genesis": {from: 0, to: 100},
		"healthy from a start": {from: 1000, to: 1100},
		"finality never begins": {0, 100, nil, func(m *moment) { m.Finalized.Slot = 0 },
			[]string{"21 warn finality stalled"}},
		"finality stops and comes back": {0, 100, nil, func(m *moment) {
			if between(m.Slot, 51, 89) {
				m.Finalized.Slot = 47
			}
		}, []string{"68 warn finality stalled", "90 info finality resumed"}},
		"finality stops twice": {0, 200, nil, func(m *moment) {
			if between(m.Slot, 51, 89) || between(m.Slot, 151, 189) {
				m.Finalized.Slot = m.Slot/100*100 + 47
			}
		}, []string{"68 warn finality stalled", "90 info finality resumed", "168 warn finality stalled", "190 info finality resumed"}},
		"finality is lowered by a reorganization": {0, 60, nil, func(m *moment) {
			if m.Slot == 50 {
				m.Finalized.Slot = 35
			}
		}, nil},
		"finality ahead of the clock": {0, 60, nil, func(m *moment) { m.Finalized.Slot = m.Slot + 3 }, nil},
		"a start into a stalled chain": {1000, 1100, nil, func(m *moment) { m.Finalized.Slot = 100 },
			[]string{"1021 warn finality stalled"}},
		"a start into a chain that goes on soon": {1000, 1100, nil, func(m *moment) {
			if m.Slot < 1015 {
				m.Finalized.Slot = 100
			}
		}, nil},
		"sync": {1000, 1200, nil, func(m *moment) {
			m.Finalized.Slot = min(m.Finalized.Slot, (m.Slot-1000)*10)
			m.Synced = m.Finalized.Slot == m.Slot-3
			m.aggregate = m.Synced
		}, nil},
		"sync that is stuck": {1000, 1200, nil, func(m *moment) {
			m.Finalized.Slot = min(m.Finalized.Slot, (m.Slot-1000)*10, 500)
			m.Synced, m.aggregate = false, false
		}, []string{"1071 warn finality stalled"}},
		"a pause": {0, 300, func(slot lstar.Slot) bool { return between(slot, 51, 199) }, func(m *moment) {
			if between(m.Slot, 200, 205) {
				m.Finalized.Slot, m.aggregate = 47, false
			}
		}, nil},
		"a pause while stalled": {0, 300, func(slot lstar.Slot) bool { return between(slot, 80, 199) }, func(m *moment) {
			if between(m.Slot, 51, 205) {
				m.Finalized.Slot = 47
			}
		}, []string{"68 warn finality stalled", "206 info finality resumed"}},
		"a busy node that misses some slots": {0, 100, func(slot lstar.Slot) bool { return slot > 10 && slot%4 != 0 }, func(m *moment) {
			if m.Slot > 50 {
				m.Finalized.Slot, m.aggregate = 47, false
			}
		}, []string{"56 warn no aggregates received", "68 warn finality stalled"}},
		"aggregates stop and come back": {0, 100, nil, func(m *moment) { m.aggregate = !between(m.Slot, 51, 89) },
			[]string{"58 warn no aggregates received", "90 info aggregates received again"}},
		"an aggregate in every eighth slot": {0, 100, nil, func(m *moment) { m.aggregate = m.Slot%8 == 0 }, nil},
		"no aggregate from genesis on": {0, 30, nil, func(m *moment) { m.aggregate = false },
			[]string{"8 warn no aggregates received"}},
		"no aggregate from a start on": {1000, 1030, nil, func(m *moment) { m.aggregate = false },
			[]string{"1008 warn no aggregates received"}},
		"aggregates stop while the node falls out of sync": {0, 100, nil, func(m *moment) {
			if m.Slot > 50 {
				m.aggregate = false
				m.Synced = !between(m.Slot, 55, 69)
			}
		}, []string{"77 warn no aggregates received"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, _ := New(Options{Format: FormatJSON, Level: slog.LevelInfo, Writer: &out})
			consume := Events(log)
			for slot := test.from; slot <= test.to; slot++ {
				if test.skip != nil && test.skip(slot) {
					continue
				}
				m := healthy(slot)
				if test.at != nil {
					test.at(&m)
				}
				if m.aggregate {
					consume(events.AggregateAccepted{Slot: slot})
				}
				consume(m.SlotSummary)
			}
			var got []string
			for _, line := range parseLines(t, out.Bytes()) {
				if line["msg"] == "slot" {
					if want := line["slot"].(float64) - line["finalized_slot"].(float64); line["finality_lag"] != max(want, 0) {
						t.Fatalf("finality_lag = %v, want %v: %v", line["finality_lag"], max(want, 0), line)
					}
					continue
				}
				got = append(got, fmt.Sprintf("%v %v %v", line["slot"], line["level"], line["msg"]))
				if _, ok := line["advice"]; ok != (line["level"] == "warn") {
					t.Errorf("want advice on warnings only: %v", line)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("lines\n  %q\nwant\n  %q", got, test.want)
			}
		})
	}
}

// TestOwnAggregates checks that aggregates of the node itself count too.
func TestOwnAggregates(t *testing.T) {
	var out bytes.Buffer
	log, _ := New(Options{Format: FormatJSON, Level: slog.LevelInfo, Writer: &out})
	consume := Events(log)
	for slot := range lstar.Slot(30) {
		consume(events.AggregateProduced{Slot: slot})
		consume(events.SlotSummary{Slot: slot, Finalized: lstar.Checkpoint{Slot: slot}, Synced: true})
	}
	for _, line := range parseLines(t, out.Bytes()) {
		if line["msg"] != "slot" {
			t.Errorf("line %v, want only lines of slots", line)
		}
	}
}

func TestSyncStateIsLoggedOnChange(t *testing.T) {
	var out bytes.Buffer
	log, _ := New(Options{Format: FormatJSON, Level: slog.LevelInfo, Writer: &out})
	consume := Events(log)
	for _, reason := range []string{"known_gap", "known_gap", "", "", "", "known_gap", "missing_ancestor", "missing_ancestor"} {
		consume(events.SyncState{Synced: reason == "", Distance: 9, Reason: reason})
	}
	var got []string
	for _, line := range parseLines(t, out.Bytes()) {
		got = append(got, fmt.Sprintf("%v %v", line["msg"], line["reason"]))
	}
	if want := []string{"syncing known_gap", "synced <nil>", "syncing known_gap", "syncing missing_ancestor"}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v", got, want)
	}
}
