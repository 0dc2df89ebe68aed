// Package api serves the node's HTTP interface, with the routes, status codes,
// content types and bodies of leanSpec's server.
//
// Handlers read immutable snapshots of the chain and never wait for it.
//
// The admin routes have no authentication, as in leanSpec: access to them is to
// be restricted by the network around the node.
//
// leanSpec: node/api
package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// Backend is what the API shows and changes.
type Backend interface {
	// Snapshot returns the latest view of the chain, or nil before there is one.
	Snapshot() *lstar.Snapshot
	// SignedBlock returns a block with its proof, or nil if it or its proof is not
	// kept.
	SignedBlock(root lstar.Root) *lstar.SignedBlock
	// IsAggregator reports whether the node aggregates votes.
	IsAggregator() bool
	// SetAggregator makes the node aggregate, or not, and returns what it did before.
	SetAggregator(enabled bool) (previous bool)
}

// Handler returns the API, with the metrics beside it on the same port.
func Handler(b Backend, metrics http.Handler) http.Handler {
	h := handlers{backend: b, state: new(encoding), block: new(encoding)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lean/v0/health", h.health)
	mux.HandleFunc("GET /lean/v0/states/finalized", limited(h.withSnapshot(h.finalizedState)))
	mux.HandleFunc("GET /lean/v0/blocks/finalized", limited(h.withSnapshot(h.finalizedBlock)))
	mux.HandleFunc("GET /lean/v0/checkpoints/justified", h.withSnapshot(h.justifiedCheckpoint))
	mux.HandleFunc("GET /lean/v0/fork_choice", limited(h.withSnapshot(h.forkChoice)))
	mux.HandleFunc("GET /lean/v0/admin/aggregator", h.aggregatorStatus)
	mux.HandleFunc("POST /lean/v0/admin/aggregator", h.aggregatorToggle)
	mux.Handle("GET /metrics", metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" { // 404, or 405 with its Allow header
			w = plainError{w}
		}
		mux.ServeHTTP(w, r)
	})
}

// plainError puts the text of leanSpec's server in place of the one that the
// router writes.
type plainError struct{ http.ResponseWriter }

func (w plainError) WriteHeader(status int) { fail(w.ResponseWriter, status, http.StatusText(status)) }

func (w plainError) Write(b []byte) (int, error) { return len(b), nil }

// Identity is the node in the network.
type Identity struct {
	PeerID    string   `json:"peer_id"`
	ENR       string   `json:"enr"`
	Addresses []string `json:"p2p_addresses"`
}

// WithIdentity adds a route that leanSpec's server does not have,
// /lean/v0/node/identity, to the API.
func WithIdentity(api http.Handler, identity func() Identity) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET /lean/v0/node/identity", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, identity())
	})
	return mux
}

type handlers struct {
	backend      Backend
	state, block *encoding // of what is finalized
}

// Bodies of leanSpec's node/api/responses.py.
type (
	healthBody struct {
		Status  string `json:"status"`
		Service string `json:"service"`
	}
	checkpointBody struct {
		Slot lstar.Slot `json:"slot"`
		Root string     `json:"root"`
	}
	forkChoiceNode struct {
		Root          string               `json:"root"`
		Slot          lstar.Slot           `json:"slot"`
		ParentRoot    string               `json:"parent_root"`
		ProposerIndex lstar.ValidatorIndex `json:"proposer_index"`
		Weight        int                  `json:"weight"`
	}
	forkChoiceBody struct {
		Nodes          []forkChoiceNode `json:"nodes"`
		Head           string           `json:"head"`
		Justified      checkpointBody   `json:"justified"`
		Finalized      checkpointBody   `json:"finalized"`
		SafeTarget     string           `json:"safe_target"`
		ValidatorCount int              `json:"validator_count"`
	}
	aggregatorStatusBody struct {
		IsAggregator bool `json:"is_aggregator"`
	}
	aggregatorToggleBody struct {
		IsAggregator bool `json:"is_aggregator"`
		Previous     bool `json:"previous"`
	}
)

func toBody(c lstar.Checkpoint) checkpointBody { return checkpointBody{c.Slot, c.Root.String()} }

func (h handlers) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, healthBody{Status: "healthy", Service: "lean-rpc-api"})
}

// withSnapshot answers 503 until there is a chain to show.
func (h handlers) withSnapshot(handle func(http.ResponseWriter, *lstar.Snapshot)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if s := h.backend.Snapshot(); s != nil {
			handle(w, s)
		} else {
			fail(w, http.StatusServiceUnavailable, "Store not initialized")
		}
	}
}

func (h handlers) justifiedCheckpoint(w http.ResponseWriter, s *lstar.Snapshot) {
	writeJSON(w, toBody(s.LatestJustified))
}

func (h handlers) forkChoice(w http.ResponseWriter, s *lstar.Snapshot) {
	blocks := s.Blocks()
	nodes := make([]forkChoiceNode, len(blocks))
	for i, b := range blocks {
		nodes[i] = forkChoiceNode{b.Root.String(), b.Block.Slot, b.Block.ParentRoot.String(), b.Block.ProposerIndex, b.Weight}
	}
	writeJSON(w, forkChoiceBody{
		Nodes:          nodes,
		Head:           s.Head.Root.String(),
		Justified:      toBody(s.LatestJustified),
		Finalized:      toBody(s.LatestFinalized),
		SafeTarget:     s.SafeTarget.Root.String(),
		ValidatorCount: s.HeadState.Validators.Len(),
	})
}

func (h handlers) finalizedState(w http.ResponseWriter, s *lstar.Snapshot) {
	state := s.State(s.LatestFinalized.Root)
	if state == nil {
		fail(w, http.StatusNotFound, "Finalized state not available")
		return
	}
	writeSSZ(w, h.state.of(s.LatestFinalized.Root, state.Encode))
}

// finalizedBlock serves the block as it is kept, with its proof, and where there is
// no proof with an empty one, as leanSpec always does: a node that syncs from it
// pairs it with the finalized state and trusts that.
func (h handlers) finalizedBlock(w http.ResponseWriter, s *lstar.Snapshot) {
	root := s.LatestFinalized.Root
	signed := h.block.of(root, func() []byte {
		if b := h.backend.SignedBlock(root); b != nil {
			return ssz.Marshal(b)
		}
		return nil
	})
	if signed != nil {
		writeSSZ(w, signed)
		return
	}
	// A node that started from a state alone does not have the body.
	block := s.Block(root)
	if block == nil || block.Root() != root {
		fail(w, http.StatusNotFound, "Finalized signed block not available")
		return
	}
	writeSSZ(w, lstar.EncodeBlock(block))
}

func (h handlers) aggregatorStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, aggregatorStatusBody{h.backend.IsAggregator()})
}

func (h handlers) aggregatorToggle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid JSON body")
		return
	}
	var object map[string]json.RawMessage
	if !json.Valid(body) {
		fail(w, http.StatusBadRequest, "Invalid JSON body")
		return
	}
	_ = json.Unmarshal(body, &object) // JSON that is no object has no field either
	enabled, ok := object["enabled"]
	if !ok {
		fail(w, http.StatusBadRequest, "Missing 'enabled' field in body")
		return
	}
	value := string(enabled)
	if value != "true" && value != "false" {
		fail(w, http.StatusBadRequest, "'enabled' must be a boolean")
		return
	}
	want := value == "true"
	writeJSON(w, aggregatorToggleBody{IsAggregator: want, Previous: h.backend.SetAggregator(want)})
}

func writeJSON(w http.ResponseWriter, body any) {
	b, err := json.Marshal(body)
	if err != nil { // no body above can fail
		fail(w, http.StatusInternalServerError, "Encoding failed")
		return
	}
	limitTime(w, len(b))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func writeSSZ(w http.ResponseWriter, b []byte) {
	limitTime(w, len(b))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b)
}

// fail answers as aiohttp does for a raised HTTP error: the status and its
// reason, as text.
func fail(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d: %s", status, reason)
}
