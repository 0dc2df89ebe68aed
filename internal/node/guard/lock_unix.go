//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package guard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFile locks a file for this process until the result is closed or the
// process ends, in whatever way. The file itself is locked, not a name, so
// links to it are locked as well, and nothing needs to be written.
//
// The lock is flock's: it belongs to the open file. A lock of fcntl would be lost
// as soon as anybody in this process reads the key and closes it.
func lockFile(path string, create bool) (io.Closer, error) {
	flag := os.O_RDONLY
	if create {
		flag = os.O_RDWR | os.O_CREATE
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, &heldError{holderOf(f)}
	}
	return nil, fmt.Errorf("%w: %w", errNoLocks, err)
}
