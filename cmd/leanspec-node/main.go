// Command leanspec-node runs the Lean Ethereum consensus specification as a node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands lists the subcommands of the program.
type commands struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Run a node (the default command)."`
	Devnet  devnetCmd  `cmd:"" help:"Run a network of nodes on this machine."`
	Genesis genesisCmd `cmd:"" help:"Make the files of a new network: genesis, nodes and keys."`
	Keygen  keygenCmd  `cmd:"" help:"Make the keys of one validator."`
	Keys    keysCmd    `cmd:"" help:"Show what validator keys have signed, and move validators."`
	DB      dbCmd      `cmd:"" name:"db" help:"Show and check the database of a stopped node."`
	Health  healthCmd  `cmd:"" help:"Check the health of the node on this machine."`
	Version versionCmd `cmd:"" help:"Show the version of this program."`

	Completion completionCmd `cmd:"" help:"Print the completion script of a shell."`
	Complete   completeCmd   `cmd:"" hidden:""`
	Man        manCmd        `cmd:"" help:"Print the manual page: leanspec-node man | man -l -."`
}

func main() {
	// By default, a write to stdout or stderr after its reader has exited ends the process.
	signal.Ignore(syscall.SIGPIPE)
	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		stops = append(stops, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	console := newConsole()
	code := run(ctx, console, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes a command line and returns the exit code: 0, 2 for a mistake in the input, or 1 for
// any other failure. It flushes stderr, even if a command panics.
func run(ctx context.Context, console *console, args []string) int {
	defer console.flush()
	fail := func(err error, code int) int {
		fmt.Fprintf(console.err, "leanspec-node: %s\n", strings.Join(strings.Fields(withFlags(err)), " "))
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) {
			code = coded.ExitCode()
		}
		return code
	}
	exited := -1
	options := append(new(flags).options(),
		kong.Name("leanspec-node"),
		kong.Writers(console.out, console.err),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(console),
		kong.Exit(func(code int) { exited = code }),
	)
	parser, err := kong.New(&commands{}, options...)
	if err != nil {
		return fail(err, 1)
	}
	switch {
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help"):
		args = []string{"run", "--help"} // its text lists the other commands
	case len(args) > 1 && args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	case len(args) == 1 && args[0] == "--version":
		args = []string{"version"}
	}
	command, err := parser.Parse(args)
	switch {
	case exited >= 0: // kong has printed the help
		return exited
	case readerGone(err):
		return 0
	case err != nil:
		return fail(explainUsage(err, args), 2)
	}
	if err := command.Run(); err != nil && !readerGone(err) {
		return fail(err, 1)
	}
	return 0
}

// readerGone reports whether err means that the reader of stdout, such as head, has exited. This is
// not a failure: the reader has read as much of the result as it needs.
func readerGone(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && file.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE)
}
