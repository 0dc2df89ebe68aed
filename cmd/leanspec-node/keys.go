package main

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// keysCmd reads and changes the signing records of the validators' keys.
type keysCmd struct {
	Status keysStatusCmd `cmd:"" help:"Show what each key has signed, and when it expires."`
	Export keysExportCmd `cmd:"" help:"Write the signing records to a file, to move the validators to another machine."`
	Import keysImportCmd `cmd:"" help:"Take over the signing records of another machine."`
}

// keyFlags are the flags that select the keys. They have the names and meanings of the flags of run.
type keyFlags struct {
	Genesis       string `required:"" placeholder:"FILE" help:"Genesis file of the network, config.yaml."`
	ValidatorKeys string `required:"" placeholder:"DIR" help:"Folder that holds validators.yaml and the keys."`
	DataDir       string `placeholder:"DIR" help:"Data folder of the node, if it has one."`
	Scheme        string `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test."`
}

// load reads the genesis file and the keys of the named node, or of all nodes if the name is empty.
func (c *keyFlags) load(node string) (*config.Genesis, []config.ValidatorKeys, error) {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return nil, nil, err
	}
	genesis, err := config.LoadGenesis(c.Genesis)
	if err != nil {
		return nil, nil, err
	}
	nodes := []string{node}
	if node == "" {
		if nodes, err = config.NodeNames(c.ValidatorKeys); err != nil {
			return nil, nil, err
		}
	}
	var keys []config.ValidatorKeys
	for _, name := range nodes {
		some, err := config.LoadValidatorKeys(c.ValidatorKeys, name, genesis, scheme)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, some...)
	}
	if len(keys) == 0 && node != "" {
		return nil, nil, &config.Error{Setting: "--node-id", Value: strconv.Quote(node), Problem: "no validators are assigned to this node in " + c.ValidatorKeys}
	}
	slices.SortFunc(keys, func(a, b config.ValidatorKeys) int { return cmp.Compare(a.Index, b.Index) })
	return genesis, keys, nil
}

// open locks the keys and opens their signing records. It fails while a node uses the keys.
func (c *keyFlags) open(console *console, genesis *config.Genesis, keys []config.ValidatorKeys) (*guard.Guard, error) {
	log, _ := logging.New(logging.Options{Level: slog.LevelWarn, Writer: console.err})
	slots := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis.GenesisTime}}
	return guard.Open(guard.Options{
		Keys: guard.KeyFiles(keys), DataDir: c.DataDir, Log: logging.Component(log, "guard"),
		Now: func() (uint64, bool) {
			now := console.now()
			return uint64(slots.CurrentSlot(now.UnixMilli())), !now.Before(slots.StartOf(0))
		},
	})
}

// reportMissing warns about keys that the guard has closed because they had no signing record.
func (c *keyFlags) reportMissing(console *console, missing guard.Missing) {
	if len(missing.Keys) > 0 {
		fmt.Fprintf(console.err, "leanspec-node: no signing record for %s in %s: closed up to slot %d, because the keys may have signed\n",
			count(len(missing.Keys), "key"), c.places(missing.Keys), missing.Closed)
	}
}

// places lists the folders that may hold the signing records of keys.
func (c *keyFlags) places(keys []guard.KeyFile) string {
	var folders []string
	for _, k := range keys {
		folders = append(folders, guard.Folders(k, c.DataDir)...)
	}
	slices.Sort(folders)
	return strings.Join(slices.Compact(folders), " and ")
}

// keysStatusCmd shows the signing records. It changes nothing, so it can be used while the node runs.
type keysStatusCmd struct {
	keyFlags
	NodeID string `name:"node-id" placeholder:"NAME" help:"Show only the keys of this node in validators.yaml."`
	JSON   bool   `name:"json" help:"Write a JSON object."`
}

// keyStatus is one key in the output of keys status.
type keyStatus struct {
	Validator uint64 `json:"validator"`
	Role      string `json:"role"`
	PublicKey string `json:"public_key"`
	File      string `json:"file"`
	FirstSlot uint64 `json:"first_slot"`
	LastSlot  uint64 `json:"last_slot"`
	// Recorded reports whether the key has a signing record.
	Recorded bool `json:"recorded"`
	// SignedSlot is the latest slot that the key has signed, or the last one that is closed.
	// Message is the message that the key signed for this slot, or nil if the slot is closed.
	SignedSlot *uint64 `json:"signed_slot"`
	Message    *string `json:"message"`
	SlotsLeft  uint64  `json:"slots_left"`
	// RunsOut is the end of the last slot.
	RunsOut time.Time `json:"runs_out"`
}

// Run prints the status of the keys.
func (c *keysStatusCmd) Run(console *console) error {
	genesis, keys, err := c.load(c.NodeID)
	if err != nil {
		return badInput(err)
	}
	slots := clock.SlotClock{GenesisTime: genesis.GenesisTime}
	now := uint64(slots.CurrentSlot(console.now().UnixMilli()))
	windows := keyWindows(keys)
	rows := []keyStatus{}
	var missing []guard.KeyFile
	for _, file := range guard.KeyFiles(keys) {
		record, found, err := guard.Read(file, c.DataDir)
		if err != nil {
			return badInput(err)
		}
		if !found {
			missing = append(missing, file)
		}
		window := windows[file.PublicKey]
		row := keyStatus{
			Validator: file.Validator, Role: file.Role.String(), PublicKey: "0x" + hex.EncodeToString(file.PublicKey[:]), File: file.Path,
			FirstSlot: window.start, LastSlot: window.end - 1,
			SlotsLeft: guard.SlotsLeft(record, window.start, window.end, now),
			RunsOut:   slots.StartOf(lstar.Slot(window.end).Interval()).UTC(),
			Recorded:  found,
		}
		if record.Kind != guard.Unused {
			row.SignedSlot = &record.Slot
		}
		if record.Kind == guard.Signed {
			message := "0x" + hex.EncodeToString(record.Message[:])
			row.Message = &message
		}
		rows = append(rows, row)
	}
	if len(missing) > 0 {
		advice := ""
		if c.DataDir == "" {
			advice = "; if the node has a data folder, set --data-dir (LEANSPEC_DATA_DIR) to it"
		}
		fmt.Fprintf(console.err, "leanspec-node: no signing record for %s in %s%s\n", count(len(missing), "key"), c.places(missing), advice)
	}
	if c.JSON {
		encoder := json.NewEncoder(console.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"current_slot": now, "keys": rows})
	}
	table := console.table()
	fmt.Fprintln(table, "validator\trole\twindow\tsigned\tleft\truns out")
	for _, row := range rows {
		signed := "none"
		switch {
		case !row.Recorded:
			signed = "no record"
		case row.Message != nil:
			signed = fmt.Sprint(*row.SignedSlot)
		case row.SignedSlot != nil:
			signed = fmt.Sprintf("closed %d", *row.SignedSlot)
		}
		fmt.Fprintf(table, "%d\t%s\t%d-%d\t%s\t%d\t%s\n",
			row.Validator, row.Role, row.FirstSlot, row.LastSlot, signed, row.SlotsLeft, row.RunsOut.Format(time.RFC3339))
	}
	return table.Flush()
}

// slotWindow is the range of slots that a key can sign: start up to but not including end.
type slotWindow struct{ start, end uint64 }

// keyWindows returns the window of each key.
func keyWindows(keys []config.ValidatorKeys) map[guard.PublicKey]slotWindow {
	windows := make(map[guard.PublicKey]slotWindow)
	for _, k := range keys {
		for _, secret := range []*xmss.SecretKey{k.Attestation, k.Proposal} {
			start, end := secret.ActivationInterval()
			windows[secret.PublicKey().Bytes()] = slotWindow{start, end}
		}
	}
	return windows
}

// keysExportCmd writes the signing records of a stopped node to a file.
type keysExportCmd struct {
	keyFlags
	NodeID string `name:"node-id" default:"lean_spec_0" placeholder:"NAME" help:"Name of the node in validators.yaml."`
	Out    string `required:"" placeholder:"FILE" help:"File to write, for keys import."`
}

// Help returns the text before the flags.
func (*keysExportCmd) Help() string {
	return "To move validators, stop the node, export the records, copy the keys and the file to the new machine, import the file there, and start the new node. " +
		"Never start the old node again: two signatures for one slot reveal the key."
}

// Run writes the file, which must not exist.
func (c *keysExportCmd) Run(console *console) error {
	genesis, keys, err := c.load(c.NodeID)
	if err != nil {
		return badInput(err)
	}
	g, err := c.open(console, genesis, keys)
	if err != nil {
		return badInput(err)
	}
	defer g.Close()
	transfer := guard.Transfer{GenesisTime: genesis.GenesisTime, Scheme: c.Scheme}
	windows := keyWindows(keys)
	for _, file := range guard.KeyFiles(keys) {
		record := g.Key(file.PublicKey).Record()
		if record.Kind == guard.Closed { // the clock closes slots beyond the window of the key
			record.Slot = min(record.Slot, windows[file.PublicKey].end-1)
		}
		transfer.Keys = append(transfer.Keys, guard.TransferKey{
			Validator: file.Validator, Role: file.Role, PublicKey: file.PublicKey, Record: record,
		})
	}
	if err := writeNew(c.Out, transfer.Encode()); err != nil {
		return badInput(err)
	}
	fmt.Fprintf(console.out, "Wrote the records of %d keys to %s.\n", len(transfer.Keys), c.Out)
	c.reportMissing(console, g.Missing())
	fmt.Fprintf(console.err, "leanspec-node: do not start node %s here again: two signatures for one slot reveal the key\n", c.NodeID)
	return nil
}

// writeNew creates a file, writes it and syncs it. It fails if the file exists.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &config.Error{File: filepath.Dir(path), Problem: "no such folder"}
	case err != nil:
		return config.OSError(path, err)
	}
	return nil
}

// keysImportCmd merges the records of a file into the signing records of a node. It never lowers a
// record.
type keysImportCmd struct {
	keyFlags
	NodeID string `name:"node-id" default:"lean_spec_0" placeholder:"NAME" help:"Name of the node in validators.yaml."`
	File   string `arg:"" placeholder:"FILE" help:"File that keys export wrote."`
}

// Run imports all records of the file, or none if one of them is invalid.
func (c *keysImportCmd) Run(console *console) error {
	genesis, keys, err := c.load(c.NodeID)
	if err != nil {
		return badInput(err)
	}
	transfer, err := readTransfer(c.File)
	if err != nil {
		return badInput(err)
	}
	if err := c.check(transfer, genesis, keys); err != nil {
		return badInput(err)
	}
	g, err := c.open(console, genesis, keys)
	if err != nil {
		return badInput(err)
	}
	defer g.Close()
	for i, key := range transfer.Keys {
		if record := g.Key(key.PublicKey).Record(); record.Conflicts(key.Record) {
			return badInput(&config.Error{File: c.File, Field: guard.Field(i, "message"), Value: fmt.Sprintf("0x%x", key.Record.Message),
				Problem: fmt.Sprintf("this machine has signed another message for slot %d, 0x%x: the key may be revealed", record.Slot, record.Message)})
		}
	}
	raised := 0
	for _, key := range transfer.Keys {
		k := g.Key(key.PublicKey)
		before := k.Record()
		if err := k.Raise(key.Record); err != nil {
			return err
		}
		if k.Record() != before {
			raised++
		}
	}
	fmt.Fprintf(console.out, "Raised %s; %d already covered the file.\n", count(raised, "record"), len(transfer.Keys)-raised)
	c.reportMissing(console, g.Missing())
	if missing := 2*len(keys) - len(transfer.Keys); missing > 0 {
		fmt.Fprintf(console.err, "leanspec-node: %s has no records of %s of node %s\n", c.File, count(missing, "key"), c.NodeID)
	}
	return nil
}

// check rejects a file about another network or about keys that this node does not have.
func (c *keysImportCmd) check(t *guard.Transfer, genesis *config.Genesis, keys []config.ValidatorKeys) error {
	refuse := func(field, value, format string, args ...any) error {
		return &config.Error{File: c.File, Field: field, Value: value, Problem: fmt.Sprintf(format, args...)}
	}
	if t.GenesisTime != genesis.GenesisTime {
		return refuse("genesis_time", fmt.Sprint(t.GenesisTime), "want %d, as in %s: the file is of another network", genesis.GenesisTime, genesis.Path)
	}
	if t.Scheme != c.Scheme {
		return refuse("scheme", strconv.Quote(t.Scheme), "want %s, the scheme of the keys here", c.Scheme)
	}
	windows := keyWindows(keys)
	for i, key := range t.Keys {
		if key.Validator >= uint64(len(genesis.Validators)) {
			return refuse(guard.Field(i, "validator"), fmt.Sprint(key.Validator), "want less than %d, the number of validators in %s", len(genesis.Validators), genesis.Path)
		}
		public := fmt.Sprintf("0x%x…", key.PublicKey[:8])
		if genesis.Validators[key.Validator].PublicKey(key.Role) != key.PublicKey {
			return refuse(guard.Field(i, "public_key"), public, "not the %s key of validator %d in %s", key.Role, key.Validator, genesis.Path)
		}
		window, found := windows[key.PublicKey]
		if !found {
			return refuse(guard.Field(i, "public_key"), public, "not a key of node %s in %s", c.NodeID, c.ValidatorKeys)
		}
		slot := key.Record.Slot
		if key.Record.Kind != guard.Unused && slot >= window.end || key.Record.Kind == guard.Signed && slot < window.start {
			return refuse(guard.Field(i, "slot"), fmt.Sprint(slot), "want %d to %d, the slots that the key can sign", window.start, window.end-1)
		}
	}
	return nil
}

// maxTransferSize is more than twice the size of a file for a full registry, in bytes.
const maxTransferSize = 8 << 20

func readTransfer(path string) (*guard.Transfer, error) {
	data, err := config.ReadText(path, maxTransferSize)
	if err != nil {
		return nil, err
	}
	return guard.ParseTransfer(path, data)
}
