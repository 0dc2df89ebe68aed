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

// RouteStandardLog makes logger the default of package slog, and sends it the lines that libraries
// write to package log. These have no level, so they are at info. Their component is the library.
// quic-go writes only the lines that its environment variable QUIC_GO_LOG_LEVEL enables.
func RouteStandardLog(logger *slog.Logger) {
	slog.SetDefault(logger) // this also sets an output of package log
	log.SetFlags(0)
	log.SetOutput(standardLog{logger})
}

// standardLog is the output of package log.
type standardLog struct{ logger *slog.Logger }

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

// callerComponent returns the component of the caller of package log.
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

// libraryOf returns the component of a library's function, and an empty string for other functions.
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
