package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// keysFlags are the required flags of the keys commands, for the network that newKeys makes.
const keysFlags = " --genesis net/config.yaml --validator-keys net --scheme test"

// newKeys makes a network of two nodes and three validators, whose genesis is 30 slots ago. It
// returns the keys of the first node: validators 0 and 2.
func newKeys(t *testing.T) []guard.KeyFile {
	t.Helper()
	t.Chdir(t.TempDir())
	c := newTestConsole(0)
	begin := c.clock.Add(-120 * time.Second).Unix()
	command := fmt.Sprintf("genesis --nodes 2 --validators 3 --scheme test --active-slots 64 --genesis-time %d --out net", begin)
	mustRun(t, c, command)
	genesis, err := config.LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	return guard.KeyFiles(keys)
}

// mustRun runs a command that must succeed, and returns its stdout.
func mustRun(t *testing.T, c *testConsole, command string) string {
	t.Helper()
	c.out.Reset()
	c.err.Reset()
	if code := run(t.Context(), &c.console, strings.Fields(command)); code != 0 {
		t.Fatalf("%s: exit code %d, want 0: %s", command, code, c.err.String())
	}
	return c.out.String()
}

// sign records that a key has signed a message for a slot.
func sign(t *testing.T, file guard.KeyFile, dataDir string, slot uint64, message byte) {
	t.Helper()
	g := hold(t, dataDir, file)
	defer g.Close()
	if err := g.Key(file.PublicKey).Reserve(slot, [32]byte{message}); err != nil {
		t.Fatal(err)
	}
}

// hold locks keys, as a running node does.
func hold(t *testing.T, dataDir string, files ...guard.KeyFile) *guard.Guard {
	t.Helper()
	g, err := guard.Open(guard.Options{
		Keys: files, DataDir: dataDir, Log: slog.New(slog.DiscardHandler),
		Now: func() (slot uint64, begun bool) { return 0, false },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestKeysStatus(t *testing.T) {
	files := newKeys(t)
	sign(t, files[0], "", 40, 1)     // in the future
	sign(t, files[1], "data", 11, 1) // in the data folder and beside the key
	g := hold(t, "", files...)       // a running node
	defer g.Close()
	c := newTestConsole(0)
	want := `validator  role         window  signed     left  runs out
0          attestation  0-63    40         23    2026-01-02T03:06:21Z
0          proposal     0-63    11         34    2026-01-02T03:06:21Z
1          attestation  0-63    no record  34    2026-01-02T03:06:21Z
1          proposal     0-63    no record  34    2026-01-02T03:06:21Z
2          attestation  0-63    none       34    2026-01-02T03:06:21Z
2          proposal     0-63    none       34    2026-01-02T03:06:21Z
`
	if got := mustRun(t, c, "keys status"+keysFlags); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	advice := "leanspec-node: no signing record for 2 keys in net/hash-sig-keys; if the node has a data folder, set --data-dir (LEANSPEC_DATA_DIR) to it\n"
	if got := c.err.String(); got != advice {
		t.Errorf("stderr = %q, want %q", got, advice)
	}
	if got := mustRun(t, c, "keys status --node-id lean_spec_1"+keysFlags); strings.Count(got, "\n") != 3 || !strings.Contains(got, "\n1 ") {
		t.Errorf("keys of lean_spec_1 =\n%s\nwant those of validator 1", got)
	}
	var status struct {
		CurrentSlot uint64 `json:"current_slot"`
		Keys        []keyStatus
	}
	if err := json.Unmarshal([]byte(mustRun(t, c, "keys status --json"+keysFlags)), &status); err != nil {
		t.Fatal(err)
	}
	if k := status.Keys; !k[0].Recorded || k[2].Recorded {
		t.Errorf("JSON: recorded = %t and %t, want true and false", k[0].Recorded, k[2].Recorded)
	}
	if k := status.Keys; status.CurrentSlot != 30 || len(k) != 6 || *k[0].SignedSlot != 40 || k[2].SignedSlot != nil || k[0].SlotsLeft != 23 ||
		!strings.HasPrefix(*k[0].Message, "0x0100") || k[0].PublicKey != fmt.Sprintf("0x%x", files[0].PublicKey) {
		t.Errorf("JSON = %+v, want slot 30, and six keys of which the first has signed slot 40 and has 23 slots left", status)
	}
	// The command writes no records for the keys of the second node.
	if entries, _ := os.ReadDir("net/hash-sig-keys"); strings.Count(fmt.Sprint(entries), ".guard") != 4 {
		t.Errorf("files = %v, want four records", entries)
	}
	checkFailure(t, t.Context(), 2, `--node-id: "stranger": not in net/validators.yaml, which lists lean_spec_0, lean_spec_1; a node without validators needs no --validator-keys`, strings.Fields("keys status --node-id stranger"+keysFlags)...)
}

// TestKeysFromEnvironment checks that the commands find the keys and records of the node that runs
// in the same environment, as in a container.
func TestKeysFromEnvironment(t *testing.T) {
	files := newKeys(t)
	sign(t, files[0], "data", 29, 1)
	for _, file := range files { // as if the folder of the keys were read-only
		_ = os.Remove(fmt.Sprintf("%s.%x.guard", file.Path, file.PublicKey[:4]))
	}
	for name, value := range map[string]string{
		"LEANSPEC_GENESIS": "net/config.yaml", "LEANSPEC_VALIDATOR_KEYS": "net", "LEANSPEC_SCHEME": "test",
		"LEANSPEC_NODE_ID": "lean_spec_0", "LEANSPEC_DATA_DIR": "data", "LEANSPEC_OUT": "secret.json", "LEANSPEC_JSON": "true",
	} {
		t.Setenv(name, value)
	}
	c := newTestConsole(0)
	got := mustRun(t, c, "keys status")
	want := `validator  role         window  signed     left  runs out
0          attestation  0-63    29         34    2026-01-02T03:06:21Z
0          proposal     0-63    no record  34    2026-01-02T03:06:21Z
2          attestation  0-63    no record  34    2026-01-02T03:06:21Z
2          proposal     0-63    no record  34    2026-01-02T03:06:21Z
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := c.err.String(), "leanspec-node: no signing record for 3 keys in data/guard and net/hash-sig-keys\n"; got != want {
		t.Errorf("stderr = %q, want %q", got, want)
	}
	checkFailure(t, t.Context(), 2, "missing --out FILE; see leanspec-node keys export --help", "keys", "export")
	if got := mustRun(t, c, "keys export --out moved.json"); got != "Wrote the records of 4 keys to moved.json.\n" {
		t.Errorf("stdout = %q, want the records of 4 keys", got)
	}
	// A key without a record may have signed until now, so the file closes it up to the next slot.
	moved, err := readTransfer("moved.json")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{29, 31, 31, 31} {
		if got := moved.Keys[i].Record; got.Slot != want || (got.Kind == guard.Signed) != (i == 0) {
			t.Errorf("key %d: record = %s, want slot %d", i, got, want)
		}
	}
	if want := "no signing record for 3 keys in data/guard and net/hash-sig-keys: closed up to slot 31, because the keys may have signed\n"; !strings.Contains(c.err.String(), want) {
		t.Errorf("stderr = %q, want %q", c.err.String(), want)
	}
	if got := mustRun(t, c, "keys import moved.json"); got != "Raised 0 records; 4 already covered the file.\n" {
		t.Errorf("stdout = %q, want no raised record", got)
	}
	if got := c.err.String(); got != "" {
		t.Errorf("stderr of import = %q, want nothing, because all keys have records", got)
	}
}

// TestKeysMove moves validators to a machine that has their keys from a backup.
func TestKeysMove(t *testing.T) {
	files := newKeys(t)
	if err := os.CopyFS("new/net", os.DirFS("net")); err != nil {
		t.Fatal(err)
	}
	sign(t, files[0], "data", 12, 1)
	sign(t, files[3], "data", 9, 2)
	c := newTestConsole(0)
	export := "keys export --data-dir data --out moved.json" + keysFlags
	if got := mustRun(t, c, export); got != "Wrote the records of 4 keys to moved.json.\n" {
		t.Errorf("stdout = %q, want the records of 4 keys", got)
	}
	if !strings.Contains(c.err.String(), "do not start node lean_spec_0 here again") {
		t.Errorf("stderr = %q, want a warning about the old node", c.err.String())
	}
	checkFailure(t, t.Context(), 2, "moved.json: already exists", strings.Fields(export)...)
	checkFailure(t, t.Context(), 2, "none: no such folder", strings.Fields("keys export --data-dir data --out none/moved.json"+keysFlags)...)

	// Some editors add a byte order mark.
	moved, err := os.ReadFile("moved.json")
	if err == nil {
		err = os.WriteFile("moved.json", append([]byte("\ufeff"), moved...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}

	t.Chdir("new")
	sign(t, files[0], "", 5, 1)
	load := "keys import ../moved.json" + keysFlags
	for i, want := range []string{"Raised 1 record; 3 already covered the file.\n", "Raised 0 records; 4 already covered the file.\n"} {
		if got := mustRun(t, c, load+" --data-dir data"); got != want {
			t.Errorf("import %d: stdout = %q, want %q", i, got, want)
		}
		// The first import closes keys that have no record on this machine up to the next slot.
		if got, want := strings.Contains(c.err.String(), "no signing record for 3 keys in data/guard and net/hash-sig-keys"), i == 0; got != want {
			t.Errorf("import %d: warning about missing records = %t, want %t: stderr = %q", i, got, want, c.err.String())
		}
	}
	for i, want := range map[int]guard.Record{0: {Kind: guard.Signed, Slot: 12, Message: [32]byte{1}}, 3: {Kind: guard.Closed, Slot: 31}} {
		for _, dataDir := range []string{"", "data"} {
			if r, _, err := guard.Read(files[i], dataDir); err != nil || r != want {
				t.Errorf("key %d: record = %s (error %v), want %s", i, r, err, want)
			}
		}
	}
	// An import never lowers a record.
	sign(t, files[0], "", 20, 1)
	mustRun(t, c, load)
	if r, _, err := guard.Read(files[0], ""); err != nil || r.Slot != 20 {
		t.Errorf("record = %s (error %v), want slot 20", r, err)
	}
}

// TestKeysInUse checks that a second node and the commands that open the records fail while a node
// uses the keys.
func TestKeysInUse(t *testing.T) {
	files := newKeys(t)
	g := hold(t, "", files...)
	defer g.Close()
	for _, command := range []string{"keys export --out f" + keysFlags, "keys import empty.json" + keysFlags} {
		genesis, err := config.LoadGenesis("net/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		empty := guard.Transfer{GenesisTime: genesis.GenesisTime, Scheme: "test"}
		if err := os.WriteFile("empty.json", empty.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		c := newTestConsole(0)
		code := run(t.Context(), &c.console, strings.Fields(command))
		if got, want := c.err.String(), "leanspec-node: "+files[0].Path+": in use by another process"; code != 2 || !strings.HasPrefix(got, want) {
			t.Errorf("%s: exit code %d and %q, want 2 and %q", command, code, got, want)
		}
	}
	// A node uses the system clock, so its network must start now.
	t.Chdir(t.TempDir())
	c := newTestConsole(0)
	mustRun(t, c, fmt.Sprintf("genesis --nodes 1 --validators 1 --scheme test --active-slots 256 --genesis-time %d --out net", time.Now().Unix()))
	genesis, err := config.LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	first := hold(t, "", guard.KeyFiles(keys)...)
	defer first.Close()
	code := run(t.Context(), &c.console, strings.Fields(keysFlags))
	if got, want := c.err.String(), keys[0].AttestationPath+": in use by another process"; code != 2 || !strings.Contains(got, want) {
		t.Errorf("second node: exit code %d and %q, want 2 and %q", code, got, want)
	}
}

func TestKeysImportErrors(t *testing.T) {
	files := newKeys(t)
	sign(t, files[0], "", 12, 1)
	mustRun(t, newTestConsole(0), "keys export --out good.json"+keysFlags)
	good, err := os.ReadFile("good.json")
	if err != nil {
		t.Fatal(err)
	}
	hex := func(i int) string { return fmt.Sprintf("0x%x", files[i].PublicKey) }
	genesis, err := config.LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// foreign is a valid key of the other node.
	foreign := genesis.Validators[1].AttestationPublicKey
	message := "0x01" + strings.Repeat("0", 62)
	for _, tt := range []struct {
		old, new string
		want     string
	}{
		{`"version": 1`, `"version": 7`, "version: 7: want 1"},
		{fmt.Sprint(genesis.GenesisTime), "5", fmt.Sprintf("genesis_time: 5: want %d, as in net/config.yaml: the file is of another network", genesis.GenesisTime)},
		{`"scheme": "test"`, `"scheme": "prod"`, `scheme: "prod": want test, the scheme of the keys here`},
		{`"validator": 0`, `"validator": 3`, "keys[0].validator: 3: want less than 3, the number of validators in net/config.yaml"},
		{`"validator": 0`, `"validator": 1`, fmt.Sprintf("keys[0].public_key: %.18s…: not the attestation key of validator 1 in net/config.yaml", hex(0))},
		{`"validator": 0,
      "role": "attestation",
      "public_key": "` + hex(0), `"validator": 1,
      "role": "attestation",
      "public_key": "` + fmt.Sprintf("0x%x", foreign), fmt.Sprintf("keys[0].public_key: 0x%x…: not a key of node lean_spec_0 in net", foreign[:8])},
		{hex(1), hex(0), fmt.Sprintf("keys[1].public_key: \"%.24s…\": the same as keys[0].public_key", hex(0))},
		{hex(1), "0x12", `keys[1].public_key: "0x12": want 0x and 104 hex digits`},
		{`"slot": 12`, `"slot": 64`, "keys[0].slot: 64: want 0 to 63, the slots that the key can sign"},
		{message, "0x02" + message[4:], "keys[0].message: 0x02" + message[4:] + ": this machine has signed another message for slot 12, " + message + ": the key may be revealed"},
	} {
		bad := strings.Replace(string(good), tt.old, tt.new, 1)
		if bad == string(good) {
			t.Fatalf("exported file =\n%s\nwant %q in it", good, tt.old)
		}
		if err := os.WriteFile("bad.json", []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		checkFailure(t, t.Context(), 2, "bad.json: "+tt.want, strings.Fields("keys import bad.json"+keysFlags)...)
	}
	checkFailure(t, t.Context(), 2, "none.json: file not found", strings.Fields("keys import none.json"+keysFlags)...)
	if r, _, err := guard.Read(files[0], ""); err != nil || r.Slot != 12 || r.Message != [32]byte{1} {
		t.Errorf("record after the errors = %s (error %v), want message 0x01… for slot 12", r, err)
	}
}
