package guard

import (
	"errors"
	"fmt"
)

// heldError is returned if another process holds the lock.
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

// errNoLocks is returned if the operating system or the file system does not
// support locks.
var errNoLocks = errors.New("file locks are not supported")
