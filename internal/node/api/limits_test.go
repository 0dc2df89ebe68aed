package api_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// largeBackend returns a backend with a finalized state of more than 6 MB, after 200,000 slots.
func largeBackend(t *testing.T) *backend {
	t.Helper()
	genesis := lstar.GenesisState(7, lstar.NewValidators(make([]lstar.Validator, 3)))
	block := &lstar.Block{Slot: 200_000, ParentRoot: lstar.GenesisBlock(genesis).Root(), ProposerIndex: 200_000 % 3}
	state, err := genesis.ProcessSlots(block.Slot)
	if err == nil {
		state, err = state.ProcessBlock(block)
	}
	if err != nil {
		t.Fatal(err)
	}
	block.StateRoot = state.Root()
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, nil)}
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, block)
	if err != nil {
		t.Fatal(err)
	}
	return &backend{store: store}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSlowClients bounds the memory of 200 clients of each port that request a large response and
// do not read it.
func TestSlowClients(t *testing.T) {
	b := largeBackend(t)
	page := make([]byte, 6<<20)
	handlers := api.New(api.Config{
		Backend: b, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }),
		Health: &health.Monitor{Sync: func() health.Sync { return health.Sync{} }},
	})
	for name, test := range map[string]struct {
		port http.Handler
		path string
	}{
		"API":     {handlers.API, "/lean/v0/states/finalized"},
		"metrics": {handlers.Metrics, "/metrics"},
		"RPC":     {handlers.RPC, "/readyz"},
	} {
		t.Run(name, func(t *testing.T) { testSlowClients(t, b, test.port, test.path) })
	}
}

func testSlowClients(t *testing.T, b *backend, routes http.Handler, path string) {
	const clients = 200
	size := len(b.store.Snapshot().State(b.store.LatestFinalized().Root).Encode())
	if size < 6<<20 {
		t.Fatalf("the state has %d bytes, want more than a socket buffers", size)
	}
	var arrived sync.WaitGroup
	arrived.Add(clients)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- api.Serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The first bytes of the response have been sent, or the request waits.
			time.AfterFunc(100*time.Millisecond, arrived.Done)
			routes.ServeHTTP(w, r)
		}), slog.Default())
	}()
	before := heap()
	conns := make([]net.Conn, clients)
	for i := range conns {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	arrived.Wait()
	const perClient = 64 << 10
	if got, most := int64(heap())-int64(before), int64(2*size+clients*perClient); got > most {
		t.Errorf("%d slow clients cost %d MiB, want at most %d MiB with a state of %d MiB", clients, got>>20, most>>20, size>>20)
	} else {
		t.Logf("%d slow clients cost %d KiB, with a state of %d KiB", clients, got>>10, size>>10)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestTooManyLargeResponses checks that requests beyond the limit wait and are then refused, and
// that other routes are not affected.
func TestTooManyLargeResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := api.New(api.Config{Backend: newBackend(t), Metrics: http.NotFoundHandler()}).API
		get := func(w http.ResponseWriter, path string) {
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		}
		const path = "/lean/v0/states/finalized"
		goOn := make(chan struct{})
		for range 16 {
			go get(slowReader{httptest.NewRecorder(), make(chan struct{}), goOn}, path)
		}
		synctest.Wait()
		started := time.Now()
		w := httptest.NewRecorder()
		get(w, path)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" {
			t.Errorf("status %d, Retry-After %q, want 503 and 5", w.Code, w.Header().Get("Retry-After"))
		}
		if got := time.Since(started); got != 5*time.Second {
			t.Errorf("refused after %v, want 5s", got)
		}
		for _, other := range []string{"/lean/v0/blocks/finalized", "/lean/v0/fork_choice", "/lean/v0/health"} {
			if w := httptest.NewRecorder(); true {
				get(w, other)
				if w.Code != http.StatusOK {
					t.Errorf("%s: status %d, want 200", other, w.Code)
				}
			}
		}
		waiting := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			get(waiting, path)
			close(done)
		}()
		synctest.Wait()
		close(goOn)
		<-done
		if waiting.Code != http.StatusOK {
			t.Errorf("a request that waited gets %d, want 200", waiting.Code)
		}
	})
}
