package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

// shutdownGrace is how long open requests may run after the context is done. The node
// has 5 s to stop.
const shutdownGrace = 2 * time.Second

// maxBodyBytes bounds the body of a request. The largest is a list of log levels.
const maxBodyBytes = 64 << 10

// Serve serves HTTP on ln until ctx is done, then lets open requests finish for
// shutdownGrace, and closes ln. It returns nil after a shutdown. Every port of the node
// is served by it, so the same limits hold for all.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	server := newServer(handler, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // a client that does not finish must not delay the exit of the node
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(handler, maxBodyBytes),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// A finalized state can be large and the connection slow. limitTime sets a shorter
		// timeout for small responses.
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// NewMux routes /metrics and the routes of NewHealthMux, and lists all of them on /.
func NewMux(metrics http.Handler, m *health.Monitor) *http.ServeMux {
	routes := healthRoutes(m)
	routes["/metrics"] = metrics
	return newMux(routes)
}

// NewHealthMux routes /health, /livez and /readyz, and lists them on /.
func NewHealthMux(m *health.Monitor) *http.ServeMux { return newMux(healthRoutes(m)) }

func healthRoutes(m *health.Monitor) map[string]http.Handler {
	return map[string]http.Handler{"/health": m, "/livez": m.Livez(), "/readyz": m.Readyz()}
}

func newMux(routes map[string]http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for path, handler := range routes {
		mux.Handle(path, readOnly(handler))
	}
	list := strings.Join(slices.Sorted(maps.Keys(routes)), "\n") + "\n"
	mux.Handle("/{$}", readOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, list)
	})))
	return mux
}

// readOnly passes on GET and HEAD, and answers any other method with 405.
func readOnly(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			handler.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	})
}
