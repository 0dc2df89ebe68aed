//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// isRoots reports whether root owns a file.
func isRoots(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}
