package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/porttest"
)

// TestHealth runs the command against a server that answers like a node.
func TestHealth(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	answer := func(path string, code int, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		})
	}
	answer("/livez", 200, "ok")
	answer("/readyz", 503, "[+]ping ok\n[-]network failed: not\x1b[31m started\n[-]synced failed: stale_head: head slot 3\nreadyz check failed\n")
	answer("/health", 200, `{"status":"ok","slot":12,"synced":true}`)
	mux.HandleFunc("/other/livez", func(http.ResponseWriter, *http.Request) { <-release })
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)
	node, _ := url.Parse(server.URL)
	_, port, _ := net.SplitHostPort(node.Host)
	closed := porttest.Reserve(t)

	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		code int
		want string // part of stdout if code is 0, otherwise of stderr
	}{
		"live, by a flag":       {nil, []string{"--metrics-port", port}, 0, "/livez: ok\n"},
		"live, by the metrics":  {map[string]string{"LEANSPEC_METRICS_PORT": port}, nil, 0, "/livez: ok\n"},
		"live, by the RPC port": {map[string]string{"LEANSPEC_METRICS_PORT": "0", "LEANSPEC_RPC_PORT": port}, nil, 0, "/livez: ok\n"},
		"both ports":            {map[string]string{"LEANSPEC_METRICS_PORT": port, "LEANSPEC_RPC_PORT": closed}, nil, 0, "/livez: ok\n"},
		"the flag wins":         {map[string]string{"LEANSPEC_METRICS_PORT": closed}, []string{"--metrics-port", port}, 0, "/livez: ok\n"},
		"by an address":         {map[string]string{"LEANSPEC_HTTP_ADDRESS": "::ffff:127.0.0.1"}, []string{"--metrics-port", port}, 0, "/livez: ok\n"},
		"of all interfaces":     {map[string]string{"LEANSPEC_HTTP_ADDRESS": "0.0.0.0"}, []string{"--metrics-port", port}, 0, "/livez: ok\n"},
		"by URL":                {nil, []string{"--url", server.URL}, 0, "/livez: ok\n"},
		"by URL with a path":    {nil, []string{"--url", server.URL + "/health"}, 0, `/health: {"status":"ok","slot":12,"synced":true}` + "\n"},
		"health":                {nil, []string{"--metrics-port", port, "--path", "/health"}, 0, `/health: {"status":"ok","slot":12,"synced":true}` + "\n"},
		"not ready": {nil, []string{"--metrics-port", port, "--ready"}, 1,
			"/readyz: 503: network failed: not [31m started; synced failed: stale_head: head slot 3\n"},
		"no server":   {nil, []string{"--metrics-port", closed}, 1, "connection refused\n"},
		"no response": {nil, []string{"--url", server.URL + "/other/livez", "--timeout", "50ms"}, 1, "/other/livez: no response within 50ms\n"},
		"other variables do not count": {map[string]string{"LEANSPEC_METRICS_PORT": port, "LEANSPEC_READY": "true", "LEANSPEC_PATH": "/readyz", "LEANSPEC_URL": "http://x", "LEANSPEC_TIMEOUT": "1ns"},
			nil, 0, "/livez: ok\n"},

		"no port":           {map[string]string{"LEANSPEC_METRICS_PORT": "0"}, nil, 2, "--metrics-port: 0: want the port of the node"},
		"no such port":      {nil, []string{"--metrics-port", "70000"}, 2, "--metrics-port: 70000: want a port"},
		"port not a number": {map[string]string{"LEANSPEC_METRICS_PORT": "eight"}, nil, 2, "eight"},
		"unknown path":      {nil, []string{"--path", "/metrics"}, 2, `--path: "/metrics": want /livez, /readyz or /health`},
		"two paths":         {nil, []string{"--ready", "--path", "/livez"}, 2, `--path: "/livez": cannot be used together with --ready`},
		"two other paths":   {nil, []string{"--ready", "--url", server.URL + "/health"}, 2, "want the path /readyz, or none"},
		"not a URL":         {nil, []string{"--url", "localhost:8008"}, 2, `--url: "localhost:8008": want http`},
		"a password":        {nil, []string{"--url", "http://me:secret@host/"}, 2, "--url: want a URL without user and password"},
		"no time":           {nil, []string{"--timeout", "0s"}, 2, `--timeout: "0s": `},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			c := newTestConsole(0)
			code := run(t.Context(), &c.console, append([]string{"health"}, test.args...))
			got := c.out.String()
			if test.code != 0 {
				got = c.err.String()
			}
			if code != test.code || !strings.Contains(got, test.want) || strings.Count(c.out.String()+c.err.String(), "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d and one line with %q", code, c.out.String(), c.err.String(), test.code, test.want)
			}
			if strings.Contains(got, "secret") {
				t.Errorf("output = %q, want no password", got)
			}
		})
	}
}

func TestLogLevelFlag(t *testing.T) {
	checkFailure(t, t.Context(), 2, `--log-level: unknown component "gossip", `+
		`want one of api, chain, guard, http, libp2p, node, p2p, pebble, quic, storage, sync, validator`,
		"--genesis", "x", "--log-level", "info,gossip=debug")
	t.Setenv("LEANSPEC_LOG_LEVEL", "p2p=loud")
	checkFailure(t, t.Context(), 2, `--log-level: unknown log level "loud", want debug, info, warn or error`, "--genesis", "x")
}

// TestVerbose checks that -v shows debug lines of the node, but not those of libp2p.
func TestVerbose(t *testing.T) {
	_, levels, err := (&runCmd{LogLevel: "warn", LogFormat: "text", Verbose: true}).logger(&console{err: io.Discard})
	if err != nil || levels.LogLevel() != "debug,libp2p=info" {
		t.Errorf("levels = %s (error %v), want debug,libp2p=info", levels.LogLevel(), err)
	}
}

func TestCheckpointSyncURLFlag(t *testing.T) {
	for _, value := range []string{"foo", "192.0.2.1:5052", "ftp://192.0.2.1", "http://"} {
		checkFailure(t, t.Context(), 2, "--checkpoint-sync-url: \""+value+"\": want the base URL of a node's API, such as http://192.0.2.1:5052",
			"--genesis", "x", "--checkpoint-sync-url", value)
	}
	for value, shown := range map[string]string{
		"ftp://user:pa55word@192.0.2.1": "ftp://REDACTED@192.0.2.1", "user:pa55word@192.0.2.1:5052": "REDACTED", "http://a:pa55word@b c": "REDACTED",
	} {
		checkFailure(t, t.Context(), 2, "--checkpoint-sync-url: \""+shown+"\": want the base URL of a node's API, such as http://192.0.2.1:5052",
			"--genesis", "x", "--checkpoint-sync-url", value)
	}
}
