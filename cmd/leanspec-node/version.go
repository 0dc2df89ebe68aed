package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// leanSpecPin is the commit of leanEthereum/leanSpec that this node follows, and leanSpecFork its fork.
const (
	leanSpecPin  = "43246bd6"
	leanSpecFork = "lstar"
)

// versionCmd says what this program is.
type versionCmd struct{}

// Run prints it.
func (*versionCmd) Run(console *console) error {
	var schemes []string
	for _, scheme := range config.Schemes() {
		schemes = append(schemes, fmt.Sprintf("%s (%s)", scheme, scheme.KeyScheme()))
	}
	build, _ := debug.ReadBuildInfo()
	version, commit := buildVersion(build)
	table := tabwriter.NewWriter(console.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "leanspec-node\t%s\n", version)
	fmt.Fprintf(table, "commit\t%s\n", commit)
	fmt.Fprintf(table, "go\t%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(table, "leanSpec\t%s (%s)\n", leanSpecPin, leanSpecFork)
	fmt.Fprintf(table, "xmss\t%s\n", strings.Join(schemes, ", "))
	return table.Flush()
}

// buildVersion returns the version and the commit that the Go toolchain recorded, which is nothing where it
// built from a folder that is not a checkout.
func buildVersion(build *debug.BuildInfo) (version, commit string) {
	version, commit = "unknown", "unknown"
	if build == nil {
		return version, commit
	}
	if build.Main.Version != "" {
		version = build.Main.Version
	}
	settings := make(map[string]string)
	for _, setting := range build.Settings {
		settings[setting.Key] = setting.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		commit = revision
		if settings["vcs.modified"] == "true" {
			commit += " with local changes"
		}
		if at := settings["vcs.time"]; at != "" {
			commit += ", " + at
		}
	}
	return version, commit
}
