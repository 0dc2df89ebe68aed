package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// FolderError is what is wrong with a data folder, and what to do.
type FolderError struct {
	Dir     string
	Problem string
	Advice  string
	Err     error // the cause, or nil
}

// Unwrap returns the cause.
func (e *FolderError) Unwrap() error { return e.Err }

func (e *FolderError) Error() string {
	return fmt.Sprintf("data folder %s: %s; %s", e.Dir, e.Problem, e.Advice)
}

// What to do about a folder that cannot be used.
const (
	adviceStartAnew = "move it away and start again: the node fetches the chain from its peers, or sooner with --checkpoint-sync-url" +
		" (keep the folder guard beside it: it says what the validators' keys have signed)"
	adviceInUse   = "stop the other node, or give this one its own --data-dir"
	adviceSpace   = "make room on the disk and start again: nothing that was shown is lost"
	adviceDisk    = "look at the disk, and start again: nothing that was shown is lost"
	adviceRights  = "give the user that runs the node the right to write there"
	problemInUse  = "another process has it open"
	problemFailed = "the disk failed"
)

// damagedError is data that does not fit together.
type damagedError struct{ what string }

func (e *damagedError) Error() string { return e.what }

func damaged(format string, args ...any) error {
	return &damagedError{fmt.Sprintf(format, args...)}
}

// explain makes an error one that the operator can act upon.
func (d *DB) explain(err error) error {
	var folder *FolderError
	var bad *damagedError
	switch {
	case err == nil || errors.As(err, &folder):
		return err
	case errors.As(err, &bad) || pebble.IsCorruptionError(err):
		return &FolderError{d.dir, "it is damaged: " + oneLine(err), adviceStartAnew, err}
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &FolderError{d.dir, "the disk is full: " + oneLine(err), adviceSpace, err}
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EROFS):
		return &FolderError{d.dir, oneLine(err), adviceRights, err}
	case errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process"):
		return &FolderError{d.dir, problemInUse, adviceInUse, err}
	}
	return &FolderError{d.dir, problemFailed + ": " + oneLine(err), adviceDisk, err}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// failure is the first thing that went wrong with the disk for good.
type failure struct {
	once     sync.Once
	happened chan struct{}
	err      error
}

func newFailure() *failure { return &failure{happened: make(chan struct{})} }

func (f *failure) is(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.happened)
	})
}

// commit is a batch on its way to the disk.
type commit struct {
	batch *pebble.Batch
	done  chan error
}

// commit writes a batch and waits until it is on the disk, or never will be.
func (d *DB) commit(b *pebble.Batch) error {
	select {
	case <-d.fail.happened:
		return d.Err()
	default:
	}
	size := uint64(b.Len())
	c := commit{b, make(chan error, 1)}
	select {
	case d.commits <- c:
	case <-d.fail.happened:
		return d.Err()
	}
	select {
	case err := <-c.done:
		if err != nil {
			d.fail.is(err)
			return d.explain(err)
		}
	case <-d.fail.happened:
		return d.Err()
	}
	d.written.Add(size)
	return nil
}

// commitAll commits batches, in a goroutine of its own, which a failing disk keeps.
func (d *DB) commitAll() {
	for c := range d.commits {
		err := c.batch.Commit(pebble.Sync)
		if err == nil {
			err = c.batch.Close()
		}
		c.done <- err
	}
}

// logger brings pebble's log into ours.
type logger struct {
	log  *slog.Logger
	fail *failure
}

func (l logger) Infof(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

func (l logger) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

// Fatalf is called where pebble cannot go on, with its locks held. It must not
// return, so it keeps the goroutine: everybody else is told, and the process ends.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args { // pebble's verbs do not wrap
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%s%w", strings.TrimSuffix(err.Error(), cause.Error()), cause)
		}
	}
	l.fail.is(err)
	select {}
}

// events are what pebble tells while it works in the background. It would try a
// flush or a compaction that failed again, and hold up commits meanwhile, maybe
// for ever. What is acknowledged is safe in its log: stopping is better.
func (d *DB) events() *pebble.EventListener {
	var slow atomic.Int64
	return &pebble.EventListener{
		BackgroundError: d.fail.is,
		DiskSlow: func(info pebble.DiskSlowInfo) {
			if n := slow.Add(1); n&(n-1) == 0 { // 1, 2, 4, 8 …
				d.log.Warn("the disk is slow", "operation", info.String(), "times", n,
					telemetry.Advice("the chain waits for it: look for what else writes to that disk, or give --data-dir a faster one"))
			}
		},
	}
}
