package storage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// BenchmarkTenThousandSlots imports 10,000 slots that finalize, of 4096 validators that all vote, onto a
// real disk, and restarts. It runs with a small proof in each block, and with one of the maximum size.
func BenchmarkTenThousandSlots(b *testing.B) {
	for _, proofSize := range []int{4 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("proof=%dKiB", proofSize>>10), func(b *testing.B) {
			for b.Loop() {
				tenThousandSlots(b, proofSize)
			}
		})
	}
}

func tenThousandSlots(b *testing.B, proofSize int) {
	const slots, validators = 10_000, 4096
	resetPeak()
	dir := filepath.Join(b.TempDir(), "chain")
	db, store := start(b, nil, dir, validators)
	random := rand.NewChaCha8([32]byte{})
	all := firstN(b, validators)
	var blocks uint64
	var saving time.Duration
	keep := func() error {
		c := store.TakeChanges()
		if c == nil {
			return nil
		}
		for _, block := range c.Blocks {
			block.Proof.Proof = make([]byte, proofSize)
			_, _ = random.Read(block.Proof.Proof)
			blocks += uint64(len(block.Proof.Proof)) + uint64(len(lstar.EncodeBlock(&block.Block)))
		}
		begun := time.Now()
		defer func() { saving += time.Since(begun) }()
		return db.Save(c)
	}
	for slot := lstar.Slot(1); slot <= slots; slot++ {
		proposer, _ := lstar.ProposerForSlot(slot, validators)
		store.SkipTo(slot.Interval())
		p, err := store.ProduceBlock(slot, proposer, nil)
		must(b, err)
		must(b, store.OnBlock(&lstar.SignedBlock{Block: *p.Block}))
		must(b, keep())
		vote(b, store, slot, all)
		must(b, keep())
	}
	if f := store.LatestFinalized().Slot; f < slots-10 {
		b.Fatalf("finalized slot = %d, want at least %d", f, slots-10)
	}
	var states uint64 // size of states and votes in bytes
	for _, prefix := range [...]byte{statePrefix, votePrefix} {
		for e, err := range db.entries(prefix, 0) {
			must(b, err)
			states += uint64(len(e.key) + len(e.value))
		}
	}
	metrics := db.db.Metrics()
	written := metrics.WAL.BytesIn
	b.ReportMetric(float64(metrics.DiskSpaceUsage())/(1<<20), "disk-MiB")
	b.ReportMetric(float64(written)/(1<<20), "saved-MiB")
	total := metrics.Total()
	b.ReportMetric(float64(metrics.WAL.BytesWritten+total.TableBytesCompacted+total.TableBytesFlushed)/(1<<20), "written-MiB")
	b.ReportMetric(float64(written-min(written, blocks))/slots, "beside-blocks-B/slot")
	b.ReportMetric(float64(states)/slots, "state-B/slot")
	b.ReportMetric(saving.Seconds()*1e6/(2*slots), "µs/save")
	must(b, db.Close())
	b.ReportMetric(peak(b), "peak-MiB")

	want := store.Head()
	store = nil
	runtime.GC()
	begun := time.Now()
	db = open(b, nil, dir)
	got := restore(b, db)
	b.ReportMetric(time.Since(begun).Seconds()*1000, "restart-ms")
	if got.Head() != want {
		b.Fatalf("head after the restart = %s, want %s", got.Head(), want)
	}
	must(b, db.Close())
}

// resetPeak resets the peak of resident memory on Linux.
func resetPeak() {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peak returns the peak of resident memory in MiB, or 0 if it is not known.
func peak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Logf("VmHWM: %v", err)
	}
	return kib / 1024
}
