package storage

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

func TestResume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "chain")
	db, store := start(t, nil, dir, 4)
	genesis := store.Head().Root
	var roots []lstar.Root
	for slot := lstar.Slot(1); slot <= 12; slot++ {
		runSlot(t, store, slot, 4, func() error { return save(db, store) })
		roots = append(roots, store.Head().Root)
	}
	if store.LatestFinalized().Slot < 8 {
		t.Fatalf("finalized = %s, want at least slot 8 for this test", store.LatestFinalized())
	}
	must(t, db.Close())

	db = open(t, nil, dir)
	got := restore(t, db)
	sameStore(t, got, store)
	got.UpdateHead()
	if got.Head() != store.Head() {
		t.Errorf("head after the restored votes = %s, want %s", got.Head(), store.Head())
	}
	for i, root := range roots {
		b, err := db.Block(root)
		if err != nil || b == nil || b.Block.Root() != root || len(b.Proof.Proof) != 2 || b.Proof.Proof[0] != byte(i+1) {
			t.Errorf("Block of slot %d = %v, %v, want it with its proof", i+1, b, err)
		}
	}
	if b, err := db.Block(genesis); err != nil || b == nil || len(b.Proof.Proof) != 0 {
		t.Errorf("Block of genesis = %v, %v, want it without a proof", b, err)
	}
	if b, err := db.Block(lstar.Root{1}); b != nil || err != nil {
		t.Errorf("Block of an unknown root = %v, %v, want nil", b, err)
	}
	// The restored store continues to finalize.
	for slot := lstar.Slot(13); slot <= 16; slot++ {
		runSlot(t, got, slot, 4, func() error { return save(db, got) })
	}
	if got.LatestFinalized().Slot < 12 {
		t.Errorf("finalized after four more slots = %s, want at least slot 12", got.LatestFinalized())
	}
	must(t, db.Close())
}

// TestPowerCut runs a store with random steps and power cuts, which lose some or all of the
// unsynced data. It checks that the restored store is the one before the cut.
func TestPowerCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const validators = 4
		fs := vfs.NewCrashableMem()
		db, store := startWith(t, "data/chain", shortRetention(fs), validators)
		blocks := []lstar.Root{store.Head().Root}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			now := store.Time().Slot()
			switch rapid.SampledFrom([]string{"block", "vote", "tick", "cut"}).Draw(rt, "op") {
			case "block":
				parent := rapid.SampledFrom(blocks).Draw(rt, "parent")
				if store.State(parent) == nil || store.Block(parent).Slot > now {
					continue
				}
				slot := max(now, store.Block(parent).Slot) + 1
				store.SkipTo(slot.Interval())
				b := buildOn(t, store, parent, slot)
				must(t, store.OnBlock(b))
				blocks = append(blocks, b.Block.Root())
			case "vote":
				voter := lstar.ValidatorIndex(rapid.IntRange(0, validators-1).Draw(rt, "voter"))
				bits, err := lstar.BitsFromIndices([]lstar.ValidatorIndex{voter})
				must(t, err)
				target := rapid.SampledFrom(blocks).Draw(rt, "for")
				block := store.Block(target)
				if block == nil || block.Slot > now {
					continue
				}
				at := lstar.Checkpoint{Root: target, Slot: block.Slot}
				_ = store.OnGossipAggregatedAttestation(&lstar.SignedAggregatedAttestation{
					Data:  lstar.AttestationData{Slot: now, Head: at, Target: at, Source: store.LatestJustified()},
					Proof: lstar.SingleMessageAggregate{Participants: bits, Proof: []byte{byte(voter)}},
				})
			case "tick":
				slot := now + 1
				runSlot(t, store, slot, validators, func() error { return save(db, store) })
				blocks = append(blocks, store.Head().Root)
			case "cut":
				unsynced := rapid.SampledFrom([]int{0, 50, 100}).Draw(rt, "unsynced")
				fs = fs.CrashClone(vfs.CrashCloneCfg{
					UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
				})
				must(t, db.Close())
				db = openWith(t, "data/chain", shortRetention(fs))
				got := restore(t, db)
				sameStore(rtb{t, rt}, got, store)
				got.SkipTo(store.Time())
				got.UpdateHead()
				if got.Head() != store.Head() {
					rt.Fatalf("head after the restored votes = %s, want %s", got.Head(), store.Head())
				}
				store = got
			}
			must(t, save(db, store))
		}
		must(t, db.Close())
	})
}

// rtb reports errors to rapid, which then searches for a smaller example.
type rtb struct {
	testing.TB
	rt *rapid.T
}

func (b rtb) Errorf(format string, args ...any) { b.rt.Fatalf(format, args...) }

func TestAnotherNetwork(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, nil, dir).Close())
	_, err := Open(dir, otherChain, Options{Log: discard})
	var folder *FolderError
	if !errors.As(err, &folder) || !strings.Contains(err.Error(), thisChain.String()) || !strings.Contains(err.Error(), otherChain.String()) {
		t.Errorf("Open = %v, want a FolderError with both identities", err)
	}
	must(t, open(t, nil, dir).Close()) // the folder is unchanged
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	db := open(t, nil, dir)
	_, err := Open(dir, thisChain, Options{Log: discard})
	if err == nil || !strings.Contains(err.Error(), problemInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open = %v, want %q for %s", err, problemInUse, dir)
	}
	must(t, db.Close())
	must(t, open(t, nil, dir).Close())
}

func TestNoRights(t *testing.T) {
	if os.Geteuid() == 0 {
		// Permissions do not apply to root, but not even root can create a folder in a file.
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, nil, 0o600))
		if _, err := Open(filepath.Join(file, "chain"), thisChain, Options{Log: discard}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("Open = %v, want an error that names %s", err, file)
		}
		return
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o500))
	if _, err := Open(filepath.Join(dir, "chain"), thisChain, Options{Log: discard}); err == nil || !strings.Contains(err.Error(), advicePermission) {
		t.Errorf("Open = %v, want %q", err, advicePermission)
	}
}

// TestDamage flips bits in every file of a database. It checks that a restart returns a FolderError
// or a store of the same chain, and does not panic.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	db, store := start(t, nil, dir, 4)
	for slot := lstar.Slot(1); slot <= 40; slot++ {
		runSlot(t, store, slot, 4, func() error { return save(db, store) })
		if slot == 20 {
			must(t, db.db.Flush()) // so some slots are in tables and some in the log
		}
	}
	must(t, db.Close())
	entries, err := os.ReadDir(dir)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	detected := 0
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == "LOCK" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		must(t, err)
		for range 8 {
			if len(raw) == 0 {
				break
			}
			broken := t.TempDir()
			must(t, os.CopyFS(broken, os.DirFS(dir)))
			at := random.IntN(len(raw))
			damage := append([]byte(nil), raw...)
			damage[at] ^= 1 << random.IntN(8)
			must(t, os.WriteFile(filepath.Join(broken, entry.Name()), damage, 0o600))
			got, err := tryRestore(broken)
			var folder *FolderError
			switch {
			case err == nil && got == nil:
				t.Errorf("%s, byte %d: Restore = nil, want a store or an error", entry.Name(), at)
			case err == nil:
				// The damaged end of a log is ignored, as after a power cut.
				if got.Head().Slot > store.Head().Slot || store.Block(got.Head().Root) == nil {
					t.Errorf("%s, byte %d: head = %s, want a block of the chain", entry.Name(), at, got.Head())
				}
			case !errors.As(err, &folder):
				t.Errorf("%s, byte %d: error = %v, want a FolderError", entry.Name(), at, err)
			default:
				detected++
			}
		}
	}
	if detected == 0 {
		t.Error("detected damages = 0, want some")
	}
}

func tryRestore(dir string) (*lstar.Store, error) {
	db, err := Open(dir, thisChain, Options{Log: discard})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	return db.Restore(crypto, lstar.NetworkRules)
}

// TestPruning runs until old blocks and states are removed.
func TestPruning(t *testing.T) {
	db, store := start(t, vfs.NewMem(), "chain", 4)
	genesis := store.Head().Root
	const end = 2*retainedSlots + 100
	var first, kept lstar.Root
	for slot := lstar.Slot(1); slot <= end; slot++ {
		runSlot(t, store, slot, 4, func() error { return save(db, store) })
		switch slot {
		case 1:
			first = store.Head().Root
		case end - retainedSlots + 10:
			kept = store.Head().Root
		}
	}
	for name, root := range map[string]lstar.Root{"genesis": genesis, "first": first} {
		if b, err := db.Block(root); b != nil || err != nil {
			t.Errorf("Block(%s) = %v, %v, want nil", name, b, err)
		}
	}
	if b, err := db.Block(kept); b == nil || err != nil {
		t.Errorf("Block within %d slots = %v, %v, want the block", retainedSlots, b, err)
	}
	states, blocks, votes := 0, 0, 0
	for _, err := range db.entries(votePrefix, 0) {
		must(t, err)
		votes++
	}
	if known := store.Sizes().Known; votes > known {
		t.Errorf("stored votes = %d, want at most %d", votes, known)
	}
	for _, err := range db.entries(statePrefix, 0) {
		must(t, err)
		states++
	}
	for _, err := range db.entries(blockPrefix, 0) {
		must(t, err)
		blocks++
	}
	if states != 2 || blocks > retainedSlots+2*fullStateSlots {
		t.Errorf("full states = %d, blocks = %d, want 2 and at most %d", states, blocks, retainedSlots+2*fullStateSlots)
	}
	sameStore(t, restore(t, db), store)
	must(t, db.Close())
}

// TestCheckpointAnchor replaces a chain with a checkpoint whose block has no proof.
func TestCheckpointAnchor(t *testing.T) {
	db, old := start(t, vfs.NewMem(), "chain", 4)
	for slot := lstar.Slot(1); slot <= 8; slot++ {
		runSlot(t, old, slot, 4, func() error { return save(db, old) })
	}
	at := old.LatestFinalized()
	if at.Slot == 0 {
		t.Fatal("finalized slot = 0, want a later one for this test")
	}
	before := old.Block(at.Root).ParentRoot
	must(t, db.Init(old.State(at.Root), &lstar.SignedBlock{Block: *old.Block(at.Root)}))
	store := restore(t, db)
	if store.Head() != at || store.LatestFinalized() != at {
		t.Errorf("head = %s, finalized = %s, want the checkpoint %s", store.Head(), store.LatestFinalized(), at)
	}
	for name, root := range map[string]lstar.Root{"checkpoint": at.Root, "older": before} {
		if b, err := db.Block(root); b != nil || err != nil {
			t.Errorf("Block(%s) = %v, %v, want nil", name, b, err)
		}
	}
	for slot := at.Slot + 1; slot <= at.Slot+3; slot++ {
		store.SkipTo(slot.Interval())
		must(t, store.OnBlock(buildOn(t, store, store.Head().Root, slot)))
		must(t, save(db, store))
	}
	sameStore(t, restore(t, db), store)
	must(t, db.Close())
}

// TestSafeTargetBehind imports blocks of the past, so that full states are newer than the safe
// target, which moves only with the clock.
func TestSafeTargetBehind(t *testing.T) {
	source := newChain(t)
	db, store := startWith(t, "chain", shortRetention(vfs.NewMem()), 4)
	store.SkipTo(lstar.Slot(30).Interval())
	for _, b := range source.run(t, 1, 30) {
		must(t, store.OnBlock(b))
		must(t, save(db, store))
		restored := restore(t, db)
		if restored.LatestFinalized() != store.LatestFinalized() || restored.Head() != store.Head() {
			t.Fatalf("after block %d: head = %s, finalized = %s, want %s, %s", b.Block.Slot, restored.Head(), restored.LatestFinalized(), store.Head(), store.LatestFinalized())
		}
	}
	if len(db.full) != 2 || db.full[0].Slot == 0 {
		t.Errorf("full states = %v, want two without genesis", db.full)
	}
	must(t, db.Close())
}

// TestFinalityMoves checks a reorganization to a branch that left the chain before its finalized
// block, and that finalizes more.
func TestFinalityMoves(t *testing.T) {
	other := newChain(t).run(t, 7, 40)
	db, store := startWith(t, "chain", shortRetention(vfs.NewMem()), 4)
	for slot := lstar.Slot(1); slot <= 6; slot++ {
		runSlot(t, store, slot, 4, func() error { return save(db, store) })
	}
	left := store.LatestFinalized()
	if len(db.full) != 2 {
		t.Fatalf("full states = %v, want two for this test", db.full)
	}
	for _, b := range other {
		store.SkipTo(b.Block.Slot.Interval())
		must(t, store.OnBlock(b))
		_, err := store.OnTick(b.Block.Slot.Interval()+4, false, false)
		must(t, err)
		must(t, save(db, store))
		sameStore(t, restore(t, db), store)
	}
	if now := store.LatestFinalized(); store.Block(left.Root) != nil && now.Slot < 30 {
		t.Errorf("finalized = %s, want a block of the other branch", now)
	}
	must(t, db.Close())
}

// chainSource makes the blocks of a chain in which all validators vote.
type chainSource struct{ store *lstar.Store }

func newChain(t *testing.T) chainSource {
	t.Helper()
	state := lstar.GenesisState(1000, registry(4))
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	must(t, err)
	return chainSource{store}
}

func (c chainSource) run(t *testing.T, from, to lstar.Slot) (blocks []*lstar.SignedBlock) {
	t.Helper()
	for slot := from; slot <= to; slot++ {
		runSlot(t, c.store, slot, 4, func() error {
			if changes := c.store.TakeChanges(); changes != nil {
				blocks = append(blocks, changes.Blocks...)
			}
			return nil
		})
	}
	return blocks
}
