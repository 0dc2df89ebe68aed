package api

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	_ "net/http/pprof" // its routes in http.DefaultServeMux
	"slices"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/node/health"
)

// Config has the parts of the node that its HTTP ports show and change.
type Config struct {
	Backend  Backend
	Metrics  http.Handler
	Health   *health.Monitor
	Identity func() Identity
	// Peers returns the connected peers.
	Peers func() []Peer
	// NetworkName is the name of the network in gossip topics.
	NetworkName string
	// Stream serves the events of the node. It may be nil. The API then has no route for them.
	Stream *Stream
	// Admin decides which requests may use the admin routes.
	Admin Access
	// CORSOrigins are the origins whose pages may read the routes other than the admin routes in a
	// browser; "*" stands for all.
	CORSOrigins []string
	// LogLevels may be nil. The API then has no route to change them.
	LogLevels LogLevels
	// Log receives a line for each change of the log levels.
	Log *slog.Logger
}

// Handlers are the handlers of the node's HTTP ports.
type Handlers struct{ API, Metrics, RPC http.Handler }

type routes map[string]http.Handler // by method and path

// New returns the handlers of all ports. Requests without a route get the responses of leanSpec's server.
func New(c Config) Handlers {
	// Each port has its own limit, so that clients of one do not delay those of the other.
	metrics := func() routes {
		return routes{"GET /metrics": limited(func(w http.ResponseWriter, r *http.Request) {
			limitTime(w, 0)
			c.Metrics.ServeHTTP(w, r)
		})}
	}
	probes := routes{"GET /health": c.Health, "GET /livez": c.Health.Livez(), "GET /readyz": c.Health.Readyz()}
	debug := routes{"GET /debug/pprof/": http.DefaultServeMux} // net/http/pprof registers its routes there
	return Handlers{
		API:     c.newMux(apiRoutes(c), metrics()),
		Metrics: c.newMux(probes, metrics(), debug, index(probes, metrics(), debug)),
		RPC:     c.newMux(probes, index(probes)),
	}
}

// apiRoutes returns the routes of the API port, except /metrics. openapi.json describes them.
func apiRoutes(c Config) routes {
	h := handlers{Config: c, state: new(encoding), block: new(encoding)}
	api := routes{
		"GET /lean/v0/health":                http.HandlerFunc(h.health),
		"GET /lean/v0/states/finalized":      limited(h.withSnapshot(h.finalizedState)),
		"GET /lean/v0/blocks/finalized":      limited(h.withSnapshot(h.finalizedBlock)),
		"GET /lean/v0/checkpoints/justified": h.withSnapshot(h.justifiedCheckpoint),
		"GET /lean/v0/fork_choice":           limited(h.withSnapshot(h.forkChoice)),
		"GET /lean/v0/admin/aggregator":      http.HandlerFunc(h.aggregatorStatus),
		"POST /lean/v0/admin/aggregator":     http.HandlerFunc(h.aggregatorToggle),
		// Additions to leanSpec's routes.
		"GET /lean/v0/openapi.json":             http.HandlerFunc(openAPI),
		"GET /v0/health":                        http.HandlerFunc(h.health), // asked for by lean-quickstart
		"GET /lean/v0/genesis":                  h.withStore(h.genesis),
		"GET /lean/v0/config":                   h.withStore(h.config),
		"GET /lean/v0/config/spec":              http.HandlerFunc(h.spec),
		"GET /lean/v0/node/identity":            http.HandlerFunc(h.identity),
		"GET /lean/v0/node/syncing":             h.withStore(h.syncing),
		"GET /lean/v0/node/peers":               http.HandlerFunc(h.peers),
		"GET /lean/v0/blocks/{block_id}":        limited(h.blockRoute(h.blockJSON)),
		"GET /lean/v0/blocks/{block_id}/header": limited(h.blockRoute(h.header)),
		"GET /lean/v0/slots/{slot}":             limited(h.withStore(h.slotBlocks)),
		"GET /lean/v0/checkpoints/finalized":    h.withStore(h.finalizedCheckpoint),
		"GET /lean/v0/validators":               limited(h.withStore(h.validators)),
		"GET /lean/v0/states/finalized/summary": h.withStore(h.finalizedSummary),
	}
	if c.LogLevels != nil {
		api["GET /lean/v0/admin/log_level"] = http.HandlerFunc(h.logLevel)
		api["POST /lean/v0/admin/log_level"] = http.HandlerFunc(h.changeLogLevel)
	}
	if c.Stream != nil {
		api["GET /lean/v0/events"] = c.Stream
	}
	return api
}

// index returns a route for / that lists the paths of all routes.
func index(all ...routes) routes {
	paths := make(map[string]bool)
	for _, r := range all {
		for pattern := range r {
			paths[strings.TrimPrefix(pattern, "GET ")] = true
		}
	}
	list := strings.Join(slices.Sorted(maps.Keys(paths)), "\n") + "\n"
	return routes{"GET /{$}": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, list)
	})}
}

// newMux returns the handler of a port. It guards the admin routes, so a new one cannot be left open.
func (c Config) newMux(all ...routes) http.Handler {
	mux := http.NewServeMux()
	for _, r := range all {
		for pattern, handler := range r {
			mux.Handle(pattern, handler)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		_, path, _ := strings.Cut(pattern, " ")
		switch {
		case isAdmin(path) && !c.Admin.allows(r):
			fail(w, http.StatusForbidden, c.Admin.Advice)
			return
		case !isAdmin(r.URL.Path) && c.allowOrigin(w, r):
			return
		case pattern == "": // 404, or 405 with its Allow header
			w = plainError{w}
		}
		mux.ServeHTTP(w, r)
	})
}

// plainError replaces the text of the router's errors with that of leanSpec's server.
type plainError struct{ http.ResponseWriter }

func (w plainError) WriteHeader(status int) { fail(w.ResponseWriter, status, http.StatusText(status)) }

func (w plainError) Write(b []byte) (int, error) { return len(b), nil }
