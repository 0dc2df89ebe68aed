package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// faultyRun creates a database and fills it with some slots and a flush. It keeps the last view
// whose write was acknowledged, and the last view whose write was tried.
type faultyRun struct {
	acknowledged, tried lstar.View
	begun               bool // the write of the anchor was acknowledged
	err                 error
}

func (r *faultyRun) run(t *testing.T, fs vfs.FS) {
	db, err := Open("data/chain", thisChain, shortRetention(fs))
	if err != nil {
		r.err = err
		return
	}
	defer func() { _ = db.Close() }()
	state := lstar.GenesisState(1000, registry(4))
	genesis := lstar.GenesisBlock(state)
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, genesis)
	must(t, err)
	if r.err = db.Init(state, &lstar.SignedBlock{Block: *genesis}); r.err != nil {
		return
	}
	r.begun = true
	keep := func() error {
		c := store.TakeChanges()
		if c == nil || r.err != nil {
			return nil
		}
		r.tried = c.View
		if r.err = db.Save(c); r.err == nil {
			r.acknowledged = c.View
		}
		return nil
	}
	for slot := lstar.Slot(1); slot <= 12 && r.err == nil; slot++ {
		runSlot(t, store, slot, 4, keep)
		if slot == 6 && r.err == nil {
			flushed := make(chan error, 1)
			go func() { flushed <- db.db.Flush() }()
			select {
			case r.err = <-flushed:
			case <-db.Failed():
				r.err = db.Err()
			}
		}
	}
}

// TestFaults lets one operation on the disk fail in each run. It checks that the run succeeds or
// ends with a FolderError, and that acknowledged writes survive a power cut after it.
func TestFaults(t *testing.T) {
	for _, kind := range []struct {
		name string
		err  error
		fail func(op errorfs.Op) bool
	}{
		{"writes fail", syscall.EIO, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }},
		{"the disk is full", syscall.ENOSPC, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }},
		{"reads fail", syscall.EIO, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsRead }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			failures, runs := 0, 0
			for n := int32(0); ; n++ {
				runs++
				counter := errorfs.OnIndex(n)
				hit := false
				fs := vfs.NewCrashableMem()
				r := new(faultyRun)
				r.run(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
					if !kind.fail(op) || counter.MaybeError(op) == nil {
						return nil
					}
					hit = true
					return fmt.Errorf("injected: %w", kind.err)
				})))
				if r.err != nil {
					failures++
					var folder *FolderError
					if !errors.As(r.err, &folder) {
						t.Errorf("operation %d: error = %v, want a FolderError", n, r.err)
					}
				}
				r.check(t, fmt.Sprintf("operation %d", n), fs.CrashClone(vfs.CrashCloneCfg{}))
				if !hit {
					break
				}
			}
			t.Logf("%d runs, %d of them failed", runs, failures)
			if failures == 0 {
				t.Error("runs that failed = 0, want some")
			}
		})
	}
}

// check restores the database after a power cut and compares it with the run.
func (r *faultyRun) check(t *testing.T, what string, fs vfs.FS) {
	t.Helper()
	db, err := Open("data/chain", thisChain, shortRetention(fs))
	if err != nil {
		t.Fatalf("%s: Open after the power cut = %v, want no error", what, err)
	}
	defer func() { _ = db.Close() }()
	store, err := db.Restore(crypto, lstar.NetworkRules)
	if err != nil {
		t.Fatalf("%s: Restore after the power cut = %v, want no error", what, err)
	}
	if store == nil {
		if r.begun {
			t.Fatalf("%s: the database is empty, want the chain", what)
		}
		return
	}
	if r.acknowledged == (lstar.View{}) {
		return
	}
	if head := store.Head(); head != r.acknowledged.Head && head != r.tried.Head {
		t.Errorf("%s: head = %s, want %s (acknowledged) or %s (tried)", what, head, r.acknowledged.Head, r.tried.Head)
	}
	if f := store.LatestFinalized(); f != r.acknowledged.LatestFinalized && f != r.tried.LatestFinalized {
		t.Errorf("%s: finalized = %s, want %s (acknowledged) or %s (tried)", what, f, r.acknowledged.LatestFinalized, r.tried.LatestFinalized)
	}
}

// hungFS is a file system whose GetDiskUsage blocks until release is closed. It closes hung when it
// is called.
type hungFS struct {
	vfs.FS
	hung, release chan struct{}
}

func (f hungFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	close(f.hung)
	<-f.release
	return f.FS.GetDiskUsage(path)
}

// TestSpaceOfAFailedDisk checks that Space returns the failure of the disk and does not wait for a
// blocked count.
func TestSpaceOfAFailedDisk(t *testing.T) {
	db, _ := start(t, vfs.NewMem(), "chain", 1)
	fs := hungFS{db.fs, make(chan struct{}), make(chan struct{})}
	db.fs = fs
	failed := make(chan error)
	go func() {
		_, _, err := db.Space()
		failed <- err
	}()
	<-fs.hung
	db.fail.report(errors.New("test failure"))
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "test failure") {
			t.Errorf("Space = %v, want the failure of the disk", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Space has not returned for 10 s after the failure of the disk")
	}
	close(fs.release)
}
