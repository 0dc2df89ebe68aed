package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// leanSpecPin is the commit of leanEthereum/leanSpec that this node implements, and leanSpecFork
// the fork.
const (
	leanSpecPin  = "43246bd6"
	leanSpecFork = "lstar"
)

// version and revision are set by builds outside a checkout, such as that of the container image (go
// build -ldflags "-X main.version=…"). If they are empty, the values that the Go toolchain records apply.
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

// buildVersion returns the version and the commit of the program, "unknown" if neither the linker
// flags nor the Go toolchain recorded them.
func buildVersion(build *debug.BuildInfo) (name, commit string) {
	name, commit = version, revision
	if build != nil {
		settings := make(map[string]string)
		for _, setting := range build.Settings {
			settings[setting.Key] = setting.Value
		}
		recorded := settings["vcs.revision"]
		if settings["vcs.modified"] == "true" {
			recorded += " with local changes"
		}
		if at := settings["vcs.time"]; at != "" {
			recorded += ", " + at
		}
		name, commit = cmp.Or(name, build.Main.Version), cmp.Or(commit, recorded)
	}
	return cmp.Or(name, "unknown"), cmp.Or(commit, "unknown")
}
