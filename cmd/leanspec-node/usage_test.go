package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestUsage checks that a wrong command line causes one line that names the flag and the value and
// says what is expected.
func TestUsage(t *testing.T) {
	for command, want := range map[string]string{
		"": "want --genesis FILE to run a node, or a command: leanspec-node devnet runs a network on this machine, " +
			"leanspec-node --help lists all commands and flags; see also https://github.com/leanEthereum/leanspec-node",
		"run":                         "missing --genesis FILE; see leanspec-node --help",
		"--genesis":                   "--genesis: want a value",
		"--genesis --verbose":         `--genesis: want a value, got the flag "--verbose"`,
		"--genesis=":                  `--genesis: "": want a file`,
		"--genesis x --api-port":      "--api-port: want a value",
		"--genesis x --api-port abc":  `--api-port: "abc": want a whole number`,
		"--genesis x --api-port=":     `--api-port: "": want a whole number`,
		"--genesis x --verbose=maybe": `--verbose: "maybe": want true or false`,
		"--genesiss x":                `"--genesiss": no such flag (did you mean --genesis?); see leanspec-node --help`,
		"--nope":                      `"--nope": no such flag; see leanspec-node --help`,
		"-x":                          `"-x": no such flag; see leanspec-node --help`,
		"run nope":                    `"nope": unexpected argument; see leanspec-node --help`,
		"devnet --genesis x":          `"--genesis": no such flag; see leanspec-node devnet --help`,
		"--genesis x devnet":          "--genesis: not a flag of devnet; see leanspec-node devnet --help",
		"devnet --timeout 5":          `--timeout: "5": want a duration such as 30s or 5m`,
		"genesis --genesis-time -5s":  `--genesis-time: "-5s": write a value that begins with - after =, as in --flag=-1`,
		"genesis --validators -1":     `--validators: "-1": want a whole number`,
		"keys":                        "keys: missing a command; want status or export or import; see leanspec-node keys --help",
		"keys stat":                   `"stat": no such command; want one of status, export, import; see leanspec-node keys --help`,
		"keys status":                 "missing --genesis FILE, --validator-keys DIR; see leanspec-node keys status --help",
		"keys import --genesis x --validator-keys y":          "keys import: missing <file>; see leanspec-node keys import --help",
		"--genesis x --attestation-committee-count 0":         "--attestation-committee-count: 0: want 1 to 4096",
		"--genesis x --attestation-committee-count -1":        `--attestation-committee-count: "-1": want a whole number, 0 or more`,
		"--genesis x --bootnode /ip4/1.2.3.4/udp/1/quic-v1,y": `--bootnode: "y": want a multiaddr or an ENR, such as /ip4/192.0.2.1/udp/9001/quic-v1`,
		"--genesis x --http-address localhost":                `--http-address: "localhost": want an IP address such as 127.0.0.1, or 0.0.0.0 for all interfaces`,
		"--genesis x --http-address=":                         `--http-address: "": want an IP address such as 127.0.0.1, or 0.0.0.0 for all interfaces`,
		"health --http-address x":                             `--http-address: "x": want an IP address such as 127.0.0.1, or 0.0.0.0 for all interfaces`,
		"--genesis x --advertise-address example.org":         `--advertise-address: "example.org": want an IPv4 address, with or without a port, such as 192.0.2.1:9001`,
		"--genesis x --advertise-address 192.0.2.1:0":         `--advertise-address: "192.0.2.1:0": want an IPv4 address, with or without a port, such as 192.0.2.1:9001`,
		"--genesis x --advertise-address 0.0.0.0":             `--advertise-address: "0.0.0.0": want the IPv4 address at which other nodes reach this one`,
		"--genesis x --advertise-address [2001:db8::1]:1":     `--advertise-address: "[2001:db8::1]:1": want the IPv4 address at which other nodes reach this one`,
		"--genesis x --advertise-address 192.0.2.1 --listen=": `--advertise-address: "192.0.2.1": needs --listen: other nodes cannot reach a node that only dials`,
		"--genesis x --admin-open --admin-token-file y":       "--admin-open: cannot be used together with --admin-token-file",
		"--genesis x --admin-token-file y":                    "y: file not found",
		"--genesis x --cors-origin http://x,localhost:3000":   `--cors-origin: "localhost:3000": want an origin such as http://localhost:3000, in lower case and without a path, or *`,
		"--genesis x --cors-origin http://x/":                 `--cors-origin: "http://x/": want an origin such as http://localhost:3000, in lower case and without a path, or *`,
		"--genesis x --bootnode /ip4/1.2.3.4/tcp/1":           "x: file not found", // the node skips this bootnode
	} {
		checkFailure(t, t.Context(), 2, want, strings.Fields(command)...)
	}
	checkFailure(t, t.Context(), 2, `--network-name: "": want a name`, "--genesis", "x", "--network-name", "")
	checkFailure(t, t.Context(), 2, `--bootnode: "": want a multiaddr or an ENR, such as /ip4/192.0.2.1/udp/9001/quic-v1`, "--genesis", "x", "--bootnode", "")
	for _, command := range []string{"--version", "help", "help devnet", "--help", "genesis -h", "keygen -h", "keys --help", "keys status -h", "keys export -h", "keys import -h", "health -h"} {
		c := newTestConsole(0)
		if code := run(t.Context(), &c.console, strings.Fields(command)); code != 0 || c.out.Len() == 0 || c.err.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want 0, text on stdout and nothing on stderr", command, code, c.out.String(), c.err.String())
		}
		for line := range strings.Lines(c.out.String()) {
			if width := len(strings.TrimSpace(line)); width > 80 && !strings.HasPrefix(line, "Usage: ") && command != "--version" {
				t.Errorf("%s: line of %d columns, want at most 80: %s", command, width, line)
			}
		}
	}
}

// TestEnvironment checks that variables set flags unless they are empty, and that errors name the
// variable.
func TestEnvironment(t *testing.T) {
	for _, test := range []struct{ environment, command, want string }{
		{"LEANSPEC_GENESIS=x", "", "x: file not found"},
		{"LEANSPEC_GENESIS=x", "--genesis y", "y: file not found"},
		{"LEANSPEC_GENESIS=", "run", "missing --genesis FILE; see leanspec-node --help"},
		{"LEANSPEC_API_PORT=abc", "--genesis x", `LEANSPEC_API_PORT: "abc": want a whole number`},
		{"LEANSPEC_API_PORT=abc", "--genesis x --api-port 1", "x: file not found"},
		{"LEANSPEC_IS_AGGREGATOR=maybe", "--genesis x", `LEANSPEC_IS_AGGREGATOR: "maybe": want true or false`},
		{"LEANSPEC_IS_AGGREGATOR=true", "--genesis x", "--is-aggregator: needs --validator-keys: a node without validators cannot aggregate"},
		{"LEANSPEC_METRICS_PORT=x", "health", `LEANSPEC_METRICS_PORT: "x": want a whole number`},
		{"LEANSPEC_BOOTNODE=/ip4/1.2.3.4/udp/1/quic-v1,/ip4/1.2.3.4/udp/2/quic-v1  z", "--genesis x",
			`--bootnode: "z": want a multiaddr or an ENR, such as /ip4/192.0.2.1/udp/9001/quic-v1`},
		{"LEANSPEC_BOOTNODE=/ip4/1.2.3.4/udp/1/quic-v1\n/ip4/1.2.3.4/udp/2/quic-v1\n", "--genesis x", "x: file not found"},
		{"LEANSPEC_FORCE=true", "genesis", "missing --nodes N, --out DIR, --validators V; see leanspec-node genesis --help"},
		// Kubernetes sets this for a service named leanspec-api.
		{"LEANSPEC_API_PORT=tcp://10.0.0.1:5052", "--genesis x", "x: file not found"},
		{"LEAN_ENV=TEST", "--genesis x", "x: file not found"},
		{"LEAN_ENV=both", "--genesis x", `LEAN_ENV: "both": want prod or test`},
		{"LEAN_ENV=both", "--genesis x --scheme test", "x: file not found"},
	} {
		name, value, _ := strings.Cut(test.environment, "=")
		t.Run(test.environment, func(t *testing.T) {
			t.Setenv(name, value)
			checkFailure(t, t.Context(), 2, test.want, strings.Fields(test.command)...)
		})
	}
	t.Run("all empty", func(t *testing.T) {
		f := new(flags)
		if _, err := kong.New(&commands{}, f.options()...); err != nil {
			t.Fatal(err)
		}
		for _, name := range f.variables {
			t.Setenv(name, "")
		}
		if len(f.variables) < 20 {
			t.Errorf("%d flags have variables, want at least 20", len(f.variables))
		}
		t.Setenv("LEAN_ENV", "")
		checkFailure(t, t.Context(), 2, "x: file not found", "--genesis", "x")
	})
}

// TestLeanEnv checks that LEAN_ENV selects the scheme, as for leanSpec's node, unless --scheme is set.
func TestLeanEnv(t *testing.T) {
	newKeys(t)
	t.Setenv("LEAN_ENV", "test")
	mustRun(t, newTestConsole(0), "keys status --genesis net/config.yaml --validator-keys net")
	t.Setenv("LEAN_ENV", "prod")
	checkFailure(t, t.Context(), 2, "net/hash-sig-keys/validator-keys-manifest.yaml: key_scheme: "+
		"SIGTopLevelTargetSumLifetime8Dim4Base8: keys for 2^8 slots, but this node runs the prod scheme, whose keys are for 2^32 slots; set --scheme to test",
		strings.Fields("keys status --genesis net/config.yaml --validator-keys net")...)
	mustRun(t, newTestConsole(0), "keys status --scheme test --genesis net/config.yaml --validator-keys net")
}

func TestUnknownVariables(t *testing.T) {
	f := new(flags)
	parser, err := kong.New(&commands{}, append(f.options(), kong.Exit(func(int) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	run := parser.Model.Children[slices.IndexFunc(parser.Model.Children, func(n *kong.Node) bool { return n.Name == "run" })]
	got := f.unknownVariables([]string{
		"HOME=/", "LEANSPEC_BOOTNODES=x", "LEANSPEC_LOG_LEVEL=info", "LEANSPEC_LOGLEVEL=info", "leanspec_scheme=test", "\ufeffLEANSPEC_GENESIS=x",
		"LEANSPEC_TYPO=", "LEANSPEC_VECTORS=/v", "LEANSPEC_TEST_X=1", "LEANSPEC",
		"LEANSPEC_NODE_SERVICE_HOST=10.0.0.1", "LEANSPEC_NODE_SERVICE_PORT=1", "LEANSPEC_NODE_SERVICE_PORT_P2P=9001", "LEANSPEC_NODE_PORT=udp://10.0.0.1:9001",
		"LEANSPEC_NODE_PORT_9001_UDP=udp://10.0.0.1:9001", "LEANSPEC_NODE_PORT_9001_UDP_PROTO=udp", "LEANSPEC_SERVICE_HOST=10.0.0.1", "LEANSPEC_PORT=tcp://10.0.0.1:1",
	}, run)
	want := []string{
		"LEANSPEC_BOOTNODES (nearest known name: LEANSPEC_BOOTNODE)", "LEANSPEC_LOGLEVEL (nearest known name: LEANSPEC_LOG_LEVEL)",
		"leanspec_scheme (nearest known name: LEANSPEC_SCHEME)", `\ufeffLEANSPEC_GENESIS (nearest known name: LEANSPEC_GENESIS)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestUnknownVariablesAreLogged checks that one warning names the variables that have no effect.
func TestUnknownVariablesAreLogged(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, variablePrefix) {
			t.Setenv(name, "")
		}
	}
	newKeys(t)
	if got := warnings(startNode(t, ""), "environment variables"); len(got) != 0 {
		t.Errorf("warnings = %q, want none", got)
	}
	t.Setenv("LEANSPEC_BOOTNODES", "x")
	if got := warnings(startNode(t, ""), "environment variables"); len(got) != 1 || !strings.Contains(got[0], "LEANSPEC_BOOTNODES (nearest known name: LEANSPEC_BOOTNODE)") {
		t.Errorf("warnings = %q, want one that names LEANSPEC_BOOTNODE", got)
	}
}

// TestIsSet checks that a value from the command line or from a variable sets a flag, and its
// default does not.
func TestIsSet(t *testing.T) {
	f := new(flags)
	parser, err := kong.New(&commands{}, f.options()...)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want bool, args ...string) {
		t.Helper()
		command, err := parser.Parse(append(args, "--genesis", "x"))
		if err != nil {
			t.Fatal(err)
		}
		if got := isSet(command, "metrics-port"); got != want {
			t.Errorf("%q: set = %t, want %t", args, got, want)
		}
	}
	check(false)
	check(true, "--metrics-port", "8008")
	check(true, "run", "--metrics-port=8008")
	t.Setenv("LEANSPEC_METRICS_PORT", "8008")
	check(true)
	t.Setenv("LEANSPEC_METRICS_PORT", "")
	check(false)
}
