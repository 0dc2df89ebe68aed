// Package ports explains why a port cannot be opened.
package ports

import (
	"errors"
	"net"
	"syscall"
)

// Problem describes an error of opening a port of a network, "tcp" or "udp". If the port is in use,
// the text names the process that uses it, where the system provides that. The caller adds the port.
func Problem(err error, network string, port int) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err.Error()
	}
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "not an address of this machine"
	case errors.Is(err, syscall.EACCES):
		return "permission denied; ports below 1024 require root"
	case !errors.Is(err, syscall.EADDRINUSE):
		return op.Err.Error()
	}
	if holder := holderOf(network, port); holder != "" {
		return "already in use by " + holder
	}
	return "already in use by another process"
}
