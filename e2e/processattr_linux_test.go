package e2e

import "syscall"

// diesWithUs has a process killed when the thread ends that started it.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
