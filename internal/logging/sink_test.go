package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// stalledWriter is a writer whose Write blocks until release is closed.
type stalledWriter struct {
	stalls  chan struct{} // receives when a Write starts
	release chan struct{}
	buf     bytes.Buffer
}

func newStalledWriter() *stalledWriter {
	return &stalledWriter{stalls: make(chan struct{}, 1), release: make(chan struct{})}
}

func (w *stalledWriter) Write(p []byte) (int, error) {
	select {
	case w.stalls <- struct{}{}:
	default:
	}
	<-w.release
	return w.buf.Write(p)
}

func mustFlush(t *testing.T, s *Sink) {
	t.Helper()
	if !s.Flush(30 * time.Second) {
		t.Fatal("the sink did not flush within 30 s")
	}
}

// TestSinkStalled checks that loggers do not block while the writer stalls, that memory is bounded,
// and that dropped lines are counted. When the writer continues, it gets the queued lines in order,
// and then the number of dropped ones.
func TestSinkStalled(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, payload := range map[string]string{"bounded by lines": "", "bounded by bytes": strings.Repeat("x", 4000)} {
		t.Run(name, func(t *testing.T) {
			w := newStalledWriter()
			sink := NewSink(w)
			log, control := New(Options{Format: FormatJSON, Writer: sink})

			const logged = 3 * sinkLines
			for i := range logged {
				log.Info("line", "number", i, "payload", payload)
				if i == 0 {
					<-w.stalls
				}
			}
			dropped := control.Dropped()
			sink.mu.Lock()
			size, lines := len(sink.queue.buf), len(sink.queue.ends)
			sink.mu.Unlock()
			if dropped == 0 || size > sinkBytes || lines > sinkLines {
				t.Errorf("%d lines dropped, %d bytes and %d lines wait, want some and at most %d and %d", dropped, size, lines, sinkBytes, sinkLines)
			}
			close(w.release)
			mustFlush(t, sink)

			got := parseLines(t, w.buf.Bytes())
			if len(got) != logged-int(dropped)+1 {
				t.Fatalf("%d lines were written, want %d and the report", len(got), logged-dropped)
			}
			last := got[len(got)-1]
			if last["msg"] != "log lines dropped" || last["level"] != "warn" || last["dropped"] != float64(dropped) || last["advice"] == nil {
				t.Errorf("last line = %v, want a warning with advice and dropped=%d", last, dropped)
			}
			for i, line := range got[:len(got)-1] {
				if line["number"] != float64(i) {
					t.Fatalf("line %d has number %v", i, line["number"])
				}
			}
			if got := control.Dropped(); got != uint64(dropped) {
				t.Errorf("dropped = %d, want %d", got, dropped)
			}
			log.Info("line", "number", "last")
			mustFlush(t, sink)
			if n := len(parseLines(t, w.buf.Bytes())); n != len(got)+1 {
				t.Errorf("%d lines after one more, want %d: dropped lines are reported once", n, len(got)+1)
			}
		})
	}
}

// failingWriter is a writer whose next writes fail after a number of bytes.
type failingWriter struct {
	bytes.Buffer
	err error
	cut int
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		return w.Buffer.Write(p)
	}
	_, _ = w.Buffer.Write(p[:min(w.cut, len(p))])
	return min(w.cut, len(p)), w.err
}

// TestSinkFails checks that a failed write loses only its line, and that the next line starts on a
// line of its own.
func TestSinkFails(t *testing.T) {
	w := new(failingWriter)
	sink := NewSink(w)
	log, control := New(Options{Writer: sink})
	say := func(msg string) {
		t.Helper()
		log.Info(msg)
		mustFlush(t, sink)
	}
	say("one")
	w.err = syscall.EPIPE
	say("two")
	say("three")
	w.err, w.cut = syscall.ENOSPC, 30
	say("four")
	w.cut = 0
	say("five")
	if got := control.Dropped(); got != 4 {
		t.Errorf("%d lines dropped, want 4", got)
	}
	w.err = nil
	say("six")
	var got []string
	for line := range strings.Lines(w.String()) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		got = append(got, text)
	}
	want := []string{"INF node      one", "INF n", "INF node      six", `WRN node      log lines dropped        dropped=4 advice=`}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || !strings.HasPrefix(got[3], want[3]) {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSinkFlush checks that Flush waits for the writer, and not longer than its timeout.
func TestSinkFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStalledWriter()
		sink := NewSink(w)
		if !sink.Flush(0) {
			t.Error("Flush of an empty sink = false, want true")
		}
		fmt.Fprint(sink, "one\n")
		fmt.Fprint(sink, "two\n")
		start := time.Now()
		if sink.Flush(time.Second) {
			t.Error("Flush = true while the writer stalls, want false")
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("Flush returned after %s, want 1s", got)
		}
		time.AfterFunc(time.Minute, func() { close(w.release) })
		if !sink.Flush(time.Hour) || w.buf.String() != "one\ntwo\n" {
			t.Errorf("output after Flush = %q, want both lines", w.buf.String())
		}
	})
}

// TestSinkOfMany runs under the race detector, and checks that all lines of many loggers are
// written whole.
func TestSinkOfMany(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := new(bytes.Buffer)
	sink := NewSink(w)
	log, control := New(Options{Format: FormatJSON, Writer: sink})
	var wait sync.WaitGroup
	const loggers, each = 16, 1000
	for i := range loggers {
		wait.Go(func() {
			for n := range each {
				log.Info("line", "logger", i, "number", n)
				if n%100 == 0 {
					sink.Flush(time.Millisecond)
				}
			}
		})
	}
	wait.Wait()
	mustFlush(t, sink)
	next := make(map[any]float64)
	lines := 0
	for _, line := range parseLines(t, w.Bytes()) {
		if line["msg"] != "line" {
			continue
		}
		lines++
		if n := line["number"].(float64); n < next[line["logger"]] {
			t.Fatalf("logger %v: line %v follows line %v", line["logger"], n, next[line["logger"]]-1)
		} else {
			next[line["logger"]] = n + 1
		}
	}
	if dropped := int(control.Dropped()); lines+dropped != loggers*each {
		t.Errorf("%d lines written and %d dropped, want %d together", lines, dropped, loggers*each)
	}
}

// TestSinkOfOneWrite checks that a write of any size fits into an empty queue.
func TestSinkOfOneWrite(t *testing.T) {
	var out bytes.Buffer
	sink := NewSink(&out)
	fmt.Fprint(sink, strings.Repeat("x", 2*sinkBytes))
	mustFlush(t, sink)
	if out.Len() != 2*sinkBytes || sink.Dropped() != 0 {
		t.Errorf("%d bytes written and %d writes dropped, want %d and 0", out.Len(), sink.Dropped(), 2*sinkBytes)
	}
}

var errStalled = errors.New("stalled")

func BenchmarkSink(b *testing.B) {
	for name, w := range map[string]io.Writer{"fast": io.Discard, "failing": &failingWriter{err: errStalled}} {
		b.Run(name, func(b *testing.B) {
			log, _ := New(Options{Writer: NewSink(w)})
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(b.Context(), slog.LevelInfo, "line", slog.Int("number", 7))
			}
		})
	}
}
