package guard

import (
	"errors"
	"fmt"
)

// heldError is the error for a lock that another process holds.
type heldError struct {
	pid int // 0 if unknown
}

func (e *heldError) Error() string { return "locked" + e.holder() }

func (e *heldError) holder() string {
	if e.pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", e.pid)
}

// errNoLocks is the error of an operating system or a file system without locks.
var errNoLocks = errors.New("file locks are not supported")
