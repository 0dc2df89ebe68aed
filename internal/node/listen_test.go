package node

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// TestMetricsPortInUse checks that a metrics port in use is an error, and that with
// AnyMetricsPort the node uses the next free port and logs it.
func TestMetricsPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
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
		MetricsPort: port,
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
	if used <= port {
		t.Errorf("metrics port = %d, want one after %d, which is in use", used, port)
	}
	if want := `"port_used":` + strconv.Itoa(used); strings.Count(lines.String(), "default metrics port in use") != 1 || !strings.Contains(lines.String(), want) {
		t.Errorf("log =\n%s\nwant one warning with %s", lines, want)
	}
}
