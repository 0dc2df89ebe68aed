package sync

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
	"github.com/leanEthereum/leanspec-node/internal/spec/ssz"
)

func TestFetchCheckpoint(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 9, true)
	finalized := c.store.LatestFinalized()
	state, block := c.store.State(finalized.Root), c.store.Block(finalized.Root)
	stateBytes, blockBytes := state.Encode(), lstar.EncodeBlock(block)
	older := lstar.EncodeBlock(c.store.Block(block.ParentRoot))
	empty := lstar.GenesisState(genesisTime, lstar.NewValidators(nil))
	serve := func(bytes []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept"); got != "application/octet-stream" {
				t.Errorf("Accept: %q, want application/octet-stream", got)
			}
			_, _ = w.Write(bytes)
		}
	}
	for name, tt := range map[string]struct {
		block, state http.HandlerFunc
		genesis      uint64
		validators   *lstar.Validators
		want         string // part of the error, or none
	}{
		"ours":                   {serve(blockBytes), serve(stateBytes), genesisTime, validators, ""},
		"no registry to compare": {serve(blockBytes), serve(stateBytes), genesisTime, nil, ""},
		"another genesis time":   {serve(blockBytes), serve(stateBytes), genesisTime + 1, validators, "genesis time is 1000000, ours is 1000001"},
		"another registry":       {serve(blockBytes), serve(stateBytes), genesisTime, registry(5), "its 4 validators are not the 5 of our genesis"},
		"no block":               {http.NotFound, serve(stateBytes), genesisTime, validators, "/lean/v0/blocks/finalized: status 404 Not Found"},
		"no state":               {serve(blockBytes), http.NotFound, genesisTime, validators, "/lean/v0/states/finalized: status 404 Not Found"},
		"a torn block":           {serve(blockBytes[1:]), serve(stateBytes), genesisTime, validators, "is not a block"},
		"a torn state":           {serve(blockBytes), serve(stateBytes[:100]), genesisTime, validators, "is not a state"},
		"no validators":          {serve(blockBytes), serve(empty.Encode()), genesisTime, validators, "0 validators"},
		"a block too large":      {serve(make([]byte, maxCheckpointBlock+1)), serve(stateBytes), genesisTime, validators, "more than 10485760 bytes"},
		"no pair":                {serve(older), serve(stateBytes), genesisTime, validators, "do not belong together"},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle("/lean/v0/blocks/finalized", tt.block)
			mux.Handle("/lean/v0/states/finalized", tt.state)
			server := httptest.NewServer(mux)
			defer server.Close()
			s, b, err := FetchCheckpoint(t.Context(), server.URL+"/", tt.genesis, tt.validators)
			if tt.want == "" {
				if err != nil || s.Root() != state.Root() || b.Block.Root() != finalized.Root {
					t.Errorf("%v, want the finalized state and its block", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), server.URL) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with the URL and %q", err, tt.want)
			}
		})
	}

	t.Run("finalizes meanwhile", func(t *testing.T) {
		requests := 0
		mux := http.NewServeMux()
		mux.HandleFunc("/lean/v0/blocks/finalized", func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests == 1 {
				_, _ = w.Write(older)
				return
			}
			_, _ = w.Write(blockBytes)
		})
		mux.Handle("/lean/v0/states/finalized", serve(stateBytes))
		server := httptest.NewServer(mux)
		defer server.Close()
		if _, _, err := FetchCheckpoint(t.Context(), server.URL, genesisTime, validators); err != nil {
			t.Errorf("%v, want the second attempt to succeed", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		for _, address := range []string{server.URL, "http://[", "ftp://example.org", ""} {
			_, _, err := FetchCheckpoint(t.Context(), address, genesisTime, validators)
			if err == nil || !strings.Contains(err.Error(), "checkpoint sync from "+address) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: error %v, want one line", address, err)
			}
		}
	})
	t.Run("a stop", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}))
		defer server.Close()
		if _, _, err := FetchCheckpoint(ctx, server.URL, genesisTime, validators); err == nil {
			t.Error("no error after a stop")
		}
	})

	// A node that starts from what it fetched serves it, with an empty proof.
	if got := ssz.Marshal(&lstar.SignedBlock{Block: *block}); string(got) != string(blockBytes) {
		t.Error("the anchor is not served as it was fetched")
	}
}
