package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// chainOf40 makes a database of 40 slots, partly in tables and partly in the log.
func chainOf40(t *testing.T) (dir string, store *lstar.Store) {
	t.Helper()
	dir = t.TempDir()
	db, store := startWith(t, dir, Options{Log: discard, fullStateSlots: 8, retainedSlots: 20}, 4)
	for slot := lstar.Slot(1); slot <= 40; slot++ {
		runSlot(t, store, slot, 4, func() error { return save(db, store) })
		if slot == 20 {
			must(t, db.db.Flush())
		}
	}
	must(t, db.Close())
	return dir, store
}

// contents returns the names and the bytes of the files in a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(raw)
		return err
	}))
	return files
}

func TestInspect(t *testing.T) {
	dir, store := chainOf40(t)
	before := contents(t, dir)
	got, err := Inspect(dir, Options{Log: discard})
	must(t, err)
	if err := got.Err(); err != nil || len(got.Problems) > 0 {
		t.Errorf("problems = %q, %v, want none", got.Problems, err)
	}
	if got.Schema != schemaVersion || *got.Identity != thisChain {
		t.Errorf("schema %d, %s, want %d, %s", got.Schema, got.Identity, schemaVersion, thisChain)
	}
	c, s := got.Chain, store.Snapshot()
	for name, pair := range map[string][2]BlockAt{
		"head": {c.Head, blockAt(s.Head)}, "safe target": {c.SafeTarget, blockAt(s.SafeTarget)},
		"justified": {c.Justified, blockAt(s.LatestJustified)}, "finalized": {c.Finalized, blockAt(s.LatestFinalized)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	if c.GenesisTime != 1000 || c.Validators != 4 || c.OldestBlock == 0 || c.MissingAnchor != nil {
		t.Errorf("chain = %+v, want genesis time 1000, 4 validators, pruned blocks and no missing anchor", c)
	}
	blocks := 40 - int(c.OldestBlock) + 1
	for i, want := range []Kind{{"blocks", blocks, 1, 1}, {"proofs", blocks, 1, 1}, {"block index", blocks, 1, 1}, {"states", 2, 1, 0}, {"votes", 1, 1, 0}, {"metadata", 4, 1, 1}} {
		k := got.Kinds[i]
		count := k.Count == want.Count || want.Name == "votes" && k.Count > 0
		if k.Name != want.Name || !count || k.Bytes < want.Bytes || k.TableBytes < want.TableBytes {
			t.Errorf("kind %d = %+v, want %s, %d entries and its sizes", i, k, want.Name, want.Count)
		}
	}
	sum := uint64(0)
	for _, raw := range before {
		sum += uint64(len(raw))
	}
	if f := got.Files; f.Tables == 0 || f.Log == 0 || f.Tables+f.Log+f.Other != sum {
		t.Errorf("files = %+v, want tables and a log, %d bytes together", f, sum)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Errorf("Inspect has changed the folder, which now holds %d files, want %d", len(after), len(before))
	}
	if _, err := tryRestore(dir); err != nil {
		t.Errorf("Open after Inspect = %v, want no error", err)
	}
}

func TestInspectRefuses(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	used, newer, unused := t.TempDir(), t.TempDir(), t.TempDir()
	db := open(t, nil, used)
	defer db.Close()
	must(t, open(t, nil, unused).Close())
	other := open(t, nil, newer)
	must(t, other.db.Set(schemaKey, binary.LittleEndian.AppendUint32(nil, schemaVersion+1), pebble.Sync))
	must(t, other.Close())
	for dir, want := range map[string]string{
		empty:                         "it holds no database; " + adviceDataFolder,
		filepath.Join(empty, "chain"): "it holds no database; " + adviceDataFolder,
		filepath.Join(file, "chain"):  "it holds no database; " + adviceDataFolder,
		used:                          problemInUse + "; " + adviceStop,
		newer:                         "schema version: got 2, want 1; " + adviceMoveAway,
	} {
		_, err := Inspect(dir, Options{Log: discard})
		var folder *FolderError
		if !errors.As(err, &folder) || err.Error() != "data folder "+dir+": "+want {
			t.Errorf("Inspect(%s) = %v, want %q", dir, err, want)
		}
	}
	if names := contents(t, empty); len(names) > 0 {
		t.Errorf("Inspect has made %v, want nothing", names)
	}
	// A node that was stopped before it saved its first chain.
	if got, err := Inspect(unused, Options{Log: discard}); err != nil || got.Chain != nil || got.Err() != nil {
		t.Errorf("Inspect of a database without a chain = %+v, %v, want no chain and no problem", got, err)
	}
}

// TestInspectProblems changes one entry of a database at a time.
func TestInspectProblems(t *testing.T) {
	dir, store := chainOf40(t)
	head, finalized := store.Head(), store.LatestFinalized()
	key := func(prefix byte, at lstar.Checkpoint) []byte { return slotRootKey(prefix, at.Slot, at.Root) }
	for name, test := range map[string]struct {
		change func(d *DB, b *pebble.Batch)
		want   string
	}{
		"head":          {func(_ *DB, b *pebble.Batch) { _ = b.Delete(key(blockPrefix, head), nil) }, "the head block " + head.String() + " is missing"},
		"proof":         {func(_ *DB, b *pebble.Batch) { _ = b.Delete(key(proofPrefix, finalized), nil) }, "proof of block " + finalized.Root.String()},
		"orphan proof":  {func(_ *DB, b *pebble.Batch) { _ = b.Set(key(proofPrefix, lstar.Checkpoint{Slot: 39}), nil, nil) }, "at slot 39 is missing"},
		"index":         {func(_ *DB, b *pebble.Batch) { _ = b.Delete(rootKey(rootPrefix, head.Root), nil) }, "is not in the block index"},
		"index of none": {func(_ *DB, b *pebble.Batch) { _ = b.Set(rootKey(rootPrefix, lstar.Root{9}), make([]byte, 8), nil) }, "at slot 0 is missing"},
		"short index":   {func(_ *DB, b *pebble.Batch) { _ = b.Set(rootKey(rootPrefix, head.Root), nil, nil) }, "got 0 bytes, want 8"},
		"block":         {func(_ *DB, b *pebble.Batch) { _ = b.Set(key(blockPrefix, head), []byte("x"), nil) }, "block " + head.Root.String()},
		"old block": {func(d *DB, b *pebble.Batch) {
			for e, err := range d.entries(blockPrefix, 0) {
				must(t, err)
				if slot, _, _ := parseSlotRoot(e.key); slot == d.oldest+1 {
					_ = b.Delete(e.key, nil)
				}
			}
		}, "is missing"},
		"state":      {func(d *DB, b *pebble.Batch) { _ = b.Set(key(statePrefix, d.full[1]), []byte("x"), nil) }, "state at slot"},
		"validators": {func(_ *DB, b *pebble.Batch) { _ = b.Delete(validatorsKey, nil) }, "the validators are missing"},
		"other validators": {func(_ *DB, b *pebble.Batch) {
			raw := make([]byte, 2*52+8)
			raw[3] = 7
			_ = b.Set(validatorsKey, raw, nil)
		}, "state"},
		"view": {func(_ *DB, b *pebble.Batch) { _ = b.Set(viewKey, []byte("x"), nil) }, "view: "},
		"vote": {func(_ *DB, b *pebble.Batch) { _ = b.Set(rootKey(votePrefix, lstar.Root{1}), []byte("x"), nil) }, "vote 01"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := t.TempDir()
			must(t, os.CopyFS(broken, os.DirFS(dir)))
			db := open(t, nil, broken)
			b := db.db.NewBatch()
			test.change(db, b)
			must(t, b.Commit(pebble.Sync))
			must(t, db.Close())
			got, err := Inspect(broken, Options{Log: discard})
			if err == nil && !slices.ContainsFunc(got.Problems, func(p string) bool { return strings.Contains(p, test.want) && !strings.Contains(p, adviceMoveAway) }) {
				t.Errorf("problems = %q, want one with %q", got.Problems, test.want)
			}
			if err == nil {
				err = got.Err()
			}
			if err == nil || !strings.Contains(err.Error(), "it is damaged: ") || !strings.HasSuffix(err.Error(), adviceMoveAway) {
				t.Errorf("error = %v, want damage with advice", err)
			}
		})
	}
}

// TestInspectDamage flips bits in every file. Inspect reports a problem, or the damage is in a part
// of the log that a restart ignores.
func TestInspectDamage(t *testing.T) {
	dir, _ := chainOf40(t)
	random := rand.New(rand.NewPCG(3, 4))
	detected := 0
	for name, raw := range contents(t, dir) {
		for range 8 {
			if raw == "" {
				break
			}
			broken := t.TempDir()
			must(t, os.CopyFS(broken, os.DirFS(dir)))
			damage := bytes.Clone([]byte(raw))
			damage[random.IntN(len(damage))] ^= 1 << random.IntN(8)
			must(t, os.WriteFile(filepath.Join(broken, name), damage, 0o600))
			got, err := Inspect(broken, Options{Log: discard})
			var folder *FolderError
			if err != nil && !errors.As(err, &folder) {
				t.Errorf("%s: error = %v, want a FolderError", name, err)
			}
			if err != nil || len(got.Problems) > 0 {
				detected++
			}
		}
	}
	if detected == 0 {
		t.Error("detected damages = 0, want some")
	}
}
