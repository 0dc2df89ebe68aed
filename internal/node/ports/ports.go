// Package ports says why a port cannot be opened.
package ports

import (
	"errors"
	"net"
	"syscall"
)

// Problem describes the error of opening a port, for the end of a line that names the port. Where the port is in use and
// the system tells by which process, it says so. The network is "tcp" or "udp".
func Problem(err error, network string, port int) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err.Error()
	}
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "not an address of this machine"
	case errors.Is(err, syscall.EACCES):
		return "permission denied; ports below 1024 are for root"
	case !errors.Is(err, syscall.EADDRINUSE):
		return op.Err.Error()
	}
	if holder := holderOf(network, port); holder != "" {
		return "already in use by " + holder
	}
	return "already in use by another process"
}
