package telemetry

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
)

// shutdownGrace is how long open requests may still run after the context is done: the whole node is to be gone
// within 5 seconds.
const shutdownGrace = 2 * time.Second

// maxBodyBytes bounds the body of a request. The largest is a list of log levels.
const maxBodyBytes = 64 << 10

// Serve answers HTTP requests on ln, with the limits that hold for every port of the node, until ctx is done, then
// lets open requests finish for a few seconds. It closes ln. A shutdown is not an error.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	server := newServer(handler)
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
		// A reader that does not finish must not hold up the node's exit.
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(handler, maxBodyBytes),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// A finalized state can be large and the reader far away. The API gives small responses less time.
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(Component(slog.Default(), "http").Handler(), slog.LevelWarn),
	}
}

// NewMux routes /metrics and what NewHealthMux routes, and lists all on /.
func NewMux(m *Metrics, h *Health) *http.ServeMux {
	routes := healthRoutes(h)
	routes["/metrics"] = m.Handler()
	return newMux(routes)
}

// NewHealthMux routes /health, /livez and /readyz, and lists them on /.
func NewHealthMux(h *Health) *http.ServeMux { return newMux(healthRoutes(h)) }

func healthRoutes(h *Health) map[string]http.Handler {
	return map[string]http.Handler{"/health": h, "/livez": h.Livez(), "/readyz": h.Readyz()}
}

func newMux(routes map[string]http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for path, handler := range routes {
		mux.Handle(path, handler)
	}
	list := strings.Join(slices.Sorted(maps.Keys(routes)), "\n") + "\n"
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, list)
	})
	return mux
}

// readOnly lets GET and HEAD pass and answers any other method with 405.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}
