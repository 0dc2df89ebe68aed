package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// chainBackend returns a backend with a canonical chain of genesis and blocks at slots 1 and 3, and
// a block of another fork at slot 2. The blocks are named genesis, one, three and fork in roots.
// The block at slot 3 has a vote of validator 0.
func chainBackend(t *testing.T) (b *backend, roots map[string]lstar.Root) {
	t.Helper()
	state := lstar.GenesisState(7, lstar.NewValidators(make([]lstar.Validator, 3)))
	genesis := lstar.GenesisBlock(state)
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: prooftest.Trusting{Max: 100}}
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, genesis)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.OnTick(lstar.Slot(4).Interval(), false, false); err != nil {
		t.Fatal(err)
	}
	roots = map[string]lstar.Root{"genesis": genesis.Root()}
	add := func(name, parent string, slot lstar.Slot, votes ...lstar.AggregatedAttestation) {
		t.Helper()
		block := lstar.Block{
			Slot: slot, ProposerIndex: lstar.ValidatorIndex(slot % 3), ParentRoot: roots[parent], Body: lstar.BlockBody{Attestations: votes},
		}
		after, err := store.State(roots[parent]).ProcessSlots(slot)
		if err == nil {
			after, err = after.ProcessBlock(&block)
		}
		if err == nil {
			block.StateRoot = after.Root()
			roots[name] = block.Root()
			err = store.OnBlock(&lstar.SignedBlock{Block: block, Proof: lstar.MultiMessageAggregate{Proof: []byte{1}}})
		}
		if err != nil {
			t.Fatalf("block %s: %v", name, err)
		}
	}
	add("one", "genesis", 1)
	add("fork", "genesis", 2)
	bits, err := lstar.BitsFromIndices([]lstar.ValidatorIndex{0})
	if err != nil {
		t.Fatal(err)
	}
	one := lstar.Checkpoint{Root: roots["one"], Slot: 1}
	vote := lstar.AttestationData{Slot: 1, Head: one, Target: one, Source: lstar.Checkpoint{Root: roots["genesis"]}}
	add("three", "one", 3, lstar.AggregatedAttestation{AggregationBits: bits, Data: vote})
	store.AddKnownAggregate(&lstar.SignedAggregatedAttestation{Data: vote, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte{1}}})
	store.UpdateHead()
	if head := store.Head().Root; head != roots["three"] {
		t.Fatalf("head = %s, want the block at slot 3", head)
	}
	return &backend{store: store}, roots
}

// infoConfig returns the configuration of a node that is 6 slots behind.
func infoConfig(b api.Backend) api.Config {
	return api.Config{
		Backend: b, Metrics: http.NotFoundHandler(), NetworkName: "12345678",
		Health: &health.Monitor{Sync: func() health.Sync { return health.Sync{Reason: "stale_head", HeadSlot: 3, ClockSlot: 9} }},
		Identity: func() api.Identity {
			return api.Identity{Version: "leanspec-node/v1", PeerID: "16Uiu2", Addresses: []string{}}
		},
		Peers: func() []api.Peer {
			return []api.Peer{
				{PeerID: "16Uiu1", Address: "/ip4/10.0.0.1/udp/9000/quic-v1", State: "connected", Direction: "inbound", Connected: time.Unix(10, 0).UTC()},
				{PeerID: "16Uiu3", Name: "zeam_0", Address: "/ip4/10.0.0.2/udp/9000/quic-v1", State: "connected", Direction: "outbound",
					Connected: time.Unix(10, 0).UTC(), Head: &lstar.Checkpoint{Slot: 8}, Finalized: &lstar.Checkpoint{Slot: 2}},
			}
		},
	}
}

// TestInfo checks the responses of the additions to leanSpec's routes.
func TestInfo(t *testing.T) {
	b, roots := chainBackend(t)
	h := api.New(infoConfig(b)).API
	zero, key := lstar.Root{}.String(), "0x"+strings.Repeat("00", xmss.PublicKeySize)
	body := func(name string) string { return b.store.State(roots[name]).LatestBlockHeader.BodyRoot.String() }
	state := func(name string) string { return b.store.Block(roots[name]).StateRoot.String() }
	checkpoint := func(name, slot string) string { return `{"slot":` + slot + `,"root":"` + roots[name].String() + `"}` }
	header := func(name, parent, slot, proposer string) string {
		parentRoot := zero
		if parent != "" {
			parentRoot = roots[parent].String()
		}
		return `{"root":"` + roots[name].String() + `","slot":` + slot + `,"proposer_index":` + proposer + `,"parent_root":"` + parentRoot +
			`","state_root":"` + state(name) + `","body_root":"` + body(name) + `"`
	}
	node := func(name, parent, slot, proposer, weight string) string {
		return `{"root":"` + roots[name].String() + `","slot":` + slot + `,"parent_root":"` + roots[parent].String() + `","proposer_index":` +
			proposer + `,"weight":` + weight + `}`
	}
	head := header("three", "one", "3", "0") + `,"weight":0,"body":{"attestations":[{"aggregation_bits":"0x03","data":{"slot":1,"head":` +
		checkpoint("one", "1") + `,"target":` + checkpoint("one", "1") + `,"source":` + checkpoint("genesis", "0") + `}}]}}`
	one := header("one", "genesis", "1", "1") + `,"weight":1,"body":{"attestations":[]}}`
	fork := header("fork", "genesis", "2", "2")
	const notAnID = `, want a root of 32 bytes with 0x, a slot, \"head\" or \"finalized\""}`
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/v0/health":       {200, `{"status":"healthy","service":"lean-rpc-api"}`},
		"/lean/v0/genesis": {200, `{"genesis_time":7,"validator_count":3}`},
		"/lean/v0/config":  {200, `{"genesis_time":7,"slot_duration_seconds":4,"network_name":"12345678"}`},
		"/lean/v0/config/spec": {200, `{"MILLISECONDS_PER_SLOT":4000,"INTERVALS_PER_SLOT":5,"MILLISECONDS_PER_INTERVAL":800,` +
			`"JUSTIFICATION_LOOKBACK_SLOTS":3,"HISTORICAL_ROOTS_LIMIT":262144,"VALIDATOR_REGISTRY_LIMIT":4096,"MAX_ATTESTATIONS_DATA":8,"FORK_DIGEST":"12345678"}`},
		"/lean/v0/node/identity": {200, `{"version":"leanspec-node/v1","peer_id":"16Uiu2","enr":"","p2p_addresses":[]}`},
		"/lean/v0/node/syncing":  {200, `{"is_syncing":true,"head_slot":3,"sync_distance":6,"finalized_slot":0,"reason":"stale_head"}`},
		"/lean/v0/node/peers": {200, `{"data":[{"peer_id":"16Uiu1","last_seen_p2p_address":"/ip4/10.0.0.1/udp/9000/quic-v1","state":"connected",` +
			`"direction":"inbound","connected_at":"1970-01-01T00:00:10Z"},{"peer_id":"16Uiu3","name":"zeam_0","last_seen_p2p_address":"/ip4/10.0.0.2/udp/9000/quic-v1",` +
			`"state":"connected","direction":"outbound","connected_at":"1970-01-01T00:00:10Z","head":{"slot":8,"root":"` + zero + `"},"finalized":{"slot":2,"root":"` + zero + `"}}],"meta":{"count":2}}`},
		"/lean/v0/checkpoints/finalized": {200, checkpoint("genesis", "0")},
		"/lean/v0/validators": {200, `[{"index":0,"attestation_public_key":"` + key + `","proposal_public_key":"` + key + `"},` +
			`{"index":1,"attestation_public_key":"` + key + `","proposal_public_key":"` + key + `"},{"index":2,"attestation_public_key":"` + key + `","proposal_public_key":"` + key + `"}]`},
		"/lean/v0/states/finalized/summary": {200, `{"slot":0,"root":"` + roots["genesis"].String() + `","state_root":"` + state("genesis") +
			`","validator_count":3,"latest_justified":{"slot":0,"root":"` + zero + `"},"latest_finalized":{"slot":0,"root":"` + zero + `"}}`},

		"/lean/v0/blocks/head":                                  {200, head},
		"/lean/v0/blocks/3":                                     {200, head},
		"/lean/v0/blocks/" + roots["three"].String():            {200, head},
		"/lean/v0/blocks/1":                                     {200, one},
		"/lean/v0/blocks/" + roots["fork"].String():             {200, fork + `,"weight":0,"body":{"attestations":[]}}`},
		"/lean/v0/blocks/" + roots["fork"].String() + "/header": {200, fork + `}`},
		"/lean/v0/blocks/finalized/header":                      {200, header("genesis", "", "0", "0") + `}`},
		"/lean/v0/blocks/0/header":                              {200, header("genesis", "", "0", "0") + `}`},
		"/lean/v0/blocks/2":                                     {404, `{"error":"block_id: no block 2"}`}, // only on a fork
		"/lean/v0/blocks/4":                                     {404, `{"error":"block_id: no block 4"}`},
		"/lean/v0/blocks/18446744073709551615":                  {404, `{"error":"block_id: no block 18446744073709551615"}`},
		"/lean/v0/blocks/18446744073709551616":                  {400, `{"error":"block_id: got \"18446744073709551616\"` + notAnID},
		"/lean/v0/blocks/-1":                                    {400, `{"error":"block_id: got \"-1\"` + notAnID},
		"/lean/v0/blocks/+1":                                    {400, `{"error":"block_id: got \"+1\"` + notAnID},
		"/lean/v0/blocks/0x12/header":                           {400, `{"error":"block_id: got \"0x12\"` + notAnID},
		"/lean/v0/blocks/latest":                                {400, `{"error":"block_id: got \"latest\"` + notAnID},
		"/lean/v0/blocks/" + strings.Repeat("x", 1000):          {400, `{"error":"block_id: got \"` + strings.Repeat("x", 80) + `\"` + notAnID},
		"/lean/v0/blocks/" + lstar.Root{1}.String():             {404, `{"error":"block_id: no block ` + lstar.Root{1}.String() + `"}`},

		"/lean/v0/slots/3": {200, `[` + node("three", "one", "3", "0", "0") + `]`},
		"/lean/v0/slots/2": {200, `[` + node("fork", "genesis", "2", "2", "0") + `]`},
		"/lean/v0/slots/9": {200, `[]`},
		"/lean/v0/slots/x": {400, `{"error":"slot: got \"x\", want a slot"}`},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		h.ServeHTTP(w, r)
		api.CheckResponse(t, r, w)
		if w.Code != want.status || w.Body.String() != want.body {
			t.Errorf("GET %s:\n got %d %s\nwant %d %s", path, w.Code, w.Body, want.status, want.body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("GET %s: content type %q, want application/json", path, got)
		}
	}
}

// TestInfoWithoutStore checks the routes that need the chain before the node has one.
func TestInfoWithoutStore(t *testing.T) {
	h := api.New(infoConfig(&backend{})).API
	for _, path := range []string{
		"genesis", "config", "node/syncing", "blocks/head", "blocks/x/header", "slots/1", "checkpoints/finalized", "validators", "states/finalized/summary",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/"+path, nil))
		if want := `{"error":"store not initialized"}`; w.Code != http.StatusServiceUnavailable || w.Body.String() != want {
			t.Errorf("%s: %d %s, want 503 %s", path, w.Code, w.Body, want)
		}
	}
}

// TestStoredBlock checks blocks that only the storage has in full: one of another branch of the
// history, and the one that a node started from.
func TestStoredBlock(t *testing.T) {
	b, roots := chainBackend(t)
	three := b.store.Block(roots["three"])
	state := b.store.State(roots["three"])
	b.store = lstar.NewStoreFromState(lstar.Crypto{}, lstar.NetworkRules, state)
	h := api.New(infoConfig(b)).API
	get := func(path string, want int) (block struct {
		Root, Error string
		BodyRoot    string `json:"body_root"`
		Body        struct{ Attestations []json.RawMessage }
	}) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/"+path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &block); err != nil || w.Code != want {
			t.Errorf("%s: %d %s %v, want %d", path, w.Code, w.Body, err, want)
		}
		return block
	}
	bodyRoot := state.LatestBlockHeader.BodyRoot.String()
	if got := get("blocks/head/header", 200); got.Root != roots["three"].String() || got.BodyRoot != bodyRoot {
		t.Errorf("header without a body: %+v, want the body root %s", got, bodyRoot)
	}
	if got := get("blocks/head", 404); !strings.Contains(got.Error, "does not have its body") {
		t.Errorf("block without a body: error %q", got.Error)
	}
	get("blocks/"+roots["one"].String(), 404)
	b.signed = &lstar.SignedBlock{Block: *three}
	if got := get("blocks/head", 200); len(got.Body.Attestations) != 1 || got.BodyRoot != bodyRoot {
		t.Errorf("stored block: %+v, want 1 attestation and the body root %s", got, bodyRoot)
	}
	one := lstar.Block{Slot: 1, ProposerIndex: 1, ParentRoot: roots["genesis"]}
	b.signed = &lstar.SignedBlock{Block: one}
	if got := get("blocks/"+one.Root().String()+"/header", 200); got.Root != one.Root().String() {
		t.Errorf("old block: %+v, want the root %s", got, one.Root())
	}
}
