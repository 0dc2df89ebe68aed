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

	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// FolderError is the error for a data folder that cannot be used.
type FolderError struct {
	Dir     string
	Problem string
	Advice  string // what the operator can do
	Err     error  // the cause, or nil
}

// Unwrap returns the cause.
func (e *FolderError) Unwrap() error { return e.Err }

// FixedBy returns the setting that Advice proposes to change, or "".
func (e *FolderError) FixedBy() setting.Name {
	switch e.Advice {
	case adviceMoveAway:
		return setting.CheckpointSyncURL
	case adviceInUse, adviceOtherNetwork:
		return setting.DataDir
	}
	return ""
}

// Error implements error.
func (e *FolderError) Error() string {
	return fmt.Sprintf("data folder %s: %s; %s", e.Dir, e.Problem, e.Advice)
}

const (
	adviceMoveAway = "move it away and restart the node: it fetches the chain from its peers, or faster with a checkpoint sync URL" +
		" (keep the folder guard beside it: it records what the validators' keys have signed)"
	adviceInUse        = "stop the other node, or set another data folder for this one"
	adviceOtherNetwork = "use the genesis of this folder, or set another data folder"
	adviceSpace        = "free space on the disk and restart the node: it loses nothing that it has shown"
	adviceDisk         = "check the disk and restart the node: it loses nothing that it has shown"
	advicePermission   = "allow the user that runs the node to write there"
	adviceStop         = "stop the node that uses it, then inspect it"
	adviceUser         = "run this command as the user of the node, or as root"
	adviceDataFolder   = "give the data folder of a node, which holds the folder chain"
	problemInUse       = "another process has it open"
	problemFailed      = "the disk failed"
)

// damagedError is the error for inconsistent data in the database.
type damagedError string

func (e damagedError) Error() string { return string(e) }

func damaged(format string, args ...any) error { return damagedError(fmt.Sprintf(format, args...)) }

// explain converts an error to a *FolderError with advice for the operator.
func (d *DB) explain(err error) error {
	var folder *FolderError
	var bad damagedError
	switch {
	case err == nil || errors.As(err, &folder):
		return err
	case errors.As(err, &bad) || pebble.IsCorruptionError(err):
		return &FolderError{d.dir, "it is damaged: " + oneLine(err), adviceMoveAway, err}
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &FolderError{d.dir, "the disk is full: " + oneLine(err), adviceSpace, err}
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EROFS):
		return &FolderError{d.dir, oneLine(err), advicePermission, err}
	case errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process"):
		return &FolderError{d.dir, problemInUse, adviceInUse, err}
	}
	return &FolderError{d.dir, problemFailed + ": " + oneLine(err), adviceDisk, err}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// failure is the first permanent failure of the disk. happened is closed when it occurs.
type failure struct {
	once     sync.Once
	happened chan struct{}
	err      error
}

func newFailure() *failure { return &failure{happened: make(chan struct{})} }

// report records err if it is the first failure.
func (f *failure) report(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.happened)
	})
}

// run calls work, which uses the disk, and returns its error. If the disk fails, it returns the
// failure at once, because the goroutine of work may be blocked permanently.
func (d *DB) run(work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-d.fail.happened:
		return d.Err()
	}
}

// commit writes a batch and waits until it is durable. After the first failure, it writes nothing.
func (d *DB) commit(b *pebble.Batch) error {
	select {
	case <-d.fail.happened:
		return d.Err()
	default:
	}
	err := d.run(func() error {
		if err := b.Commit(pebble.Sync); err != nil {
			return err
		}
		return b.Close()
	})
	if err != nil {
		d.fail.report(err)
	}
	return d.explain(err)
}

// logger writes pebble's log to the log of the node.
type logger struct {
	log  *slog.Logger
	fail *failure
}

func (l logger) Infof(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

func (l logger) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

// Fatalf reports the failure and blocks the goroutine permanently. Pebble calls it with its locks
// held where it cannot continue, so it must not return.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args { // pebble's format verbs do not wrap errors
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%s%w", strings.TrimSuffix(err.Error(), cause.Error()), cause)
		}
	}
	l.fail.report(err)
	select {}
}

// events returns the listener for pebble's background work. A failed flush or compaction stops the
// database, because pebble would repeat it and could block commits permanently. Acknowledged
// batches are safe in pebble's write-ahead log.
func (d *DB) events() *pebble.EventListener {
	var slow atomic.Int64
	return &pebble.EventListener{
		BackgroundError: d.fail.report,
		DiskSlow: func(info pebble.DiskSlowInfo) {
			if n := slow.Add(1); n&(n-1) == 0 { // 1, 2, 4, 8 …
				d.log.Warn("disk is slow", "operation", info.String(), "times", n,
					logging.Advice("Every block waits for this disk. Find out what else writes to it, or put the data folder on a faster one."))
			}
		},
	}
}
