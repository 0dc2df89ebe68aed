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
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// keysCmd is about the validators' one-time keys and what they have signed.
type keysCmd struct {
	Status keysStatusCmd `cmd:"" help:"Show what each key has signed, and when it runs out."`
	Export keysExportCmd `cmd:"" help:"Write what the keys have signed, to move the validators to another machine."`
	Import keysImportCmd `cmd:"" help:"Take over what the keys have signed on another machine."`
}

// keyFlags say which keys are meant, with the node's own flags.
type keyFlags struct {
	Genesis       string `required:"" placeholder:"FILE" help:"The network's genesis, config.yaml."`
	ValidatorKeys string `required:"" placeholder:"DIR" help:"Folder with validators.yaml and the keys."`
	DataDir       string `placeholder:"DIR" help:"The node's data folder, if it runs with one."`
	Scheme        string `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test (${default})."`
}

// load reads the keys of a node, or of all nodes without a name.
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
		return nil, nil, &config.Error{File: "--node-id", Value: strconv.Quote(node), Problem: "no validators are assigned to it in " + c.ValidatorKeys}
	}
	slices.SortFunc(keys, func(a, b config.ValidatorKeys) int { return cmp.Compare(a.Index, b.Index) })
	return genesis, keys, nil
}

// open takes the guard of the keys, which no running node can have then.
func (c *keyFlags) open(console *console, genesis *config.Genesis, keys []config.ValidatorKeys) (*guard.Guard, error) {
	log, _ := telemetry.NewLogger(telemetry.LogOptions{Level: slog.LevelWarn, Writer: console.err})
	slots := clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis.GenesisTime}}
	return guard.Open(guard.Options{
		Keys: guard.KeyFiles(keys), DataDir: c.DataDir, Log: telemetry.Component(log, "guard"),
		Now: func() (uint64, bool) {
			now := console.now()
			return uint64(slots.CurrentSlot(now.UnixMilli())), !now.Before(slots.StartOf(0))
		},
	})
}

// reportMissing says which keys the guard has closed because they had no record.
func (c *keyFlags) reportMissing(console *console, missing guard.Missing) {
	if len(missing.Keys) > 0 {
		fmt.Fprintf(console.err, "leanspec-node: no record found of %d keys in %s: they are closed up to slot %d, because they may have signed\n",
			len(missing.Keys), c.places(missing.Keys), missing.Closed)
	}
}

// places lists the folders in which the records of keys are looked for.
func (c *keyFlags) places(keys []guard.KeyFile) string {
	var folders []string
	for _, k := range keys {
		folders = append(folders, guard.Folders(k, c.DataDir)...)
	}
	slices.Sort(folders)
	return strings.Join(slices.Compact(folders), " and ")
}

// keysStatusCmd shows the records. It changes nothing, so the node may run.
type keysStatusCmd struct {
	keyFlags
	NodeID string `name:"node-id" placeholder:"NAME" help:"Only the keys of the validators that validators.yaml assigns to this node."`
	JSON   bool   `name:"json" help:"Write a JSON object."`
}

// keyStatus is a row of keys status.
type keyStatus struct {
	Validator uint64 `json:"validator"`
	Role      string `json:"role"`
	PublicKey string `json:"public_key"`
	File      string `json:"file"`
	FirstSlot uint64 `json:"first_slot"`
	LastSlot  uint64 `json:"last_slot"`
	// Recorded says whether there is a record of the key.
	Recorded bool `json:"recorded"`
	// SignedSlot is the latest slot that was signed, or is closed for another
	// reason; Message is what was signed for it, if that is known.
	SignedSlot *uint64 `json:"signed_slot"`
	Message    *string `json:"message"`
	SlotsLeft  uint64  `json:"slots_left"`
	// RunsOut is the end of the last slot.
	RunsOut time.Time `json:"runs_out"`
}

// Run shows the keys.
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
		fmt.Fprintf(console.err, "leanspec-node: no record found of %d keys in %s%s\n", len(missing), c.places(missing), advice)
	}
	if c.JSON {
		encoder := json.NewEncoder(console.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"current_slot": now, "keys": rows})
	}
	table := tabwriter.NewWriter(console.out, 0, 0, 2, ' ', 0)
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

// slotWindow is what a key can sign, from start up to but not including end.
type slotWindow struct{ start, end uint64 }

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

// keysExportCmd writes the records of a node that does not run.
type keysExportCmd struct {
	keyFlags
	NodeID string `name:"node-id" default:"lean_spec_0" placeholder:"NAME" help:"Node whose keys are meant (${default})."`
	Out    string `required:"" placeholder:"FILE" help:"File to write, for keys import."`
}

// Help is shown below the flags.
func (*keysExportCmd) Help() string {
	return "To move validators: stop the node, export, copy the keys and the file to the new machine, import there, and start the new node. " +
		"Never start the old node again: keys that sign in two places are given away."
}

// Run writes the file.
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
		if record.Kind == guard.Closed { // by the clock, which goes on when the key has run out
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
	fmt.Fprintf(console.err, "leanspec-node: do not start node %s here again: keys that sign in two places are given away\n", c.NodeID)
	return nil
}

// writeNew writes a file that is not there yet, durably.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &config.Error{File: path, Problem: "already there", Err: err}
	}
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return &config.Error{File: path, Problem: pathProblem(err), Err: err}
	}
	return nil
}

// pathProblem is an error of the file system without the path.
func pathProblem(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// keysImportCmd takes over records. It only ever raises them.
type keysImportCmd struct {
	keyFlags
	NodeID string `name:"node-id" default:"lean_spec_0" placeholder:"NAME" help:"Node whose keys are meant (${default})."`
	File   string `arg:"" placeholder:"FILE" help:"File that keys export wrote."`
}

// Run takes over all records of the file, or none if one of them is refused.
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
				Problem: fmt.Sprintf("another message is on record here for slot %d, 0x%x: the key may be given away", record.Slot, record.Message)})
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
	fmt.Fprintf(console.out, "Raised the records of %d keys; %d were as high already.\n", raised, len(transfer.Keys)-raised)
	c.reportMissing(console, g.Missing())
	if missing := 2*len(keys) - len(transfer.Keys); missing > 0 {
		fmt.Fprintf(console.err, "leanspec-node: %s says nothing of %d keys of node %s\n", c.File, missing, c.NodeID)
	}
	return nil
}

// check makes sure that the file is about these keys of this network.
func (c *keysImportCmd) check(t *guard.Transfer, genesis *config.Genesis, keys []config.ValidatorKeys) error {
	refuse := func(field, value, format string, args ...any) error {
		return &config.Error{File: c.File, Field: field, Value: value, Problem: fmt.Sprintf(format, args...)}
	}
	if t.GenesisTime != genesis.GenesisTime {
		return refuse("genesis_time", fmt.Sprint(t.GenesisTime), "of another network: in %s it is %d", genesis.Path, genesis.GenesisTime)
	}
	if t.Scheme != c.Scheme {
		return refuse("scheme", strconv.Quote(t.Scheme), "the keys here are of the %s scheme", c.Scheme)
	}
	windows := keyWindows(keys)
	for i, key := range t.Keys {
		if key.Validator >= uint64(len(genesis.Validators)) {
			return refuse(guard.Field(i, "validator"), fmt.Sprint(key.Validator), "not in %s, which has %d validators", genesis.Path, len(genesis.Validators))
		}
		public := fmt.Sprintf("0x%x…", key.PublicKey[:8])
		if genesis.Validators[key.Validator].PublicKey(key.Role) != key.PublicKey {
			return refuse(guard.Field(i, "public_key"), public, "not the %s key of validator %d in %s", key.Role, key.Validator, genesis.Path)
		}
		window, ours := windows[key.PublicKey]
		if !ours {
			return refuse(guard.Field(i, "public_key"), public, "not a key of node %s in %s", c.NodeID, c.ValidatorKeys)
		}
		slot := key.Record.Slot
		if key.Record.Kind != guard.Unused && slot >= window.end || key.Record.Kind == guard.Signed && slot < window.start {
			return refuse(guard.Field(i, "slot"), fmt.Sprint(slot), "the key signs for slots %d to %d", window.start, window.end-1)
		}
	}
	return nil
}

// maxTransferSize is more than twice the file of a full registry.
const maxTransferSize = 8 << 20

func readTransfer(path string) (*guard.Transfer, error) {
	data, err := config.ReadText(path, maxTransferSize)
	if err != nil {
		return nil, err
	}
	return guard.ParseTransfer(path, data)
}
