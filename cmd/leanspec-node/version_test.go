package main

import (
	"regexp"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, []string{"version"}); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
	}
	want := regexp.MustCompile(`^leanspec-node  \S+
commit         .+
go             go1\.\S+ \w+/\w+
leanSpec       43246bd6 \(lstar\)
xmss           prod \(SIG\w+Lifetime32\w+\), test \(SIG\w+Lifetime8\w+\)
$`)
	if !want.MatchString(c.out.String()) {
		t.Errorf("got\n%s\nwant a match of\n%s", c.out.String(), want)
	}
}

func TestBuildVersion(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for name, test := range map[string]struct {
		build           *debug.BuildInfo
		version, commit string
	}{
		"nothing known": {nil, "unknown", "unknown"},
		"no checkout":   {&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "(devel)", "unknown"},
		"clean": {&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
			setting("vcs.revision", "abc"), setting("vcs.modified", "false"), setting("vcs.time", "2026-01-02T03:04:05Z")}},
			"v1.2.3", "abc, 2026-01-02T03:04:05Z"},
		"changed": {&debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "abc"), setting("vcs.modified", "true")}},
			"unknown", "abc with local changes"},
	} {
		if version, commit := buildVersion(test.build); version != test.version || commit != test.commit {
			t.Errorf("%s: version %q and commit %q, want %q and %q", name, version, commit, test.version, test.commit)
		}
	}
}

// TestBuildVersionGiven checks that linker flags take precedence over the values that the toolchain
// recorded.
func TestBuildVersionGiven(t *testing.T) {
	t.Cleanup(func() { version, revision = "", "" })
	version, revision = "v9", "fed"
	if name, commit := buildVersion(&debug.BuildInfo{Main: debug.Module{Version: "v1"}}); name != "v9" || commit != "fed" {
		t.Errorf("version %q and commit %q, want v9 and fed", name, commit)
	}
}
