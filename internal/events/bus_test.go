package events

import (
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var got []string
	record := func(name string) Consumer {
		return func(e Event) {
			switch e := e.(type) {
			case QueueDropped:
				got = append(got, name+" "+e.Queue)
			case ConsumerPanicked:
				got = append(got, name+" "+e.Err.Error())
				if !strings.Contains(string(e.Stack), "bus_test.go") {
					t.Errorf("stack %s, want that of the panic", e.Stack)
				}
			}
		}
	}
	// The second consumer panics at every event, a ConsumerPanicked among them.
	bus := NewBus(record("a"), func(Event) { panic("bug") }, record("c"))
	bus.Report(QueueDropped{Queue: "q"})
	want := []string{"a q", "a events.QueueDropped: bug", "c events.QueueDropped: bug", "c q"}
	if !slices.Equal(got, want) {
		t.Errorf("consumers received %q, want %q", got, want)
	}
}

func TestNilBus(t *testing.T) {
	var bus *Bus
	bus.Report(Tick{})
}
