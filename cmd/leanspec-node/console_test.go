package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// testConsole is a console that keeps its output, with a clock that only the test advances.
type testConsole struct {
	console
	out, err bytes.Buffer
	clock    time.Time
}

func newTestConsole(width int) *testConsole {
	c := &testConsole{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.console = console{out: &c.out, err: &c.err, now: func() time.Time { return c.clock }, width: func() int { return width }}
	return c
}

// checkFailure runs a command line that must fail. It checks the exit code and the last line of
// stderr. If the code is 2, that line must be the only one.
func checkFailure(t *testing.T, ctx context.Context, code int, want string, args ...string) {
	t.Helper()
	c := newTestConsole(0)
	got := run(ctx, &c.console, args)
	lines := strings.Split(strings.TrimSuffix(c.err.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if got != code || last != "leanspec-node: "+want {
		t.Errorf("%q: exit code %d and\n%s\nwant %d and\nleanspec-node: %s", args, got, c.err.String(), code, want)
	}
	if code == 2 && len(lines) != 1 {
		t.Errorf("%q: %d lines on stderr, want 1:\n%s", args, len(lines), c.err.String())
	}
	if c.out.Len() > 0 {
		t.Errorf("%q: stdout = %q, want nothing", args, c.out.String())
	}
}

// panicWriter is a stdout that writes a line to stderr and panics.
type panicWriter struct{ err io.Writer }

func (w panicWriter) Write([]byte) (int, error) {
	fmt.Fprintln(w.err, "last line")
	panic("bug")
}

// TestPanicFlushes checks that a panic of a command does not lose lines that wait for the writer of
// stderr.
func TestPanicFlushes(t *testing.T) {
	c := newTestConsole(0)
	sink := logging.NewSink(&c.err)
	c.console.err, c.console.out = sink, panicWriter{sink}
	defer func() {
		if p := recover(); p == nil || c.err.String() != "last line\n" {
			t.Errorf("panic %v with stderr = %q, want a panic with the last line", p, c.err.String())
		}
	}()
	run(t.Context(), &c.console, []string{"version"})
}
