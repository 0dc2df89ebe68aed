package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledWhileSigning checks that a killed node has recorded what it signed, that a second node cannot use its keys while it
// runs, and that the restarted node signs only later slots.
func TestKilledWhileSigning(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for half a minute")
	}
	t.Parallel()
	dir, flags := makeNetwork(t, "--validators", "2", "--scheme", "test", "--active-slots", "256", "--genesis-time", "+2s")
	flags = append(flags, "--scheme", "test", "--data-dir", filepath.Join(t.TempDir(), "data"))
	args := slices.Concat(flags, aggregator)

	from := uint64(1)
	for _, lost := range []string{"", filepath.Join(dir, "hash-sig-keys")} {
		if lost != "" {
			records, err := filepath.Glob(filepath.Join(lost, "*.guard"))
			if err != nil || len(records) != 4 {
				t.Fatalf("signing records = %v (error %v), want four", records, err)
			}
			for _, r := range records {
				if err := os.Remove(r); err != nil {
					t.Fatal(err)
				}
			}
		}
		node := start(t, args...)
		node.await(t, "vote", 30*time.Second, message("vote produced", from))

		second := command(t.Context(), args...)
		out, err := second.CombinedOutput()
		if got, want := exitCode(err), "in use by another process (pid "; got != 2 || !strings.Contains(string(out), want) {
			t.Errorf("second node: exit code %d, want 2 and %q:\n%s", got, want, out)
		}

		node.await(t, "signature", 30*time.Second, message("signed", from+1))
		if err := node.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-node.exited
		type key struct {
			validator uint64
			role      string
		}
		signed := make(map[key]uint64)
		for _, l := range node.lines {
			if l["msg"] == "signed" {
				signed[key{l.number(t, "validator"), l.text(t, "kind")}] = l.number(t, "slot")
			}
		}
		var status struct {
			Keys []struct {
				Validator  uint64
				Role       string
				SignedSlot uint64 `json:"signed_slot"`
			}
		}
		if err := json.Unmarshal([]byte(mustRun(t, append([]string{"keys", "status", "--json"}, flags...)...)), &status); err != nil {
			t.Fatal(err)
		}
		for _, k := range status.Keys {
			at := key{k.Validator, k.Role}
			if slot := signed[at]; k.SignedSlot < slot {
				t.Errorf("validator %d (%s): recorded slot = %d, want at least %d, which it has signed", k.Validator, k.Role, k.SignedSlot, slot)
			}
			delete(signed, at)
			from = max(from, k.SignedSlot+1)
		}
		if len(signed) != 0 {
			t.Errorf("keys missing in keys status = %v, want none", signed)
		}
		if len(status.Keys) != 4 || from < 3 {
			t.Errorf("status = %+v, want four keys and a signed slot of at least 2", status)
		}
	}
}

// aggregator are the flags of a node that aggregates and has no ports.
var aggregator = []string{"--is-aggregator", "--log-format", "json", "--log-level", "debug", "--api-port", "0", "--metrics-port", "0", "--listen", ""}

// TestReadOnlyKeys checks that a node whose keys are in a read-only folder does not start without a data folder. If the signing
// records in the data folder are removed right after a vote, the keys sign neither that slot nor the next one, and the node logs
// this.
func TestReadOnlyKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for half a minute")
	}
	dir, flags := makeNetwork(t, "--validators", "2", "--scheme", "test", "--active-slots", "256", "--genesis-time", "+4s")
	flags = append(flags, "--scheme", "test")
	data := filepath.Join(t.TempDir(), "data")
	readOnly(t, dir)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	// Permissions do not restrict root, so the node runs as another user.
	unprivileged := func(args []string) *exec.Cmd {
		cmd := command(context.Background(), args...)
		if os.Getuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			if err := os.Chown(data, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{filepath.Dir(binary), filepath.Dir(filepath.Dir(dir)), filepath.Dir(filepath.Dir(data))} {
				if err := os.Chmod(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		return cmd
	}
	args := slices.Concat(flags, aggregator)

	out, err := unprivileged(args).CombinedOutput()
	want := filepath.Join(dir, "hash-sig-keys") + ": not writable, but signatures must be recorded: set --data-dir (LEANSPEC_DATA_DIR)"
	if got := exitCode(err); got != 2 || !strings.Contains(string(out), want) {
		t.Fatalf("without a data folder: exit code %d, want 2 and %q:\n%s", got, want, out)
	}

	args = append(args, "--data-dir", data)
	node := startCommand(t, unprivileged(args))
	voted := node.await(t, "vote", 30*time.Second, message("vote produced", 1)).number(t, "slot")
	if err := node.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-node.exited
	node.mu.Lock()
	for _, l := range node.lines {
		if l["level"] == "error" {
			t.Errorf("first start, before genesis: line = %v, want no error", l)
		}
	}
	node.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(data, "guard")); err != nil {
		t.Fatal(err)
	}
	node = startCommand(t, unprivileged(args))
	lost := node.await(t, "error", 10*time.Second, message("signing records are missing", voted))
	next := lost.number(t, "next_slot")
	if lost["level"] != "error" || lost.number(t, "keys") != 4 || next != lost.number(t, "slot")+2 || lost.text(t, "advice") == "" {
		t.Errorf("line = %v, want an error about 4 keys, with advice, and next_slot two after slot", lost)
	}
	status := func() []string {
		return strings.Fields(mustRun(t, append([]string{"keys", "status", "--data-dir", data}, flags...)...))
	}
	if got := strings.Join(status(), " "); !strings.Contains(got, fmt.Sprintf("0 attestation 0-255 closed %d ", next-1)) {
		t.Errorf("keys status = %s, want the attestation key of validator 0 closed up to slot %d", got, next-1)
	}
	node.await(t, "vote", 30*time.Second, message("vote produced", next))
	node.await(t, "block", 30*time.Second, message("block produced", next))
	node.mu.Lock()
	defer node.mu.Unlock()
	skipped := 0
	for _, l := range node.lines {
		switch {
		case l["msg"] == "signed" && l.number(t, "slot") < next:
			t.Errorf("line = %v, want no signature before slot %d", l, next)
		case l["msg"] == "duty skipped" && l["reason"] == "slot_closed":
			skipped++
		case l["msg"] == "signature refused" || l["msg"] == "duty missed":
			t.Errorf("line = %v, want the duty skipped", l)
		}
	}
	if skipped == 0 {
		t.Errorf("duties skipped with reason slot_closed in slots %d to %d = 0, want more", voted, next-1)
	}
}

// readOnly makes a folder readable by all users and writable by none, until the test ends.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	set := func(file, folder os.FileMode) error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.Chmod(path, folder)
			}
			return os.Chmod(path, file)
		})
	}
	if err := set(0o444, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set(0o600, 0o700) })
}
