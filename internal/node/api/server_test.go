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

func TestMux(t *testing.T) {
	mux := NewMux(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# HELP ") }), new(health.Monitor))
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "/health\n/livez\n/metrics\n/readyz\n"},
		{"GET", "/livez", 200, "ok"},
		{"GET", "/readyz", 503, "[-]synced failed: not_ready"},
		{"GET", "/metrics", 200, "# HELP "},
		{"GET", "/health", 503, `{"status":"syncing"`},
		{"GET", "/nothing", 404, ""},
		{"POST", "/", 405, ""},
		{"POST", "/metrics", 405, ""},
		{"PUT", "/health", 405, ""},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%s %s: %d %.40q, want %d %q", test.method, test.path, w.Code, w.Body, test.status, test.body)
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

// TestServeFinishesOpenRequests cancels while a request is in its handler and holds that it is still answered.
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

// TestServeLimits holds that no request can be of any size, or take any time.
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
