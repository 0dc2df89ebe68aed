package api_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
)

func TestLogLevel(t *testing.T) {
	const path = "/lean/v0/admin/log_level"
	for name, tt := range map[string]struct {
		method, body string
		status       int
		want         string
		then         string // the level afterwards
	}{
		"get":             {"GET", "", 200, `{"level":"info,p2p=warn"}`, "info,p2p=warn"},
		"head":            {"HEAD", "", 200, `{"level":"info,p2p=warn"}`, "info,p2p=warn"}, // a server sends no body
		"change":          {"POST", `{"level":"warn,chain=debug","more":1}`, 200, `{"level":"warn,chain=debug","previous":"info,p2p=warn"}`, "warn,chain=debug"},
		"to silence":      {"POST", `{"level":"error"}`, 200, `{"level":"error","previous":"info,p2p=warn"}`, "error"},
		"no component":    {"POST", `{"level":"info,x=debug"}`, 400, `400: 'level': unknown component "x", want one of api, chain, `, "info,p2p=warn"},
		"no level":        {"POST", `{"level":"loud"}`, 400, `400: 'level': unknown log level "loud", want debug, info, warn or error`, "info,p2p=warn"},
		"nothing":         {"POST", ``, 400, "400: Invalid JSON body", "info,p2p=warn"},
		"half":            {"POST", `{"level":`, 400, "400: Invalid JSON body", "info,p2p=warn"},
		"a list":          {"POST", `["debug"]`, 400, "400: Missing 'level' field in body", "info,p2p=warn"},
		"another case":    {"POST", `{"Level":"debug"}`, 400, "400: Missing 'level' field in body", "info,p2p=warn"},
		"a number":        {"POST", `{"level":1}`, 400, "400: 'level' must be a string", "info,p2p=warn"},
		"null":            {"POST", `{"level":null}`, 400, "400: 'level' must be a string", "info,p2p=warn"},
		"too much":        {"POST", `{"level":"debug","x":"` + strings.Repeat("x", 1<<17) + `"}`, 400, "400: Invalid JSON body", "info,p2p=warn"},
		"another method":  {"DELETE", "", 405, "405: Method Not Allowed", "info,p2p=warn"},
		"control letters": {"POST", `{"level":"\u001b[31m"}`, 400, `400: 'level': unknown log level "\x1b[31m"`, "info,p2p=warn"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, control := logging.New(logging.Options{Writer: &out})
			if _, _, err := control.SetLogLevel("info,p2p=warn"); err != nil {
				t.Fatal(err)
			}
			h := api.New(api.Config{Admin: api.Access{Open: true}, Backend: newBackend(t), Metrics: http.NotFoundHandler(), LogLevels: control, Log: logging.Component(log, "api")}).API
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, path, strings.NewReader(tt.body)))
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
			if got := control.LogLevel(); got != tt.then {
				t.Errorf("the level is %s, want %s", got, tt.then)
			}
			if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
			said := strings.Contains(out.String(), "log level changed")
			if want := name == "change"; said != want && name != "to silence" {
				t.Errorf("log %q, want a line of the change: %v", out.String(), want)
			}
		})
	}
	// The other routes do not depend on it.
	_, control := logging.New(logging.Options{})
	log, _ := logging.New(logging.Options{})
	h := api.New(api.Config{Backend: newBackend(t), Metrics: http.NotFoundHandler(), LogLevels: control, Log: log}).API
	for path, want := range map[string]int{"/lean/v0/health": 200, "/lean/v0/admin/nothing": 404, "/": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
