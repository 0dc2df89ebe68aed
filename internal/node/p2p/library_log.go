package p2p

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/libp2p/go-libp2p/gologshim"

	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// routeLogs sends the log of libp2p to the logger of its first call, because libp2p has one logger
// per process, which cannot change after its first line. gossipsub gets libraryLogger in its
// options. quic-go writes to package log; see logging.RouteStandardLog.
func routeLogs(log *slog.Logger) {
	routeOnce.Do(func() {
		gologshim.SetDefaultHandler(libraryLogger(log).Handler())
		// quic-go prints this warning to standard error. The default buffers are large enough for
		// this network.
		os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	})
}

var routeOnce sync.Once

// libraryLogger returns the logger of libp2p.
func libraryLogger(log *slog.Logger) *slog.Logger {
	return slog.New(libraryHandler{logging.Component(log, "libp2p").Handler()})
}

// libraryHandler writes all lines of libp2p at debug. Its warnings and errors are about failures between
// this node and a peer, which happen in every healthy network. The node reports those that matter itself.
type libraryHandler struct{ slog.Handler }

// libraryLevel returns the level at which a line of libp2p is written.
func libraryLevel(level slog.Level) slog.Level { return min(level, slog.LevelDebug) }

func (h libraryHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, libraryLevel(level))
}

func (h libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, libraryLevel(r.Level), r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(rename(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	renamed := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		renamed = append(renamed, rename(a))
	}
	return libraryHandler{h.Handler.WithAttrs(renamed)}
}

func (h libraryHandler) WithGroup(name string) slog.Handler {
	return libraryHandler{h.Handler.WithGroup(name)}
}

// rename replaces the keys of libp2p's fields with those of this node's lines.
func rename(a slog.Attr) slog.Attr {
	switch a.Key {
	case "peer", "remote_peer", "peerID":
		a.Key = "peer_id"
	case "err":
		a.Key = "error"
	}
	return a
}
