// Package api serves the node's HTTP ports: the API of leanSpec's server, with the same status
// codes, content types and bodies, the metrics and the health checks.
//
// Handlers read immutable snapshots of the chain, so they never wait for it.
//
// The admin routes, /lean/v0/admin/ and /debug/pprof/, are closed to other machines unless [Access]
// opens them. In leanSpec they have no authentication.
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

// Backend is the chain that the API shows, and the node's role.
type Backend interface {
	// Snapshot returns the latest snapshot of the chain, or nil before the first one.
	Snapshot() *lstar.Snapshot
	// SignedBlock returns a block with its proof, or nil if either is not stored.
	SignedBlock(root lstar.Root) *lstar.SignedBlock
	// IsAggregator reports whether the node aggregates votes.
	IsAggregator() bool
	// SetAggregator turns aggregation on or off, and returns whether it was on.
	SetAggregator(enabled bool) (previous bool)
}

// Identity describes the node.
type Identity struct {
	Version   string   `json:"version"`
	PeerID    string   `json:"peer_id"`
	ENR       string   `json:"enr"`
	Addresses []string `json:"p2p_addresses"`
}

type handlers struct {
	Config
	state, block *encoding // the finalized ones
}

// Response bodies.
//
// leanSpec: node/api/responses.py
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

func toNode(b lstar.WeighedBlock) forkChoiceNode {
	return forkChoiceNode{b.Root.String(), b.Block.Slot, b.Block.ParentRoot.String(), b.Block.ProposerIndex, b.Weight}
}

func (h handlers) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, healthBody{Status: "healthy", Service: "lean-rpc-api"})
}

func (h handlers) identity(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.Identity()) }

// withSnapshot responds with 503 until the backend has a snapshot.
func (h handlers) withSnapshot(handle func(http.ResponseWriter, *lstar.Snapshot)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if s := h.Backend.Snapshot(); s != nil {
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
		nodes[i] = toNode(b)
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

// finalizedBlock serves the finalized block with its proof. If the node does not have the proof, it is
// empty, as in leanSpec: a node that syncs from this one trusts the finalized state and does not need it.
func (h handlers) finalizedBlock(w http.ResponseWriter, s *lstar.Snapshot) {
	root := s.LatestFinalized.Root
	signed := h.block.of(root, func() []byte {
		if b := h.Backend.SignedBlock(root); b != nil {
			return ssz.Marshal(b)
		}
		return nil
	})
	if signed != nil {
		writeSSZ(w, signed)
		return
	}
	// A node that started from a checkpoint state does not have the body of its block.
	block := s.Block(root)
	if block == nil || block.Root() != root {
		fail(w, http.StatusNotFound, "Finalized signed block not available")
		return
	}
	writeSSZ(w, lstar.EncodeBlock(block))
}

func (h handlers) aggregatorStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, aggregatorStatusBody{h.Backend.IsAggregator()})
}

func (h handlers) aggregatorToggle(w http.ResponseWriter, r *http.Request) {
	enabled, problem := readField(w, r, "enabled")
	if problem != "" {
		fail(w, http.StatusBadRequest, problem)
		return
	}
	value := string(enabled)
	if value != "true" && value != "false" {
		fail(w, http.StatusBadRequest, "'enabled' must be a boolean")
		return
	}
	want := value == "true"
	writeJSON(w, aggregatorToggleBody{IsAggregator: want, Previous: h.Backend.SetAggregator(want)})
}

// readField reads a field of the JSON object in the body of a request. If it cannot, problem says why.
func readField(w http.ResponseWriter, r *http.Request, field string) (value json.RawMessage, problem string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil || !json.Valid(body) {
		return nil, "Invalid JSON body"
	}
	var object map[string]json.RawMessage
	_ = json.Unmarshal(body, &object) // an array or a number has no fields
	value, ok := object[field]
	if !ok {
		return nil, "Missing '" + field + "' field in body"
	}
	return value, ""
}

func writeJSON(w http.ResponseWriter, body any) {
	b, err := json.Marshal(body)
	if err != nil { // impossible for the bodies above
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

// fail sends an error in the format of aiohttp: the status and a reason, as text.
func fail(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d: %s", status, reason)
}
