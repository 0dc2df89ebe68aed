package guard

import (
	"errors"
	"fmt"
)

// RefusedError is the refusal to sign: the slot is closed, or was signed with
// another message.
type RefusedError struct {
	Slot uint64
	// Latest is the key's record.
	Latest Record
	// EarlierRun is set if Latest is from before this process.
	EarlierRun bool
}

// Error implements error.
func (e *RefusedError) Error() string {
	what := "was signed with another message"
	switch {
	case e.Slot < e.Latest.Slot:
		what = fmt.Sprintf("is before slot %d, the latest signed", e.Latest.Slot)
	case e.Latest.Kind == Closed:
		what = "may have been signed with another message"
	}
	if e.EarlierRun {
		what += " by an earlier run"
	}
	return fmt.Sprintf("refused to sign: slot %d %s, and two messages for one slot give the key away", e.Slot, what)
}

// WriteError is a failure to make a record durable. What is on disk is not known
// any more, so the key signs nothing until the process starts again.
type WriteError struct {
	File string // the record
	Err  error
}

// Error implements error.
func (e *WriteError) Error() string {
	return fmt.Sprintf("%s: cannot record what is signed, so nothing is signed: %s", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// errClosed: the locks are given up, and another process may sign.
var errClosed = errors.New("the guard is closed")
