package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountSmall mounts a file system of the given size and returns its folder.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	if err != nil {
		unavailable(t, "a small disk needs Linux and root: mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// TestDiskFull checks that a node whose disk is full logs this once and exits, and that it continues from its last head once
// there is space.
func TestDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for half a minute")
	}
	t.Parallel()
	disk := mountSmall(t, "100k")
	_, args := makeNetwork(t, "--validators", "4", "--scheme", "test", "--genesis-time", "+2s")
	args = append(args, "--is-aggregator", "--scheme", "test",
		"--data-dir", filepath.Join(disk, "data"), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
		"--api-port", "0", "--metrics-port", "0", "--log-format", "json", "--log-level", "debug")
	node := start(t, args...)
	select {
	case <-node.exited:
	case <-time.After(60 * time.Second):
		t.Fatal("the node still runs after 60 s, want it to exit because its disk is full")
	}
	if got := exitCode(node.err); got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
	shown, reports := uint64(0), 0
	for _, l := range node.lines {
		if l["msg"] == "head changed" {
			shown = max(shown, l.number(t, "slot"))
		}
		if text, _ := l["error"].(string); l["level"] == "error" && strings.Contains(text, "the disk is full") {
			reports++
		}
	}
	if shown == 0 || reports != 1 {
		t.Errorf("head slot = %d, errors that the disk is full = %d, want more than 0, and 1", shown, reports)
	}
	if last := strings.Join(node.bad, "\n"); strings.Count(last, "\n") != 0 || !strings.Contains(last, "free space on the disk") {
		t.Errorf("last lines = %q, want one line with advice", last)
	}

	if out, err := exec.Command("mount", "-o", "remount,size=20m", disk).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	node = start(t, args...)
	ready := node.await(t, "storage", 10*time.Second, message("storage ready", 0))
	if got := ready.number(t, "slot"); got < shown {
		t.Errorf("head slot after the restart = %d, want at least %d, as shown before", got, shown)
	}
	node.await(t, "a finalized slot", 60*time.Second, message("finalized", shown+1))
	node.stop(t, syscall.SIGTERM)
}
