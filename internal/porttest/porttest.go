//go:build unix

// Package porttest reserves TCP ports for tests.
package porttest

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Reserve returns a TCP port of 127.0.0.1 and reserves it until the test ends. It binds a socket to the port that never
// listens, so connections to the port are refused, and the system does not choose it for other sockets. A program that is
// given the port can listen on it if it sets SO_REUSEADDR, as Go's net package does.
func Reserve(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	// SO_REUSEADDR is set after bind, because otherwise the system could choose a port that is in use.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(os.NewSyscallError("setsockopt", err))
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(os.NewSyscallError("getsockname", err))
	}
	return strconv.Itoa(address.(*syscall.SockaddrInet4).Port)
}
