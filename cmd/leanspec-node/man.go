package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// manCmd prints the manual page of the program, made from the commands and flags.
type manCmd struct{}

// Run prints the page in the format of man(7).
func (*manCmd) Run(console *console, command *kong.Context, flags *flags) error {
	build, _ := debug.ReadBuildInfo()
	version, _ := buildVersion(build)
	_, err := console.out.Write([]byte(manPage(command.Model, flags, version)))
	return err
}

// manPage returns the manual page. The date of the page is empty, so that equal programs have equal
// pages.
func manPage(model *kong.Application, flags *flags, version string) string {
	var page strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	flag := func(f *kong.Flag) {
		name := `\fB\-\-` + roff(f.Name) + `\fR`
		if f.Short != 0 {
			name = fmt.Sprintf(`\fB\-%c\fR, `, f.Short) + name
		}
		if !f.IsBool() {
			name += ` \fI` + roff(f.FormatPlaceHolder()) + `\fR`
		}
		write(".TP\n%s\n%s", name, roff(flags.help(f.Value)))
	}
	run := model.DefaultCmd
	write(".TH LEANSPEC\\-NODE 1 \"\" \"leanspec\\-node %s\" \"User Commands\"\n.nh\n.ad l", roff(version))
	write(".SH NAME\nleanspec\\-node \\- node for the Lean Ethereum consensus specification")
	write(".SH SYNOPSIS\n\\fBleanspec\\-node\\fR \\fB\\-\\-genesis\\fR \\fIFILE\\fR [\\fIflags\\fR]\n.br\n\\fBleanspec\\-node\\fR \\fIcommand\\fR [\\fIflags\\fR]")
	write(".SH DESCRIPTION\n%s", roffText(run.Help+"\n\n"+run.Detail))
	write(".SH OPTIONS")
	group := ""
	for _, f := range run.Flags {
		if f.Group != nil && f.Group.Key != group {
			group = f.Group.Key
			write(".SS %s", roff(group))
		}
		flag(f)
	}
	write(".SH COMMANDS")
	for _, leaf := range model.Leaves(true) {
		if leaf == run {
			continue
		}
		write(".SS %s", roff(leaf.FullPath()))
		write("%s", roffText(leaf.Help+"\n\n"+leaf.Detail))
		for _, argument := range leaf.Positional {
			write(".TP\n\\fI%s\\fR\n%s", roff(argument.Summary()), roff(flags.help(argument)))
		}
		for _, f := range leaf.Flags {
			flag(f)
		}
	}
	write("%s", `.SH ENVIRONMENT
The description of a flag ends with the variable that can replace it. A flag on the command line takes precedence, and
an empty variable counts as unset. \fBLEAN_ENV=test\fR selects the scheme test.
.SH FILES
These are the files of the Debian package.
.TP
\fI/etc/default/leanspec\-node\fR
Environment of the service leanspec\-node, which sets its flags.
.TP
\fI/etc/leanspec\-node\fR
Folder for the genesis file.
.TP
\fI/var/lib/leanspec\-node\fR
Data folder of the service.
.SH EXIT STATUS
0 after success, 2 after a mistake in the flags, the environment or the files of the operator, and 1 after any other
failure.
.SH SEE ALSO
https://github.com/leanEthereum/leanspec\-node`)
	return page.String()
}

// roffText formats the help of a command. Indented lines keep their line breaks.
func roffText(help string) string {
	var out []string
	example := false
	for line := range strings.Lines(strings.TrimSpace(help)) {
		line = strings.TrimSuffix(line, "\n")
		if indented := strings.HasPrefix(line, "  "); indented != example {
			if example = indented; example {
				out = append(out, ".PP\n.nf")
			} else {
				out = append(out, ".fi")
			}
		}
		if line == "" {
			out = append(out, ".PP")
			continue
		}
		out = append(out, roff(line))
	}
	if example {
		out = append(out, ".fi")
	}
	return strings.Join(out, "\n")
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`)

// roff escapes text for roff, so that no line is a request.
func roff(text string) string {
	text = roffEscapes.Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
