package devnet

import "syscall"

// dieWithParent has the process killed when the devnet is gone, however it went. A paused process would not
// hear a milder signal.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
