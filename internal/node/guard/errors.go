package guard

import (
	"errors"
	"fmt"
)

// RefusedError is the error for a slot that is closed or that another message was signed for.
type RefusedError struct {
	Slot uint64
	// Latest is the record of the key.
	Latest Record
	// EarlierRun is set if an earlier process wrote Latest.
	EarlierRun bool
}

// Error implements error.
func (e *RefusedError) Error() string {
	reason := "was signed with another message"
	switch {
	case e.Slot < e.Latest.Slot:
		reason = fmt.Sprintf("is before slot %d, the latest signed", e.Latest.Slot)
	case e.Latest.Kind == Closed:
		reason = "may have been signed with another message"
	}
	if e.EarlierRun {
		reason += " by an earlier run"
	}
	return fmt.Sprintf("refused to sign: slot %d %s; two signatures for one slot reveal the key", e.Slot, reason)
}

// WriteError is the error for a record that cannot be made durable. The content of the disk is then
// unknown, so the key signs nothing until the process restarts.
type WriteError struct {
	File string // of the record
	Err  error
}

// Error implements error.
func (e *WriteError) Error() string {
	return fmt.Sprintf("%s: cannot record the signature, so the key does not sign: %s", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// errClosed is returned after Close has released the locks.
var errClosed = errors.New("the guard is closed")
