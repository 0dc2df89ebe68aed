package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// walkRow matches a row of a table whose first two cells, or whose second and third, are a file and a function.
var walkRow = regexp.MustCompile("(?m)^\\|(?:[^`|]*\\|)? `([a-z0-9_/]+\\.go)` \\| `([A-Za-z.]+)` \\|")

// declares reports whether the source of a file declares a function, or a method as Type.Method.
func declares(t *testing.T, path, function string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return false
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if of, ok := receiver.(*ast.Ident); ok {
				name = of.Name + "." + name
			}
		}
		if name == function {
			return true
		}
	}
	return false
}

// TestWalks checks that every function in the tables of docs/architecture.md is in the file that the table names.
func TestWalks(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := walkRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 40 {
		t.Errorf("%d rows with a file and a function, want at least 40", len(rows))
	}
	for _, row := range rows {
		folder := "../node"
		switch {
		case strings.HasPrefix(row[1], "lstar/"):
			folder = "../core"
		case strings.HasPrefix(row[1], "xmss/"):
			folder = "../.."
		}
		if !declares(t, filepath.Join(folder, row[1]), row[2]) {
			t.Errorf("docs/architecture.md: %s does not declare %s", row[1], row[2])
		}
	}
}
