// Package logging makes the node's loggers and writes the lines of events.
//
// [New] returns a slog.Logger that writes text or JSON lines, with a level for each component and limits for repeated
// lines. No byte that a peer sent can break a line. [Sink] keeps a blocked or closed writer from
// delaying the node.
// [Events] is the consumer that writes the lines of events.
package logging

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/term"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// The formats of log lines.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Options configure a logger.
type Options struct {
	Format     string                // FormatText or FormatJSON; empty means text
	Level      slog.Level            // lowest level that is written
	Components map[string]slog.Level // lowest levels of the components that differ
	// NoColor disables colors. They are used only for text on a terminal, unless the environment
	// sets NO_COLOR.
	NoColor bool
	// Writer receives one Write for each line; nil means standard error. If it is a Sink, logging
	// never blocks, and dropped lines are counted and reported.
	Writer io.Writer
}

// New returns a logger and its control. It limits repeated lines; see limitHandler.
func New(opts Options) (*slog.Logger, *Control) {
	control := newControl(LevelSpec{opts.Level, opts.Components})
	w := opts.Writer
	if w == nil {
		w = os.Stderr
	}
	handler := newLineHandler(w, control, opts.Format == FormatJSON, !opts.NoColor && colorful(w))
	if sink, ok := w.(*Sink); ok {
		control.sink = sink
		log := Component(slog.New(handler), defaultComponent) // not limited, because a limit could hold the count back
		sink.OnDrop(func(dropped uint64) {
			log.Warn("log lines dropped", "dropped", dropped,
				Advice("Check that the program that reads this log keeps up, and that the disk it is written to is not full."))
		})
	}
	return slog.New(newLimitHandler(handler)), control
}

// colorful reports whether w is a terminal whose user accepts colors (no-color.org).
func colorful(w io.Writer) bool {
	if sink, ok := w.(*Sink); ok {
		w = sink.w
	}
	file, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(file.Fd()))
}

// levels lists the levels that have names.
var levels = [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// levelIndex returns the index in levels of a level, or of the next lower one.
func levelIndex(level slog.Level) int {
	i := 0
	for i+1 < len(levels) && level >= levels[i+1] {
		i++
	}
	return i
}

// levelName returns the name of a level, or of the next lower one that has a name.
func levelName(level slog.Level) string {
	return [...]string{"debug", "info", "warn", "error"}[levelIndex(level)]
}

// ParseLevel parses debug, info, warn or error, in upper or lower case.
func ParseLevel(s string) (slog.Level, error) {
	for _, level := range levels {
		if strings.EqualFold(s, levelName(level)) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("unknown log level %q, want debug, info, warn or error", s)
}

// Keys of a log line besides time, level and msg.
const (
	keyComponent  = "component"
	keySlot       = "slot"
	keyEpoch      = "epoch"
	keyPeerID     = "peer_id"
	keyRoot       = "root"
	keyValidator  = "validator"
	keyReason     = "reason"
	keyDurationMS = "duration_ms"
	keyError      = "error"
	keyQueue      = "queue"
	keyAdvice     = "advice"
)

// Component returns a logger for one of Components, with the component's level.
func Component(log *slog.Logger, name string) *slog.Logger {
	return log.With(slog.String(keyComponent, name))
}

// Slot returns the fields of a slot: slot and epoch.
func Slot[S ~uint64](slot S) slog.Attr {
	return slog.Attr{Value: slog.GroupValue(slotField(keySlot, slot), slog.Uint64(keyEpoch, events.Epoch(lstar.Slot(slot))))}
}

func slotField[S ~uint64](key string, slot S) slog.Attr { return slog.Uint64(key, uint64(slot)) }

// Root returns the field of a root: 0x and 64 hex digits in JSON, shortened in text.
func Root(root lstar.Root) slog.Attr { return namedRoot(keyRoot, root) }

func namedRoot(key string, root lstar.Root) slog.Attr { return slog.Any(key, hexRoot(root)) }

// Duration returns the field duration_ms, in milliseconds with a resolution of a microsecond.
func Duration(d time.Duration) slog.Attr { return namedDuration(keyDurationMS, d) }

func namedDuration(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// Err returns the field of an error, or nothing if err is nil.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.Any(keyError, err)
}

// Peer returns the field of a peer, or nothing if id is empty. The id is encoded when the line is
// written.
func Peer(id peer.ID) slog.Attr {
	if id == "" {
		return slog.Attr{}
	}
	return slog.Any(keyPeerID, id)
}

// Reason returns the field of a reason, or nothing if it is empty.
func Reason(reason string) slog.Attr { return optional(keyReason, reason) }

// Advice returns the field that says what the operator can do, in imperative sentences. Every line
// at level error has it.
func Advice(text string) slog.Attr { return slog.String(keyAdvice, text) }

// Validator returns the field of a validator index.
func Validator[I ~uint64](index I) slog.Attr { return slog.Uint64(keyValidator, uint64(index)) }

func optional(key, value string) slog.Attr {
	if value == "" {
		return slog.Attr{}
	}
	return slog.String(key, value)
}

// hexRoot is a root that is formatted when its line is written.
type hexRoot lstar.Root

func (r hexRoot) String() string { return lstar.Root(r).String() }

// short returns the first and last four bytes, which distinguish roots on a terminal.
func (r hexRoot) short() string {
	return "0x" + hex.EncodeToString(r[:4]) + ".." + hex.EncodeToString(r[28:])
}
