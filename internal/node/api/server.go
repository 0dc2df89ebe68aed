package api

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// shutdownGrace is how long open requests may run after the context is done. The node has 5 s to stop.
const shutdownGrace = 2 * time.Second

// maxBodyBytes bounds the body of a request. The largest is a list of log levels.
const maxBodyBytes = 64 << 10

// Serve serves HTTP on ln until ctx is done, lets open requests finish for at most shutdownGrace,
// closes ln and returns nil. It serves every port of the node, so all have the same limits.
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
		// A finalized state can be large and the connection slow. limitTime sets a shorter timeout
		// for small responses.
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ConnState:      (&connections{open: make(map[net.Conn]*list.Element)}).track,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
