// Package metricstest reads metrics in tests. A test that reads a metric or a label value that does
// not exist fails, so a misspelled name does not count as zero.
package metricstest

import (
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/leanEthereum/leanspec-node/internal/metrics"
)

// Family returns the series of a metric. The test fails if the metric is not exposed.
func Family(t testing.TB, m *metrics.Metrics, name string) []*dto.Metric {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric
		}
	}
	t.Fatalf("no metric %s is exposed", name)
	return nil
}

// Sum adds up the series of a metric that have all of the label values; of a histogram it counts
// the observations. The test fails if the metric is not exposed, or if its definition does not
// allow one of the label values. An allowed value without a series counts as 0.
func Sum(t testing.TB, m *metrics.Metrics, name string, values ...string) (sum float64) {
	t.Helper()
	for _, series := range matching(t, m, name, values) {
		sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() + float64(series.GetHistogram().GetSampleCount())
	}
	return sum
}

// Value returns the value of a counter or a gauge, or the number of observations of a histogram.
// The test fails unless exactly one series has all of the label values.
func Value(t testing.TB, m *metrics.Metrics, name string, values ...string) float64 {
	t.Helper()
	if n := len(matching(t, m, name, values)); n != 1 {
		t.Fatalf("%s%q has %d series, want 1", name, values, n)
	}
	return Sum(t, m, name, values...)
}

// matching returns the series of a metric that have all of the label values.
func matching(t testing.TB, m *metrics.Metrics, name string, values []string) []*dto.Metric {
	t.Helper()
	all := Family(t, m, name)
	for _, v := range values {
		if !allowed(m, name, v) {
			t.Fatalf("%s: no label has the value %q", name, v)
		}
	}
	return slices.DeleteFunc(all, func(series *dto.Metric) bool {
		return slices.ContainsFunc(values, func(v string) bool { return !hasValue(series, v) })
	})
}

func hasValue(series *dto.Metric, value string) bool {
	return slices.ContainsFunc(series.Label, func(l *dto.LabelPair) bool { return l.GetValue() == value })
}

// allowed reports whether the definition of a metric allows a label value.
func allowed(m *metrics.Metrics, name, value string) bool {
	for _, d := range m.Definitions() {
		if d.Name == name {
			return slices.ContainsFunc(d.Labels, func(l metrics.Label) bool { return l.Values == nil || slices.Contains(l.Values, value) })
		}
	}
	return false
}
