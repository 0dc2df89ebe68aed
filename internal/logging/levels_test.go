package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestParseLevels(t *testing.T) {
	for text, want := range map[string]string{
		"info":                           "info",
		"DEBUG":                          "debug",
		"p2p=debug":                      "info,p2p=debug",
		"info,p2p=debug,libp2p=warn":     "info,libp2p=warn,p2p=debug",
		" p2p = debug , error ":          "error,p2p=debug",
		"warn,node=warn":                 "warn,node=warn",
		"info,quic=error,pebble=DEBUG":   "info,pebble=debug,quic=error",
		"error,chain=debug,sync=debug":   "error,chain=debug,sync=debug",
		"debug,guard=info,validator=inf": "",
	} {
		spec, err := ParseLevels(text)
		if want == "" {
			if err == nil {
				t.Errorf("ParseLevels(%q) = %s, want an error", text, spec)
			}
		} else if err != nil || spec.String() != want {
			t.Errorf("ParseLevels(%q) = %s, %v, want %s", text, spec, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                    `unknown log level "", want debug, info, warn or error`,
		"loud":                `unknown log level "loud"`,
		"info,":               `unknown log level ""`,
		"info,p2p=loud":       `unknown log level "loud"`,
		"p2p=":                `unknown log level ""`,
		"p2p=debug=info":      `unknown log level "debug=info"`,
		"info,gossip=debug":   `unknown component "gossip", want one of api, chain, guard, http, libp2p, node, p2p, pebble, quic, storage, sync, validator`,
		"P2P=debug":           `unknown component "P2P"`,
		"=debug":              `unknown component ""`,
		"info,warn":           `a second level for all components, "warn"`,
		"p2p=info,p2p=debug":  `a second level for component "p2p"`,
		"p2p=info, p2p =info": `a second level for component "p2p"`,
	} {
		if spec, err := ParseLevels(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLevels(%q) = %s, %v, want an error with %s", text, spec, err, want)
		}
	}
	if !slices.IsSorted(components) {
		t.Error("Components is not sorted, want the order in which docs and errors list them")
	}
}

// FuzzParseLevels checks that the text of parsed levels parses to the same levels.
func FuzzParseLevels(f *testing.F) {
	for _, text := range []string{"info", "info,p2p=debug,libp2p=warn", "p2p=debug", " WARN , node = error", "=,=", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseLevels(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("ParseLevels(%q): the error contains control characters: %q", text, err)
			}
			return
		}
		again, err := ParseLevels(spec.String())
		if err != nil || again.String() != spec.String() {
			t.Errorf("ParseLevels(%q) = %s, which parses as %s, %v", text, spec, again, err)
		}
		for _, c := range components {
			if again.of(c) != spec.of(c) {
				t.Errorf("ParseLevels(%q): component %s has level %s, and %s after formatting and parsing", text, c, spec.of(c), again.of(c))
			}
		}
	})
}

// TestComponentLevels changes levels while loggers are in use.
func TestComponentLevels(t *testing.T) {
	var out bytes.Buffer
	log, control := New(Options{Format: FormatJSON, Components: map[string]slog.Level{"p2p": slog.LevelDebug, "chain": slog.LevelWarn}, Writer: &out})
	p2p, chain, other := Component(log, "p2p").With("n", 1), Component(log, "chain").With("n", 1), Component(log, "sync")
	if got, want := control.LogLevel(), "info,chain=warn,p2p=debug"; got != want {
		t.Errorf("level %s, want %s", got, want)
	}
	said := func() (lines []string) {
		for _, l := range []*slog.Logger{log, p2p, chain, other} {
			l.Debug("d")
			l.Info("i")
			l.Warn("w")
		}
		for _, line := range parseLines(t, out.Bytes()) {
			lines = append(lines, line["component"].(string)+" "+line["msg"].(string))
		}
		out.Reset()
		return lines
	}
	if got, want := said(), []string{"node i", "node w", "p2p d", "p2p i", "p2p w", "chain w", "sync i", "sync w"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	previous, now, err := control.SetLogLevel("warn,sync=debug")
	if err != nil || previous != "info,chain=warn,p2p=debug" || now != "warn,sync=debug" {
		t.Errorf("SetLogLevel: %s, %s, %v", previous, now, err)
	}
	if got, want := said(), []string{"node w", "p2p w", "chain w", "sync d", "sync i", "sync w"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	if _, _, err := control.SetLogLevel("warn,unknown=debug"); err == nil || control.LogLevel() != now {
		t.Errorf("level after an error (%v) = %s, want %s, unchanged", err, control.LogLevel(), now)
	}
	if warns, debugs := control.Lines(slog.LevelWarn), control.Lines(slog.LevelDebug); warns != 8 || debugs != 2 {
		t.Errorf("counted lines = %d at warn, %d at debug, want 8 and 2", warns, debugs)
	}
}

// TestLevelsChangeWhileLinesAreWritten runs under the race detector, and checks that lines are counted.
func TestLevelsChangeWhileLinesAreWritten(t *testing.T) {
	log, control := New(Options{Writer: io.Discard})
	var wait sync.WaitGroup
	for _, c := range components {
		wait.Go(func() {
			l := Component(log, c)
			for range 200 {
				l.Debug("maybe")
				l.Info("line")
			}
		})
	}
	for _, text := range []string{"debug", "info,p2p=debug", "info", "info,chain=debug"} {
		wait.Go(func() {
			for range 50 {
				if _, _, err := control.SetLogLevel(text); err != nil {
					t.Error(err)
				}
				_ = control.LogLevel()
			}
		})
	}
	wait.Wait()
	if got, want := control.Lines(slog.LevelInfo), uint64(200*len(components)); got != want {
		t.Errorf("counted lines at info = %d, want %d", got, want)
	}
}

func BenchmarkDisabledDebug(b *testing.B) {
	log, _ := New(Options{Writer: io.Discard})
	log = Component(log, "p2p").With("n", 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if log.Enabled(context.Background(), slog.LevelDebug) {
				b.Error("enabled")
			}
		}
	})
}
