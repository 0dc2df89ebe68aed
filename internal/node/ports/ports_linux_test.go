package ports

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// TestProblem checks that the problem of a port in use names the process, here this test.
func TestProblem(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, test := range []struct {
		network string
		port    int
		listen  func(address string) error
	}{
		{"tcp", ln.Addr().(*net.TCPAddr).Port, func(a string) error { _, err := net.Listen("tcp", a); return err }},
		{"udp", conn.LocalAddr().(*net.UDPAddr).Port, func(a string) error { _, err := net.ListenPacket("udp", a); return err }},
	} {
		err := test.listen(fmt.Sprintf("127.0.0.1:%d", test.port))
		if err == nil {
			t.Fatalf("%s: port %d is opened twice", test.network, test.port)
		}
		got := Problem(err, test.network, test.port)
		if !strings.HasPrefix(got, "already in use by ports.test") || !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want that it is in use by %s", test.network, got, want)
		}
	}
	if got, want := holderOf("tcp", 1), ""; got != want {
		t.Errorf("holder of a free port = %q, want none", got)
	}
	if got := Problem(errors.New("no"), "tcp", 1); got != "no" {
		t.Errorf("got %q, want the error itself", got)
	}
}
