package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// startNode runs a node of the network in the folder net until it has started, without ports unless
// args sets them. It returns the log of the node.
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

// lockedCancel is a cancelOn that is safe for concurrent use.
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

// warnings returns the warnings of a log that contain a text, and its lines that are not JSON.
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

// TestUnknownGenesisKeys checks that one warning names the keys of config.yaml that have no effect.
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

// TestExposedKeys checks that there is one warning for each folder with secret keys that other
// users can read.
func TestExposedKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRun(t, newTestConsole(0), fmt.Sprintf("genesis --nodes 1 --validators 2 --scheme test --genesis-time %d --out net", time.Now().Unix()+3600))
	args := "--validator-keys net --node-key net/lean_spec_0.key"
	if got := warnings(startNode(t, args), "secret keys"); len(got) != 0 {
		t.Errorf("warnings = %q, want none", got)
	}
	secrets, err := filepath.Glob("net/hash-sig-keys/*_sk.ssz")
	if err != nil || len(secrets) != 4 {
		t.Fatalf("secret keys = %v, %v, want four", secrets, err)
	}
	for path, mode := range map[string]os.FileMode{secrets[1]: 0o644, secrets[3]: 0o440, "net/lean_spec_0.key": 0o604} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	got := warnings(startNode(t, args), "secret keys can be read by other users")
	if len(got) != 2 || !strings.Contains(got[0], `"file":"`+secrets[1]+`","mode":"0644","files":2`) || !strings.Contains(got[1], `"file":"net/lean_spec_0.key","mode":"0604","files":1`) {
		t.Errorf("warnings = %q, want one for %s, mode 0644, 2 files, and one for net/lean_spec_0.key, mode 0604", got, secrets[1])
	}
}

// TestMissingRecordsAreLogged checks that a start after genesis without signing records logs one
// error, and that a start before genesis or with records logs none.
func TestMissingRecordsAreLogged(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		genesis time.Duration // from now
		want    []int         // lines in each start
	}{{time.Hour, []int{0, 0}}, {-10 * time.Second, []int{1, 0}}} {
		mustRun(t, newTestConsole(0), fmt.Sprintf("genesis --nodes 1 --validators 2 --scheme test --active-slots 64 --force --genesis-time %d --out net",
			time.Now().Add(test.genesis).Unix()))
		for i, want := range test.want {
			log := startNode(t, "--validator-keys net")
			if got := strings.Count(log, `"level":"error","msg":"signing records are missing"`); got != want {
				t.Errorf("genesis %s from now, start %d: %d errors about missing records, want %d:\n%s", test.genesis, i, got, want, log)
			}
			if want == 1 && !strings.Contains(log, `"keys":4`) {
				t.Errorf("log =\n%s\nwant an error with keys = 4", log)
			}
		}
	}
}

// TestAdminToken checks the file of the token, and the warning about one that other users can read.
func TestAdminToken(t *testing.T) {
	newKeys(t)
	token := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"s3cret\n": "", "": "want one line", " \n": "want one line", "two words": "want one line", "pässword": "want one line"} {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		access, err := (&runCmd{AdminTokenFile: token}).admin()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("token %q: %v, want %q", text, err, want)
		}
		if err == nil && access.Token != "s3cret" {
			t.Errorf("token = %q, want s3cret", access.Token)
		}
	}
	if err := os.WriteFile(token, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o644: 1} {
		if err := os.Chmod(token, mode); err != nil {
			t.Fatal(err)
		}
		log := startNode(t, "--admin-token-file "+token)
		if got := warnings(log, "admin token can be read by other users"); len(got) != want || strings.Contains(log, "s3cret") {
			t.Errorf("mode %04o: warnings = %q, want %d, and a log without the token", mode, got, want)
		}
	}
}
