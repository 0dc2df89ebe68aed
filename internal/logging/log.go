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

// Options choose how log lines look and which are written.
type Options struct {
	// Format is FormatText or FormatJSON; text where it is empty.
	Format string
	// Level is the lowest level written, Components has those of the components that differ.
	Level      slog.Level
	Components map[string]slog.Level
	// NoColor turns colors off. They are on only for text on a terminal, without NO_COLOR in the environment.
	NoColor bool
	// Writer takes the lines, one Write a line; standard error where it is nil. With a Sink nobody who logs waits
	// for a reader of the log, and dropped lines are counted and reported.
	Writer io.Writer
}

// New returns a logger and what changes its levels while it runs. Lines that repeat are limited, see
// limitHandler.
func New(opts Options) (*slog.Logger, *Control) {
	control := newControl(LevelSpec{opts.Level, opts.Components})
	w := opts.Writer
	if w == nil {
		w = os.Stderr
	}
	handler := newLineHandler(w, control, opts.Format == FormatJSON, !opts.NoColor && colorful(w))
	if sink, ok := w.(*Sink); ok {
		control.sink = sink
		log := Component(slog.New(handler), defaultComponent) // without a limit, which would hold back the numbers
		sink.setOnDrop(func(dropped uint64) {
			log.Warn("log lines dropped", "dropped", dropped,
				Advice("Check that the program that reads this log keeps up, and that the disk it is written to is not full."))
		})
	}
	return slog.New(newLimitHandler(handler)), control
}

// colorful says whether w is a terminal whose user did not ask for plain text (no-color.org).
func colorful(w io.Writer) bool {
	if sink, ok := w.(*Sink); ok {
		w = sink.w
	}
	file, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(file.Fd()))
}

// logLevels are the levels that have names.
var logLevels = [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// ParseLevel reads debug, info, warn or error, in any case.
func ParseLevel(s string) (slog.Level, error) {
	for _, level := range logLevels {
		if strings.EqualFold(s, levelName(level)) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("unknown log level %q, want debug, info, warn or error", s)
}

// levelName names a level; levels between the four named ones count as the lower one.
func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	default:
		return "error"
	}
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

// Component returns a logger whose lines name the part of the node that they come from, one of Components, and have
// its level.
func Component(log *slog.Logger, name string) *slog.Logger {
	return log.With(slog.String(keyComponent, name))
}

// Slot returns the fields of the slot that a line is about, and of its epoch.
func Slot[S ~uint64](slot S) slog.Attr {
	return slog.Attr{Value: slog.GroupValue(slotField(keySlot, slot), slog.Uint64(keyEpoch, events.Epoch(lstar.Slot(slot))))}
}

func slotField[S ~uint64](key string, slot S) slog.Attr { return slog.Uint64(key, uint64(slot)) }

// Root gives a line the root it is about, as 0x and 64 hex digits in JSON, shortened in text.
func Root(root lstar.Root) slog.Attr { return namedRoot(keyRoot, root) }

func namedRoot(key string, root lstar.Root) slog.Attr { return slog.Any(key, hexRoot(root)) }

// Duration gives a line its duration in milliseconds, to the microsecond.
func Duration(d time.Duration) slog.Attr { return namedDuration(keyDurationMS, d) }

func namedDuration(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// Err gives a line its error, or nothing where err is nil.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.Any(keyError, err)
}

// Peer returns the field of the peer that a line is about, or nothing if id is empty. The id is encoded when the line is written.
func Peer(id peer.ID) slog.Attr {
	if id == "" {
		return slog.Attr{}
	}
	return slog.Any(keyPeerID, id)
}

// Reason gives a line its reason, or nothing where there is none.
func Reason(reason string) slog.Attr { return optional(keyReason, reason) }

// Advice says what the operator can do about what the line tells. Every line at level error has one.
func Advice(text string) slog.Attr { return slog.String(keyAdvice, text) }

// Validator gives a line its validator index.
func Validator[I ~uint64](index I) slog.Attr { return slog.Uint64(keyValidator, uint64(index)) }

func optional(key, value string) slog.Attr {
	if value == "" {
		return slog.Attr{}
	}
	return slog.String(key, value)
}

// hexRoot prints a root only when a line is written.
type hexRoot lstar.Root

func (r hexRoot) String() string { return "0x" + hex.EncodeToString(r[:]) }

// short is what a reader of a terminal needs to tell roots apart.
func (r hexRoot) short() string {
	return "0x" + hex.EncodeToString(r[:4]) + ".." + hex.EncodeToString(r[28:])
}
