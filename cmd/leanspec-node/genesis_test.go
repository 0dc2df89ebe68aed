package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/xmss"
)

func TestGenesis(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("genesis --nodes 2 --validators 5 --scheme test --active-slots 32 --out my_net")); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
	}
	peerIDs := regexp.MustCompile(`16Uiu2\w+`)
	const want = `Wrote 30 files to my_net.

genesis  2026-01-02T03:04:25Z, in 20s (1767323065)
keys     5 validators, test scheme, slots 0 to 31 (until 2026-01-02T03:06:33Z)

node         validators  quic  api   metrics  peer id
lean_spec_0  0,2,4       9001  5052  8008     ID
lean_spec_1  1,3         9002  5053  8009     ID

Run the first node:

  leanspec-node --genesis my_net/config.yaml --validator-keys my_net --node-id lean_spec_0 --node-key my_net/lean_spec_0.key --scheme test --data-dir my_net/data/lean_spec_0 --listen /ip4/0.0.0.0/udp/9001/quic-v1 --api-port 5052 --metrics-port 8008 --is-aggregator

Run each other node with its own name, files and ports, with the first record of
my_net/nodes.yaml as --bootnode, and without --is-aggregator.

Watch the nodes:

  prometheus --config.file=my_net/prometheus.yml --storage.tsdb.path=my_net/prometheus
`
	if got := peerIDs.ReplaceAllString(c.out.String(), "ID"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var progress strings.Builder
	for i := range 10 {
		fmt.Fprintf(&progress, "key %d of 10: validator_%d %s\n", i+1, i/2, []string{"attestation", "proposal"}[i%2])
	}
	if c.err.String() != progress.String() {
		t.Errorf("progress = %s\nwant\n%s", c.err.String(), progress.String())
	}
	genesis, err := config.LoadGenesis("my_net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := config.LoadValidatorKeys("my_net", "lean_spec_1", genesis, xmss.Test); err != nil || len(keys) != 2 {
		t.Errorf("lean_spec_1 has keys of %d validators (error %v), want 2", len(keys), err)
	}

	checkFailure(t, t.Context(), 2, "my_net/config.yaml: already exists; --force replaces it",
		strings.Fields("genesis --nodes 2 --validators 5 --scheme test --out my_net")...)
	c = newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("genesis --nodes 1 --validators 1 --scheme test --active-slots 16 --dialect quickstart --shuffle none --genesis-time 1767323000 --force --out my_net")); code != 0 {
		t.Fatalf("with --force: exit code %d, want 0: %s", code, c.err.String())
	}
	data, err := os.ReadFile("my_net/config.yaml")
	if err != nil || !strings.Contains(string(data), "GENESIS_TIME: 1767323000\n") || !strings.Contains(string(data), "attestation_pubkey") {
		t.Errorf("config.yaml =\n%s\n(error %v), want the genesis time 1767323000 and the quickstart dialect", data, err)
	}
	if !strings.Contains(c.out.String(), "in the past") {
		t.Errorf("stdout =\n%s\nwant a genesis in the past", c.out.String())
	}
	if strings.Contains(c.out.String(), "other node") {
		t.Errorf("stdout =\n%s\nwant no advice about other nodes", c.out.String())
	}
}

// TestGenesisKeep checks that genesis --keep succeeds again without a change, as at each start of a
// set of containers.
func TestGenesisKeep(t *testing.T) {
	t.Chdir(t.TempDir())
	args := strings.Fields("genesis --nodes 1 --validators 1 --scheme test --active-slots 16 --keep --out net")
	var first []byte
	for range 2 {
		c := newTestConsole(0)
		if code := run(t.Context(), &c.console, args); code != 0 {
			t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
		}
		config, err := os.ReadFile("net/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = config
			got := regexp.MustCompile(`(?m)^Wrote \d+`).ReplaceAllString(c.out.String(), "Wrote N")
			const want = `Wrote N files to net.

genesis  2026-01-02T03:04:25Z, in 20s (1767323065)
keys     1 validator, test scheme, slots 0 to 15 (until 2026-01-02T03:05:29Z)
`
			if got != want {
				t.Errorf("first run: stdout = %q, want %q", got, want)
			}
		} else if !bytes.Equal(config, first) || !strings.Contains(c.out.String(), "nothing was written") {
			t.Errorf("second run: stdout = %q, config.yaml =\n%s\nwant \"nothing was written\" and\n%s", c.out.String(), config, first)
		}
	}
	checkFailure(t, t.Context(), 2, "--force and --keep can't be used together", append(args, "--force")...)

	// A folder without config.yaml does not hold a network.
	if err := os.Remove("net/config.yaml"); err != nil {
		t.Fatal(err)
	}
	checkFailure(t, t.Context(), 2, "net/validators.yaml: already exists; --force replaces it", args...)
}

// TestGenesisDefaultWindow checks that the default window does not exceed the lifetime of the scheme.
func TestGenesisDefaultWindow(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("genesis --nodes 1 --validators 1 --scheme test --out net")); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
	}
	if !strings.Contains(c.out.String(), "slots 0 to 255 ") {
		t.Errorf("got\n%s\nwant slots 0 to 255", c.out.String())
	}
}

func TestGenesisUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, flags := range map[string]string{
		"missing --nodes N, --out DIR, --validators V; see leanspec-node genesis --help":                                  "",
		"missing --out DIR; see leanspec-node genesis --help":                                                             "--nodes 1 --validators 1",
		`--nodes: "x": want a whole number`:                                                                               "--nodes x",
		"--nodes: 0: want 1 to 1000":                                                                                      "--nodes 0 --validators 1 --out net",
		"--nodes: -3: want 1 to 1000":                                                                                     "--nodes=-3 --validators 1 --out net",
		"--validators: 4097: want 1 to 4096":                                                                              "--nodes 1 --validators 4097 --out net",
		`--scheme: "best": want prod or test`:                                                                             "--nodes 1 --validators 1 --out net --scheme best",
		`--dialect: "klingon": want leanspec or quickstart`:                                                               "--nodes 1 --validators 1 --out net --dialect klingon",
		`--shuffle: "x": want roundrobin or none`:                                                                         "--nodes 1 --validators 1 --out net --shuffle x",
		`--ip: "localhost": want an IPv4 address`:                                                                         "--nodes 1 --validators 1 --out net --ip localhost",
		`--ip: "::1": want an IPv4 address`:                                                                               "--nodes 1 --validators 1 --out net --ip ::1",
		"--active-slots: 0: want 1 to 256, the lifetime of the test scheme":                                               "--nodes 1 --validators 1 --out net --scheme test --active-slots 0",
		"--active-slots: 257: want 1 to 256, the lifetime of the test scheme":                                             "--nodes 1 --validators 1 --out net --scheme test --active-slots 257",
		`--genesis-time: "noon": want a delay such as +20s, Unix seconds, or RFC 3339`:                                    "--nodes 1 --validators 1 --out net --genesis-time noon",
		"--genesis-time: 0 (1970-01-01T00:00:00Z): keys for 256 slots expired at 1970-01-01T00:17:04Z; want a later time": "--nodes 1 --validators 1 --out net --scheme test --genesis-time 0",
		"--genesis-time: 1766500000 (2025-12-23T14:26:40Z): keys for 131072 slots expired at 2025-12-29T16:04:48Z; want a later time or more --active-slots": "--nodes 1 --validators 1 --out net --full --genesis-time 1766500000",
		"--genesis-time: 1767323065000: want Unix seconds before the year 10000":                                                                             "--nodes 1 --validators 1 --out net --genesis-time 1767323065000",
		`"--colour": no such flag; see leanspec-node genesis --help`:                                                                                         "--nodes 1 --validators 1 --out net --colour red",
	} {
		checkFailure(t, t.Context(), 2, want, append([]string{"genesis"}, strings.Fields(flags)...)...)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("folder = %v (error %v), want it empty", entries, err)
	}
}

func TestHowSoon(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(-time.Second), "in the past"},
		{now.Add(20 * time.Second), "in 20s"},
		{now.Add(47 * time.Hour), "in 47h0m0s"},
		{now.Add(100 * time.Hour), "in 4 days"},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "in about 7973 years"},
	} {
		if got := howSoon(test.at, now); got != test.want {
			t.Errorf("howSoon(%s) = %q, want %q", test.at, got, test.want)
		}
	}
}

func TestGenesisInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkFailure(t, ctx, 1, "interrupted, nothing was written: context canceled", strings.Fields("genesis --nodes 1 --validators 1 --scheme test --out net")...)
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("folder = %v (error %v), want it empty", entries, err)
	}
}

func TestGenesisCannotWrite(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("net", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	checkFailure(t, t.Context(), 2, "net: not a directory", strings.Fields("genesis --nodes 1 --validators 1 --scheme test --force --out net")...)
}

func TestParseGenesisTime(t *testing.T) {
	now := time.Unix(1767323045, 1)
	for text, want := range map[string]uint64{
		"+20s":                      1767323066,
		"+0s":                       1767323046,
		"+999999999ns":              1767323046,
		"+1h":                       1767326646,
		"1763712794":                1763712794,
		"0":                         0,
		"2026-01-02T03:04:05Z":      1767323045,
		"2026-01-02T03:04:05+01:00": 1767319445,
	} {
		begin, err := parseGenesisTime(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := begin(now); got != want {
			t.Errorf("genesis time of %q = %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"", "+", "+20", "+-5s", "-20s", "20s", "1.5", "tomorrow", "2026-01-02", "1960-01-02T03:04:05Z", "99999999999999999999"} {
		if _, err := parseGenesisTime(text); err == nil {
			t.Errorf("parseGenesisTime(%q) succeeds, want an error", text)
		}
	}
}

func TestRanges(t *testing.T) {
	for want, indices := range map[string][]uint64{
		"none":               nil,
		"7":                  {7},
		"0,2,4":              {0, 2, 4},
		"0-3,5-6":            {0, 1, 2, 3, 5, 6},
		"0,2,4,6,8,10,… (8)": {0, 2, 4, 6, 8, 10, 12, 14},
	} {
		if got := ranges(indices); got != want {
			t.Errorf("ranges(%v) = %s, want %s", indices, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"net/a-b_c.key": "net/a-b_c.key",
		"":              "''",
		"my net":        "'my net'",
		"it's":          `'it'\''s'`,
		"$HOME":         "'$HOME'",
		"~x":            "'~x'",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}
