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

// loggingPrefix is the prefix of the functions of internal/logging.
const loggingPrefix = module + "internal/logging."

// helpers are the functions of internal/logging that make the fields with these keys. Other code must use them.
var helpers = map[string]string{
	"slot": "logging.Slot", "epoch": "logging.Slot", "peer_id": "logging.Peer", "peer": "logging.Peer",
	"root": "logging.Root", "validator": "logging.Validator", "reason": "logging.Reason",
	"duration_ms": "logging.Duration", "error": "logging.Err", "err": "logging.Err",
	"advice": "logging.Advice", "component": "logging.Component",
}

// foreign are files that pass on log lines of libraries.
var foreign = []string{"internal/node/storage/failure.go", "internal/node/p2p/host.go", "internal/logging/stdlog.go"}

// aboutNoSlot are messages with a field *_slot that are not about a slot.
var aboutNoSlot = []string{"key runs out"}

// logCall is one line of the source that writes to the log.
type logCall struct {
	at        string // file:line
	level     string // debug, info, warn, error, or "" if it is a variable
	message   string
	constant  bool // whether the message is constant
	keys      []string
	helpers   []string // functions of internal/logging in it
	loose     []string // fields that do not use their helper
	peerValue bool     // whether it logs a peer.ID of libp2p
}

// logCalls finds all log lines of the program, and its components with the places at which they are named.
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
		t.Fatalf("%d log lines found, want at least 40", len(calls))
	}
	return calls, components
}

// scanner collects the log lines of a package.
type scanner struct {
	info       *types.Info
	where      func(ast.Node) string
	calls      []logCall
	components map[string]string // place of use, by name
}

// callee returns the full name of the called function.
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

// visit records the log line that a node of the syntax tree writes, if any.
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
	if name == loggingPrefix+"Component" {
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
		// The function write and the effects of the planner; the calls of write and log are recorded.
		if strings.HasPrefix(c.at, "internal/logging/events.go") || strings.HasPrefix(c.at, "internal/node/syncer/service.go") {
			return true
		}
		c.level = s.level(call.Args[1])
		s.line(&c, call.Args[2], call.Args[3:])
	case isMethod && method == "With" && !strings.HasPrefix(c.at, "internal/logging/log.go"):
		s.fields(&c, call.Args)
		c.message, c.constant = "With", true
	case name == "(*"+module+"internal/node/syncer.planner).log":
		c.level = s.level(call.Args[0])
		s.line(&c, call.Args[1], call.Args[2:])
	case name == loggingPrefix+"write":
		c.level = s.level(call.Args[1])
		s.line(&c, call.Args[2], call.Args[3:])
	default:
		return true
	}
	s.calls = append(s.calls, c)
	return true
}

// list records the fields in a slice, which another call logs.
func (s *scanner) list(l *ast.CompositeLit) {
	c := logCall{at: s.where(l), message: "a list", constant: true}
	s.fields(&c, l.Elts)
	if len(c.keys) > 0 {
		s.calls = append(s.calls, c)
	}
}

// level returns the name of a constant level.
func (s *scanner) level(e ast.Expr) string {
	if v := s.info.Types[e].Value; v != nil {
		return map[string]string{"-4": "debug", "0": "info", "4": "warn", "8": "error"}[v.ExactString()]
	}
	return ""
}

// line records the message and the fields of a line.
func (s *scanner) line(c *logCall, message ast.Expr, args []ast.Expr) {
	c.message, c.constant = s.text(message)
	if !c.constant && strings.HasPrefix(c.at, "internal/logging/") { // the message is one of two constants
		c.constant = true
	}
	s.fields(c, args)
}

// fields records the keys of a line, from key-value pairs and from attributes.
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
			if helper, ok := strings.CutPrefix(name, loggingPrefix); ok {
				c.helpers = append(c.helpers, helper)
				switch helper { // helpers that take a key
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

// key records a key.
func (c *logCall) key(key string) {
	c.keys = append(c.keys, key)
	if helper, ok := helpers[key]; ok {
		c.loose = append(c.loose, fmt.Sprintf("%q, want %s", key, helper))
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

// TestLogLines checks what docs/logging.md promises for every line.
func TestLogLines(t *testing.T) {
	calls, components := logCalls(t)
	for _, c := range calls {
		file, _, _ := strings.Cut(c.at, ":")
		if slices.Contains(foreign, file) && c.level != "warn" {
			continue
		}
		if !c.constant && !slices.Contains(foreign, file) {
			t.Errorf("%s: the message is a variable, want a constant, because repeated lines are recognized by their message", c.at)
		}
		for _, loose := range c.loose {
			t.Errorf("%s: field %s", c.at, loose)
		}
		if c.peerValue {
			t.Errorf("%s: logs a peer.ID, want logging.Peer", c.at)
		}
		for _, key := range c.keys {
			if !snakeCase.MatchString(key) {
				t.Errorf("%s: field %q, want snake_case", c.at, key)
			}
			if strings.HasSuffix(key, "_slot") && !slices.Contains(c.helpers, "Slot") && !slices.Contains(aboutNoSlot, c.message) {
				t.Errorf("%s: line with %q, want logging.Slot in it, which adds slot and epoch", c.at, key)
			}
		}
		if c.level == "error" && !slices.Contains(c.helpers, "Advice") {
			t.Errorf("%s: error without advice, want logging.Advice", c.at)
		}
	}
	for name, at := range components {
		if !slices.Contains(logging.Components(), name) {
			t.Errorf("%s: component %q, want one of logging.Components, which can have levels", at, name)
		}
	}
	for _, name := range logging.Components() {
		if _, used := components[name]; !used && name != "quic" { // quic writes to package log
			t.Errorf("component %q of logging.Components writes no lines", name)
		}
	}
}

// TestLogDocs checks that docs/logging.md names every field and every component.
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
			t.Errorf("docs/logging.md: want `%s` (%s)", name, names[name])
		}
	}
}
