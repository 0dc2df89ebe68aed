package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

// document is openapi.json, with schemas that do not allow properties that they do not have.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		return nil, err
	}
	for _, ref := range doc.Components.Schemas {
		forbidOthers(ref.Value)
	}
	return doc, nil
})

func forbidOthers(s *openapi3.Schema) {
	if s.Type.Is("object") && s.AdditionalProperties.Has == nil {
		s.AdditionalProperties.Has = new(bool)
	}
	for _, p := range s.Properties {
		if p.Ref == "" {
			forbidOthers(p.Value)
		}
	}
	if s.Items != nil && s.Items.Ref == "" {
		forbidOthers(s.Items.Value)
	}
}

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// CheckResponse checks a response of the API against openapi.json.
func CheckResponse(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range documentedRoutes() {
		mux.Handle(pattern, handler)
	}
	_, pattern := mux.Handler(r)
	if pattern == "" || r.Method == http.MethodHead {
		return // an answer of the router
	}
	method, path, _ := strings.Cut(pattern, " ")
	item := loadDocument(t).Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Errorf("openapi.json has no %s", pattern)
		return
	}
	response := item.GetOperation(method).Responses.Status(w.Code)
	if response == nil {
		t.Errorf("openapi.json: %s has no status %d", pattern, w.Code)
		return
	}
	kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	content := response.Value.Content[kind]
	if err != nil || content == nil {
		t.Errorf("openapi.json: %s %d has no content type %q", pattern, w.Code, w.Header().Get("Content-Type"))
		return
	}
	if kind == "application/json" {
		checkSchema(t, fmt.Sprintf("%s %s: %d", r.Method, r.URL, w.Code), content.Schema.Value, w.Body.Bytes())
	}
}

func checkSchema(t *testing.T, name string, schema *openapi3.Schema, body []byte) {
	t.Helper()
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%s: %v in %s", name, err, body)
	} else if err := schema.VisitJSON(value); err != nil {
		t.Errorf("%s: %s\n%v", name, body, err)
	}
}

// levels are log levels.
type levels struct{ text string }

func (l *levels) LogLevel() string { return l.text }
func (l *levels) SetLogLevel(text string) (previous, now string, err error) {
	previous, l.text = l.text, text
	return previous, text, nil
}

// documentedRoutes returns all routes of the API port that belong to the API.
func documentedRoutes() routes {
	all := apiRoutes(Config{LogLevels: &levels{}, Stream: NewStream(), Health: new(health.Monitor), Log: slog.New(slog.DiscardHandler)})
	all["GET /metrics"] = http.NotFoundHandler()
	return all
}

// TestDocument checks that openapi.json is valid, that it has exactly the routes of the API and a schema for each event,
// and that docs/api.md names all routes and topics.
func TestDocument(t *testing.T) {
	doc := loadDocument(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented[method+" "+path] = true
		}
	}
	page, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range doc.Paths.Map() {
		if !strings.Contains(string(page), path+"`") {
			t.Errorf("docs/api.md has no %s", path)
		}
	}
	for _, topic := range topicNames {
		if !strings.Contains(string(page), "\n| `"+topic+"` |") {
			t.Errorf("docs/api.md has no topic %s", topic)
		}
	}
	served := documentedRoutes()
	for route := range served {
		if !documented[route] {
			t.Errorf("openapi.json has no %s", route)
		}
	}
	for route := range documented {
		if served[route] == nil {
			t.Errorf("openapi.json has %s, which the API does not serve", route)
		}
	}
	var schemas []string
	for name := range doc.Components.Schemas {
		if topic, isEvent := strings.CutPrefix(name, "event."); isEvent {
			schemas = append(schemas, topic)
		}
	}
	slices.Sort(schemas)
	names := slices.Sorted(slices.Values(topicNames[:]))
	if !slices.Equal(schemas, names) {
		t.Errorf("schemas of events %v, want %v", schemas, names)
	}
	enum := doc.Paths.Value("/lean/v0/events").Get.Parameters.GetByInAndName("query", "topics").Schema.Value.Items.Value.Enum
	if got, want := fmt.Sprint(enum), fmt.Sprint(topicNames); got != want {
		t.Errorf("topics %s, want %s", got, want)
	}

	w := httptest.NewRecorder()
	New(Config{Metrics: http.NotFoundHandler()}).API.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/openapi.json", nil))
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), openAPIDocument) {
		t.Errorf("/lean/v0/openapi.json: %d, %d bytes, want the document", w.Code, w.Body.Len())
	}
}

// TestEventSchemas checks each payload of the event stream.
func TestEventSchemas(t *testing.T) {
	doc := loadDocument(t)
	for _, test := range streamCases(t) {
		for _, frame := range test.frames {
			name, data, _ := strings.Cut(strings.TrimPrefix(frame, "event: "), "\ndata: ")
			checkSchema(t, fmt.Sprintf("%T as %s", test.event, name), doc.Components.Schemas["event."+name].Value, []byte(data))
		}
	}
}

// memory is a backend that holds a snapshot.
type memory struct {
	snapshot   *lstar.Snapshot
	aggregator bool
}

func (m *memory) Snapshot() *lstar.Snapshot                 { return m.snapshot }
func (m *memory) SignedBlock(lstar.Root) *lstar.SignedBlock { return nil }
func (m *memory) IsAggregator() bool                        { return m.aggregator }
func (m *memory) SetAggregator(on bool) (previous bool) {
	previous, m.aggregator = m.aggregator, on
	return previous
}

// TestEveryRouteValidates checks a successful response of each route, and some that are not, against openapi.json.
func TestEveryRouteValidates(t *testing.T) {
	state := lstar.GenesisState(7, lstar.NewValidators(make([]lstar.Validator, 3)))
	store, err := lstar.NewStore(lstar.Crypto{}, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		t.Fatal(err)
	}
	stream := NewStream()
	ctx, stop := t.Context(), func() { close(stream.stopped) } // the stream ends at once
	stop()
	backend := &memory{snapshot: store.Snapshot()}
	api := New(Config{
		Admin: Access{Open: true}, Backend: backend, LogLevels: &levels{"info"}, Stream: stream, Log: slog.New(slog.DiscardHandler),
		Health:   &health.Monitor{Sync: func() health.Sync { return health.Sync{Synced: true} }},
		Identity: func() Identity { return Identity{} },
		Peers:    func() []Peer { return []Peer{{State: "connected", Direction: "inbound", Head: &lstar.Checkpoint{}}} },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			_, _ = io.WriteString(w, "# HELP ")
		}),
	}).API
	left := maps.Clone(documentedRoutes())
	for _, request := range []struct {
		route, path, body string
		status            int
	}{
		{"GET /lean/v0/blocks/{block_id}", "blocks/head", "", 200},
		{"GET /lean/v0/blocks/{block_id}", "blocks/7", "", 404},
		{"GET /lean/v0/blocks/{block_id}", "blocks/x", "", 400},
		{"GET /lean/v0/blocks/{block_id}/header", "blocks/0/header", "", 200},
		{"GET /lean/v0/blocks/{block_id}/header", "blocks/9/header", "", 404},
		{"GET /lean/v0/blocks/{block_id}/header", "blocks/0x/header", "", 400},
		{"GET /lean/v0/slots/{slot}", "slots/0", "", 200},
		{"GET /lean/v0/slots/{slot}", "slots/x", "", 400},
		{"GET /lean/v0/events", "events?topics=head", "", 200},
		{"GET /lean/v0/events", "events?topics=x", "", 400},
		{"POST /lean/v0/admin/aggregator", "admin/aggregator", `{"enabled":true}`, 200},
		{"POST /lean/v0/admin/aggregator", "admin/aggregator", `{}`, 400},
		{"POST /lean/v0/admin/log_level", "admin/log_level", `{"level":"debug"}`, 200},
		{"POST /lean/v0/admin/log_level", "admin/log_level", `{"level":1}`, 400},
	} {
		method, _, _ := strings.Cut(request.route, " ")
		delete(left, request.route)
		checkRoute(t, api, httptest.NewRequestWithContext(ctx, method, "/lean/v0/"+request.path, strings.NewReader(request.body)), request.status)
	}
	for route := range left { // those without a parameter
		method, path, _ := strings.Cut(route, " ")
		checkRoute(t, api, httptest.NewRequest(method, path, nil), http.StatusOK)
	}
	backend.snapshot = nil
	for _, path := range []string{"blocks/head", "blocks/head/header", "blocks/finalized", "states/finalized", "states/finalized/summary",
		"checkpoints/justified", "checkpoints/finalized", "genesis", "config", "slots/0", "validators", "fork_choice", "node/syncing"} {
		checkRoute(t, api, httptest.NewRequest(http.MethodGet, "/lean/v0/"+path, nil), http.StatusServiceUnavailable)
	}
}

func checkRoute(t *testing.T, api http.Handler, r *http.Request, status int) {
	t.Helper()
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if w.Code != status {
		t.Errorf("%s %s: %d %s, want %d", r.Method, r.URL, w.Code, w.Body, status)
	}
	CheckResponse(t, r, w)
}
