// Package architecture holds the rules of docs/architecture.md that a test can
// hold.
package architecture

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/leanEthereum/leanspec-node/"

// deps returns the packages that the given ones import, directly or not.
func deps(t *testing.T, format string, patterns ...string) map[string][]string {
	t.Helper()
	args := append([]string{"list", "-f", "{{.ImportPath}}:{{join " + format + " \" \"}}"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		name, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		all[name] = strings.Fields(imports)
	}
	if len(all) == 0 {
		t.Fatal("go list found no package")
	}
	return all
}

// TestCoreIsPure holds the core apart from the world.
func TestCoreIsPure(t *testing.T) {
	forbidden := []string{
		"log", "log/slog", "net", "net/http", "os/signal", module + "internal/node", module + "internal/telemetry",
		module + "internal/config", module + "cmd", "github.com/prometheus", "github.com/libp2p",
	}
	for name, imports := range deps(t, ".Deps", "./internal/spec/...", "./xmss") {
		for _, dep := range imports {
			for _, f := range forbidden {
				if dep == f || strings.HasPrefix(dep, f+"/") {
					t.Errorf("%s depends on %s: the core has no clock, socket, log or metric", name, dep)
				}
			}
		}
	}
}

// TestCoreHasNoClock looks for the functions that read the time or draw
// randomness, which packages that the core needs may import.
func TestCoreHasNoClock(t *testing.T) {
	for name, imports := range deps(t, ".Imports", "./internal/spec/...") {
		for _, dep := range imports {
			if dep == "time" || dep == "math/rand" || dep == "math/rand/v2" || dep == "crypto/rand" || dep == "os" {
				t.Errorf("%s imports %s: time, randomness and files come into the core as inputs", name, dep)
			}
		}
	}
}

// TestRooms holds each package to what docs/architecture.md lets it import of
// this module. A package that is not listed may import anything.
func TestRooms(t *testing.T) {
	rooms := map[string][]string{
		"xmss":                    {"internal/spec/koalabear", "internal/spec/poseidon", "internal/spec/ssz"},
		"internal/spec/ssz":       {},
		"internal/spec/koalabear": {},
		"internal/spec/poseidon":  {"internal/spec/koalabear"},
		"internal/spec/proof":     {"xmss", "internal/spec/ssz"},
		"internal/spec/lstar":     {"xmss", "internal/spec/ssz", "internal/spec/proof"},
		"internal/telemetry":      {},
		"internal/config":         {"internal/spec", "xmss"},
		"internal/node/clock":     {"internal/spec/lstar"},
		"internal/node/chain":     {"internal/spec", "xmss", "internal/node/clock", "internal/telemetry"},
		"internal/node/api":       {"internal/spec/lstar", "internal/spec/ssz"},
		"internal/node/p2p":       {"internal/spec", "xmss", "internal/config", "internal/node/clock", "internal/node/ports", "internal/telemetry", "internal/node/p2p/wire"},
		"internal/node/storage":   {"internal/spec", "internal/telemetry"},
		"internal/node/p2p/wire":  {},
		"internal/node/ports":     {},
		"internal/node/sync":      {"internal/spec", "internal/node/chain", "internal/node/clock", "internal/node/p2p", "internal/telemetry"},
		"internal/devnet":         {"internal/config", "internal/node/clock", "internal/spec/lstar", "xmss"},
		"internal/node/validator": {"internal/spec", "xmss", "internal/node/chain", "internal/node/clock", "internal/node/guard", "internal/telemetry"},
		"internal/node/guard":     {"internal/config", "xmss", "internal/telemetry"},
		"internal/porttest":       {},
		"deploy":                  {"internal/telemetry"},
	}
	all := deps(t, ".Imports", "./...")
	for room := range rooms {
		if _, there := all[module+room]; !there {
			t.Errorf("there is no package %s", room)
		}
	}
	for name, imports := range all {
		allowed, listed := rooms[strings.TrimPrefix(name, module)]
		if !listed {
			continue
		}
	next:
		for _, dep := range imports {
			own, isOwn := strings.CutPrefix(dep, module)
			if !isOwn {
				continue
			}
			for _, a := range allowed {
				if own == a || strings.HasPrefix(own, a+"/") {
					continue next
				}
			}
			t.Errorf("%s imports %s, which docs/architecture.md does not let it", name, own)
		}
	}
}
