package metrics

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Definition describes a metric. docs/metrics.md is generated from the definitions.
type Definition struct {
	Section string
	Name    string
	Type    string // gauge, counter or histogram
	Help    string
	Labels  []Label
	Buckets []float64 // upper bounds of the classic buckets of a histogram, without +Inf
}

// Label describes a label of a metric. The number of its values is bounded, and peers cannot create
// values.
type Label struct {
	Name   string
	Values []string // all possible values; nil if they depend on the setup of the node
	Note   string   // describes the values if Values is nil
	// Late values appear with their first event. All others are exposed from the first scrape, so
	// that a rule sees the first event as an increase.
	Late bool
}

func fixed(name string, values ...string) Label { return Label{Name: name, Values: values} }

func open(name, note string) Label { return Label{Name: name, Note: note, Late: true} }

// definer registers metrics and records their definitions.
type definer struct {
	promauto.Factory
	section     string
	definitions []Definition
}

// define records a definition and returns the names of its labels.
func (d *definer) define(kind, name, help string, buckets []float64, labels []Label) (names []string) {
	d.definitions = append(d.definitions, Definition{d.section, name, kind, help, labels, buckets})
	for _, l := range labels {
		names = append(names, l.Name)
	}
	return names
}

// present calls create for every combination of label values. It does nothing if a label is late.
func present(labels []Label, create func(values ...string)) {
	if slices.ContainsFunc(labels, func(l Label) bool { return l.Late }) {
		return
	}
	var each func(before []string)
	each = func(before []string) {
		if len(before) == len(labels) {
			create(before...)
			return
		}
		for _, v := range labels[len(before)].Values {
			each(append(slices.Clip(before), v))
		}
	}
	each(nil)
}

func (d *definer) counterVec(name, help string, labels ...Label) *prometheus.CounterVec {
	v := d.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, d.define("counter", name, help, nil, labels))
	present(labels, func(values ...string) { v.WithLabelValues(values...) })
	return v
}

func (d *definer) counter(name, help string) prometheus.Counter {
	return d.counterVec(name, help).WithLabelValues()
}

// lateGauge defines a gauge that is absent until its first value.
func (d *definer) lateGauge(name, help string, labels ...Label) *prometheus.GaugeVec {
	return d.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, d.define("gauge", name, help, nil, labels))
}

func (d *definer) gaugeVec(name, help string, labels ...Label) *prometheus.GaugeVec {
	v := d.lateGauge(name, help, labels...)
	present(labels, func(values ...string) { v.WithLabelValues(values...) })
	return v
}

func (d *definer) gauge(name, help string) prometheus.Gauge {
	return d.gaugeVec(name, help).WithLabelValues()
}

// histogramVec defines a histogram with native buckets (a resolution of 10 %, in protobuf) and
// classic ones (in text).
func (d *definer) histogramVec(name, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	v := d.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, d.define("histogram", name, help, buckets, labels))
	present(labels, func(values ...string) { v.WithLabelValues(values...) })
	return v
}

func (d *definer) histogram(name, help string, buckets ...float64) prometheus.Observer {
	return d.histogramVec(name, help, buckets).WithLabelValues()
}

// desc defines a gauge that its own collector exposes.
func (d *definer) desc(name, help string, labels ...Label) *prometheus.Desc {
	return prometheus.NewDesc(name, help, d.define("gauge", name, help, nil, labels), nil)
}

// gaugeFunc defines a gauge that is read at the scrape.
func (d *definer) gaugeFunc(name, help string, value func() float64) {
	d.define("gauge", name, help, nil, nil)
	d.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

// counterFunc defines a counter that is read at the scrape.
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

// observe records a duration, unless it is zero, which means that it was not measured.
func observe(h prometheus.Observer, d time.Duration) {
	if d > 0 {
		h.Observe(d.Seconds())
	}
}

// observeDelay records the delay of an arrival. An early arrival has a delay of 0.
func observeDelay(h prometheus.Observer, d time.Duration) { h.Observe(max(d, 0).Seconds()) }

// add adds a count. A counter panics at a negative one.
func add(c prometheus.Counter, n int) { c.Add(float64(max(n, 0))) }

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
