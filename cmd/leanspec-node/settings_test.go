package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

func TestWithFlags(t *testing.T) {
	for want, err := range map[string]error{
		`--listen: "x": want an address`:                &config.Error{Setting: setting.Listen, Value: `"x"`, Problem: "want an address"},
		`open: --listen: want an address`:               fmt.Errorf("open: %w", &config.Error{Setting: setting.Listen, Problem: "want an address"}),
		"x.yaml: listen: want one":                      &config.Error{File: "x.yaml", Field: "listen", Problem: "want one"},
		"--node-id: unknown; needs no --validator-keys": &config.Error{Setting: setting.NodeID, Fix: setting.ValidatorKeys, Problem: "unknown; needs no validator keys folder"},
		"/keys: not writable: set --data-dir (LEANSPEC_DATA_DIR) to a path": &config.Error{File: "/keys", Fix: setting.DataDir,
			Problem: "not writable: set the data folder to a path"},
		"data folder d: in use; wait":        &storage.FolderError{Dir: "d", Problem: "in use", Advice: "wait"},
		"data folder, but of no known error": fmt.Errorf("data folder, but of no known error"),
	} {
		if got := withFlags(err); got != want {
			t.Errorf("withFlags(%v) = %q, want %q", err, got, want)
		}
	}
}

// TestFlagOfSettings checks that every setting has a flag, and that the flag exists.
func TestFlagOfSettings(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../internal/setting/setting.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			constants += len(spec.Names)
		}
		return true
	})
	if constants != len(flagOf) {
		t.Errorf("package setting has %d settings, %d have a flag", constants, len(flagOf))
	}
	parser, err := kong.New(&commands{}, new(flags).options()...)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	var visit func(*kong.Node)
	visit = func(node *kong.Node) {
		for _, flag := range node.Flags {
			known["--"+flag.Name] = true
		}
		for _, child := range node.Children {
			visit(child)
		}
	}
	visit(parser.Model.Node)
	for name, flag := range flagOf {
		if flag, _, _ = strings.Cut(flag, " "); !known[flag] {
			t.Errorf("setting %q has the flag %s, which does not exist", name, flag)
		}
	}
}
