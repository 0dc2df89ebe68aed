package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// TestPlannerIsPure checks that the planner of the syncer has no clock, lock, goroutine,
// channel, socket, context or logger, and no randomness without a seed.
func TestPlannerIsPure(t *testing.T) {
	names, err := filepath.Glob("../node/syncer/planner*.go")
	if err != nil || len(names) < 5 {
		t.Fatalf("files of the planner = %q (%v), want several", names, err)
	}
	files := token.NewFileSet()
	for _, name := range append(names, "../node/syncer/view.go") {
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if slices.Contains([]string{"context", "net", "os", "runtime", "sync", "sync/atomic", "log"}, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			bad := ""
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				bad = "concurrency"
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok {
					switch call := pkg.Name + "." + n.Sel.Name; call {
					case "time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "slog.Default", "slog.Info", "slog.Logger",
						"rand.N", "rand.Int", "rand.IntN", "rand.Uint64", "rand.Float64", "rand.Shuffle", "rand.Perm":
						bad = call
					}
				}
			}
			if bad != "" {
				t.Errorf("%s: %s in the planner, want an event or an effect", files.Position(n.Pos()), bad)
			}
			return true
		})
	}
}
