package api

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

type aggregator struct{ Backend }

func (aggregator) IsAggregator() bool                        { return false }
func (aggregator) SetAggregator(bool) bool                   { return false }
func (aggregator) LogLevel() string                          { return "info" }
func (aggregator) SetLogLevel(string) (_, _ string, _ error) { return "info", "info", nil }

func portsOf(admin Access, origins ...string) Handlers {
	return New(Config{
		Backend: aggregator{}, LogLevels: aggregator{}, Log: slog.New(slog.DiscardHandler), Admin: admin, CORSOrigins: origins,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
		Health:  &health.Monitor{Sync: func() health.Sync { return health.Sync{} }},
	})
}

// adminRequests returns a request to each admin route with the handler of its port.
func adminRequests(h Handlers) map[*http.Request]http.Handler {
	all := make(map[*http.Request]http.Handler)
	add := func(port http.Handler, method, path, body string) {
		all[httptest.NewRequest(method, path, strings.NewReader(body))] = port
	}
	add(h.API, "GET", "/lean/v0/admin/aggregator", "")
	add(h.API, "HEAD", "/lean/v0/admin/aggregator", "")
	add(h.API, "POST", "/lean/v0/admin/aggregator", `{"enabled":true}`)
	add(h.API, "GET", "/lean/v0/admin/log_level", "")
	add(h.API, "POST", "/lean/v0/admin/log_level", `{"level":"info"}`)
	for _, path := range []string{"", "heap?debug=1", "goroutine", "cmdline", "symbol", "trace?seconds=0.01"} {
		add(h.Metrics, "GET", "/debug/pprof/"+path, "")
	}
	return all
}

func TestAccess(t *testing.T) {
	const token = "s3cret"
	local := func(r *http.Request) { r.RemoteAddr, r.Host = "127.0.0.1:1234", "localhost:5052" }
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			local(r)
			r.Header.Set(name, value)
		}
	}
	remote := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	from := func(sender, host string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr, r.Host = sender, host }
	}
	for name, test := range map[string]struct {
		admin   Access
		edit    func(*http.Request)
		allowed bool
	}{
		"another machine":                {Access{}, func(*http.Request) {}, false},
		"this machine":                   {Access{}, local, true},
		"this machine, IPv6":             {Access{}, from("[::1]:1", "[::1]:5052"), true},
		"this machine, mapped":           {Access{}, from("[::ffff:127.0.0.1]:1", "127.0.0.1"), true},
		"own address of another network": {Access{}, from("192.0.2.1:1", "192.0.2.1:5052"), false},
		"another name, rebound":          {Access{}, from("127.0.0.1:1", "evil.example:5052"), false},
		"no sender":                      {Access{}, from("", "localhost"), false},
		"a proxy":                        {Access{}, with("X-Forwarded-For", "192.0.2.1"), false},
		"a proxy that hides the client":  {Access{}, with("X-Forwarded-For", ""), false},
		"a proxy, RFC 7239":              {Access{}, with("Forwarded", "for=192.0.2.1"), false},
		"nginx":                          {Access{}, with("X-Real-IP", "192.0.2.1"), false},
		"a token of nothing":             {Access{}, remote("Authorization", "Bearer "), false},
		"token":                          {Access{Token: token}, remote("Authorization", "Bearer "+token), true},
		"token, lower case":              {Access{Token: token}, remote("Authorization", "bearer "+token), true},
		"token, this machine":            {Access{Token: token}, with("Authorization", "Bearer "+token), true},
		"no token":                       {Access{Token: token}, func(*http.Request) {}, false},
		"no token, this machine":         {Access{Token: token}, local, false},
		"wrong token":                    {Access{Token: token}, remote("Authorization", "Bearer s3creT"), false},
		"longer token":                   {Access{Token: token}, remote("Authorization", "Bearer "+token+"x"), false},
		"empty token":                    {Access{Token: token}, remote("Authorization", "Bearer"), false},
		"another scheme":                 {Access{Token: token}, remote("Authorization", "Basic "+token), false},
		"token in the URL":               {Access{Token: token}, func(r *http.Request) { r.URL.RawQuery = "token=" + token }, false},
		"open":                           {Access{Open: true}, func(*http.Request) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			test.admin.Advice = "use a token"
			for r, port := range adminRequests(portsOf(test.admin)) {
				test.edit(r)
				w := httptest.NewRecorder()
				port.ServeHTTP(w, r)
				want := http.StatusOK
				if !test.allowed {
					want = http.StatusForbidden
				}
				if w.Code != want || !test.allowed && w.Body.String() != "403: use a token" {
					t.Errorf("%s %s: %d %.40q, want %d", r.Method, r.URL, w.Code, w.Body, want)
				}
			}
		})
	}
}

// TestAccessOfPages checks that a page of another site cannot use the admin routes by way of a
// browser on this machine.
func TestAccessOfPages(t *testing.T) {
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200} {
		r := httptest.NewRequest("POST", "/lean/v0/admin/aggregator", strings.NewReader(`{"enabled":true}`))
		r.RemoteAddr, r.Host = "127.0.0.1:1234", "localhost:5052"
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		portsOf(Access{}, "*").API.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", site, w.Code, want)
		}
	}
}

// TestCORS checks that browsers show responses to pages of the listed origins only, and never those
// of the admin routes.
func TestCORS(t *testing.T) {
	const page = "http://localhost:3000"
	for name, test := range map[string]struct {
		origins              []string
		method, path, origin string
		status               int
		allowed              string
	}{
		"none listed":         {nil, "GET", "/lean/v0/health", page, 200, ""},
		"none listed, before": {nil, "OPTIONS", "/lean/v0/health", page, 405, ""},
		"listed":              {[]string{"https://x", page}, "GET", "/lean/v0/health", page, 200, page},
		"listed, metrics":     {[]string{page}, "GET", "/metrics", page, 200, page},
		"listed, not found":   {[]string{page}, "GET", "/nothing", page, 404, page},
		"listed, before":      {[]string{page}, "OPTIONS", "/lean/v0/health", page, 204, page},
		"all":                 {[]string{"*"}, "GET", "/lean/v0/health", page, 200, page},
		"another":             {[]string{page}, "GET", "/lean/v0/health", "http://localhost:3001", 200, ""},
		"another, before":     {[]string{page}, "OPTIONS", "/lean/v0/health", "http://localhost:3001", 405, ""},
		"no page":             {[]string{"*"}, "GET", "/lean/v0/health", "", 200, ""},
		"admin":               {[]string{"*"}, "GET", "/lean/v0/admin/aggregator", page, 200, ""},
		"admin, before":       {[]string{"*"}, "OPTIONS", "/lean/v0/admin/aggregator", page, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.path, nil)
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			if test.method == http.MethodOptions {
				r.Header.Set("Access-Control-Request-Method", "GET")
			}
			w := httptest.NewRecorder()
			portsOf(Access{Open: true}, test.origins...).API.ServeHTTP(w, r)
			if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != test.status || got != test.allowed {
				t.Errorf("status %d, allowed origin %q, want %d and %q", w.Code, got, test.status, test.allowed)
			}
		})
	}
}
