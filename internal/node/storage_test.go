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

// source is a node to start from, at some finalized block.
type source struct{ snapshot *lstar.Snapshot }

func (s source) Snapshot() *lstar.Snapshot               { return s.snapshot }
func (source) SignedBlock(lstar.Root) *lstar.SignedBlock { return nil }
func (source) IsAggregator() bool                        { return false }
func (source) SetAggregator(bool) bool                   { return false }

// TestOpenChain starts a node again and again on one data folder.
func TestOpenChain(t *testing.T) {
	w := newWorld(t, xmss.Test, 2, 8)
	crypto := lstar.Crypto{Signatures: xmss.Test, Proofs: proof.NewSigList(xmss.Test, nil)}
	cfg := Config{Genesis: w.genesis, Scheme: w.scheme, NetworkName: "test", DataDir: t.TempDir()}
	fake := clocktest.New(time.Unix(genesisTime, 0))
	cfg.Time = fake
	now := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesisTime}, Time: fake}

	// What another node has: an empty block at slot 5000, as its finalized one.
	state := lstar.GenesisState(w.genesis.GenesisTime, registry(w.genesis))
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
		says       string
	}{
		{"a new folder", 0, false, 0, "storage ready"},
		{"resumed", 3, false, 0, "storage ready"},
		{"no need of a checkpoint", 3600, true, 0, "the checkpoint is not needed"},
		{"too old", 3601, false, 0, "older than what peers serve"},
		{"no checkpoint to be had", 3601, true, 0, "the checkpoint cannot be had"},
		{"replaced", 5001, true, 5000, "replaced by the checkpoint"},
		{"resumed at the checkpoint", 5002, false, 5000, "storage ready"},
		{"a checkpoint that is not newer", 8601, true, 5000, "the checkpoint is not newer"},
	} {
		fake.Advance(now.StartOf(step.slot.Interval()).Sub(fake.Now()))
		cfg.CheckpointSyncURL = ""
		if step.checkpoint {
			cfg.CheckpointSyncURL = server.URL
		}
		if strings.Contains(step.name, "to be had") {
			cfg.CheckpointSyncURL = "http://127.0.0.1:1"
			go func() { // lets the time between the attempts pass
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
			t.Fatalf("%s: %v", step.name, err)
		}
		if store.Head().Slot != step.head || !strings.Contains(lines.String(), step.says) {
			t.Errorf("%s: head %s, log\n%swant a head at slot %d and %q", step.name, store.Head(), lines, step.head, step.says)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if p2p.MinSlotsForBlockRequests != 3600 {
		t.Errorf("peers serve %d slots, and the test is for 3600", p2p.MinSlotsForBlockRequests)
	}

	another := cfg
	another.NetworkName = "other"
	if _, _, _, err := openChain(t.Context(), &another, crypto, now, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), `network "test"`) || !strings.Contains(err.Error(), `network "other"`) {
		t.Errorf("the folder of another network: got %v, want both names", err)
	}
	// A genesis of another time is another network.
	genesis := *w.genesis
	genesis.GenesisTime++
	another = cfg
	another.Genesis = &genesis
	if _, _, _, err := openChain(t.Context(), &another, crypto, now, slog.New(slog.DiscardHandler)); err == nil ||
		strings.Count(err.Error(), "genesis 0x") != 2 {
		t.Errorf("the folder of another genesis: got %v, want both roots", err)
	}
}
