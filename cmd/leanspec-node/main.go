// Command leanspec-node runs the Lean Ethereum consensus specification as a node.
package main

import (
	"context"
	"errors"
	"fmt"
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

// fromEnvironment lets every flag of run come from an environment variable,
// LEANSPEC_LOG_LEVEL for --log-level, and of health those that say where the node
// is and that run has too: it finds the node that has the same environment. Flags
// of other commands cannot come from there: a forgotten LEANSPEC_FORCE must not
// cost anybody their keys.
func fromEnvironment(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			if command.Name == "run" || command.Name == "health" && (flag.Name == "metrics-port" || flag.Name == "rpc-port") {
				flag.Envs = []string{"LEANSPEC_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))}
				flag.Value.Tag.Envs = flag.Envs
			}
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newConsole(), os.Args[1:])
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
	parser, err := kong.New(&commands{},
		kong.Name("leanspec-node"),
		kong.Writers(console.out, console.err),
		kong.PostBuild(fromEnvironment),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(console),
		kong.Exit(func(code int) { exited = code }),
	)
	if err != nil {
		return fail(err, 1)
	}
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
		args = []string{"run", "--help"} // what most people want to know
	}
	command, err := parser.Parse(args)
	switch {
	case exited >= 0: // help was asked for and shown
		return exited
	case err != nil:
		fail(err, 2)
		return 2
	}
	if err := command.Run(); err != nil {
		return fail(err, 1)
	}
	return 0
}
