//go:build !linux

package e2e

import "syscall"

func killedWithParent() *syscall.SysProcAttr { return nil }
