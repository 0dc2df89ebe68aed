package syncer

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
)

// maxResident is the memory that a node may take, in MiB, whatever the network does.
const maxResident = 1024

// memorySlots returns the number of slots of TestMemory: 20,000 with make memtest.
func memorySlots(t *testing.T) lstar.Slot {
	t.Helper()
	text := os.Getenv("LEANSPEC_MEMORY_SLOTS")
	if text == "" {
		return 2000
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("LEANSPEC_MEMORY_SLOTS: %v", err)
	}
	return lstar.Slot(n)
}

// TestMemory runs thousands of slots of 4096 validators without finality, because a third of them
// does not vote, with a fork in every 200 slots, and with peers that flood the node with orphans
// and votes for unknown blocks.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes half a minute; run without -short")
	}
	t.Run("on disk", func(t *testing.T) {
		store := newStore(t, registry(4096))
		log := slog.New(slog.DiscardHandler)
		db, err := storage.Open(filepath.Join(t.TempDir(), "chain"), storage.Identity{}, storage.Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		root := store.Head().Root
		if err := db.Init(store.State(root), &lstar.SignedBlock{Block: *store.Block(root)}); err != nil {
			t.Fatal(err)
		}
		withoutFinality(t, store, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("in memory", func(t *testing.T) {
		store := newStore(t, registry(4096))
		withoutFinality(t, store, storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *store.Block(store.Head().Root)}))
	})
}

func withoutFinality(t *testing.T, store *lstar.Store, blocks kept) {
	const (
		forkSlots, validators = 200, 4096
		proofSize             = 16 << 10
		voters                = validators * 6 / 10
	)
	slots := memorySlots(t)
	f := newFixtureOn(t, store, blocks, 0)
	defer f.stop()
	store = nil
	peers := []peer.ID{"a", "b", "c", "d"}
	genesis := newSource(t, registry(validators))
	for _, id := range peers {
		f.connect(id, &fakePeer{chain: genesis, byRange: noRange, byRoot: noRoots})
	}
	highest, flood := 0.0, 0
	var curve strings.Builder
	fmt.Fprintf(&curve, "\n%8s %10s %10s %8s %8s\n", "slot", "RSS MiB", "heap MiB", "blocks", "orphans")
	for slot := lstar.Slot(1); slot <= slots; slot++ {
		f.setTo(slot.Interval())
		proposer, _ := lstar.ProposerForSlot(slot, validators)
		p, _, err := f.chain.ProduceBlock(t.Context(), slot, proposer)
		if err != nil {
			t.Fatal(err)
		}
		signed := &lstar.SignedBlock{Block: *p.Block, Proof: lstar.MultiMessageAggregate{Proof: make([]byte, proofSize)}}
		if err := f.chain.ImportBlock(t.Context(), signed, chain.Origin{}); err != nil {
			t.Fatal(err)
		}
		if slot%forkSlots == 0 {
			f.importFork(slot)
		}
		f.setTo(slot.Interval() + 1)
		data, err := f.chain.AttestationData(t.Context(), slot)
		if err != nil {
			t.Fatal(err)
		}
		bits := firstN(t, voters)
		if err := f.chain.AddAggregate(t.Context(), &lstar.SignedAggregatedAttestation{
			Data: data, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: make([]byte, proofSize)},
		}, chain.Origin{}); err != nil {
			t.Fatal(err)
		}
		f.setTo(slot.Interval() + 4)
		if slot%100 == 0 {
			for range 200 {
				flood++
				orphan := fake(slot, validators, flood)
				orphan.Proof.Proof = make([]byte, proofSize)
				f.OnBlock(t.Context(), peers[flood%len(peers)], orphan)
				unknown := data
				unknown.Head.Root = lstar.Root{0xfe, byte(flood), byte(flood >> 8), byte(flood >> 16)}
				f.OnAggregate(t.Context(), peers[flood%len(peers)], &lstar.SignedAggregatedAttestation{
					Data: unknown, Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: make([]byte, proofSize)},
				})
			}
		}
		if slot%(slots/10) == 0 {
			rss, heap := memory(t)
			highest = max(highest, rss)
			fmt.Fprintf(&curve, "%8d %10.0f %10.0f %8d %8d\n", slot, rss, heap, len(f.chain.Snapshot().Blocks()), f.planner.parked.queue.Len())
		}
	}
	t.Logf("memory without finality:%s", curve.String())
	snap := f.chain.Snapshot()
	if snap.LatestFinalized.Slot != 0 || snap.Head.Slot != slots || lstar.Slot(len(snap.Blocks())) != 1+slots+slots/forkSlots {
		t.Errorf("head %s, finalized %s, %d blocks; want a chain of %d slots with %d forks and no finality",
			snap.Head, snap.LatestFinalized, len(snap.Blocks()), slots, slots/forkSlots)
	}
	if highest > maxResident {
		t.Errorf("%.0f MiB resident, want at most %d", highest, maxResident)
	}
}

// setTo sets the clock to an interval.
func (f *fixture) setTo(i lstar.Interval) {
	f.t.Helper()
	f.fake.Advance(f.cfg.Clock.StartOf(i).Sub(f.fake.Now()))
	f.settle()
}

// importFork imports a second block of a slot, on an older parent.
func (f *fixture) importFork(slot lstar.Slot) {
	f.t.Helper()
	snap := f.chain.Snapshot()
	parent := snap.Block(snap.Block(snap.Head.Root).ParentRoot).ParentRoot
	state := snap.State(parent)
	proposer, _ := lstar.ProposerForSlot(slot, state.Validators.Len())
	b := &lstar.SignedBlock{
		Block: lstar.Block{Slot: slot, ProposerIndex: proposer, ParentRoot: parent},
		Proof: lstar.MultiMessageAggregate{Proof: []byte{1}},
	}
	advanced, err := state.ProcessSlots(slot)
	if err != nil {
		f.t.Fatal(err)
	}
	post, err := advanced.ProcessBlock(&b.Block)
	if err != nil {
		f.t.Fatal(err)
	}
	b.Block.StateRoot = post.Root()
	if err := f.chain.ImportBlock(f.t.Context(), b, chain.Origin{}); err != nil {
		f.t.Fatal(err)
	}
}

// firstN returns the bits of the first n validators.
func firstN(t testing.TB, n int) lstar.AggregationBits {
	t.Helper()
	indices := make([]lstar.ValidatorIndex, n)
	for i := range indices {
		indices[i] = lstar.ValidatorIndex(i)
	}
	bits, err := lstar.BitsFromIndices(indices)
	if err != nil {
		t.Fatal(err)
	}
	return bits
}

// memory returns the resident memory and the heap of the process in MiB.
func memory(t testing.TB) (rss, heap float64) {
	t.Helper()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	heap = float64(stats.HeapAlloc) / (1 << 20)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return float64(stats.Sys) / (1 << 20), heap // not Linux
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &rss); err != nil {
		t.Fatalf("VmRSS: %v", err)
	}
	return rss / 1024, heap
}
