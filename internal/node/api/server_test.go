package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRoutes checks which routes each port has.
func TestRoutes(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# HELP ") })
	ports := New(Config{
		Metrics: metrics, Health: &health.Monitor{Sync: func() health.Sync { return health.Sync{Reason: "not_ready"} }}, Identity: func() Identity { return Identity{PeerID: "id"} },
	})
	for _, test := range []struct {
		port         http.Handler
		method, path string
		status       int
		body         string
	}{
		{ports.API, "GET", "/lean/v0/node/identity", 200, `"peer_id":"id",`},
		{ports.API, "GET", "/metrics", 200, "# HELP "},
		{ports.API, "GET", "/", 404, "404: Not Found"},
		{ports.API, "GET", "/livez", 404, "404: Not Found"},
		{ports.API, "GET", "/lean/v0/admin/log_level", 404, "404: Not Found"},
		{ports.Metrics, "GET", "/", 200, "/debug/pprof/\n/health\n/livez\n/metrics\n/readyz\n"},
		{ports.Metrics, "GET", "/livez", 200, "ok"},
		{ports.Metrics, "GET", "/readyz", 503, "[-]synced failed: not_ready"},
		{ports.Metrics, "GET", "/metrics", 200, "# HELP "},
		{ports.Metrics, "GET", "/health", 503, `{"status":"syncing"`},
		{ports.Metrics, "HEAD", "/health", 503, ""},
		{ports.Metrics, "GET", "/nothing", 404, "404: Not Found"},
		{ports.Metrics, "GET", "/lean/v0/health", 404, "404: Not Found"},
		{ports.Metrics, "POST", "/", 405, "405: Method Not Allowed"},
		{ports.Metrics, "POST", "/metrics", 405, "405: Method Not Allowed"},
		{ports.Metrics, "PUT", "/health", 405, "405: Method Not Allowed"},
		{ports.RPC, "GET", "/", 200, "/health\n/livez\n/readyz\n"},
		{ports.RPC, "GET", "/health", 503, `{"status":"syncing"`},
		{ports.RPC, "GET", "/metrics", 404, "404: Not Found"},
		{ports.RPC, "POST", "/livez", 405, "405: Method Not Allowed"},
	} {
		w := httptest.NewRecorder()
		test.port.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%s %s: %d %.40q, want %d %q", test.method, test.path, w.Code, w.Body, test.status, test.body)
		}
		if got := w.Header().Get("Allow"); test.status == 405 && got != "GET, HEAD" {
			t.Errorf("%s %s: Allow is %q, want GET, HEAD", test.method, test.path, got)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// TestServeFinishesOpenRequests checks that a request that is open at the shutdown gets its response.
func TestServeFinishesOpenRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ln := listen(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-ctx.Done()
		_, _ = io.WriteString(w, "done")
	})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, handler, slog.Default()) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatalf("the open request failed: %v", err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "done" {
		t.Errorf("the open request got %q, %v, want done", body, err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v after a shutdown, want nil", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open after Serve")
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	ln := listen(t)
	ln.Close()
	if err := Serve(t.Context(), ln, http.NotFoundHandler(), slog.Default()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener returned %v, want %v", err, net.ErrClosed)
	}
}

func TestServeOfADoneContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, listen(t), http.NotFoundHandler(), slog.Default()); err != nil {
		t.Errorf("Serve returned %v, want nil", err)
	}
}

// TestServeLimits checks the limits of the size and the duration of requests.
func TestServeLimits(t *testing.T) {
	s := newServer(nil, slog.Default())
	for name, limit := range map[string]time.Duration{
		"header": s.ReadHeaderTimeout, "request": s.ReadTimeout, "response": s.WriteTimeout, "idleness": s.IdleTimeout,
	} {
		if limit <= 0 || limit > 2*time.Minute {
			t.Errorf("the limit of the time of a %s is %v, want at most 2m", name, limit)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ln := listen(t)
	read := make(chan error, 2)
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		}), slog.Default())
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, size := range []int{maxBodyBytes, maxBodyBytes + 1} {
		response, err := client.Post("http://"+ln.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		var tooLarge *http.MaxBytesError
		if err := <-read; errors.As(err, &tooLarge) != (size > maxBodyBytes) {
			t.Errorf("reading a body of %d bytes: %v, want a limit of %d", size, err, maxBodyBytes)
		}
	}
	request, _ := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String(), nil)
	request.Header.Set("X", strings.Repeat("x", 32<<10))
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 32 KiB gets %s, want 431", response.Status)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeManyConnections checks that connections without a request give way to new ones, and that
// new ones are closed while all others have a request.
func TestServeManyConnections(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ln := listen(t)
	active, release := make(chan struct{}, maxConns), make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			active <- struct{}{}
			<-release
		}), slog.New(slog.DiscardHandler))
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	closed := func(c net.Conn) bool {
		_, err := c.Read(make([]byte, 1))
		var timeout net.Error
		return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
	}
	var waiting []net.Conn
	for range maxConns {
		waiting = append(waiting, dial())
	}
	for i := range maxConns {
		c := dial()
		if !closed(waiting[i]) {
			t.Fatalf("connection %d waits for a request and stays open, want it closed when connection %d arrives", i, maxConns+i)
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-active
	}
	if !closed(dial()) {
		t.Errorf("a connection beyond %d with requests stays open, want it closed", maxConns)
	}
	close(release)
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
