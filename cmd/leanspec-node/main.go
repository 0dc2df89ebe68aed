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

// commands are the subcommands of the program.
type commands struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Run a node. This is what happens without a command."`
	Devnet  devnetCmd  `cmd:"" help:"Run a network of nodes on this machine."`
	Genesis genesisCmd `cmd:"" help:"Make a new network: its genesis, its nodes and all keys."`
	Keygen  keygenCmd  `cmd:"" help:"Make the keys of one validator."`
	Keys    keysCmd    `cmd:"" help:"Show what the validators' keys have signed, and move validators."`
	Health  healthCmd  `cmd:"" help:"Ask the node on this machine whether it is well."`
	Version versionCmd `cmd:"" help:"Show what this program is."`
}

func main() {
	// Without this, the first write to stdout or stderr after its reader has gone would end the process.
	signal.Ignore(syscall.SIGPIPE)
	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup leaves it
		stops = append(stops, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	console := newConsole()
	code := run(ctx, console, os.Args[1:])
	console.flush()
	stop()
	os.Exit(code)
}

// run carries out a command line and returns the exit code.
func run(ctx context.Context, console *console, args []string) int {
	fail := func(err error, code int) int {
		fmt.Fprintf(console.err, "leanspec-node: %s\n", strings.Join(strings.Fields(err.Error()), " "))
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
		args = []string{"run", "--help"} // what most people want to know
	case len(args) > 1 && args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	case len(args) == 1 && args[0] == "--version":
		args = []string{"version"}
	}
	command, err := parser.Parse(args)
	switch {
	case exited >= 0: // help was asked for and shown
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

// readerGone reports whether err says that the reader of stdout has ended, as head does. That is not a failure: the
// command did its work, and the reader had seen enough of the result.
func readerGone(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && file.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE)
}
