package node

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// TestCheckpointAnchor starts from a checkpoint of a running node, on disk and in memory, and
// checks whether the block of the checkpoint can be served.
func TestCheckpointAnchor(t *testing.T) {
	c := newCluster(t, xmss.Test, 4, 64)
	c.allVotes = true
	source := c.start(t, c.keys, true)
	for slot := range lstar.Slot(10) {
		c.slot(t, slot)
	}
	finalized := source.chain.Snapshot().LatestFinalized
	want := source.sync.BlockByRoot(finalized.Root)
	if finalized.Slot == 0 || want == nil || len(want.Proof.Proof) == 0 {
		t.Fatalf("finalized slot of the source = %d, block = %v, want a later slot and a block with a proof", finalized.Slot, want)
	}
	whole := api.New(api.Config{Backend: backend{source.chain, source.sync}, Metrics: http.NotFoundHandler()}).API
	without := func(block http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/lean/v0/blocks/finalized" {
				block(w, r)
				return
			}
			whole.ServeHTTP(w, r)
		})
	}
	serve := func(block *lstar.SignedBlock) http.Handler {
		return without(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(ssz.Marshal(block)) })
	}
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, nil)}
	now := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesisTime}, Time: clocktest.New(time.Unix(genesisTime+40, 0))}
	log := slog.New(slog.DiscardHandler)

	for name, tt := range map[string]struct {
		handler http.Handler
		proof   bool // the checkpoint has a valid proof
	}{
		"a node's API":   {whole, true},
		"no block":       {without(http.NotFound), false},
		"an empty proof": {serve(&lstar.SignedBlock{Block: want.Block}), false},
		"invalid proof":  {serve(&lstar.SignedBlock{Block: want.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte("bad")}}), false},
	} {
		for _, dir := range []string{"", filepath.Join(t.TempDir(), "data")} {
			t.Run(name+", in "+map[bool]string{true: "memory", false: "a folder"}[dir == ""], func(t *testing.T) {
				server := httptest.NewServer(tt.handler)
				defer server.Close()
				cfg := Config{
					Genesis: c.genesis, Scheme: c.scheme, NetworkName: "test", DataDir: dir, Time: now.Time,
					CheckpointSyncURL: server.URL + "/lean/v0/states/finalized",
				}
				check := func(what string, served bool) (kept chainStorage, end func()) {
					t.Helper()
					store, kept, db, err := openChain(context.Background(), &cfg, crypto, now, log)
					if err != nil {
						t.Fatalf("%s: openChain = %v, want no error", what, err)
					}
					if store.Head() != finalized {
						t.Errorf("%s: head = %s, want %s", what, store.Head(), finalized)
					}
					b, err := kept.Block(finalized.Root)
					if err != nil || served != (b != nil) || b != nil && !bytes.Equal(ssz.Marshal(b), ssz.Marshal(want)) {
						t.Errorf("%s: Block = %v, %v, want the block of the source = %v", what, b, err, served)
					}
					if at, missing := kept.MissingAnchor(); missing == served || missing && at != finalized {
						t.Errorf("%s: MissingAnchor = %s, %v, want %v", what, at, missing, !served)
					}
					return kept, func() {
						if db != nil {
							if err := db.Close(); err != nil {
								t.Error(err)
							}
						}
					}
				}
				kept, end := check("new folder", tt.proof)
				if dir != "" {
					end()
					kept, end = check("restart", tt.proof)
				}
				defer func() { end() }()
				if tt.proof {
					return
				}
				if err := kept.AddAnchor(want); err != nil {
					t.Fatal(err)
				}
				if b, err := kept.Block(finalized.Root); err != nil || b == nil {
					t.Errorf("Block after AddAnchor = %v, %v, want the block", b, err)
				}
				if dir != "" {
					end()
					_, end = check("restart with the block", true)
				}
			})
		}
	}
}
