package architecture

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// ours is the package whose calls are looked at.
const ours = module + "internal/logging."

// helpers are functions of internal/logging that make a field: what they are
// for must have their name and form wherever it is logged.
var helpers = map[string]string{
	"slot": "logging.Slot", "epoch": "logging.Slot", "peer_id": "logging.Peer", "peer": "logging.Peer",
	"root": "logging.Root", "validator": "logging.Validator", "reason": "logging.Reason",
	"duration_ms": "logging.Duration", "error": "logging.Err", "err": "logging.Err",
	"advice": "logging.Advice", "component": "logging.Component",
}

// foreign pass on what libraries log, in the libraries' words.
var foreign = []string{"internal/node/storage/failure.go", "internal/node/p2p/host.go", "internal/logging/stdlog.go"}

// aboutNoSlot are lines with a slot in a field that are not about one: they have
// no slot of their own.
var aboutNoSlot = []string{"key runs out"}

// logCall is one line of the source that writes to the log.
type logCall struct {
	at        string // file:line
	level     string // debug, info, warn, error, or nothing where it is a variable
	message   string
	constant  bool // the message is
	keys      []string
	helpers   []string // of internal/logging that are used in it
	loose     []string // fields that have a helper and do not use it
	peerValue bool     // a value of libp2p's type for peers is logged
}

// logCalls finds everything that the program logs, and the components that it
// names.
func logCalls(t *testing.T) (calls []logCall, components map[string]string) {
	t.Helper()
	components = make(map[string]string)
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{join .GoFiles \" \"}}", "./internal/...", "./cmd/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := make(map[string]string)
	type pkg struct{ path, dir, files string }
	var own []pkg
	for line := range strings.Lines(string(out)) {
		part := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		exports[part[0]] = part[1]
		if strings.HasPrefix(part[0], module) {
			own = append(own, pkg{part[0], part[2], part[3]})
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, p := range own {
		var parsed []*ast.File
		for _, name := range strings.Fields(p.files) {
			f, err := parser.ParseFile(files, filepath.Join(p.dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object), Selections: make(map[*ast.SelectorExpr]*types.Selection)}
		if _, err := (&types.Config{Importer: imports}).Check(p.path, files, parsed, info); err != nil {
			t.Fatal(err)
		}
		s := scanner{info: info, components: components, where: func(n ast.Node) string {
			at := files.Position(n.Pos())
			name, _ := filepath.Rel(root, at.Filename)
			return fmt.Sprintf("%s:%d", name, at.Line)
		}}
		for _, f := range parsed {
			ast.Inspect(f, s.visit)
		}
		calls = append(calls, s.calls...)
	}
	if len(calls) < 40 {
		t.Fatalf("%d lines that log were found, want all of them", len(calls))
	}
	return calls, components
}

type scanner struct {
	info       *types.Info
	where      func(ast.Node) string
	calls      []logCall
	components map[string]string // by name, where it is used
}

// callee returns the function that is called, by its full name.
func (s *scanner) callee(call *ast.CallExpr) string {
	var id *ast.Ident
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		id = f
	case *ast.SelectorExpr:
		id = f.Sel
	default:
		return ""
	}
	if f, ok := s.info.Uses[id].(*types.Func); ok {
		return f.FullName()
	}
	return ""
}

// text returns the value of a constant string.
func (s *scanner) text(e ast.Expr) (string, bool) {
	if v := s.info.Types[e].Value; v != nil && v.Kind() == constant.String {
		return constant.StringVal(v), true
	}
	return "", false
}

func (s *scanner) visit(n ast.Node) bool {
	if list, ok := n.(*ast.CompositeLit); ok && s.info.Types[list].Type.String() == "[]any" {
		s.list(list)
		return true
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return true
	}
	name := s.callee(call)
	if name == ours+"Component" {
		if component, ok := s.text(call.Args[1]); ok {
			s.components[component] = s.where(call)
		}
		return true
	}
	c := logCall{at: s.where(call)}
	method, isMethod := strings.CutPrefix(name, "(*log/slog.Logger).")
	switch {
	case isMethod && slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method):
		c.level = strings.ToLower(method)
		s.line(&c, call.Args[0], call.Args[1:])
	case isMethod && slices.Contains([]string{"DebugContext", "InfoContext", "WarnContext", "ErrorContext"}, method):
		c.level = strings.ToLower(strings.TrimSuffix(method, "Context"))
		s.line(&c, call.Args[1], call.Args[2:])
	case isMethod && (method == "Log" || method == "LogAttrs"):
		if strings.HasPrefix(c.at, "internal/logging/events.go") { // the function write, whose callers count
			return true
		}
		c.level = s.level(call.Args[1])
		s.line(&c, call.Args[2], call.Args[3:])
	case isMethod && method == "With" && !strings.HasPrefix(c.at, "internal/logging/log.go"):
		s.fields(&c, call.Args)
		c.message, c.constant = "With", true
	case name == ours+"write":
		c.level = s.level(call.Args[1])
		s.line(&c, call.Args[2], call.Args[3:])
	default:
		return true
	}
	s.calls = append(s.calls, c)
	return true
}

// list notes fields that are in a slice, which some call passes on.
func (s *scanner) list(l *ast.CompositeLit) {
	c := logCall{at: s.where(l), message: "a list", constant: true}
	s.fields(&c, l.Elts)
	if len(c.keys) > 0 {
		s.calls = append(s.calls, c)
	}
}

// level returns the name of a level that is one of slog's.
func (s *scanner) level(e ast.Expr) string {
	if v := s.info.Types[e].Value; v != nil {
		return map[string]string{"-4": "debug", "0": "info", "4": "warn", "8": "error"}[v.ExactString()]
	}
	return ""
}

func (s *scanner) line(c *logCall, message ast.Expr, args []ast.Expr) {
	c.message, c.constant = s.text(message)
	if !c.constant && strings.HasPrefix(c.at, "internal/logging/") { // one of two constants there
		c.constant = true
	}
	s.fields(c, args)
}

// fields notes the keys of a line: those of key, value pairs, and those of attributes.
func (s *scanner) fields(c *logCall, args []ast.Expr) {
	for i := 0; i < len(args); i++ {
		if s.info.Types[args[i]].Type.String() == "string" || s.isText(args[i]) {
			if key, ok := s.text(args[i]); ok {
				c.key(key)
			} else {
				c.key("(not constant)")
			}
			i++ // its value
			if i < len(args) && s.isPeer(args[i]) {
				c.peerValue = true
			}
			continue
		}
		ast.Inspect(args[i], func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := s.callee(call)
			if helper, ok := strings.CutPrefix(name, ours); ok {
				c.helpers = append(c.helpers, helper)
				switch helper { // that take a key
				case "namedRoot", "namedDuration", "slotField", "optional":
					if key, ok := s.text(call.Args[0]); ok {
						c.key(key)
					}
				}
				return false
			}
			if strings.HasPrefix(name, "log/slog.") && len(call.Args) > 0 {
				if key, ok := s.text(call.Args[0]); ok {
					c.key(key)
				}
				if len(call.Args) > 1 && s.isPeer(call.Args[1]) {
					c.peerValue = true
				}
			}
			return true
		})
	}
}

func (c *logCall) key(key string) {
	c.keys = append(c.keys, key)
	if helper, ok := helpers[key]; ok {
		c.loose = append(c.loose, fmt.Sprintf("%q is for %s", key, helper))
	}
}

func (s *scanner) isText(e ast.Expr) bool {
	b, ok := s.info.Types[e].Type.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsString != 0
}

func (s *scanner) isPeer(e ast.Expr) bool {
	return s.info.Types[e].Type.String() == "github.com/libp2p/go-libp2p/core/peer.ID"
}

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// TestLogLines holds what docs/logging.md promises of every line.
func TestLogLines(t *testing.T) {
	calls, components := logCalls(t)
	for _, c := range calls {
		file, _, _ := strings.Cut(c.at, ":")
		if slices.Contains(foreign, file) && c.level != "warn" {
			continue
		}
		if !c.constant && !slices.Contains(foreign, file) {
			t.Errorf("%s: the message is not constant: what changes belongs into fields, or repeats are not known as such", c.at)
		}
		for _, loose := range c.loose {
			t.Errorf("%s: field %s", c.at, loose)
		}
		if c.peerValue {
			t.Errorf("%s: a peer is logged, but not by logging.Peer", c.at)
		}
		for _, key := range c.keys {
			if !snakeCase.MatchString(key) {
				t.Errorf("%s: field %q, want it in snake_case", c.at, key)
			}
			if strings.HasSuffix(key, "_slot") && !slices.Contains(c.helpers, "Slot") && !slices.Contains(aboutNoSlot, c.message) {
				t.Errorf("%s: a line with %q is about a slot: want logging.Slot in it, which has slot and epoch", c.at, key)
			}
		}
		if c.level == "error" && !slices.Contains(c.helpers, "Advice") {
			t.Errorf("%s: an error without logging.Advice: what is the operator to do?", c.at)
		}
	}
	for name, at := range components {
		if !slices.Contains(logging.Components(), name) {
			t.Errorf("%s: component %q is not in the list of internal/logging, so nobody can give it a level", at, name)
		}
	}
	for _, name := range logging.Components() {
		if _, used := components[name]; !used && name != "quic" { // which writes to package log
			t.Errorf("component %q has a level and no lines", name)
		}
	}
}

// TestLogDocs wants docs/logging.md to name every field and every component.
func TestLogDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/logging.md")
	if err != nil {
		t.Fatal(err)
	}
	calls, _ := logCalls(t)
	names := map[string]string{"suppressed": "limit.go", "time": "handler.go", "level": "handler.go", "msg": "handler.go", "logger": "libp2p"}
	for key := range helpers {
		if key != "peer" && key != "err" {
			names[key] = "log.go"
		}
	}
	for _, c := range calls {
		for _, key := range c.keys {
			names[key] = c.at
		}
	}
	for _, name := range logging.Components() {
		names[name] = "levels.go"
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/logging.md does not have `%s` (%s)", name, names[name])
		}
	}
}
