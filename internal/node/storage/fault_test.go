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

// faultyRun makes a database, fills it with some slots and a flush, and keeps the
// last view that was acknowledged, and the one that was being written.
type faultyRun struct {
	acknowledged, tried lstar.View
	begun               bool // the anchor is acknowledged
	err                 error
}

func (r *faultyRun) run(t *testing.T, fs vfs.FS) {
	db, err := Open("data/chain", thisChain, hasty(fs))
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

// TestFaults lets every operation on the disk fail once, one in each run. The
// outcome is a run that goes well all the same, or an error and no more writing;
// and in each case what was acknowledged is there, if the power is cut then.
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
						t.Errorf("operation %d: got %v, want a FolderError", n, r.err)
					}
				}
				r.check(t, fmt.Sprintf("operation %d", n), fs.CrashClone(vfs.CrashCloneCfg{}))
				if !hit {
					break
				}
			}
			t.Logf("%d runs, %d of them stopped", runs, failures)
			if failures == 0 {
				t.Error("no failure stopped a run")
			}
		})
	}
}

// check looks at what a power cut leaves.
func (r *faultyRun) check(t *testing.T, what string, fs vfs.FS) {
	t.Helper()
	db, err := Open("data/chain", thisChain, hasty(fs))
	if err != nil {
		t.Fatalf("%s: after the power cut: %v", what, err)
	}
	defer func() { _ = db.Close() }()
	store, err := db.Restore(crypto, lstar.NetworkRules)
	if err != nil {
		t.Fatalf("%s: after the power cut: %v", what, err)
	}
	if store == nil {
		if r.begun {
			t.Fatalf("%s: the chain is gone", what)
		}
		return
	}
	if r.acknowledged == (lstar.View{}) {
		return
	}
	if head := store.Head(); head != r.acknowledged.Head && head != r.tried.Head {
		t.Errorf("%s: head %s, want %s, which was acknowledged, or %s, which was being written", what, head, r.acknowledged.Head, r.tried.Head)
	}
	if f := store.LatestFinalized(); f != r.acknowledged.LatestFinalized && f != r.tried.LatestFinalized {
		t.Errorf("%s: finalized %s, want %s or %s", what, f, r.acknowledged.LatestFinalized, r.tried.LatestFinalized)
	}
}

// hungFS does not say how full it is until it is told to.
type hungFS struct {
	vfs.FS
	hung, goOn chan struct{}
}

func (f hungFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	close(f.hung)
	<-f.goOn
	return f.FS.GetDiskUsage(path)
}

// TestSpaceOfAFailedDisk: who asks how full the disk is hears of its failure, and does
// not wait for what never comes.
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
	db.fail.is(errors.New("it burns"))
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "it burns") {
			t.Errorf("the space of a disk that failed: %v, want what failed", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the space of a disk that failed is waited for")
	}
	close(fs.goOn)
}
