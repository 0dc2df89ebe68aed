package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/xmss"
)

type backend struct {
	mu         sync.Mutex // of the store
	store      *lstar.Store
	signed     *lstar.SignedBlock
	aggregator bool
}

func (b *backend) SignedBlock(root lstar.Root) *lstar.SignedBlock {
	if b.signed == nil || b.signed.Block.Root() != root {
		return nil
	}
	return b.signed
}

func (b *backend) Snapshot() *lstar.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store == nil {
		return nil
	}
	return b.store.Snapshot()
}
func (b *backend) IsAggregator() bool { return b.aggregator }
func (b *backend) SetAggregator(on bool) bool {
	previous := b.aggregator
	b.aggregator = on
	return previous
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	state := lstar.GenesisState(7, lstar.NewValidators(make([]lstar.Validator, 3)))
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, nil)}
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	return &backend{store: store}
}

// TestAnswers checks responses that leanSpec's vectors do not cover.
func TestAnswers(t *testing.T) {
	const (
		jsonType = "application/json"
		ssz      = "application/octet-stream"
		text     = "text/plain; charset=utf-8"
		toggle   = "/lean/v0/admin/aggregator"
	)
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	for name, tt := range map[string]struct {
		noStore            bool
		method, path, body string
		status             int
		contentType, want  string // want is the whole body, unless empty
	}{
		"health":                 {false, "GET", "/lean/v0/health", "", 200, jsonType, `{"status":"healthy","service":"lean-rpc-api"}`},
		"health without a store": {true, "GET", "/lean/v0/health", "", 200, jsonType, ""},
		"head of health":         {false, "HEAD", "/lean/v0/health", "", 200, jsonType, ""},
		"metrics":                {false, "GET", "/metrics", "", 200, text, "metrics"},
		"finalized state":        {false, "GET", "/lean/v0/states/finalized", "", 200, ssz, ""},
		"finalized block":        {false, "GET", "/lean/v0/blocks/finalized", "", 200, ssz, ""},
		"no store for a state":   {true, "GET", "/lean/v0/states/finalized", "", 503, text, "503: Store not initialized"},
		"no store for a block":   {true, "GET", "/lean/v0/blocks/finalized", "", 503, text, "503: Store not initialized"},
		"no store for a tree":    {true, "GET", "/lean/v0/fork_choice", "", 503, text, "503: Store not initialized"},
		"no store, no justified": {true, "GET", "/lean/v0/checkpoints/justified", "", 503, text, "503: Store not initialized"},
		"unknown path":           {false, "GET", "/lean/v0/nothing", "", 404, text, "404: Not Found"},
		"root":                   {false, "GET", "/", "", 404, text, "404: Not Found"},
		"wrong method":           {false, "POST", "/lean/v0/health", "", 405, text, "405: Method Not Allowed"},
		"delete the role":        {false, "DELETE", toggle, "", 405, text, "405: Method Not Allowed"},
		"role":                   {false, "GET", toggle, "", 200, jsonType, `{"is_aggregator":false}`},
		"toggle":                 {false, "POST", toggle, `{"enabled":true,"more":1}`, 200, jsonType, `{"is_aggregator":true,"previous":false}`},
		"toggle with nothing":    {false, "POST", toggle, "", 400, text, "400: Invalid JSON body"},
		"toggle with half":       {false, "POST", toggle, `{"enabled":`, 400, text, "400: Invalid JSON body"},
		"toggle with a list":     {false, "POST", toggle, `[true]`, 400, text, "400: Missing 'enabled' field in body"},
		"toggle with null":       {false, "POST", toggle, `null`, 400, text, "400: Missing 'enabled' field in body"},
		"toggle with other":      {false, "POST", toggle, `{"Enabled":true}`, 400, text, "400: Missing 'enabled' field in body"},
		"toggle with a number":   {false, "POST", toggle, `{"enabled":1}`, 400, text, "400: 'enabled' must be a boolean"},
		"toggle with a string":   {false, "POST", toggle, `{"enabled":"true"}`, 400, text, "400: 'enabled' must be a boolean"},
		"toggle with null value": {false, "POST", toggle, `{"enabled":null}`, 400, text, "400: 'enabled' must be a boolean"},
		"toggle with too much":   {false, "POST", toggle, `{"enabled":true,"x":"` + strings.Repeat("x", 1<<17) + `"}`, 400, text, "400: Invalid JSON body"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			if tt.noStore {
				b.store = nil
			}
			w, r := httptest.NewRecorder(), httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			api.New(api.Config{Admin: api.Access{Open: true}, Backend: b, Metrics: metrics}).API.ServeHTTP(w, r)
			api.CheckResponse(t, r, w)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if got := w.Header().Get("Content-Type"); tt.path != "/metrics" && got != tt.contentType {
				t.Errorf("content type %q, want %q", got, tt.contentType)
			}
			if tt.want != "" && w.Body.String() != tt.want {
				t.Errorf("body %q, want %q", w.Body, tt.want)
			}
			if tt.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("405 without an Allow header")
			}
		})
	}
}

// TestPair checks that a peer that syncs from this node gets a block and its state.
func TestPair(t *testing.T) {
	b := newBackend(t)
	h := api.New(api.Config{Backend: b, Metrics: http.NotFoundHandler()}).API
	get := func(path string) []byte {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Body.Bytes()
	}
	state, err := lstar.DecodeState(get("/lean/v0/states/finalized"))
	if err != nil {
		t.Fatal(err)
	}
	block, err := lstar.DecodeSignedBlock(get("/lean/v0/blocks/finalized"))
	if err != nil {
		t.Fatal(err)
	}
	if block.Block.StateRoot != state.Root() || block.Block.Root() != b.store.LatestFinalized().Root {
		t.Error("the block and the state do not belong together, or are not the finalized ones")
	}
	if len(block.Proof.Proof) != 0 {
		t.Errorf("genesis has a proof of %d bytes, want an empty one", len(block.Proof.Proof))
	}
	var tree struct{ Nodes []struct{ Root string } }
	if err := json.Unmarshal(get("/lean/v0/fork_choice"), &tree); err != nil || len(tree.Nodes) != 1 {
		t.Errorf("fork choice at genesis: %+v %v, want one node", tree, err)
	}
}

// TestFinalizedProof checks that a block is served with its proof as soon as the node has it.
func TestFinalizedProof(t *testing.T) {
	b := newBackend(t)
	h := api.New(api.Config{Backend: b, Metrics: http.NotFoundHandler()}).API
	for _, want := range []string{"", "proof"} {
		if want != "" {
			b.signed = &lstar.SignedBlock{
				Block: *b.store.Block(b.store.LatestFinalized().Root), Proof: lstar.MultiMessageAggregate{Proof: []byte(want)},
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/blocks/finalized", nil))
		block, err := lstar.DecodeSignedBlock(w.Body.Bytes())
		if err != nil || string(block.Proof.Proof) != want {
			t.Errorf("block %v, error %v, want the proof %q", block, err, want)
		}
	}
}

// TestBlockWithoutBody checks that a node that started from a state does not serve a block without
// its body.
func TestBlockWithoutBody(t *testing.T) {
	b := largeBackend(t)
	finalized := b.store.LatestFinalized().Root
	state := b.store.State(finalized)
	attested := *state
	attested.LatestBlockHeader.BodyRoot = lstar.Root{1} // of a body that is not empty
	b.store = lstar.NewStoreFromState(lstar.Crypto{}, lstar.NetworkRules, &attested)
	w := httptest.NewRecorder()
	api.New(api.Config{Backend: b, Metrics: http.NotFoundHandler()}).API.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/blocks/finalized", nil))
	if want := "404: Finalized signed block not available"; w.Code != http.StatusNotFound || w.Body.String() != want {
		t.Errorf("status %d, body %q, want %q", w.Code, w.Body, want)
	}
}

// slowReader blocks in its first Write until goOn is closed.
type slowReader struct {
	*httptest.ResponseRecorder
	writing, goOn chan struct{}
}

func (s slowReader) Write(b []byte) (int, error) {
	close(s.writing)
	<-s.goOn
	return s.ResponseRecorder.Write(b)
}

// moving is a backend that returns a new snapshot for each call and keeps none.
type moving struct {
	*backend
	shown weak.Pointer[lstar.Snapshot]
}

func (m *moving) Snapshot() *lstar.Snapshot {
	s := m.store.Clone().Snapshot() // because a store keeps its latest snapshot
	m.shown = weak.Make(s)
	return s
}

// TestSlowReader checks that a client that reads slowly does not keep an old snapshot in memory.
func TestSlowReader(t *testing.T) {
	for _, path := range []string{
		"/lean/v0/states/finalized", "/lean/v0/blocks/finalized", "/lean/v0/fork_choice", "/lean/v0/checkpoints/justified",
	} {
		m := &moving{backend: newBackend(t)}
		w := slowReader{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			api.New(api.Config{Backend: m, Metrics: http.NotFoundHandler()}).API.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		}()
		<-w.writing
		runtime.GC()
		if m.shown.Value() != nil {
			t.Errorf("%s: the snapshot is in memory while the response is read, want it collected", path)
		}
		close(w.goOn)
		<-done
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
}
