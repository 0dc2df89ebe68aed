package e2e

import "syscall"

// killedWithParent has a process killed when the thread ends that started it.
func killedWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
