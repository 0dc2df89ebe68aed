package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// newModel returns the commands and flags of the program.
func newModel(t *testing.T) (*kong.Application, *flags) {
	t.Helper()
	f := new(flags)
	parser, err := kong.New(&commands{}, append(f.options(), kong.Name("leanspec-node"))...)
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model, f
}

func TestComplete(t *testing.T) {
	model, _ := newModel(t)
	for line, want := range map[string]string{
		"ge":                       "genesis",
		"keys ":                    "status export import",
		"completion ":              "bash zsh fish",
		"db ":                      "inspect",
		"db inspect ":              ":dirs",
		"db inspect x ":            "",
		"keys import ":             ":files",
		"keys import --genesis x ": ":files",
		"keys import -- ":          ":files",
		"--log-f":                  "--log-format",
		"--log-format ":            "text json",
		"--log-format j":           "json",
		"--log-format = j":         "json", // bash
		"--log-format =":           "text json",
		"--log-format=j":           "--log-format=json",
		"--log-format=json --sche": "--scheme",
		"--genesis ":               ":files",
		"--genesis=":               ":files",
		"--data-dir ":              ":dirs",
		"--api-port ":              "",
		"--api-port 1 --dat":       "--data-dir",
		"--is-aggregator --dat":    "--data-dir",
		"--is-aggregator=":         "--is-aggregator=true --is-aggregator=false",
		"-v --dat":                 "--data-dir",
		"run --dat":                "--data-dir",
		"genesis --dial":           "--dialect",
		"nope --nope x":            "",
	} {
		var got []string
		for _, l := range complete(model.Node, strings.Split(line, " ")) {
			word, _, _ := strings.Cut(l, "\t")
			got = append(got, word)
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: completions = %q, want %q", line, got, want)
		}
	}
	// All visible commands and flags are completed.
	if err := kong.Visit(model.Node, func(visited kong.Visitable, next kong.Next) error {
		node, ok := visited.(*kong.Node)
		if !ok || node.Hidden {
			return nil
		}
		words := append(strings.Fields(node.Path()), "")
		lines := complete(model.Node, words)
		for _, child := range node.Children {
			if want := child.Name + "\t" + strings.TrimSuffix(child.Help, "."); !child.Hidden && !slices.Contains(lines, want) {
				t.Errorf("completions of %q = %q, want %q", words, lines, want)
			}
		}
		words[len(words)-1] = "--"
		lines = complete(model.Node, words)
		for _, flag := range node.Flags {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "--"+flag.Name+"\t") }) {
				t.Errorf("completions of %q = %q, want --%s", words, lines, flag.Name)
			}
		}
		return next(nil)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestCompletionValues checks that the flags accept the values that are completed.
func TestCompletionValues(t *testing.T) {
	for name, values := range valuesOf {
		for _, value := range values {
			command := []string{"--genesis", "no-file", "--" + name, value}
			want := "leanspec-node: no-file: file not found\n"
			if name == "dialect" || name == "shuffle" {
				command = []string{"genesis", "--nodes", "0", "--validators", "1", "--out", t.TempDir(), "--" + name, value}
				want = "leanspec-node: --nodes: 0: want 1 to 1000\n"
			}
			c := newTestConsole(0)
			if run(t.Context(), &c.console, command); c.err.String() != want {
				t.Errorf("%q: stderr %q, want %q", command, c.err.String(), want)
			}
		}
	}
}

// TestShells runs the scripts in the shells. The program is a script that prints its arguments as
// completions.
func TestShells(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"leanspec-node": "#!/bin/sh\nshift 2\nfor word; do last=$word; done\ncase $last in\n" +
			"  f*|--file=*) echo :files ;;\n  d*) echo :dirs ;;\n  *) printf 'word\\thelp: a word\\n'; printf '%s\\targuments\\n' \"$*\" ;;\nesac\n",
		"file1": "", "dir1/file2": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := filepath.Abs("completion")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ shell, script, want string }{
		{"bash", `. $SCRIPTS/leanspec-node.bash
compopt() { :; } # works only inside a completion
try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _leanspec_node; echo "${COMPREPLY[*]}"; }
try leanspec-node keys w; try leanspec-node keys ''; try leanspec-node f; try leanspec-node d; try leanspec-node --x = w; complete -p leanspec-node`,
			"word keys w\nword keys \nfile1\ndir1\nword --x = w\ncomplete -F _leanspec_node leanspec-node\n"},
		{"zsh", `compdef() { : }; . $SCRIPTS/leanspec-node.zsh
_files() { print files $* }; compset() { : }; _describe() { print -l -- "${(@P)2}" }
try() { words=("$@") CURRENT=$#; _leanspec_node }
try leanspec-node keys w; try leanspec-node keys ''; try leanspec-node f; try leanspec-node d`,
			"word:help: a word\nkeys w:arguments\nword:help: a word\nkeys :arguments\nfiles\nfiles -/\n"},
		{"fish", `source $SCRIPTS/leanspec-node.fish
complete -C 'leanspec-node keys w'; complete -C 'leanspec-node f'; complete -C 'leanspec-node d'; complete -C 'leanspec-node --file=f'`,
			"word\thelp: a word\nfile1\ndir1/\tDirectory\n--file=file1\n"},
	} {
		t.Run(test.shell, func(t *testing.T) {
			path, err := exec.LookPath(test.shell)
			if err != nil && os.Getenv("CI") == "" {
				t.Skip("no ", test.shell)
			}
			flags := map[string][]string{"bash": {"--norc", "-c"}, "zsh": {"-f", "-c"}, "fish": {"--no-config", "-c"}}
			cmd := exec.Command(path, append(flags[test.shell], test.script)...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "SCRIPTS="+scripts, "HOME="+dir, "XDG_DATA_HOME="+dir+"/share", "XDG_CONFIG_HOME="+dir+"/config")
			got, err := cmd.CombinedOutput()
			if err != nil || string(got) != test.want {
				t.Errorf("%s prints %q, %v, want %q", test.shell, got, err, test.want)
			}
		})
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		c := newTestConsole(0)
		if code := run(t.Context(), &c.console, []string{"completion", shell}); code != 0 || !strings.Contains(c.out.String(), "leanspec-node for "+shell) {
			t.Errorf("completion %s: exit code %d, stdout %q, want the script", shell, code, c.out.String())
		}
	}
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, []string{"complete", "--", "keys", "--data-dir", "x", "st"}); code != 0 || c.out.String() != "status\tShow what each key has signed, and when it expires\n" {
		t.Errorf("complete: exit code %d, stdout %q, stderr %q, want status", code, c.out.String(), c.err.String())
	}
}
