package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/node/storage"
)

// dbCmd reads the database of a stopped node.
type dbCmd struct {
	Inspect dbInspectCmd `cmd:"" help:"Show and check the chain in a data folder."`
}

// dbInspectCmd shows and checks a database. It changes nothing.
type dbInspectCmd struct {
	Dir  string `arg:"" placeholder:"DIR" help:"Data folder of the node (--data-dir)."`
	JSON bool   `name:"json" help:"Write a JSON object."`
}

// Help returns the text before the flags.
func (*dbInspectCmd) Help() string {
	return `Stop the node first. The command changes nothing. It shows the head and the checkpoints, and the number and size of the
saved blocks, states and votes. It reads every entry and replays the chain as a node does when it starts, but it does
not verify signatures.

The exit code is 0 if the database is intact, and 1 if it is damaged, in use or missing.`
}

// Run inspects the folder and prints the result.
func (c *dbInspectCmd) Run(console *console) error {
	result, err := storage.Inspect(filepath.Join(c.Dir, "chain"), storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(console.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		err = printInspection(console, result)
	}
	if err != nil {
		return err
	}
	return result.Err()
}

func printInspection(console *console, i *storage.Inspection) error {
	table := console.table()
	fmt.Fprintf(table, "folder\t%s\n", i.Folder)
	fmt.Fprintf(table, "schema\t%d\n", i.Schema)
	fmt.Fprintf(table, "network\t%s, scheme %s\n", i.Identity.Network, i.Identity.Scheme)
	fmt.Fprintf(table, "genesis\t%s\n", i.Identity.GenesisRoot)
	if c := i.Chain; c == nil {
		fmt.Fprintln(table, "chain\tnone")
	} else {
		fmt.Fprintf(table, "genesis time\t%s\n", time.Unix(int64(c.GenesisTime), 0).UTC().Format(time.RFC3339))
		fmt.Fprintf(table, "validators\t%d\n", c.Validators)
		for _, at := range []struct {
			name  string
			block storage.BlockAt
		}{{"head", c.Head}, {"safe target", c.SafeTarget}, {"justified", c.Justified}, {"finalized", c.Finalized}} {
			fmt.Fprintf(table, "%s\tslot %d, %s\n", at.name, at.block.Slot, at.block.Root)
		}
		fmt.Fprintf(table, "oldest block\tslot %d\n", c.OldestBlock)
		if at := c.MissingAnchor; at != nil {
			fmt.Fprintf(table, "first block\tslot %d, %s, not fetched yet\n", at.Slot, at.Root)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	table = console.table()
	fmt.Fprintln(table, "\nkind\tentries\tsize\tin tables")
	for _, k := range i.Kinds {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", k.Name, k.Count, byteSize(uint64(k.Bytes)), byteSize(k.TableBytes))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	f := i.Files
	_, err := fmt.Fprintf(console.out, "\nfiles: %s (tables %s, write-ahead log %s, other %s)\n",
		byteSize(f.Tables+f.Log+f.Other), byteSize(f.Tables), byteSize(f.Log), byteSize(f.Other))
	for _, problem := range i.Problems {
		fmt.Fprintf(console.out, "problem: %s\n", problem)
	}
	if len(i.Problems) == 0 {
		fmt.Fprintln(console.out, "integrity: ok")
	}
	return err
}

// byteSize returns a number of bytes with a unit.
func byteSize(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
