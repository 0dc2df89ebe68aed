package node

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// TestMetricsPortInUse checks that a metrics port in use is an error, and that with AnyMetricsPort
// the node uses the next free port and logs it.
func TestMetricsPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	c := newCluster(t, xmss.Test, 1, 16)
	nodeKey, err := config.GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	lines := new(bytes.Buffer)
	log, _ := logging.New(logging.Options{Level: slog.LevelInfo, Writer: lines, Format: logging.FormatJSON})
	cfg := Config{
		Version: "test", NodeID: "0", Genesis: c.genesis, Scheme: c.scheme, NodeKey: nodeKey, NetworkName: "test", Committees: 1,
		Log: log, Time: c.clock, StartTime: time.Now(),
		HTTPAddress: netip.MustParseAddr("127.0.0.1"), MetricsPort: port,
	}
	n, err := New(t.Context(), cfg)
	if err == nil {
		n.Close()
		t.Fatal("New with a metrics port in use succeeded, want an error")
	}
	if want := "metrics port: " + strconv.Itoa(port) + ": already in use by "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("New = %v, want %s…", err, want)
	}

	cfg.AnyMetricsPort = true
	if n, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	used := n.servers[0].ln.Addr().(*net.TCPAddr).Port
	if got := n.servers[0].ln.Addr().(*net.TCPAddr).IP; !got.IsLoopback() {
		t.Errorf("address of the metrics = %s, want 127.0.0.1", got)
	}
	if used <= port {
		t.Errorf("metrics port = %d, want one after %d, which is in use", used, port)
	}
	if want := `"port_used":` + strconv.Itoa(used); strings.Count(lines.String(), "default metrics port in use") != 1 || !strings.Contains(lines.String(), want) {
		t.Errorf("log =\n%s\nwant one warning with %s", lines, want)
	}
}

// TestHTTPAddressOfAnotherMachine checks that the error names the address, not the port.
func TestHTTPAddressOfAnotherMachine(t *testing.T) {
	n := &Node{cfg: Config{Log: slog.New(slog.DiscardHandler), HTTPAddress: netip.MustParseAddr("192.0.2.1"), APIPort: 5052}, health: new(health.Monitor), metrics: metrics.New(metrics.Info{})}
	if err := n.listen(); err == nil || err.Error() != "HTTP address: 192.0.2.1: not an address of this machine" {
		t.Errorf("listen = %v, want an error about the HTTP address", err)
	}
}
