package logging

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"runtime"
	"strings"
	"time"
)

// RouteStandardLog makes logger the default of package slog, and brings what libraries write to package log into it,
// at info: such lines have no level. The component is that of the library. quic-go writes nothing but what its
// environment variable QUIC_GO_LOG_LEVEL asks for.
func RouteStandardLog(logger *slog.Logger) {
	slog.SetDefault(logger) // which gives package log an output of its own
	log.SetFlags(0)
	log.SetOutput(standardLog{logger})
}

// standardLog is an output of package log.
type standardLog struct{ logger *slog.Logger }

// Write writes a line.
func (s standardLog) Write(line []byte) (int, error) {
	ctx := context.Background()
	l := Component(s.logger, callerComponent())
	if l.Enabled(ctx, slog.LevelInfo) {
		r := slog.NewRecord(time.Now(), slog.LevelInfo, string(bytes.TrimRight(line, "\n")), 0)
		if err := l.Handler().Handle(ctx, r); err != nil {
			return 0, err
		}
	}
	return len(line), nil
}

// callerComponent returns the component of whoever called package log.
func callerComponent() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if component := libraryOf(frame.Function); component != "" {
			return component
		}
		if !more {
			return defaultComponent
		}
	}
}

// libraryOf returns the component of a library's function, and nothing for other functions.
func libraryOf(function string) string {
	for prefix, component := range map[string]string{
		"github.com/quic-go/": "quic", "github.com/libp2p/": "libp2p", "github.com/cockroachdb/pebble": "pebble", "net/http.": "http",
	} {
		if strings.HasPrefix(function, prefix) {
			return component
		}
	}
	return ""
}
