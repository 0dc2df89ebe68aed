package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAdminAccess checks from another machine that a node refuses all admin and debug routes, unless the request has the token of
// --admin-token-file or the node runs with --admin-open.
func TestAdminAccess(t *testing.T) {
	if testing.Short() {
		t.Skip("needs network namespaces")
	}
	machine := newHosts(t, 1)[0]
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	_, args := makeNetwork(t, "--validators", "1", "--scheme", "test", "--active-slots", "64", "--genesis-time", "+1h")
	args = append(args, "--scheme", "test", "--listen", "", "--log-format", "json", "--http-address", machine.ip.String(), "--rpc-port", "8009")
	const secret = "correct-horse"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api, metrics, rpc := "http://"+machine.ip.String()+":5052", "http://"+machine.ip.String()+":8008", "http://"+machine.ip.String()+":8009"

	type request struct{ method, url, body string }
	admin := []request{
		{"GET", api + "/lean/v0/admin/aggregator", ""},
		{"POST", api + "/lean/v0/admin/aggregator", `{"enabled":false}`},
		{"GET", api + "/lean/v0/admin/log_level", ""},
		{"POST", api + "/lean/v0/admin/log_level", `{"level":"info"}`},
		{"GET", metrics + "/debug/pprof/", ""},
		{"GET", metrics + "/debug/pprof/cmdline", ""},
		{"GET", metrics + "/debug/pprof/goroutine?debug=1", ""},
		{"GET", metrics + "/debug/pprof/heap", ""},
		{"GET", metrics + "/debug/pprof/profile?seconds=1", ""},
		{"GET", metrics + "/debug/pprof/trace?seconds=0.01", ""},
	}
	public := []request{
		{"GET", api + "/lean/v0/health", ""}, {"GET", api + "/metrics", ""}, {"GET", metrics + "/metrics", ""},
		{"GET", metrics + "/livez", ""}, {"GET", rpc + "/livez", ""},
	}
	bearer := http.Header{"Authorization": {"Bearer " + secret}}
	wrong := http.Header{"Authorization": {"Bearer correct-hors"}}
	disguise := http.Header{"X-Forwarded-For": {"127.0.0.1"}, "Host": {"localhost"}, "Origin": {"http://localhost:5052"}}
	type attempt struct {
		header  http.Header
		allowed bool
	}
	for name, test := range map[string]struct {
		flags    []string
		advice   string
		attempts []attempt
	}{
		"by default": {nil, "--admin-token-file or --admin-open", []attempt{{nil, false}, {bearer, false}, {disguise, false}}},
		"token":      {[]string{"--admin-token-file", token}, "Authorization: Bearer TOKEN", []attempt{{nil, false}, {wrong, false}, {disguise, false}, {bearer, true}}},
		"open":       {[]string{"--admin-open"}, "", []attempt{{nil, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(context.Background(), append(args, test.flags...)...)
			cmd.Path, cmd.Args = ip, append([]string{"ip", "netns", "exec", machine.name}, cmd.Args...)
			node := startCommand(t, cmd)
			started := node.await(t, "start", 10*time.Second, func(l line) bool { return l["msg"] == "started" })
			for field, url := range map[string]string{"api": api, "metrics": metrics, "rpc": rpc} {
				if got := started[field]; "http://"+got.(string) != url {
					t.Errorf("%s at %v, want %s", field, got, url)
				}
			}
			check := func(r request, header http.Header, status int) {
				t.Helper()
				got, body := send(t, r.method, r.url, header, r.body)
				if got != status {
					t.Errorf("%s %s with %v: status %d, want %d", r.method, r.url, header, got, status)
				}
				if got == http.StatusForbidden && (!strings.Contains(body, test.advice) || strings.Contains(body, "\n")) {
					t.Errorf("%s %s: body %q, want one line with %q", r.method, r.url, body, test.advice)
				}
			}
			for _, attempt := range test.attempts {
				for _, r := range admin {
					if attempt.allowed {
						check(r, attempt.header, http.StatusOK)
					} else {
						check(r, attempt.header, http.StatusForbidden)
					}
				}
			}
			for _, r := range public {
				check(r, nil, http.StatusOK)
			}
			node.stop(t, syscall.SIGTERM)
		})
	}
}

// send sends a request and returns the status and the body of the response.
func send(t *testing.T, method, url string, header http.Header, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Host = header.Get("Host")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
