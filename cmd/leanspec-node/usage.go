package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// This file adapts kong: it sets flags from environment variables, and rewrites kong's errors.

// variablePrefix is the prefix of the environment variables that set flags.
const variablePrefix = "LEANSPEC_"

// flags sets the flags of all commands from environment variables. A flag on the command line takes
// precedence.
type flags struct {
	variables map[*kong.Flag]string // the variable that can set each flag
	from      map[*kong.Flag]string // the variable that has set each flag
}

// options returns the options that make kong use f.
func (f *flags) options() []kong.Option {
	return []kong.Option{
		kong.PostBuild(f.build),
		kong.Resolvers(kong.ResolverFunc(f.resolve)),
		kong.ValueFormatter(f.help),
		kong.Bind(f),
	}
}

// build names the variable of each flag: LEANSPEC_LOG_LEVEL for --log-level. All flags of run have
// a variable. So do the address and the ports of health, and the flags that the keys commands share
// with run, so that these commands work in the environment of the node. Other flags have no
// variable: a forgotten LEANSPEC_FORCE must not overwrite keys.
func (f *flags) build(k *kong.Kong) error {
	f.variables, f.from = make(map[*kong.Flag]string), make(map[*kong.Flag]string)
	runFlags := make(map[string]bool)
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			runFlags[flag.Name] = runFlags[flag.Name] || command.Name == "run"
		}
	}
	return kong.Visit(k.Model.Node, func(visited kong.Visitable, next kong.Next) error {
		node, ok := visited.(*kong.Node)
		if !ok {
			return next(nil)
		}
		for _, argument := range node.Positional {
			argument.Mapper = valueMapper{argument.Mapper, f}
		}
		for _, flag := range node.Flags {
			flag.Mapper = valueMapper{flag.Mapper, f}
			if node.Name == "run" || node.Name == "health" && runFlags[flag.Name] ||
				node.Parent != nil && node.Parent.Name == "keys" && runFlags[flag.Name] {
				f.variables[flag] = variablePrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			}
		}
		return next(nil)
	})
}

// resolve returns the value of a flag that is not on the command line, or nil. An empty variable
// counts as unset.
func (f *flags) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if name, ok := f.variables[flag]; ok {
		if value := os.Getenv(name); value != "" && !isServiceVariable(name, value) {
			f.from[flag] = name
			return value, nil
		}
	}
	// leanSpec: config.py, LEAN_ENV
	if value := os.Getenv("LEAN_ENV"); value != "" && flag.Name == "scheme" {
		f.from[flag] = "LEAN_ENV"
		return strings.ToLower(value), nil
	}
	return nil, nil
}

// isSet reports whether the command line or the environment sets a flag.
func isSet(command *kong.Context, name string) bool {
	return slices.ContainsFunc(command.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

// help returns the description of a flag with its default value and its variable.
func (f *flags) help(value *kong.Value) string {
	var notes []string
	if value.HasDefault {
		notes = append(notes, "default "+value.Default)
	}
	if name, ok := f.variables[value.Flag]; ok {
		notes = append(notes, "$"+name)
	}
	if len(notes) == 0 {
		return value.Help
	}
	return strings.TrimSuffix(value.Help, ".") + " (" + strings.Join(notes, ", ") + ")."
}

// serviceVariable matches the variables that Kubernetes sets in every container for a service whose
// name begins with leanspec:
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var serviceVariable = regexp.MustCompile(`^LEANSPEC_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isServiceVariable reports whether Kubernetes has set a variable. For a service named leanspec-api
// it sets LEANSPEC_API_PORT, the variable of --api-port, to a URL.
func isServiceVariable(name, value string) bool {
	return serviceVariable.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// testVariables matches the variables that the tests of this repository read.
var testVariables = regexp.MustCompile(`^LEANSPEC_(VECTORS|CRASHES|RECOVERIES|MEMORY_SLOTS|TEST_\w+)$`)

// unknownVariables returns the variables of an environment that have the prefix but set no flag of
// the command, each with the most similar name that does. It skips empty variables.
func (f *flags) unknownVariables(environ []string, command *kong.Node) []string {
	var known, unknown []string
	for _, flag := range command.Flags {
		if name, ok := f.variables[flag]; ok {
			known = append(known, name)
		}
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		visible := strings.Map(dropInvisible, name)
		if value == "" || !strings.HasPrefix(strings.ToUpper(visible), variablePrefix) || slices.Contains(known, name) {
			continue
		}
		if !isServiceVariable(name, value) && !testVariables.MatchString(name) {
			unknown = append(unknown, config.DescribeUnknown(name, known))
		}
	}
	return unknown
}

// dropInvisible is a mapping for [strings.Map] that removes characters which cannot be printed.
func dropInvisible(r rune) rune {
	if !strconv.IsPrint(r) {
		return -1
	}
	return r
}

// valueMapper parses a value as kong does. Its errors name the flag or variable and the value, and
// say what is expected.
type valueMapper struct {
	kong.Mapper
	flags *flags
}

// IsBool implements [kong.BoolMapper].
func (m valueMapper) IsBool() bool {
	b, ok := m.Mapper.(kong.BoolMapper)
	return ok && b.IsBool()
}

// Decode implements [kong.Mapper].
func (m valueMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Peek()
	err := m.Mapper.Decode(ctx, target)
	if err == nil {
		return nil
	}
	failure := &config.Error{Setting: setting.Name(ctx.Value.ShortSummary()), Problem: "want a value"}
	if variable, ok := m.flags.from[ctx.Value.Flag]; ok {
		failure.Setting = setting.Name(variable)
	}
	text, ok := token.Value.(string)
	negative := len(text) > 1 && text[0] == '-' && text[1] >= '0' && text[1] <= '9'
	switch {
	case ok && (token.Type == kong.FlagValueToken || token.IsValue() || negative):
		failure.Value, failure.Problem = fmt.Sprintf("%.64q", text), expectedValue(target)
	case ok && strings.HasPrefix(text, "-"):
		failure.Problem = fmt.Sprintf("want a value, got the flag %.64q", text)
	}
	return failure
}

// expectedValue describes the values that can be assigned to target.
func expectedValue(target reflect.Value) string {
	if target.Kind() == reflect.Pointer {
		target = reflect.New(target.Type().Elem()).Elem()
	}
	switch target.Interface().(type) {
	case time.Duration:
		return "want a duration such as 30s or 5m"
	case bool:
		return "want true or false"
	case int:
		return "want a whole number"
	case uint64:
		return "want a whole number, 0 or more"
	default:
		return "write a value that begins with - after =, as in --flag=-1"
	}
}

// The errors of kong about a command line, apart from those about values.
var (
	unknownFlag  = regexp.MustCompile(`^unknown flag (\S+?)(?:, did you mean (?:one of )?(.+)\?)?$`)
	strayFlag    = regexp.MustCompile(`^flag (\S+) applies to the default command .* not "(.*)"$`)
	missingFlags = regexp.MustCompile(`^missing flags: (.*)$`)
	unexpected   = regexp.MustCompile(`^unexpected argument ?(.*?)(?:, did you mean .*)?$`)
	expected     = regexp.MustCompile(`^expected (?:one of )?(.*)$`)
)

// explainUsage converts an error of kong to one that says what is expected, and which --help to read.
func explainUsage(err error, args []string) error {
	var value *config.Error
	if errors.As(err, &value) {
		return badInput(value)
	}
	var failed *kong.ParseError
	if !errors.As(err, &failed) || failed.Context == nil {
		return badInput(err)
	}
	command := "leanspec-node"
	for _, path := range failed.Context.Path {
		if path.Command != nil && path.Command.Name != "run" {
			command += " " + path.Command.Name
		}
	}
	text := err.Error()
	see := "; see " + command + " --help"
	alternatives := func(names string) string { return strings.ReplaceAll(strings.ReplaceAll(names, `"`, ""), ", ", " or ") }
	refuse := func(format string, args ...any) error { return badInput(fmt.Errorf(format, args...)) }
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		suggestion := ""
		if m[2] != "" && len(m[1]) > len("-x") { // for one letter, kong suggests all flags of one letter
			suggestion = " (did you mean " + alternatives(m[2]) + "?)"
		}
		return refuse("%.64q: no such flag%s%s", m[1], suggestion, see)
	}
	if m := strayFlag.FindStringSubmatch(text); m != nil {
		return refuse("%s: not a flag of %s; see leanspec-node %[2]s --help", m[1], m[2])
	}
	if m := missingFlags.FindStringSubmatch(text); m != nil {
		if len(args) == 0 {
			return refuse("%s", firstSteps)
		}
		return refuse("missing %s%s", strings.ReplaceAll(m[1], "=", " "), see)
	}
	if m := unexpected.FindStringSubmatch(text); m != nil {
		parent := failed.Context.Selected()
		if command == "leanspec-node" && len(args) > 0 && args[0] == m[1] {
			parent = failed.Context.Model.Node
		}
		if parent == nil || len(parent.Children) == 0 {
			return refuse("%.64q: unexpected argument%s", m[1], see)
		}
		var names []string
		for _, child := range parent.Children {
			if !child.Hidden {
				names = append(names, child.Name)
			}
		}
		return refuse("%.64q: no such command; want one of %s%s", m[1], strings.Join(names, ", "), see)
	}
	if m := expected.FindStringSubmatch(text); m != nil {
		missing := alternatives(m[1])
		if len(failed.Context.Selected().Children) > 0 {
			missing = "a command; want " + missing
		}
		return refuse("%s: missing %s%s", strings.TrimPrefix(command, "leanspec-node "), missing, see)
	}
	return badInput(err)
}

// firstSteps is the error for a command line without arguments.
const firstSteps = "want --genesis FILE to run a node, or a command: leanspec-node devnet runs a network on this machine, " +
	"leanspec-node --help lists all commands and flags; see also https://github.com/leanEthereum/leanspec-node"
