//go:build unix

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/porttest"
)

// loneNode makes a network of one node, whose slot 0 begins in two seconds, and returns the node's arguments and its
// metrics port.
func loneNode(t *testing.T) (args []string, metrics string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "net")
	mustRun(t, "genesis", "--nodes", "1", "--validators", "1", "--scheme", "test", "--active-slots", "64", "--genesis-time", "+2s", "--out", dir)
	metrics = porttest.Reserve(t)
	return []string{
		"--genesis", filepath.Join(dir, "config.yaml"), "--validator-keys", dir, "--scheme", "test", "--is-aggregator",
		"--data-dir", filepath.Join(dir, "data"), "--api-port", "0", "--metrics-port", metrics,
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--log-format", "json", "--log-level", "debug",
	}, metrics
}

// ignoring returns a command that runs with a signal ignored, as nohup starts it for one.
func ignoring(signal string, args ...string) *exec.Cmd {
	cmd := command(context.Background(), args...)
	cmd.Args = append([]string{"sh", "-c", "trap '' " + signal + ` && exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// running starts a command and returns a channel with its end.
func running(t *testing.T, cmd *exec.Cmd) <-chan error {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		done <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
	})
	return done
}

// awaitHead waits until the node with a metrics port has a head at a slot or after it.
func awaitHead(t *testing.T, done <-chan error, port string, slot float64) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		select {
		case err := <-done:
			t.Fatalf("the process ended before its head was at slot %v: %v", slot, err)
		case <-deadline:
			t.Fatalf("no head at slot %v within 60 s", slot)
		case <-time.After(200 * time.Millisecond): // Nothing but the port says that it has been opened.
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		_ = conn.Close()
		if value(t, scrape(t, port), "lean_head_slot") >= slot {
			return
		}
	}
}

// endsWell sends a signal and wants the process to end with code 0.
func endsWell(t *testing.T, cmd *exec.Cmd, done <-chan error, signal syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("exit after %s: %v, want code 0", signal, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("still there 10 s after %s", signal)
	}
}

// TestLogReaderGone: a node goes on without whoever reads its log, and stops cleanly.
func TestLogReaderGone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes for some slots")
	}
	for name, test := range map[string]struct {
		ignored bool // SIGPIPE, by the parent
		blocked bool // The reader is there and does not read.
	}{
		"closed":                     {},
		"closed and SIGPIPE ignored": {ignored: true},
		"blocked":                    {blocked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, port := loneNode(t)
			cmd := command(context.Background(), args...)
			if test.ignored {
				cmd = ignoring("PIPE", args...)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			if test.blocked {
				fill(t, w)
			}
			cmd.Stderr = w
			done := running(t, cmd)
			_ = w.Close()
			if !test.blocked {
				if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
					t.Fatalf("first line %q: %v", line, err)
				}
				_ = r.Close()
			}
			awaitHead(t, done, port, 3)
			if dropped := value(t, scrape(t, port), "leanspec_log_lines_dropped_total"); !test.blocked && dropped == 0 {
				t.Error("leanspec_log_lines_dropped_total = 0, want more: the reader is gone")
			}
			endsWell(t, cmd, done, syscall.SIGTERM)
		})
	}
}

// TestResultReaderGone: a command that only prints does its work and ends quietly when the reader of its result has
// ended, as in leanspec-node … | head -1.
func TestResultReaderGone(t *testing.T) {
	keys := t.TempDir()
	for _, args := range [][]string{
		{"--help"}, {"keys", "status", "--help"}, {"version"},
		{"keygen", "--scheme", "test", "--active-slots", "8", "--out", keys},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		cmd := command(t.Context(), args...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = w, &errs
		if err := cmd.Run(); err != nil || strings.Contains(errs.String(), "leanspec-node:") {
			t.Errorf("%q without a reader: %v and on stderr %q, want code 0 and no failure", args, err, errs.String())
		}
		_ = w.Close()
	}
	if files, err := os.ReadDir(keys); err != nil || len(files) != 4 {
		t.Errorf("keygen without a reader made %d files (%v), want 4", len(files), err)
	}
}

// fill fills a pipe.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes fit into a pipe (%v), want it full", n, err)
	}
}

// TestHangup: SIGHUP stops a node as SIGTERM does, unless it is ignored when the node starts.
func TestHangup(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes for some slots")
	}
	t.Run("closed terminal", func(t *testing.T) {
		t.Parallel()
		args, _ := loneNode(t)
		p := start(t, args...)
		p.await(t, "start", 10*time.Second, func(l line) bool { return l["msg"] == "started" && l["component"] == "node" })
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.exited:
		case <-time.After(10 * time.Second):
			t.Fatal("still there 10 s after SIGHUP")
		}
		if p.err != nil {
			t.Errorf("exit after SIGHUP: %v, want code 0", p.err)
		}
		if last := p.lines[len(p.lines)-1]; last["msg"] != "stopped" {
			t.Errorf("the log ends with %v, want \"stopped\"", last)
		}
	})
	t.Run("nohup", func(t *testing.T) {
		t.Parallel()
		args, port := loneNode(t)
		cmd := ignoring("HUP", args...)
		done := running(t, cmd)
		awaitHead(t, done, port, 1)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		awaitHead(t, done, port, 3)
		endsWell(t, cmd, done, syscall.SIGTERM)
	})
}

// TestDevnetReaderGone: a devnet and its nodes go on without whoever reads the table, and SIGHUP stops all of them.
func TestDevnetReaderGone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for some slots")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	cmd := command(context.Background(), "devnet", "--nodes", "2", "--validators", "2", "--scheme", "test", "--active-slots", "64", "--json", "--dir", dir)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cmd.Stdout, cmd.Stderr = w, w
	done := running(t, cmd)
	_ = w.Close()
	var network struct {
		Type  string
		Nodes []struct {
			Metrics string
			PID     int
		}
	}
	for s := bufio.NewScanner(r); network.Type != "network"; {
		if !s.Scan() {
			t.Fatalf("no network: %v", s.Err())
		}
		_ = json.Unmarshal(s.Bytes(), &network) // or it is a line about keys
	}
	_ = r.Close()
	for _, node := range network.Nodes {
		page, err := url.Parse(node.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		awaitHead(t, done, page.Port(), 3)
	}
	endsWell(t, cmd, done, syscall.SIGHUP)
	for _, node := range network.Nodes {
		if err := syscall.Kill(node.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there (%v)", node.PID, err)
		}
	}
}

// TestDevnetBlocked: a devnet goes on while whoever reads its table does not, to its end and its exit code.
func TestDevnetBlocked(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for some slots")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	cmd := command(context.Background(), "devnet", "--nodes", "1", "--validators", "1", "--scheme", "test", "--active-slots", "64",
		"--until-finalized", "1", "--dir", dir)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	fill(t, w)
	cmd.Stdout, cmd.Stderr = w, w
	done := running(t, cmd)
	_ = w.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the devnet ended with %v, want code 0: slot 1 was finalized", err)
		}
	case <-time.After(90 * time.Second):
		t.Error("still there after 90 s, want it to end when slot 1 is finalized")
	}
}
