package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// leanSpecPin is the commit of leanEthereum/leanSpec that this node implements, and leanSpecFork the fork.
const (
	leanSpecPin  = "43246bd6"
	leanSpecFork = "lstar"
)

// version and revision are set by builds outside a checkout, such as that of the container image
// (go build -ldflags "-X main.version=…"). If they are empty, the values that the Go toolchain records apply.
var version, revision string

// versionCmd prints the version of the program.
type versionCmd struct{}

// Run prints the versions of the program, of Go, of leanSpec and of the XMSS schemes.
func (*versionCmd) Run(console *console) error {
	var schemes []string
	for _, scheme := range config.Schemes() {
		schemes = append(schemes, fmt.Sprintf("%s (%s)", scheme, scheme.KeyScheme()))
	}
	build, _ := debug.ReadBuildInfo()
	name, commit := buildVersion(build)
	table := console.table()
	fmt.Fprintf(table, "leanspec-node\t%s\n", name)
	fmt.Fprintf(table, "commit\t%s\n", commit)
	fmt.Fprintf(table, "go\t%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(table, "leanSpec\t%s (%s)\n", leanSpecPin, leanSpecFork)
	fmt.Fprintf(table, "xmss\t%s\n", strings.Join(schemes, ", "))
	return table.Flush()
}

// buildVersion returns the version and the commit of the program, "unknown" if neither the linker flags nor the Go
// toolchain recorded them.
func buildVersion(build *debug.BuildInfo) (name, commit string) {
	name, commit = recordedVersion(build)
	return cmp.Or(version, name), cmp.Or(revision, commit)
}

func recordedVersion(build *debug.BuildInfo) (name, commit string) {
	name, commit = "unknown", "unknown"
	if build == nil {
		return name, commit
	}
	name = cmp.Or(build.Main.Version, name)
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
	return name, commit
}
