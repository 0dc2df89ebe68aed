//go:build unix

package devnet

import (
	"errors"
	"os/exec"
	"syscall"
)

// processAttributes puts a process into its own process group. So Ctrl-C in the terminal reaches only the devnet, which stops the
// nodes, and signals to the group reach the children of a prefix too.
func processAttributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	return attr
}

// signalGroup sends a signal to a process and its children.
func signalGroup(pid int, sig syscall.Signal) error { return syscall.Kill(-pid, sig) }

func pauseGroup(pid int) error { return signalGroup(pid, syscall.SIGSTOP) }

func resumeGroup(pid int) error { return signalGroup(pid, syscall.SIGCONT) }

// endedBy reports whether a process was ended by a signal.
func endedBy(err error, sig syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}
