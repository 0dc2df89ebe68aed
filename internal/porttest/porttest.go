//go:build unix

// Package porttest gives tests TCP ports that no other process takes in the meantime.
package porttest

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Reserve returns a TCP port and reserves it until the test ends, by a socket that is bound to it on 127.0.0.1 and never
// listens. Connections to the port are refused, and the system gives it to no other process that lets it choose a port. A
// program that is given the port, and sets SO_REUSEADDR as Go's net package does, can listen on it.
func Reserve(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	// SO_REUSEADDR comes after the choice of the port: before, the system could choose a port that is in use.
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
