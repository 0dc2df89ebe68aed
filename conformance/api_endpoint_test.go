package conformance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
)

// apiEndpointFixture is a request to a node that has just started, and the response.
//
// leanSpec: test_fixtures/api_endpoint.py
type apiEndpointFixture struct {
	envelope
	Endpoint, Method string
	GenesisParams    struct {
		NumValidators *int
		GenesisTime   *uint64
		AnchorSlot    *lstar.Slot
	}
	RequestBody         any
	InitialIsAggregator bool
	ExpectedStatusCode  int
	ExpectedContentType string
	ExpectedBody        any
}

func (f *apiEndpointFixture) run(t *testing.T, env *environment) {
	params := &f.GenesisParams
	anchor, block := buildAnchor(t, &f.envelope, valueOr(params.NumValidators, 4), valueOr(params.AnchorSlot, 0), valueOr(params.GenesisTime, 0))
	store, err := lstar.NewStore(lstar.Crypto{Signatures: env.scheme, Proofs: mockedProofs{}}, env.rules, anchor, block)
	if err != nil {
		t.Fatal(err)
	}
	metrics := metrics.New(metrics.Info{})
	backend := &apiBackend{snapshot: store.Snapshot(), isAggregator: f.InitialIsAggregator}
	handler := api.New(api.Config{Admin: api.Access{Open: true}, Backend: backend, Metrics: metrics.Handler()}).API

	var body bytes.Buffer
	if f.RequestBody != nil {
		if err := json.NewEncoder(&body).Encode(f.RequestBody); err != nil {
			t.Fatal(err)
		}
	}
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequest(f.Method, f.Endpoint, &body))

	checkEqual(t, "status code", response.Code, f.ExpectedStatusCode)
	checkEqual(t, "content type", response.Header().Get("Content-Type"), f.ExpectedContentType)
	f.checkBody(t, response.Body.Bytes())
	if want, ok := f.ExpectedBody.(map[string]any); ok && f.Method == http.MethodPost {
		checkEqual(t, "aggregator role after the request", backend.isAggregator, want["is_aggregator"])
	}
}

func (f *apiEndpointFixture) checkBody(t *testing.T, got []byte) {
	t.Helper()
	if hexWanted, ok := f.ExpectedBody.(string); ok {
		if "0x"+hex.EncodeToString(got) != hexWanted {
			t.Errorf("body is 0x%x, want %s", got, hexWanted)
		}
		return
	}
	if object, ok := f.ExpectedBody.(map[string]any); ok && object["required_metric_names"] != nil {
		var want struct {
			Names []string `json:"required_metric_names"`
		}
		if err := (reader{}).into(&want, f.ExpectedBody); err != nil {
			t.Fatal(err)
		}
		for _, name := range want.Names {
			if !strings.Contains("\n"+string(got), "\n# TYPE "+name+" ") {
				t.Errorf("metric %s is missing", name)
			}
		}
		return
	}
	d := json.NewDecoder(bytes.NewReader(got))
	d.UseNumber()
	var body any
	if err := d.Decode(&body); err != nil {
		t.Fatalf("body %q: %v", got, err)
	}
	if !reflect.DeepEqual(body, f.ExpectedBody) {
		t.Errorf("body is\n%v, want\n%v", body, f.ExpectedBody)
	}
}

// apiBackend is a node that does nothing except change its role.
type apiBackend struct {
	snapshot     *lstar.Snapshot
	isAggregator bool
}

func (b *apiBackend) Snapshot() *lstar.Snapshot { return b.snapshot }
func (b *apiBackend) IsAggregator() bool        { return b.isAggregator }

// SignedBlock returns nil: the vectors' block has no proof.
func (b *apiBackend) SignedBlock(lstar.Root) *lstar.SignedBlock { return nil }

func (b *apiBackend) SetAggregator(enabled bool) bool {
	previous := b.isAggregator
	b.isAggregator = enabled
	return previous
}

func valueOr[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
