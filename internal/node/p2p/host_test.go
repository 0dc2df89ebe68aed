package p2p

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// TestLibraryLines: what libp2p logs has its component, our keys, and a level that
// does not sound like a failure of this node.
func TestLibraryLines(t *testing.T) {
	var out bytes.Buffer
	log, control := telemetry.NewLogger(telemetry.LogOptions{Writer: &out})
	library := libraryLogger(log).With("logger", "swarm2")
	say := func() string {
		out.Reset()
		library.Debug("d")
		library.Info("i", "peer", "16Uiu2")
		library.Warn("w")
		library.Error("e", "err", errors.New("broken"))
		return out.String()
	}
	if got := say(); strings.Count(got, "\n") != 2 || strings.Count(got, " WRN libp2p ") != 2 || !strings.Contains(got, "logger=swarm2 error=broken") {
		t.Errorf("at info\n%swant two warnings of libp2p", got)
	}
	if _, _, err := control.SetLogLevel("error,libp2p=debug"); err != nil {
		t.Fatal(err)
	}
	if got := say(); strings.Count(got, " DBG libp2p ") != 2 || strings.Count(got, " WRN libp2p ") != 2 || !strings.Contains(got, "peer_id=16Uiu2") {
		t.Errorf("with libp2p=debug\n%swant all four lines", got)
	}
	if _, _, err := control.SetLogLevel("debug,libp2p=error"); err != nil {
		t.Fatal(err)
	}
	if got := say(); got != "" {
		t.Errorf("with libp2p=error\n%swant nothing: its errors are warnings", got)
	}
}
