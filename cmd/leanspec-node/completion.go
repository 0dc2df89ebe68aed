package main

import (
	"embed"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionScripts are the scripts of the shells. A script runs the hidden command "complete" of
// the program for the completions, so it also fits later versions.
//
//go:embed completion
var completionScripts embed.FS

// completionCmd prints the completion script of a shell.
type completionCmd struct {
	Bash shellCmd `cmd:"" help:"Print the script for bash."`
	Zsh  shellCmd `cmd:"" help:"Print the script for zsh."`
	Fish shellCmd `cmd:"" help:"Print the script for fish."`
}

// Help returns the text before the flags.
func (*completionCmd) Help() string {
	return `The Debian package installs all three scripts. Otherwise, write the script to a file that the shell reads:

  leanspec-node completion bash \
      > ~/.local/share/bash-completion/completions/leanspec-node
  leanspec-node completion zsh > "${fpath[1]}/_leanspec-node"
  leanspec-node completion fish \
      > ~/.config/fish/completions/leanspec-node.fish`
}

// shellCmd prints the script of the shell that it is named after.
type shellCmd struct{}

// Run prints the script.
func (*shellCmd) Run(console *console, command *kong.Context) error {
	script, err := completionScripts.ReadFile("completion/leanspec-node." + command.Selected().Name)
	if err != nil {
		return err
	}
	_, err = console.out.Write(script)
	return err
}

// completeCmd prints the completions of the last of the words that follow the name of the program,
// one on each line: the word, a tab and a description. A line ":files" or ":dirs" stands for the
// names of files or folders.
type completeCmd struct {
	Words []string `arg:"" optional:""`
}

// Run prints the completions.
func (c *completeCmd) Run(console *console, command *kong.Context) error {
	lines := complete(command.Model.Node, c.Words)
	if len(lines) == 0 {
		return nil
	}
	_, err := console.out.Write([]byte(strings.Join(lines, "\n") + "\n"))
	return err
}

// valuesOf lists the values of the flags that have few.
var valuesOf = map[string][]string{
	"scheme":       {"prod", "test"},
	"proof-scheme": {"siglist"},
	"log-format":   {"text", "json"},
	"log-level":    {"debug", "info", "warn", "error"},
	"dialect":      {"leanspec", "quickstart"},
	"shuffle":      {"roundrobin", "none"},
}

// complete returns the lines of completeCmd for a command line. bash passes --flag=value as three words.
func complete(node *kong.Node, words []string) (lines []string) {
	if len(words) == 0 {
		return nil
	}
	last := len(words) - 1
	var pending *kong.Flag // waits for its value
	arguments, onlyArguments := 0, false
	for _, word := range words[:last] {
		name, _, assigned := strings.Cut(word, "=")
		switch {
		case word == "=" && pending != nil:
		case pending != nil:
			pending = nil
		case word == "--":
			onlyArguments = true
		case strings.HasPrefix(word, "-") && !onlyArguments:
			if flag := findFlag(node, name); flag != nil && !flag.IsBool() && !assigned {
				pending = flag
			}
		default:
			child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
			if child < 0 {
				arguments++
				continue
			}
			node, arguments = node.Children[child], 0
		}
	}
	add := func(word, help string) {
		if strings.HasPrefix(word, words[last]) {
			first, _, _ := strings.Cut(help, ". ")
			lines = append(lines, word+"\t"+strings.TrimSuffix(first, "."))
		}
	}
	addValues := func(value *kong.Value, prefix string) {
		switch placeholder := placeholder(value); {
		case value.IsBool():
			add(prefix+"true", "")
			add(prefix+"false", "")
		case valuesOf[value.Name] != nil:
			for _, word := range valuesOf[value.Name] {
				add(prefix+word, "")
			}
		case placeholder == "FILE":
			lines = append(lines, ":files")
		case placeholder == "DIR":
			lines = append(lines, ":dirs")
		}
	}
	name, _, assigned := strings.Cut(words[last], "=")
	switch {
	case pending != nil:
		if words[last] == "=" { // of bash
			words = append(slices.Clone(words[:last]), "")
		}
		addValues(pending.Value, "")
	case assigned && !onlyArguments:
		if flag := findFlag(node, name); flag != nil {
			addValues(flag.Value, name+"=")
		}
	case strings.HasPrefix(words[last], "-") && !onlyArguments:
		for _, flag := range flagsOf(node) {
			add("--"+flag.Name, flag.Help)
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				add(child.Name, child.Help)
			}
		}
		if arguments < len(node.Positional) {
			addValues(node.Positional[arguments], "")
		}
	}
	return lines
}

// flagsOf returns the flags that can follow a command. Those of the default command can follow the
// name of the program.
func flagsOf(node *kong.Node) (flags []*kong.Flag) {
	for _, group := range node.AllFlags(true) {
		flags = append(flags, group...)
	}
	if node.DefaultCmd != nil {
		flags = append(flags, node.DefaultCmd.Flags...)
	}
	return flags
}

// findFlag returns the flag with a name, which begins with - or --, or nil.
func findFlag(node *kong.Node, name string) *kong.Flag {
	for _, flag := range flagsOf(node) {
		if name == "--"+flag.Name || name == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

// placeholder returns the placeholder of the values of a flag or an argument.
func placeholder(value *kong.Value) string {
	if value.Flag != nil {
		return value.Flag.PlaceHolder
	}
	return value.Tag.PlaceHolder
}
