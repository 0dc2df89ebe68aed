package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// mountSmall mounts a disk of its own, or skips the test loudly.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	if err != nil {
		if os.Getenv("CI") != "" && runtime.GOOS == "linux" {
			t.Fatalf("mount: %v %s", err, out)
		}
		t.Skipf("SKIPPED: a disk that is full needs Linux and root: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// TestDiskFull: a node whose disk is full says so and ends, and goes on where it
// was once there is room.
func TestDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for half a minute")
	}
	t.Parallel()
	disk := mountSmall(t, "100k")
	dir := filepath.Join(t.TempDir(), "net")
	runs(t, "genesis", "--nodes", "1", "--validators", "4", "--scheme", "test", "--genesis-time", "+2s", "--out", dir)
	args := []string{
		"--genesis", filepath.Join(dir, "config.yaml"), "--validator-keys", dir, "--is-aggregator", "--scheme", "test",
		"--data-dir", filepath.Join(disk, "data"), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
		"--api-port", "0", "--metrics-port", "0", "--log-format", "json", "--log-level", "debug",
	}
	node := start(t, args...)
	select {
	case <-node.exited:
	case <-time.After(60 * time.Second):
		t.Fatal("the node runs on without a disk")
	}
	var exit *exec.ExitError
	if !errors.As(node.err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the node ended with %v, want exit code 1", node.err)
	}
	shown, said := uint64(0), 0
	for _, l := range node.lines {
		if l["msg"] == "head changed" {
			shown = max(shown, l.number(t, "slot"))
		}
		if text, _ := l["error"].(string); l["level"] == "error" && strings.Contains(text, "the disk is full") {
			said++
		}
	}
	if shown == 0 || said != 1 {
		t.Errorf("head at slot %d, and %d lines that the disk is full; want a chain, and one", shown, said)
	}
	if last := strings.Join(node.bad, "\n"); strings.Count(last, "\n") != 0 || !strings.Contains(last, "free space on the disk") {
		t.Errorf("it ended with %q, want one line that says what to do", last)
	}

	if out, err := exec.Command("mount", "-o", "remount,size=20m", disk).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	node = start(t, args...)
	ready := node.await(t, "storage", 10*time.Second, message("storage ready", 0))
	if ready.number(t, "slot") < shown {
		t.Errorf("head at slot %d after the restart, want %d, which was shown, or more", ready.number(t, "slot"), shown)
	}
	node.await(t, "a finalized slot", 60*time.Second, message("finalized", shown+1))
	node.stop(t)
}
