package node

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// source implements api.Backend with one snapshot, for checkpoint sync.
type source struct{ snapshot *lstar.Snapshot }

func (s source) Snapshot() *lstar.Snapshot               { return s.snapshot }
func (source) SignedBlock(lstar.Root) *lstar.SignedBlock { return nil }
func (source) IsAggregator() bool                        { return false }
func (source) SetAggregator(bool) bool                   { return false }

// TestOpenChain opens one data folder at several times, with and without a checkpoint.
func TestOpenChain(t *testing.T) {
	c := newCluster(t, xmss.Test, 2, 8)
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, nil)}
	cfg := Config{Genesis: c.genesis, Scheme: c.scheme, NetworkName: "test", DataDir: t.TempDir()}
	fake := clocktest.New(time.Unix(genesisTime, 0))
	cfg.Time = fake
	now := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesisTime}, Time: fake}

	// The finalized block of the other node is an empty block at slot 5000.
	state := lstar.GenesisState(c.genesis.GenesisTime, registry(c.genesis))
	late := &lstar.Block{Slot: 5000, ParentRoot: lstar.GenesisBlock(state).Root()}
	advanced, err := state.ProcessSlots(5000)
	if err != nil {
		t.Fatal(err)
	}
	post, err := advanced.ProcessBlock(late)
	if err != nil {
		t.Fatal(err)
	}
	late.StateRoot = post.Root()
	other, err := lstar.NewStore(crypto, lstar.NetworkRules, post, late)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api.New(api.Config{Backend: source{other.Snapshot()}, Metrics: http.NotFoundHandler()}).API)
	defer server.Close()

	for _, step := range []struct {
		name       string
		slot       lstar.Slot // of the clock
		checkpoint bool
		head       lstar.Slot
		log        string
	}{
		{"new folder", 0, false, 0, "storage ready"},
		{"resumed", 3, false, 0, "storage ready"},
		{"checkpoint not needed", 3600, true, 0, "checkpoint not needed"},
		{"too old", 3601, false, 0, "older than what peers serve"},
		{"no checkpoint available", 3601, true, 0, "no checkpoint is available"},
		{"replaced", 5001, true, 5000, "replaced by the checkpoint"},
		{"resumed at the checkpoint", 5002, false, 5000, "storage ready"},
		{"checkpoint not newer", 8601, true, 5000, "checkpoint not newer"},
	} {
		fake.Advance(now.StartOf(step.slot.Interval()).Sub(fake.Now()))
		cfg.CheckpointSyncURL = ""
		if step.checkpoint {
			cfg.CheckpointSyncURL = server.URL
		}
		if strings.Contains(step.name, "no checkpoint") {
			cfg.CheckpointSyncURL = "http://127.0.0.1:1"
			go func() { // advances the clock between the attempts
				for range 4 {
					<-fake.Waiting()
					fake.Advance(fake.Left())
				}
			}()
		}
		lines := new(bytes.Buffer)
		log, _ := logging.New(logging.Options{Level: slog.LevelInfo, Writer: lines})
		store, _, db, err := openChain(t.Context(), &cfg, crypto, now, log)
		if err != nil {
			t.Fatalf("%s: openChain = %v, want no error", step.name, err)
		}
		if store.Head().Slot != step.head || !strings.Contains(lines.String(), step.log) {
			t.Errorf("%s: head = %s, log =\n%swant a head at slot %d and %q", step.name, store.Head(), lines, step.head, step.log)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if p2p.MinSlotsForBlockRequests != 3600 {
		t.Errorf("MinSlotsForBlockRequests = %d, want 3600 for this test", p2p.MinSlotsForBlockRequests)
	}

	another := cfg
	another.NetworkName = "other"
	if _, _, _, err := openChain(t.Context(), &another, crypto, now, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), `network "test"`) || !strings.Contains(err.Error(), `network "other"`) {
		t.Errorf("openChain with another network = %v, want an error with both names", err)
	}
	// A genesis with another time is another network.
	genesis := *c.genesis
	genesis.GenesisTime++
	another = cfg
	another.Genesis = &genesis
	if _, _, _, err := openChain(t.Context(), &another, crypto, now, slog.New(slog.DiscardHandler)); err == nil ||
		strings.Count(err.Error(), "genesis 0x") != 2 {
		t.Errorf("openChain with another genesis = %v, want an error with both roots", err)
	}
}
