//go:build unix && !linux

package devnet

import "syscall"

// dieWithParent does nothing, because only Linux can do it.
func dieWithParent(*syscall.SysProcAttr) {}
