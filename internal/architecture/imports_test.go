// Package architecture tests the rules of docs/architecture.md against the source.
package architecture

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/leanEthereum/leanspec-node/"

// deps returns the result of a go list template for each package. .Imports lists direct imports, .Deps also indirect ones.
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
		t.Fatal("packages of go list = 0, want more")
	}
	return all
}

// TestCoreIsPure checks that the core depends on no clock, socket, log or metric.
func TestCoreIsPure(t *testing.T) {
	forbidden := []string{
		"log", "log/slog", "net", "net/http", "os/signal", module + "internal/node", module + "internal/events",
		module + "internal/logging", module + "internal/metrics",
		module + "internal/config", module + "cmd", "github.com/prometheus", "github.com/libp2p",
	}
	for name, imports := range deps(t, ".Deps", "./internal/core/...", "./xmss") {
		for _, dep := range imports {
			for _, f := range forbidden {
				if dep == f || strings.HasPrefix(dep, f+"/") {
					t.Errorf("%s depends on %s, want a core without clock, socket, log and metric", name, dep)
				}
			}
		}
	}
}

// TestCoreHasNoClock checks that the core does not import packages for time, randomness and files. Packages that it needs may.
func TestCoreHasNoClock(t *testing.T) {
	for name, imports := range deps(t, ".Imports", "./internal/core/...") {
		for _, dep := range imports {
			if dep == "time" || dep == "math/rand" || dep == "math/rand/v2" || dep == "crypto/rand" || dep == "os" {
				t.Errorf("%s imports %s, want time, randomness and files as inputs", name, dep)
			}
		}
	}
}

// room is a row of the table in docs/architecture.md.
type room struct {
	folder string
	any    bool     // it may import any package of this module
	allows []string // otherwise, the packages that it may import, with those below them
}

var inBackticks = regexp.MustCompile("`([^`]+)`")

// rooms reads the table under the heading "The rooms". A row names one folder. Its last column is "anything", "nothing", or
// names of packages. A name is the end of the path of a folder: `chain` is internal/node/chain.
func rooms(t *testing.T, packages []string) (rows []room) {
	t.Helper()
	const file = "../../docs/architecture.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## The rooms\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !found {
		t.Fatalf("%s has no heading \"The rooms\"", file)
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		folder := inBackticks.FindStringSubmatch(cells[0])
		if len(cells) != 3 || folder == nil {
			continue
		}
		r := room{folder: folder[1], any: strings.TrimSpace(cells[2]) == "anything"}
		for _, name := range inBackticks.FindAllStringSubmatch(cells[2], -1) {
			// If several folders match, the shortest path counts: `core` includes all packages below it.
			full := ""
			for _, p := range packages {
				for folder := strings.TrimPrefix(p, module); folder != "."; folder = path.Dir(folder) {
					if (folder == name[1] || strings.HasSuffix(folder, "/"+name[1])) && (full == "" || len(folder) < len(full)) {
						full = folder
					}
				}
			}
			if full == "" {
				t.Errorf("%s: %s may import %s, which is not a package", file, r.folder, name[1])
			}
			r.allows = append(r.allows, full)
		}
		if !r.any && len(r.allows) == 0 && strings.TrimSpace(cells[2]) != "nothing" {
			t.Errorf("%s: %s may import %q, want packages, nothing or anything", file, r.folder, cells[2])
		}
		rows = append(rows, r)
	}
	if len(rows) < 10 {
		t.Fatalf("%s: %d rooms in the table, want at least 10", file, len(rows))
	}
	return rows
}

// within reports whether a folder is parent or below it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// TestRooms checks that each package imports only the packages of this module that docs/architecture.md allows, and that every
// package is in a room. A package below a room, such as a fake for tests, may import any package.
func TestRooms(t *testing.T) {
	all := deps(t, ".Imports", "./...")
	packages := slices.Sorted(maps.Keys(all))
	rows := rooms(t, packages)
	for _, r := range rows {
		if _, found := all[module+r.folder]; !found {
			t.Errorf("room %s in docs/architecture.md is not a package", r.folder)
		}
	}
	for _, name := range packages {
		folder := strings.TrimPrefix(name, module)
		if !slices.ContainsFunc(rows, func(r room) bool { return within(folder, r.folder) }) {
			t.Errorf("%s: want a room in docs/architecture.md", folder)
		}
		i := slices.IndexFunc(rows, func(r room) bool { return r.folder == folder && !r.any })
		if i < 0 {
			continue
		}
		for _, dep := range all[name] {
			own, isOwn := strings.CutPrefix(dep, module)
			if isOwn && !slices.ContainsFunc(rows[i].allows, func(a string) bool { return within(own, a) }) {
				t.Errorf("%s imports %s, want only %v, as docs/architecture.md says", folder, own, rows[i].allows)
			}
		}
	}
}
