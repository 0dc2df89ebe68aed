package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var flagOrVariable = regexp.MustCompile(`(^|[^-])--[a-z]|\bLEANSPEC_`)

// TestFlagsOnlyInCmd checks that no string in internal names a flag or its environment variable. Errors and advice name a
// setting of package setting, and cmd maps it to the flag. Package devnet is the exception: it writes command lines.
func TestFlagsOnlyInCmd(t *testing.T) {
	files := token.NewFileSet()
	literals := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path == filepath.Join("..", "devnet") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				literals++
				if flagOrVariable.MatchString(strings.Trim(literal.Value, "\"`")) {
					t.Errorf("%s: %s names a flag: want the words of package setting", files.Position(literal.Pos()), literal.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if literals < 1000 {
		t.Errorf("found %d strings, want those of all packages", literals)
	}
}
