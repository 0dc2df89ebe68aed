//go:build unix

package porttest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// TestReserve checks that a reserved port refuses connections, and that the test can listen on it, on one address or on all.
func TestReserve(t *testing.T) {
	seen := make(map[string]bool)
	for range 50 {
		port := Reserve(t)
		if seen[port] {
			t.Errorf("port %s was reserved twice", port)
		}
		seen[port] = true
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialing port %s: %v, error %v, want a refused connection", port, conn, err)
		}
		for _, host := range []string{"", "127.0.0.1"} {
			ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Fatalf("listening on %q, port %s: %v", host, port, err)
			}
			if second, err := net.Listen("tcp", net.JoinHostPort(host, port)); err == nil {
				_ = second.Close()
				t.Errorf("two listeners on port %s, want the second one to fail", port)
			}
			if err := ln.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
