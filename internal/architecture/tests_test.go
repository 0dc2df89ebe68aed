package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// skips are the functions that may skip a test in CI, with the reason.
var skips = map[string]string{
	"conformance/table_test.go skip":                   "a vector that does not apply; .ci/run lists them",
	"internal/devnet/devnet_test.go TestNoOrphans":     "only Linux can kill a process when its parent dies",
	"internal/node/guard/guard_test.go TestNeverTwice": "rapid leaves out an action",
	"xmss/vectors_test.go TestSSZVectors":              "a vector of a type that another package has; .ci/run lists them",
}

// TestTestsCanFail checks that tests read metrics with metricstest, which rejects unknown names, and that they do not skip in CI
// because something is missing.
func TestTestsCanFail(t *testing.T) {
	files, used := 0, make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.FromSlash("../../")))
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		text := func(n ast.Node) string {
			return string(source[set.Position(n.Pos()).Offset:set.Position(n.End()).Offset])
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			var stack []ast.Node
			ast.Inspect(f, func(n ast.Node) bool {
				if n == nil {
					stack = stack[:len(stack)-1]
					return true
				}
				stack = append(stack, n)
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				switch at := set.Position(n.Pos()); selector.Sel.Name {
				case "Gather":
					if !strings.HasPrefix(name, "internal/metrics/") {
						t.Errorf("%s:%d: calls Gather, want metricstest, which rejects unknown names", name, at.Line)
					}
				case "Skip", "Skipf", "SkipNow":
					short := slices.ContainsFunc(stack, func(n ast.Node) bool {
						condition, ok := n.(*ast.IfStmt)
						return ok && strings.Contains(text(condition.Cond), "testing.Short()")
					})
					key := name + " " + f.Name.Name
					if used[key] = true; !short && !strings.Contains(text(f), `Getenv("CI")`) && skips[key] == "" {
						t.Errorf("%s:%d: %s skips in CI, want a check of testing.Short() or CI", name, at.Line, f.Name.Name)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("%d test files found, want at least 100", files)
	}
	for key := range skips {
		if !used[key] {
			t.Errorf("%s does not skip, want it removed from the list", key)
		}
	}
}
