package storage

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// FuzzValues replaces a value of a small database, which pebble's checksums do not detect. It
// checks that a restart returns a store or a FolderError.
func FuzzValues(f *testing.F) {
	fs := vfs.NewCrashableMem()
	db, store := start(f, fs, "chain", 4)
	for slot := lstar.Slot(1); slot <= 4; slot++ {
		runSlot(f, store, slot, 4, func() error { return save(db, store) })
	}
	it, err := db.db.NewIter(nil)
	must(f, err)
	var keys [][]byte
	for it.First(); it.Valid(); it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
		f.Add(uint8(len(keys)-1), append([]byte(nil), it.Value()...))
		f.Add(uint8(len(keys)-1), []byte{})
	}
	must(f, it.Close())
	must(f, db.Close())
	f.Fuzz(func(t *testing.T, key uint8, value []byte) {
		fs := fs.CrashClone(vfs.CrashCloneCfg{})
		db := open(t, fs, "chain")
		must(t, db.db.Set(keys[int(key)%len(keys)], value, pebble.Sync))
		must(t, db.Close())
		db, err := Open("chain", thisChain, Options{FS: fs, Log: discard})
		if err == nil {
			defer func() { _ = db.Close() }()
			_, err = db.Restore(crypto, lstar.NetworkRules)
		}
		var folder *FolderError
		if err != nil && !errors.As(err, &folder) {
			t.Errorf("error = %v, want a FolderError", err)
		}
	})
}
