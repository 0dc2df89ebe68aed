package logging

import (
	"bytes"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestStandardLog checks that lines that libraries write to package log have the component of the
// library and level info.
func TestStandardLog(t *testing.T) {
	before, output, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() { slog.SetDefault(before); log.SetOutput(output); log.SetFlags(flags) }()

	var out bytes.Buffer
	logger, control := New(Options{Format: FormatJSON, Writer: &out})
	RouteStandardLog(logger)
	log.Printf("two\nlines")
	// A server without an ErrorLog writes to package log that its handler panicked.
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("test") }))
	panics := func() {
		if _, err := http.Get(server.URL); err == nil {
			t.Error("got a response from a handler that panics")
		}
	}
	panics()
	server.Close() // which waits for the connection's goroutine
	lines := parseLines(t, out.Bytes())
	if len(lines) != 2 || lines[0]["component"] != "node" || lines[0]["msg"] != "two\nlines" || lines[1]["component"] != "http" || lines[1]["level"] != "info" {
		t.Errorf("lines %v, want one of node and one of http, at info", lines)
	}

	out.Reset()
	if _, _, err := control.SetLogLevel("info,node=error"); err != nil {
		t.Fatal(err)
	}
	log.Print("hidden")
	slog.Error("shown")
	if lines := parseLines(t, out.Bytes()); len(lines) != 1 || lines[0]["msg"] != "shown" {
		t.Errorf("lines %v, want only the error", lines)
	}
	for function, want := range map[string]string{
		"github.com/quic-go/quic-go.setReceiveBuffer":             "quic",
		"github.com/quic-go/quic-go/internal/utils.logMessage":    "quic",
		"github.com/libp2p/go-libp2p/p2p/net/swarm.(*Swarm).dial": "libp2p",
		"github.com/cockroachdb/pebble/v2/internal/base.Infof":    "pebble",
		"log.Printf": "",
	} {
		if got := libraryOf(function); got != want {
			t.Errorf("%s belongs to %q, want %q", function, got, want)
		}
	}
}
