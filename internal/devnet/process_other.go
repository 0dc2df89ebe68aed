//go:build !unix

package devnet

import (
	"errors"
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

// signalGroup ends a process: there are no other signals here.
func signalGroup(pid int, _ syscall.Signal) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

func pauseGroup(int) error { return errors.ErrUnsupported }

func resumeGroup(int) error { return errors.ErrUnsupported }

// endedBy takes every end for the one that was asked for.
func endedBy(error, syscall.Signal) bool { return true }
