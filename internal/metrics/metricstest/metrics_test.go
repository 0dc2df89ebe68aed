package metricstest

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
)

// recorder is a testing.TB that records its failure.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestUnknownNames checks that a test that reads an unknown metric or label value fails.
func TestUnknownNames(t *testing.T) {
	m := metrics.New(metrics.Info{})
	m.Fold(events.DutyEnded{Duty: events.DutyBlock, Outcome: events.OutcomeLate})
	const duties = "leanspec_duties_total"
	for name, test := range map[string]struct {
		read    func(testing.TB) float64
		want    float64
		failure string
	}{
		"a metric":            {func(t testing.TB) float64 { return Sum(t, m, duties) }, 1, ""},
		"a series":            {func(t testing.TB) float64 { return Sum(t, m, duties, events.DutyBlock, events.OutcomeLate) }, 1, ""},
		"another series":      {func(t testing.TB) float64 { return Sum(t, m, duties, events.DutyAttestation) }, 0, ""},
		"one series":          {func(t testing.TB) float64 { return Value(t, m, "leanspec_slot_current") }, 0, ""},
		"a misspelled metric": {func(t testing.TB) float64 { return Sum(t, m, "leanspec_dutys_total") }, 0, "no metric leanspec_dutys_total is exposed"},
		"a misspelled value":  {func(t testing.TB) float64 { return Sum(t, m, duties, "blok") }, 0, `leanspec_duties_total: no label has the value "blok"`},
		"two series":          {func(t testing.TB) float64 { return Value(t, m, duties, events.OutcomeMade) }, 0, `leanspec_duties_total["made"] has 3 series, want 1`},
		"no metric":           {func(t testing.TB) float64 { return Value(t, m, "leanspec_slot") }, 0, "no metric leanspec_slot is exposed"},
		"no such label":       {func(t testing.TB) float64 { return Value(t, m, "leanspec_slot_current", "a") }, 0, `leanspec_slot_current: no label has the value "a"`},
	} {
		r, got, done := &recorder{TB: t}, 0.0, make(chan struct{})
		go func() {
			defer close(done)
			got = test.read(r)
		}()
		if <-done; r.failure != test.failure || got != test.want {
			t.Errorf("%s: got %v, failure %q, want %v, %q", name, got, r.failure, test.want, test.failure)
		}
	}
}
