package p2p

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// TestLibraryLines checks that lines of libp2p have its component, this node's keys and the level debug.
func TestLibraryLines(t *testing.T) {
	var out bytes.Buffer
	log, control := logging.New(logging.Options{Writer: &out})
	library := libraryLogger(log).With("logger", "swarm2")
	say := func() string {
		out.Reset()
		library.Debug("d")
		library.Info("i", "peer", "16Uiu2")
		library.Warn("w")
		library.Error("e", "err", errors.New("broken"))
		return out.String()
	}
	if got := say(); got != "" {
		t.Errorf("at info\n%swant nothing", got)
	}
	if _, _, err := control.SetLogLevel("error,libp2p=debug"); err != nil {
		t.Fatal(err)
	}
	if got := say(); strings.Count(got, " DBG libp2p ") != 4 || !strings.Contains(got, "peer_id=16Uiu2") || !strings.Contains(got, "logger=swarm2 error=broken") {
		t.Errorf("with libp2p=debug\n%swant four lines at debug", got)
	}
}
