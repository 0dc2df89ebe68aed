package guard

import (
	"errors"
	"fmt"
)

// heldError: another process has the lock.
type heldError struct {
	pid int // 0 if not known
}

func (e *heldError) Error() string { return "locked" + e.holder() }

func (e *heldError) holder() string {
	if e.pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", e.pid)
}

// errNoLocks: the file system, or the operating system, has no such locks.
var errNoLocks = errors.New("no locks")
