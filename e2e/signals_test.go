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

// singleNode makes a network of one node, whose genesis is in two seconds, and returns the flags of the node and its metrics
// port.
func singleNode(t *testing.T) (args []string, metrics string) {
	t.Helper()
	dir, args := makeNetwork(t, "--validators", "1", "--scheme", "test", "--active-slots", "64", "--genesis-time", "+2s")
	metrics = porttest.Reserve(t)
	return append(args, "--scheme", "test", "--is-aggregator", "--data-dir", filepath.Join(dir, "data"), "--api-port", "0", "--metrics-port", metrics,
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--log-format", "json", "--log-level", "debug"), metrics
}

// commandIgnoring returns a command that starts with a signal ignored, as under nohup.
func commandIgnoring(signal string, args ...string) *exec.Cmd {
	cmd := command(context.Background(), args...)
	cmd.Args = append([]string{"sh", "-c", "trap '' " + signal + ` && exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// startProcess starts a command, and returns a channel that receives the result of Wait.
func startProcess(t *testing.T, cmd *exec.Cmd) <-chan error {
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

// awaitHead waits until the head of the node with this metrics port is at this slot or later.
func awaitHead(t *testing.T, done <-chan error, port string, slot float64) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		select {
		case err := <-done:
			t.Fatalf("the process exited before its head was at slot %v: %v", slot, err)
		case <-deadline:
			t.Fatalf("no head at slot %v within 60 s", slot)
		case <-time.After(200 * time.Millisecond): // no event reports that the port is open
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

// wantCleanExit sends a signal to the process, which must exit with code 0 within 10 s.
func wantCleanExit(t *testing.T, cmd *exec.Cmd, done <-chan error, signal syscall.Signal) {
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
		t.Errorf("the process still runs 10 s after %s", signal)
	}
}

// TestLogReaderGone checks that a node keeps running and stops cleanly if the reader of its log has exited or does not read.
func TestLogReaderGone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes for some slots")
	}
	for name, test := range map[string]struct {
		ignored bool // the parent ignores SIGPIPE
		blocked bool // the reader does not read
	}{
		"closed":                     {},
		"closed and SIGPIPE ignored": {ignored: true},
		"blocked":                    {blocked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, port := singleNode(t)
			cmd := command(context.Background(), args...)
			if test.ignored {
				cmd = commandIgnoring("PIPE", args...)
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
			done := startProcess(t, cmd)
			_ = w.Close()
			if !test.blocked {
				if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
					t.Fatalf("first line = %q (error %v), want a line", line, err)
				}
				_ = r.Close()
			}
			awaitHead(t, done, port, 3)
			if dropped := value(t, scrape(t, port), "leanspec_log_lines_dropped_total"); !test.blocked && dropped == 0 {
				t.Error("leanspec_log_lines_dropped_total = 0, want more than 0 without a reader")
			}
			wantCleanExit(t, cmd, done, syscall.SIGTERM)
		})
	}
}

// TestResultReaderGone checks that a command does its work and exits with code 0 if the reader of its stdout has exited, as in
// leanspec-node … | head -1.
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
			t.Errorf("%q without a reader: %v, stderr %q, want exit code 0 and no error", args, err, errs.String())
		}
		_ = w.Close()
	}
	if files, err := os.ReadDir(keys); err != nil || len(files) != 4 {
		t.Errorf("keygen without a reader made %d files (error %v), want 4", len(files), err)
	}
}

// fill writes to a pipe until it is full.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d bytes to a pipe (error %v), want a timeout because it is full", n, err)
	}
}

// TestHangup checks that SIGHUP stops a node like SIGTERM, unless it is ignored when the node starts.
func TestHangup(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes for some slots")
	}
	t.Run("closed terminal", func(t *testing.T) {
		t.Parallel()
		args, _ := singleNode(t)
		p := start(t, args...)
		p.await(t, "start", 10*time.Second, func(l line) bool { return l["msg"] == "started" && l["component"] == "node" })
		p.stop(t, syscall.SIGHUP)
		if last := p.lines[len(p.lines)-1]; last["msg"] != "stopped" {
			t.Errorf("last line of the log = %v, want \"stopped\"", last)
		}
	})
	t.Run("nohup", func(t *testing.T) {
		t.Parallel()
		args, port := singleNode(t)
		cmd := commandIgnoring("HUP", args...)
		done := startProcess(t, cmd)
		awaitHead(t, done, port, 1)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		awaitHead(t, done, port, 3)
		wantCleanExit(t, cmd, done, syscall.SIGTERM)
	})
}

// TestDevnetReaderGone checks that a devnet and its nodes keep running if the reader of its stdout has exited, and that SIGHUP
// stops all of them.
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
	done := startProcess(t, cmd)
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
			t.Fatalf("stdout has no object of type network: %v", s.Err())
		}
		_ = json.Unmarshal(s.Bytes(), &network) // lines about keys are not JSON
	}
	_ = r.Close()
	for _, node := range network.Nodes {
		page, err := url.Parse(node.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		awaitHead(t, done, page.Port(), 3)
	}
	wantCleanExit(t, cmd, done, syscall.SIGHUP)
	for _, node := range network.Nodes {
		if err := syscall.Kill(node.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("signal to process %d: error %v, want ESRCH", node.PID, err)
		}
	}
}

// TestDevnetBlocked checks that a devnet reaches its goal and exits with code 0 if the reader of its stdout does not read.
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
	done := startProcess(t, cmd)
	_ = w.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("devnet: %v, want exit code 0", err)
		}
	case <-time.After(90 * time.Second):
		t.Error("the devnet still runs after 90 s, want it to exit when slot 1 is finalized")
	}
}
