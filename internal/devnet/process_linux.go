package devnet

import "syscall"

// dieWithParent makes the kernel kill the process when the devnet ends in any way. A paused process would not handle SIGTERM.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
