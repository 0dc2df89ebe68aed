package guard

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// holderOf returns the process that has the flock of a file, 0 if that cannot be
// told. The kernel lists it, so that nothing has to be written into key files.
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

// findHolder reads lines such as "1: FLOCK ADVISORY WRITE 1234 fe:01:5678 0 EOF".
// Some file systems show another device than stat does, so the inode decides, and
// if two files have it nobody is named.
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
