package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
)

// newDatabase makes a data folder with the genesis of a chain.
func newDatabase(t *testing.T) (dir string, genesis lstar.Root) {
	t.Helper()
	dir = t.TempDir()
	state := lstar.GenesisState(1_000_000_000, lstar.NewValidators(make([]lstar.Validator, 3)))
	block := lstar.GenesisBlock(state)
	id := storage.Identity{GenesisRoot: block.Root().String(), Network: "devnet", Scheme: "test"}
	db, err := storage.Open(filepath.Join(dir, "chain"), id, storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Init(state, &lstar.SignedBlock{Block: *block}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, block.Root()
}

func TestDBInspect(t *testing.T) {
	dir, genesis := newDatabase(t)
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, []string{"db", "inspect", dir}); code != 0 || c.err.Len() > 0 {
		t.Fatalf("exit code %d, stderr %q, want 0 and nothing", code, c.err.String())
	}
	for _, want := range []string{
		"network       devnet, scheme test\n", "genesis time  2001-09-09T01:46:40Z\n", "validators    3\n",
		"head          slot 0, " + genesis.String() + "\n", "finalized     slot 0, " + genesis.String() + "\n",
		"kind         entries  size   in tables\nblocks       1 ", "\nfiles: ", "\nintegrity: ok\n",
	} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("output is\n%s\nwant %q", c.out.String(), want)
		}
	}

	c = newTestConsole(0)
	code := run(t.Context(), &c.console, []string{"db", "inspect", "--json", dir})
	var got struct {
		Schema int `json:"schema_version"`
		Chain  struct {
			Finalized struct {
				Slot uint64
				Root string
			}
		}
		Problems []string
	}
	if err := json.Unmarshal(c.out.Bytes(), &got); code != 0 || err != nil || got.Schema != 1 || got.Chain.Finalized.Root != genesis.String() || got.Problems == nil {
		t.Errorf("--json: exit code %d, %v, %s\nwant the schema, the finalized block and a list of problems", code, err, c.out.String())
	}

	none := t.TempDir()
	checkFailure(t, t.Context(), 1, "data folder "+none+"/chain: it holds no database; give the data folder of a node, which holds the folder chain", "db", "inspect", none)
}

// TestDBInspectDamage checks that the command fails, and names the problem and the flag that helps.
func TestDBInspectDamage(t *testing.T) {
	dir, _ := newDatabase(t)
	manifests, err := filepath.Glob(filepath.Join(dir, "chain", "MANIFEST-*"))
	if err != nil || len(manifests) != 1 {
		t.Fatalf("manifests = %v, %v, want one", manifests, err)
	}
	raw, err := os.ReadFile(manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(manifests[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newTestConsole(0)
	code := run(t.Context(), &c.console, []string{"db", "inspect", dir})
	if text := c.err.String(); code != 1 || !strings.Contains(text, "it is damaged: ") || !strings.Contains(text, "--checkpoint-sync-url") {
		t.Errorf("exit code %d, stderr %q, want 1, the damage and --checkpoint-sync-url", code, text)
	}
}
