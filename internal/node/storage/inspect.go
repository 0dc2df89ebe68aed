package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// Inspection describes the content of a database.
type Inspection struct {
	Folder   string    `json:"folder"`
	Schema   int       `json:"schema_version"`
	Identity *Identity `json:"identity"`
	// Chain is nil if the database holds no chain yet.
	Chain *Chain `json:"chain"`
	Kinds []Kind `json:"kinds"`
	Files Files  `json:"files"`
	// Problems has a line for each inconsistency, up to maxProblems.
	Problems []string `json:"problems"`
}

// Chain describes the chain that a database holds.
type Chain struct {
	GenesisTime uint64  `json:"genesis_time"` // Unix seconds
	Validators  int     `json:"validators"`
	Head        BlockAt `json:"head"`
	SafeTarget  BlockAt `json:"safe_target"`
	Justified   BlockAt `json:"justified"`
	Finalized   BlockAt `json:"finalized"`
	OldestBlock uint64  `json:"oldest_block_slot"`
	// MissingAnchor is the block that the chain starts from, or nil unless it or its proof is missing.
	MissingAnchor *BlockAt `json:"missing_anchor"`
}

// BlockAt names a block.
type BlockAt struct {
	Slot uint64 `json:"slot"`
	Root string `json:"root"` // 0x and hex
}

func blockAt(c lstar.Checkpoint) BlockAt { return BlockAt{uint64(c.Slot), c.Root.String()} }

// Kind has the number and the size of the entries of one kind.
type Kind struct {
	Name       string `json:"kind"`
	Count      int    `json:"count"`
	Bytes      int    `json:"bytes"`       // of keys and values, not compressed
	TableBytes uint64 `json:"table_bytes"` // in the table files, without the write-ahead log
}

// Files has the total sizes of the files of a database, in bytes.
type Files struct {
	Tables uint64 `json:"tables"`
	Log    uint64 `json:"write_ahead_log"`
	Other  uint64 `json:"other"`
}

const maxProblems = 50

// problem adds a line for an error to Problems.
func (i *Inspection) problem(err error) {
	var folder *FolderError
	if errors.As(err, &folder) && folder.Err != nil { // without the advice, which Err gives once
		err = folder.Err
	}
	switch n := len(i.Problems); {
	case n < maxProblems:
		i.Problems = append(i.Problems, oneLine(err))
	case n == maxProblems:
		i.Problems = append(i.Problems, "more problems, which are not listed")
	}
}

// Err returns a [*FolderError] if the inspection has found problems.
func (i *Inspection) Err() error {
	if len(i.Problems) == 0 {
		return nil
	}
	problem := "it is damaged: " + i.Problems[0]
	if more := len(i.Problems) - 1; more > 0 {
		problem += fmt.Sprintf(" (and %d more)", more)
	}
	return &FolderError{i.Folder, problem, adviceMoveAway, nil}
}

// inspectAdvice maps advice for an operator who starts a node to advice for one who inspects a database.
var inspectAdvice = map[string]string{
	adviceInUse:      adviceStop,
	advicePermission: adviceUser,
}

// Inspect reads and checks the database in a folder, and changes nothing. It verifies pebble's
// checksums, decodes every entry, checks that the entries match each other, and replays the blocks
// as a node does when it starts. It does not verify signatures or proofs. The error is a
// [*FolderError], for example because a node has the folder open.
func Inspect(dir string, o Options) (*Inspection, error) {
	d, options := newDB(dir, o)
	options.ReadOnly = true
	i := &Inspection{Folder: dir, Schema: schemaVersion, Problems: []string{}}
	err := d.explain(d.run(func() error { return d.inspect(i, options) }))
	var folder *FolderError
	if errors.As(err, &folder) && inspectAdvice[folder.Advice] != "" {
		err = &FolderError{folder.Dir, folder.Problem, inspectAdvice[folder.Advice], folder.Err}
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

func (d *DB) inspect(i *Inspection, options *pebble.Options) (err error) {
	// Peek does not create the file LOCK in a folder without a database.
	found, err := pebble.Peek(d.dir, d.fs)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !found.Exists {
		return &FolderError{d.dir, "it holds no database", adviceDataFolder, err}
	}
	if err != nil {
		return err
	}
	if d.db, err = pebble.Open(d.dir, options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.db.Close()) }()
	if i.Identity, err = d.identity(); err != nil {
		return err
	}
	if i.Identity == nil {
		return damaged("the schema version is missing")
	}
	if err := d.scan(); err != nil {
		return err
	}
	if err := d.measure(i); err != nil {
		return err
	}
	if err := d.checkChain(i); err != nil {
		i.problem(err)
	}
	return d.checkEntries(i)
}

// measure adds the sizes of the files.
func (d *DB) measure(i *Inspection) error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := d.fs.Stat(d.fs.PathJoin(d.dir, name))
		if err != nil {
			return err
		}
		switch size := uint64(info.Size()); filepath.Ext(name) {
		case ".sst", ".blob":
			i.Files.Tables += size
		case ".log":
			i.Files.Log += size
		default:
			i.Files.Other += size
		}
	}
	return nil
}

// checkChain restores the chain as a node does, and adds it to the inspection.
func (d *DB) checkChain(i *Inspection) error {
	saved, err := d.load()
	if saved == nil || err != nil {
		return err
	}
	v := saved.View
	i.Chain = &Chain{
		GenesisTime: saved.AnchorState.Config.GenesisTime, Validators: d.validators.Len(), OldestBlock: uint64(d.oldest),
		Head: blockAt(v.Head), SafeTarget: blockAt(v.SafeTarget), Justified: blockAt(v.LatestJustified), Finalized: blockAt(v.LatestFinalized),
	}
	if at, missing := d.MissingAnchor(); missing {
		anchor := blockAt(at)
		i.Chain.MissingAnchor = &anchor
	}
	// The replay checks the blocks from the anchor on, and the anchor names those before it.
	for slot := d.oldest; slot < saved.AnchorState.LatestBlockHeader.Slot; slot++ {
		root := saved.AnchorState.HistoricalBlockHash(slot)
		if root == (lstar.Root{}) {
			continue
		}
		if block, err := d.block(slot, root); err != nil {
			i.problem(err)
		} else if block == nil {
			i.problem(damaged("block %s at slot %d is missing", root, slot))
		}
	}
	_, err = lstar.Restore(lstar.Crypto{}, lstar.NetworkRules, saved)
	return err
}

// checkEntries counts all entries, decodes them, and checks that they match each other.
func (d *DB) checkEntries(i *Inspection) error {
	kinds := []Kind{{Name: "blocks"}, {Name: "proofs"}, {Name: "block index"}, {Name: "states"}, {Name: "votes"}, {Name: "metadata"}}
	prefixes := []byte{blockPrefix, proofPrefix, rootPrefix, statePrefix, votePrefix, schemaKey[0]}
	for n, prefix := range prefixes {
		for e, err := range d.entries(prefix, 0) {
			if err != nil {
				i.problem(fmt.Errorf("%s: %w", kinds[n].Name, err))
				break
			}
			kinds[n].Count++
			kinds[n].Bytes += len(e.key) + len(e.value)
			if err := d.checkEntry(e); err != nil {
				i.problem(err)
			}
		}
		var err error
		if kinds[n].TableBytes, err = d.db.EstimateDiskUsage([]byte{prefix}, []byte{prefix + 1}); err != nil {
			return err
		}
	}
	i.Kinds = kinds
	return nil
}

func (d *DB) checkEntry(e entry) error {
	switch e.key[0] {
	case rootPrefix:
		if len(e.key) != 1+32 {
			return damaged("key of the block index: got %d bytes, want %d", len(e.key), 1+32)
		}
		root := lstar.Root(e.key[1:])
		if len(e.value) != 8 {
			return damaged("slot of block %s: got %d bytes, want 8", root, len(e.value))
		}
		return d.require(blockPrefix, lstar.Slot(binary.BigEndian.Uint64(e.value)), root)
	case votePrefix:
		vote := new(lstar.SignedAggregatedAttestation)
		if err := ssz.Unmarshal(e.value, vote); err != nil {
			return damaged("vote %x: %v", e.key[1:], err)
		}
		if root := vote.Data.Root(); string(e.key[1:]) != string(root[:]) {
			return damaged("vote %x: got root %s", e.key[1:], root)
		}
		return nil
	case blockPrefix, proofPrefix, statePrefix:
	default:
		return nil
	}
	slot, root, ok := parseSlotRoot(e.key)
	if !ok {
		return damaged("key %c: got %d bytes, want %d", e.key[0], len(e.key), slotRootKeySize)
	}
	anchor, missing := d.MissingAnchor()
	incomplete := missing && anchor.Root == root
	switch e.key[0] {
	case blockPrefix:
		block, err := decodeBlock(e.value, root)
		if err != nil {
			return err
		}
		if block.Slot != slot {
			return damaged("block %s: got slot %d, want %d", root, block.Slot, slot)
		}
		if raw, err := d.get(rootKey(rootPrefix, root)); err != nil || string(raw) != string(slotKey(0, slot)[1:]) {
			return errors.Join(damaged("block %s at slot %d is not in the block index", root, slot), err)
		}
		if slot == 0 || incomplete {
			return nil
		}
		return d.require(proofPrefix, slot, root)
	case statePrefix:
		state, err := lstar.DecodeState(e.value)
		if err != nil {
			return damaged("state at slot %d: %v", slot, err)
		}
		block, err := d.block(slot, root)
		if err != nil || block == nil && incomplete {
			return err
		}
		if block == nil {
			return damaged("block %s of the state at slot %d is missing", root, slot)
		}
		if state.Validators = d.validators; d.validators == nil {
			return damaged("the validators are missing")
		}
		if got := state.Root(); got != block.StateRoot {
			return damaged("state at slot %d: got root %s, want %s", slot, got, block.StateRoot)
		}
		return nil
	}
	return d.require(blockPrefix, slot, root) // of a proof
}

// require returns an error if the block with a slot and a root, or its proof, is missing.
func (d *DB) require(prefix byte, slot lstar.Slot, root lstar.Root) error {
	raw, err := d.get(slotRootKey(prefix, slot, root))
	if raw != nil || err != nil {
		return err
	}
	kind := "block"
	if prefix == proofPrefix {
		kind = "proof of block"
	}
	return damaged("%s %s at slot %d is missing", kind, root, slot)
}
