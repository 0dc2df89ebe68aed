package e2e

import "syscall"

// killedWithParent makes the kernel kill a process when the thread that has started it ends.
func killedWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
