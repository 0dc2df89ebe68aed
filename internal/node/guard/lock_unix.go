//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package guard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lockFile locks a file until the caller closes the result or the process ends. The lock applies to
// the file under all its names, and needs no write access. The error is a *heldError if another
// process holds the lock.
//
// It uses flock because that lock belongs to the open file. A lock of fcntl would end as soon as
// any code of this process opens the key file and closes it.
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

// holderOf returns the id of the process that holds the flock of a file, or 0 if it is not known.
// It reads Linux's list of locks, so that a process need not write its id into the key file.
func holderOf(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	return findHolder(string(locks), fmt.Sprint(stat.Ino))
}

// findHolder parses lines such as "1: FLOCK ADVISORY WRITE 1234 fe:01:5678 0 EOF". It compares only
// the inode, because some file systems list another device number than stat returns. If several
// processes hold locks on that inode, it returns 0.
func findHolder(locks, inode string) (pid int) {
	for line := range strings.Lines(locks) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], ":"+inode) {
			continue
		}
		found, err := strconv.Atoi(fields[4])
		if err != nil || found <= 0 || pid != 0 && pid != found {
			return 0
		}
		pid = found
	}
	return pid
}
