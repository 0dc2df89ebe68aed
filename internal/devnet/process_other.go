//go:build !unix

package devnet

import (
	"errors"
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

// signalGroup ends the process: this system has no other signals.
func signalGroup(pid int, _ syscall.Signal) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

func pauseGroup(int) error { return errors.ErrUnsupported }

func resumeGroup(int) error { return errors.ErrUnsupported }

// endedBy always returns true, because this system does not report signals.
func endedBy(error, syscall.Signal) bool { return true }
