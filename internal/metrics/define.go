package metrics

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Definition is what there is to know of a metric. docs/metrics.md is made of them.
type Definition struct {
	Section string
	Name    string
	Type    string // gauge, counter or histogram
	Help    string
	Labels  []Label
	// Buckets are the upper bounds of a histogram's classic buckets, without +Inf.
	Buckets []float64
}

// Label is a label of a metric. The number of its values is bounded, and none of them is made of what a peer sent.
type Label struct {
	Name string
	// Values are all that there can be, or nil where they depend on how the node is set up.
	Values []string
	// Note says what the values are, where there is no list of them.
	Note string
	// Late values appear with what they count. All others are there from the first scrape, so that the first
	// event is an increase that a rule can see.
	Late bool
}

func fixed(name string, values ...string) Label { return Label{Name: name, Values: values} }

func open(name, note string) Label { return Label{Name: name, Note: note, Late: true} }

// definer makes a definition one line, and keeps it for the documentation.
type definer struct {
	promauto.Factory
	section     string
	definitions []Definition
}

func (d *definer) define(kind, name, help string, buckets []float64, labels []Label) (names []string) {
	d.definitions = append(d.definitions, Definition{d.section, name, kind, help, labels, buckets})
	for _, l := range labels {
		names = append(names, l.Name)
	}
	return names
}

// present calls with with every combination of values, unless some appear late.
func present(labels []Label, with func(values ...string)) {
	if slices.ContainsFunc(labels, func(l Label) bool { return l.Late }) {
		return
	}
	var each func(before []string)
	each = func(before []string) {
		if len(before) == len(labels) {
			with(before...)
			return
		}
		for _, v := range labels[len(before)].Values {
			each(append(slices.Clip(before), v))
		}
	}
	each(nil)
}

func (d *definer) counter(name, help string) prometheus.Counter {
	d.define("counter", name, help, nil, nil)
	return d.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func (d *definer) counterVec(name, help string, labels ...Label) *prometheus.CounterVec {
	v := d.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, d.define("counter", name, help, nil, labels))
	present(labels, func(values ...string) { v.WithLabelValues(values...) })
	return v
}

func (d *definer) gauge(name, help string) prometheus.Gauge {
	d.define("gauge", name, help, nil, nil)
	return d.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func (d *definer) gaugeVec(name, help string, labels ...Label) *prometheus.GaugeVec {
	v := d.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, d.define("gauge", name, help, nil, labels))
	if len(labels) > 0 {
		present(labels, func(values ...string) { v.WithLabelValues(values...) })
	}
	return v
}

func (d *definer) gaugeFunc(name, help string, value func() float64) {
	d.define("gauge", name, help, nil, nil)
	d.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func (d *definer) counterFunc(name, help string, value func() float64) {
	d.define("counter", name, help, nil, nil)
	d.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value)
}

// counterFuncs defines a counter with the label level that is read at the scrape.
func (d *definer) counterFuncs(name, help string, value func(slog.Level) float64) {
	var values []string
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		label := strings.ToLower(level.String())
		values = append(values, label)
		d.NewCounterFunc(prometheus.CounterOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"level": label},
		}, func() float64 { return value(level) })
	}
	d.define("counter", name, help, nil, []Label{fixed("level", values...)})
}

// histogramOpts gives a histogram native buckets beside the classic ones: who scrapes with protobuf gets a
// resolution of 10 % at any scale, who reads text sees what leanMetrics specifies.
func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}
}

func (d *definer) histogram(name, help string, buckets ...float64) prometheus.Histogram {
	d.define("histogram", name, help, buckets, nil)
	return d.NewHistogram(histogramOpts(name, help, buckets))
}

func (d *definer) histogramVec(name, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	v := d.NewHistogramVec(histogramOpts(name, help, buckets), d.define("histogram", name, help, buckets, labels))
	present(labels, func(values ...string) { v.WithLabelValues(values...) })
	return v
}

// observe records a duration that was measured.
func observe(h prometheus.Observer, d time.Duration) {
	if d > 0 {
		h.Observe(d.Seconds())
	}
}

// observeDelay records how long after an instant something came. What came before it came at once.
func observeDelay(h prometheus.Observer, d time.Duration) { h.Observe(max(d, 0).Seconds()) }

// add adds a count. A negative one would make the counter panic.
func add(c prometheus.Counter, n int) {
	if n > 0 {
		c.Add(float64(n))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
