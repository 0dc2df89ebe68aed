package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledWhileSigning: a node that is killed has on record what it signed, a
// second node never gets its keys, and the next one goes on after the record.
func TestKilledWhileSigning(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for half a minute")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	data := filepath.Join(t.TempDir(), "data")
	runs(t, "genesis", "--nodes", "1", "--validators", "2", "--scheme", "test", "--active-slots", "256", "--genesis-time", "+2s", "--out", dir)
	keys := []string{"--genesis", filepath.Join(dir, "config.yaml"), "--validator-keys", dir, "--node-id", "lean_spec_0", "--scheme", "test", "--data-dir", data}
	args := append(keys[:len(keys):len(keys)], "--is-aggregator", "--log-format", "json", "--log-level", "debug",
		"--api-port", "0", "--metrics-port", "0", "--listen", "")

	from := uint64(1)
	for _, lost := range []string{"", filepath.Join(dir, "hash-sig-keys")} {
		if lost != "" {
			records, err := filepath.Glob(filepath.Join(lost, "*.guard"))
			if err != nil || len(records) != 4 {
				t.Fatalf("records %v, %v, want four", records, err)
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
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "in use by another process (pid ") {
			t.Errorf("a second node: %v, want code 2 and who has the keys:\n%s", err, out)
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
		if err := json.Unmarshal([]byte(runs(t, append([]string{"keys", "status", "--json"}, keys...)...)), &status); err != nil {
			t.Fatal(err)
		}
		for _, k := range status.Keys {
			at := key{k.Validator, k.Role}
			if slot := signed[at]; k.SignedSlot < slot {
				t.Errorf("validator %d has signed slot %d (%s), and %d is on record", k.Validator, slot, k.Role, k.SignedSlot)
			}
			delete(signed, at)
			from = max(from, k.SignedSlot+1)
		}
		if len(signed) != 0 {
			t.Errorf("keys status does not have the keys that signed: %v", signed)
		}
		if len(status.Keys) != 4 || from < 3 {
			t.Errorf("status %+v, want four keys and slot 2 or later", status)
		}
	}
}
