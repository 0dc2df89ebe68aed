package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
)

// startNode runs a node of the network that newKeys makes, without ports, until it has started. It returns what the
// node writes to stderr.
func startNode(t *testing.T, args string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestConsole(0)
	log := &lockedCancel{cancelOn: cancelOn{text: "started", cancel: cancel}}
	c.console.err = log
	command := "run --genesis net/config.yaml --scheme test --log-format json " + args
	if !strings.Contains(args, "-port") {
		command += " --api-port 0 --metrics-port 0"
	}
	if code := run(ctx, &c.console, append(strings.Fields(command), "--listen", "")); code != 0 {
		t.Fatalf("%s: exit code %d, want 0:\n%s", command, code, log)
	}
	return log.String()
}

// lockedCancel is a cancelOn for the goroutines of a node.
type lockedCancel struct {
	mu sync.Mutex
	cancelOn
}

func (w *lockedCancel) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cancelOn.Write(b)
}

func (w *lockedCancel) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cancelOn.String()
}

// warnings returns the lines of a log whose level is warn or above, and that have a text.
func warnings(log, text string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) && (strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"warn"`) ||
			!strings.HasPrefix(line, "{")) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// appendTo adds text to a file.
func appendTo(t *testing.T, path, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(bytes.TrimRight(data, "\n"), "\n"+text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A key of config.yaml that has no effect is worth one warning.
func TestUnknownGenesisKeys(t *testing.T) {
	newKeys(t)
	if got := warnings(startNode(t, ""), "unknown keys"); len(got) != 0 {
		t.Errorf("warnings = %q, want none", got)
	}
	appendTo(t, "net/config.yaml", "\u200bATTESTATION_COMMITTEE_COUNT: 4\nSLOTS: 3\n")
	got := warnings(startNode(t, ""), "unknown keys")
	if len(got) != 1 || !strings.Contains(got[0], `\\u200bATTESTATION_COMMITTEE_COUNT (nearest known name: ATTESTATION_COMMITTEE_COUNT)`) || !strings.Contains(got[0], `"SLOTS (`) {
		t.Errorf("warnings = %q, want one that names both keys", got)
	}
}
