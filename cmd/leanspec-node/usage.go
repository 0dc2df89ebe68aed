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
)

// This file is between the command line and kong: flags that come from the environment, and errors in our words.

// variablePrefix begins the names of all variables that set flags.
const variablePrefix = "LEANSPEC_"

// flags are the flags of all commands, with where their values come from.
type flags struct {
	// variables are the environment variables that set flags. A flag on the command line wins.
	variables map[*kong.Flag]string
	// from has the variables that did.
	from map[*kong.Flag]string
}

// options let kong use the flags.
func (f *flags) options() []kong.Option {
	return []kong.Option{
		kong.PostBuild(f.build),
		kong.Resolvers(kong.ResolverFunc(f.resolve)),
		kong.ValueFormatter(f.help),
		kong.Bind(f),
	}
}

// build finds the variable of each flag, LEANSPEC_LOG_LEVEL for --log-level. All flags of run have one. So have those of
// health that say where the node is, and those of the commands about keys that run has too: they find the node and the
// records of the same environment. Flags of other commands cannot come from there: a forgotten LEANSPEC_FORCE must not
// cost anybody their keys.
func (f *flags) build(k *kong.Kong) error {
	f.variables, f.from = make(map[*kong.Flag]string), make(map[*kong.Flag]string)
	ofNode := make(map[string]bool) // names of the flags of run
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			ofNode[flag.Name] = ofNode[flag.Name] || command.Name == "run"
		}
	}
	return kong.Visit(k.Model.Node, func(visited kong.Visitable, next kong.Next) error {
		node, ok := visited.(*kong.Node)
		if !ok {
			return next(nil)
		}
		for _, argument := range node.Positional {
			argument.Mapper = plainMapper{argument.Mapper, f}
		}
		for _, flag := range node.Flags {
			flag.Mapper = plainMapper{flag.Mapper, f}
			if node.Name == "run" || node.Name == "health" && (flag.Name == "metrics-port" || flag.Name == "rpc-port") ||
				node.Parent != nil && node.Parent.Name == "keys" && ofNode[flag.Name] {
				f.variables[flag] = variablePrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			}
		}
		return next(nil)
	})
}

// resolve returns the value of a flag that is not on the command line, or nil. A variable that is empty is not set.
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

// isSet reports whether a flag has a value from the command line or the environment, and not only its default.
func isSet(command *kong.Context, name string) bool {
	return slices.ContainsFunc(command.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

// help adds the variable to the description of a flag.
func (f *flags) help(value *kong.Value) string {
	if name, ok := f.variables[value.Flag]; ok {
		return strings.TrimSuffix(value.Help, ".") + " ($" + name + ")."
	}
	return value.Help
}

// serviceVariable matches what Kubernetes sets in every container for each service of the namespace, here for services
// whose names begin with leanspec: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var serviceVariable = regexp.MustCompile(`^LEANSPEC_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isServiceVariable reports whether a variable is one of Kubernetes. That of a service called leanspec-api has the name
// LEANSPEC_API_PORT, and a URL as its value.
func isServiceVariable(name, value string) bool {
	return serviceVariable.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// testVariables are those of the tests of this repository.
var testVariables = regexp.MustCompile(`^LEANSPEC_(VECTORS|CRASHES|MEMORY_SLOTS|TEST_\w+)$`)

// unknownVariables returns the variables of an environment that look like flags of the running command and are not,
// each with the nearest one that is. Variables that are empty do not count.
func (f *flags) unknownVariables(environ []string, command *kong.Node) []string {
	var known, unknown []string
	for _, flag := range command.Flags {
		if name, ok := f.variables[flag]; ok {
			known = append(known, name)
		}
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		plain := strings.Map(visible, name)
		if value == "" || !strings.HasPrefix(strings.ToUpper(plain), variablePrefix) || slices.Contains(known, name) {
			continue
		}
		if !isServiceVariable(name, value) && !testVariables.MatchString(name) {
			unknown = append(unknown, config.DescribeUnknown(name, known))
		}
	}
	return unknown
}

// visible drops a character that cannot be seen.
func visible(r rune) rune {
	if !strconv.IsPrint(r) {
		return -1
	}
	return r
}

// plainMapper reads a value as kong does, and says in our words what is wrong with it.
type plainMapper struct {
	kong.Mapper
	flags *flags
}

// IsBool reports whether the flag needs no value.
func (m plainMapper) IsBool() bool {
	b, ok := m.Mapper.(kong.BoolMapper)
	return ok && b.IsBool()
}

// Decode implements [kong.Mapper].
func (m plainMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Peek()
	err := m.Mapper.Decode(ctx, target)
	if err == nil {
		return nil
	}
	failure := &config.Error{File: ctx.Value.ShortSummary(), Problem: "want a value"}
	if variable, ok := m.flags.from[ctx.Value.Flag]; ok {
		failure.File = variable
	}
	text, ok := token.Value.(string)
	negative := len(text) > 1 && text[0] == '-' && text[1] >= '0' && text[1] <= '9'
	switch {
	case ok && (token.Type == kong.FlagValueToken || token.IsValue() || negative):
		failure.Value, failure.Problem = fmt.Sprintf("%.64q", text), want(target)
	case ok && strings.HasPrefix(text, "-"):
		failure.Problem = fmt.Sprintf("want a value, got the flag %.64q", text)
	}
	return failure
}

// want says what values a variable can have.
func want(target reflect.Value) string {
	if target.Kind() == reflect.Pointer {
		target = reflect.New(target.Type().Elem()).Elem()
	}
	switch target.Interface().(type) {
	case time.Duration:
		return "want a time such as 30s or 5m"
	case bool:
		return "want true or false"
	case int:
		return "want a whole number"
	case uint64:
		return "want a whole number, 0 or more"
	default:
		return "a value that begins with - needs = before it, as in --flag=-1"
	}
}

// The texts of kong that a command line can lead to, other than those about a value.
var (
	unknownFlag  = regexp.MustCompile(`^unknown flag (\S+?)(?:, did you mean (?:one of )?(.+)\?)?$`)
	strayFlag    = regexp.MustCompile(`^flag (\S+) applies to the default command .* not "(.*)"$`)
	missingFlags = regexp.MustCompile(`^missing flags: (.*)$`)
	unexpected   = regexp.MustCompile(`^unexpected argument ?(.*?)(?:, did you mean (?:one of )?(.+)\?)?$`)
	exclusive    = regexp.MustCompile(`^(--\S+) and (--\S+) can't be used together$`)
	expected     = regexp.MustCompile(`^expected (?:one of )?(.*)$`)
)

// explainUsage says in our words what is wrong with a command line, and where to read on.
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
	suggest := func(names string) string {
		if names == "" {
			return ""
		}
		return "; perhaps " + strings.ReplaceAll(strings.ReplaceAll(names, `"`, ""), ", ", " or ")
	}
	refuse := func(format string, args ...any) error { return badInput(fmt.Errorf(format, args...)) }
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		if len(m[1]) <= len("-x") {
			m[2] = "" // all flags of one letter are alike
		}
		return refuse("%.64q: no such flag%s%s", m[1], suggest(m[2]), see)
	}
	if m := strayFlag.FindStringSubmatch(text); m != nil {
		return refuse("%s: not a flag of %s; see leanspec-node %[2]s --help", m[1], m[2])
	}
	if m := missingFlags.FindStringSubmatch(text); m != nil {
		if len(args) == 0 {
			return refuse("%s", welcome)
		}
		return refuse("want %s%s", strings.ReplaceAll(m[1], "=", " "), see)
	}
	if m := unexpected.FindStringSubmatch(text); m != nil {
		if command == "leanspec-node" && len(args) > 0 && args[0] == m[1] {
			var commands []string
			for _, child := range failed.Context.Model.Children {
				commands = append(commands, child.Name)
			}
			return refuse("%.64q: no such command; want one of %s%s", m[1], strings.Join(commands, ", "), see)
		}
		return refuse("%.64q: unexpected argument%s%s", m[1], suggest(m[2]), see)
	}
	if m := exclusive.FindStringSubmatch(text); m != nil {
		return refuse("%s and %s cannot be used together", m[1], m[2])
	}
	if m := expected.FindStringSubmatch(text); m != nil {
		return refuse("%s: want %s after it%s", strings.TrimPrefix(command, "leanspec-node "),
			strings.ReplaceAll(strings.ReplaceAll(m[1], `"`, ""), ", ", " or "), see)
	}
	return badInput(err)
}

// welcome is the answer to a command line without anything.
const welcome = "want --genesis FILE to run a node, or a command; leanspec-node --help shows all flags and commands, " +
	"leanspec-node devnet runs a network on this machine, and the README explains both: https://github.com/leanEthereum/leanspec-node"
