// Package storage keeps the chain on disk. A node that was killed at any instruction continues from
// the last state that it has shown.
//
// Each change of the store is one atomic, synced batch of a pebble database, which is written
// before the node shows the change to peers, validators or users. The database has all recent
// blocks but only a few full states. A restart replays the blocks after the oldest full state, and
// compares the root of every state with the one in its block.
//
// After the first failure to write, every Save fails and the node stops.
package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

const (
	// schemaVersion is the version of the layout of the keys below.
	schemaVersion = 1
	// fullStateSlots is the number of finalized slots between two states that are kept in full.
	fullStateSlots = 1024
	// retainedSlots is the number of slots before the finalized one whose blocks are kept, because
	// peers may request them.
	retainedSlots = 3600

	cacheBytes    = 16 << 20
	memTableBytes = 16 << 20
	maxOpenFiles  = 256
)

// The keys of the database.
//
//	m/schema       uint32, little-endian
//	m/identity     Identity as JSON
//	m/validators   the registry, SSZ, which all states share
//	m/view         lstar.View, SSZ
//	m/anchor       key of the block that the chain starts from, while the block or its proof is missing
//	b slot root    block without its proof, SSZ
//	p slot root    proof of the block
//	r root         slot of the block
//	f slot root    state after the block, SSZ, with an empty registry
//	v root         a vote that counts, SSZ: attestation data, validators, no proof
//
// Slots are big-endian, so the order of keys is the order of slots.
var (
	schemaKey     = []byte("m/schema")
	identityKey   = []byte("m/identity")
	validatorsKey = []byte("m/validators")
	viewKey       = []byte("m/view")
	anchorKey     = []byte("m/anchor")
)

const (
	blockPrefix = 'b'
	proofPrefix = 'p'
	rootPrefix  = 'r'
	statePrefix = 'f'
	votePrefix  = 'v'
)

const slotRootKeySize = 1 + 8 + 32

func slotKey(prefix byte, slot lstar.Slot) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, slotRootKeySize), prefix), uint64(slot))
}

func slotRootKey(prefix byte, slot lstar.Slot, root lstar.Root) []byte {
	return append(slotKey(prefix, slot), root[:]...)
}

func rootKey(prefix byte, root lstar.Root) []byte { return append([]byte{prefix}, root[:]...) }

// parseSlotRoot is the inverse of slotRootKey. ok is false if the length is wrong.
func parseSlotRoot(key []byte) (slot lstar.Slot, root lstar.Root, ok bool) {
	if len(key) != slotRootKeySize {
		return 0, root, false
	}
	return lstar.Slot(binary.BigEndian.Uint64(key[1:])), lstar.Root(key[9:]), true
}

// Identity identifies the chain of a database.
type Identity struct {
	GenesisRoot string `json:"genesis_root"` // of the block at slot 0, 0x and hex
	Network     string `json:"network"`
	Scheme      string `json:"scheme"`
}

// String returns the identity as text for errors.
func (id Identity) String() string {
	return fmt.Sprintf("genesis %s, network %q, scheme %s", id.GenesisRoot, id.Network, id.Scheme)
}

// Options configures Open.
type Options struct {
	FS  vfs.FS // the file system of the operating system if nil
	Log *slog.Logger

	fullStateSlots, retainedSlots lstar.Slot // the constants if zero
}

// DB is an open database. Its methods are safe for concurrent use, except for Init, Restore and
// Save, which only the owner of the store may call.
type DB struct {
	dir     string
	fs      vfs.FS
	db      *pebble.DB
	log     *slog.Logger
	fail    *failure
	closing sync.Once

	fullStateSlots, retainedSlots lstar.Slot

	validators *lstar.Validators
	full       []lstar.Checkpoint // blocks whose states are kept in full, ascending, each an ancestor of the next
	oldest     lstar.Slot         // slot of the oldest block that is kept
}

// Open opens or creates the database in a folder. The error is a [*FolderError], for example
// because the folder belongs to another network, is damaged, or is open in another process.
func Open(dir string, id Identity, o Options) (*DB, error) {
	d, options := newDB(dir, o)
	options.FS = disk{d.fs, d.fail}
	options.WithFSDefaults() // reports slow operations of the disk
	if err := d.run(func() error { return d.open(options, id) }); err != nil {
		return nil, d.explain(err)
	}
	return d, nil
}

// newDB returns a database that is not open yet, and the options of pebble for it.
func newDB(dir string, o Options) (*DB, *pebble.Options) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	d := &DB{
		dir: dir, fs: o.FS, log: o.Log, fullStateSlots: cmp.Or(o.fullStateSlots, fullStateSlots), retainedSlots: cmp.Or(o.retainedSlots, retainedSlots),
		fail: newFailure(),
	}
	return d, &pebble.Options{
		FS: o.FS, CacheSize: cacheBytes, MemTableSize: memTableBytes, MaxOpenFiles: maxOpenFiles,
		FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:             logger{logging.Component(o.Log, "pebble"), d.fail},
		EventListener:      d.events(),
	}
}

func (d *DB) open(options *pebble.Options, id Identity) error {
	err := makeFolder(options.FS, d.dir)
	if err != nil {
		return err
	}
	if d.db, err = pebble.Open(d.dir, options); err != nil {
		return err
	}
	if err = d.identify(id); err == nil {
		err = d.scan()
	}
	if err != nil {
		err = errors.Join(err, d.db.Close())
	}
	return err
}

// makeFolder creates a folder and its missing parents durably.
func makeFolder(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeFolder(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	opened, err := fs.OpenDir(parent)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// identify checks that the schema version and the identity of the database are this node's. It
// writes both to a new database.
func (d *DB) identify(id Identity) error {
	have, err := d.identity()
	switch {
	case err != nil:
		return err
	case have == nil:
		return d.create(id)
	case *have != id:
		return &FolderError{d.dir, fmt.Sprintf("it belongs to another network: got %s; want %s", have, id),
			adviceOtherNetwork, nil}
	}
	return nil
}

// identity returns the identity of the database, or nil if the database is new. It fails if the
// schema version is not this program's.
func (d *DB) identity() (*Identity, error) {
	schema, err := d.get(schemaKey)
	switch {
	case schema == nil || err != nil:
		return nil, err
	case len(schema) != 4:
		return nil, damaged("schema version: got %d bytes, want 4", len(schema))
	}
	if v := binary.LittleEndian.Uint32(schema); v != schemaVersion {
		return nil, &FolderError{d.dir, fmt.Sprintf("schema version: got %d, want %d", v, schemaVersion), adviceMoveAway, nil}
	}
	raw, err := d.get(identityKey)
	if err != nil {
		return nil, err
	}
	id := new(Identity)
	if err := json.Unmarshal(raw, id); err != nil {
		return nil, damaged("identity: %v", err)
	}
	return id, nil
}

func (d *DB) create(id Identity) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	b := d.db.NewBatch()
	_ = b.Set(schemaKey, binary.LittleEndian.AppendUint32(nil, schemaVersion), nil)
	_ = b.Set(identityKey, raw, nil)
	return b.Commit(pebble.Sync)
}

// scan reads the registry, the checkpoints of the full states and the slot of the oldest block.
func (d *DB) scan() error {
	for e, err := range d.entries(statePrefix, 0) {
		if err != nil {
			return err
		}
		slot, root, ok := parseSlotRoot(e.key)
		if !ok {
			return damaged("state key: got %d bytes, want %d", len(e.key), slotRootKeySize)
		}
		d.full = append(d.full, lstar.Checkpoint{Root: root, Slot: slot})
	}
	for e, err := range d.entries(blockPrefix, 0) {
		if err != nil {
			return err
		}
		d.oldest, _, _ = parseSlotRoot(e.key)
		break
	}
	raw, err := d.get(validatorsKey)
	if raw == nil || err != nil {
		return err
	}
	if d.validators, err = lstar.DecodeValidators(raw); err != nil {
		return damaged("validators: %v", err)
	}
	return nil
}

// Init replaces the content of the database with an anchor: a state and the block that results in
// it. If the block is nil or has no proof, MissingAnchor returns it.
func (d *DB) Init(state *lstar.State, anchor *lstar.SignedBlock) error {
	at, _ := state.LatestBlock()
	view := lstar.View{Head: at, SafeTarget: at, LatestJustified: at, LatestFinalized: at, HighestSlot: at.Slot}
	b := d.db.NewBatch()
	for _, prefix := range [...]byte{blockPrefix, proofPrefix, rootPrefix, statePrefix, votePrefix} {
		_ = b.DeleteRange([]byte{prefix}, []byte{prefix + 1}, nil)
	}
	_ = b.Set(validatorsKey, ssz.AppendList(nil, list(state.Validators)), nil)
	_ = b.Set(slotRootKey(statePrefix, at.Slot, at.Root), withoutRegistry(state).Encode(), nil)
	_ = b.Delete(anchorKey, nil)
	if anchor != nil {
		setBlock(b, at.Root, &anchor.Block)
	}
	if hasProof(anchor) {
		setProof(b, at.Root, anchor)
	} else {
		_ = b.Set(anchorKey, slotRootKey(blockPrefix, at.Slot, at.Root), nil)
	}
	_ = b.Set(viewKey, ssz.Marshal(&view), nil)
	if err := d.commit(b); err != nil {
		return err
	}
	d.validators, d.full, d.oldest = state.Validators, []lstar.Checkpoint{at}, at.Slot
	return nil
}

// hasProof reports whether a block can be served to peers. Genesis needs no proof.
func hasProof(b *lstar.SignedBlock) bool {
	return b != nil && (b.Block.Slot == 0 || len(b.Proof.Proof) > 0)
}

// MissingAnchor returns the block that the chain starts from, and whether the block or its proof is
// missing.
func (d *DB) MissingAnchor() (at lstar.Checkpoint, missing bool) {
	key, err := d.get(anchorKey)
	if err != nil { // the node stops, as after any failure
		d.fail.report(err)
		return at, false
	}
	at.Slot, at.Root, missing = parseSlotRoot(key)
	return at, missing
}

// AddAnchor durably adds the block that MissingAnchor returns, with its proof.
func (d *DB) AddAnchor(anchor *lstar.SignedBlock) error {
	b := d.db.NewBatch()
	root := anchor.Block.Root()
	setBlock(b, root, &anchor.Block)
	setProof(b, root, anchor)
	_ = b.Delete(anchorKey, nil)
	return d.commit(b)
}

// list returns the validators of the registry.
func list(v *lstar.Validators) []lstar.Validator {
	out := make([]lstar.Validator, v.Len())
	for i := range out {
		out[i] = *v.At(lstar.ValidatorIndex(i))
	}
	return out
}

// withoutRegistry returns a copy of the state with an empty registry.
func withoutRegistry(s *lstar.State) *lstar.State {
	without := *s
	without.Validators = lstar.NewValidators(nil)
	return &without
}

func setBlock(b *pebble.Batch, root lstar.Root, block *lstar.Block) {
	_ = b.Set(slotRootKey(blockPrefix, block.Slot, root), ssz.Marshal(block), nil)
	_ = b.Set(rootKey(rootPrefix, root), binary.BigEndian.AppendUint64(nil, uint64(block.Slot)), nil)
}

func setProof(b *pebble.Batch, root lstar.Root, block *lstar.SignedBlock) {
	_ = b.Set(slotRootKey(proofPrefix, block.Block.Slot, root), block.Proof.Proof, nil)
}

// Save writes the changes atomically, and returns when they are durable. After an error every
// further write fails.
func (d *DB) Save(c *lstar.Changes) error {
	b := d.db.NewBatch()
	for i, block := range c.Blocks {
		setBlock(b, c.Roots[i], &block.Block)
		setProof(b, c.Roots[i], block)
	}
	for _, root := range c.Dropped {
		_ = b.Delete(rootKey(votePrefix, root), nil)
	}
	for _, vote := range c.Votes {
		_ = b.Set(rootKey(votePrefix, vote.Data.Root()), ssz.Marshal(vote), nil)
	}
	_ = b.Set(viewKey, ssz.Marshal(&c.View), nil)

	full, oldest := d.full, d.oldest
	if finalized := c.View.LatestFinalized; c.FinalizedState != nil && finalized.Slot >= full[len(full)-1].Slot+d.fullStateSlots {
		_ = b.Set(slotRootKey(statePrefix, finalized.Slot, finalized.Root), withoutRegistry(c.FinalizedState).Encode(), nil)
		full = append(slices.Clone(full), finalized)
		if len(full) > 2 {
			// A restart needs only one of them, so remove the oldest. If a reorganization left the next
			// one on another branch, remove that one instead, so that a replay reaches all blocks.
			out := 0
			if c.FinalizedState.HistoricalBlockHash(full[1].Slot) != full[1].Root {
				out = 1
			}
			_ = b.Delete(slotRootKey(statePrefix, full[out].Slot, full[out].Root), nil)
			full = slices.Delete(full, out, out+1)
		}
		// A replay starts from the oldest full state.
		var err error
		if oldest, err = d.prune(b, min(full[0].Slot, max(finalized.Slot, d.retainedSlots)-d.retainedSlots)); err != nil {
			return d.explain(err)
		}
	}
	if err := d.commit(b); err != nil {
		return err
	}
	d.full, d.oldest = full, oldest
	return nil
}

// prune removes the blocks before a slot, and returns the oldest slot that is kept.
func (d *DB) prune(b *pebble.Batch, before lstar.Slot) (lstar.Slot, error) {
	if before <= d.oldest {
		return d.oldest, nil
	}
	for e, err := range d.entries(blockPrefix, d.oldest) {
		if err != nil {
			return 0, err
		}
		slot, root, ok := parseSlotRoot(e.key)
		if !ok || slot >= before {
			break
		}
		_ = b.Delete(rootKey(rootPrefix, root), nil)
	}
	for _, prefix := range [...]byte{blockPrefix, proofPrefix} {
		_ = b.DeleteRange(slotKey(prefix, 0), slotKey(prefix, before), nil)
	}
	return before, nil
}

// Restore returns the saved store, or nil if the database is new.
func (d *DB) Restore(crypto lstar.Crypto, rules lstar.Rules) (*lstar.Store, error) {
	saved, err := d.load()
	if saved == nil || err != nil {
		return nil, d.explain(err)
	}
	store, err := lstar.Restore(crypto, rules, saved)
	var folder *FolderError
	if err != nil && !errors.As(err, &folder) {
		err = d.explain(damaged("%v", err))
	}
	return store, err
}

func (d *DB) load() (*lstar.Saved, error) {
	if len(d.full) == 0 {
		return nil, nil
	}
	raw, err := d.get(viewKey)
	if err != nil {
		return nil, err
	}
	saved := new(lstar.Saved)
	if err := ssz.Unmarshal(raw, &saved.View); err != nil {
		return nil, damaged("view: %v", err)
	}
	if err := d.loadAnchor(saved); err != nil {
		return nil, err
	}
	saved.Blocks = d.blocksAfter(saved.AnchorState.LatestBlockHeader.Slot)
	for e, err := range d.entries(votePrefix, 0) {
		vote := new(lstar.SignedAggregatedAttestation)
		if err != nil {
			return nil, err
		}
		if err := ssz.Unmarshal(e.value, vote); err != nil {
			return nil, damaged("vote %x: %v", e.key, err)
		}
		saved.Votes = append(saved.Votes, vote)
	}
	return saved, nil
}

// loadAnchor loads the oldest full state. A replay from there also restores forks that branch off
// after it, and so allows a reorganization that lowers finality.
func (d *DB) loadAnchor(saved *lstar.Saved) error {
	at := d.full[0]
	raw, err := d.get(slotRootKey(statePrefix, at.Slot, at.Root))
	if err != nil {
		return err
	}
	if saved.AnchorState, err = lstar.DecodeState(raw); err != nil {
		return damaged("state at slot %d: %v", at.Slot, err)
	}
	if d.validators == nil {
		return damaged("the validators are missing")
	}
	saved.AnchorState.Validators = d.validators
	if saved.Anchor, err = d.block(at.Slot, at.Root); err != nil {
		return err
	}
	if anchor, missing := d.MissingAnchor(); saved.Anchor == nil && (!missing || anchor != at) {
		return damaged("block %s of the state at slot %d is missing", at.Root, at.Slot)
	}
	return nil
}

// blocksAfter returns an iterator over the blocks after a slot, in the order of slots. It ends at
// the first error.
func (d *DB) blocksAfter(slot lstar.Slot) iter.Seq2[*lstar.Block, error] {
	return func(yield func(*lstar.Block, error) bool) {
		for e, err := range d.entries(blockPrefix, slot+1) {
			if err != nil {
				yield(nil, d.explain(err))
				return
			}
			_, root, _ := parseSlotRoot(e.key)
			block, err := decodeBlock(e.value, root)
			if err != nil {
				err = d.explain(err)
			}
			if !yield(block, err) || err != nil {
				return
			}
		}
	}
}

func decodeBlock(raw []byte, root lstar.Root) (*lstar.Block, error) {
	block := new(lstar.Block)
	if err := ssz.Unmarshal(raw, block); err != nil {
		return nil, damaged("block %s: %v", root, err)
	}
	if got := block.Root(); got != root {
		return nil, damaged("block %s: got root %s", root, got)
	}
	return block, nil
}

func (d *DB) block(slot lstar.Slot, root lstar.Root) (*lstar.Block, error) {
	raw, err := d.get(slotRootKey(blockPrefix, slot, root))
	if raw == nil || err != nil {
		return nil, err
	}
	return decodeBlock(raw, root)
}

// Block returns a block with its proof, or nil if either is missing. Genesis is returned without a
// proof. After an error every write fails.
func (d *DB) Block(root lstar.Root) (*lstar.SignedBlock, error) {
	block, err := d.signedBlock(root)
	if err != nil {
		d.fail.report(err) // the node stops, as after a failed write
		return nil, d.explain(err)
	}
	return block, nil
}

func (d *DB) signedBlock(root lstar.Root) (*lstar.SignedBlock, error) {
	raw, err := d.get(rootKey(rootPrefix, root))
	if raw == nil || err != nil {
		return nil, err
	}
	if len(raw) != 8 {
		return nil, damaged("slot of block %s: got %d bytes, want 8", root, len(raw))
	}
	slot := lstar.Slot(binary.BigEndian.Uint64(raw))
	block, err := d.block(slot, root)
	if block == nil || err != nil {
		return nil, err
	}
	proof, err := d.get(slotRootKey(proofPrefix, slot, root))
	if err != nil || proof == nil && slot > 0 {
		return nil, err
	}
	return &lstar.SignedBlock{Block: *block, Proof: lstar.MultiMessageAggregate{Proof: proof}}, nil
}

// Failed returns a channel that is closed when the disk has failed and no write is possible any more.
func (d *DB) Failed() <-chan struct{} { return d.fail.happened }

// Err returns the failure. Call it only after the channel of Failed is closed.
func (d *DB) Err() error { return d.explain(d.fail.err) }

// Space returns the size of the database as pebble counts it, and the free space on its disk, in
// bytes. If the disk fails meanwhile, it returns the failure, because pebble counts under a lock
// that a failed write never releases.
func (d *DB) Space() (used, free uint64, err error) {
	var usage struct{ used, free uint64 }
	if err := d.run(func() error {
		disk, err := d.fs.GetDiskUsage(d.dir)
		usage.used, usage.free = d.db.Metrics().DiskSpaceUsage(), disk.AvailBytes
		return err
	}); err != nil {
		return 0, 0, err
	}
	return usage.used, usage.free, nil
}

// Close closes the database. After a failure of the disk, it does nothing.
func (d *DB) Close() (err error) {
	d.closing.Do(func() {
		select {
		case <-d.fail.happened:
		default:
			err = d.run(d.db.Close)
		}
	})
	return err
}

// get returns the value of a key, or nil if there is no such key.
func (d *DB) get(key []byte) ([]byte, error) {
	value, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(value)), value...) // not nil if the value is empty
	return out, closer.Close()
}

// entry is a key of the database and its value. The key is valid for one iteration.
type entry struct{ key, value []byte }

// entries returns an iterator over the entries with a prefix from a slot on. It ends at the first error.
func (d *DB) entries(prefix byte, from lstar.Slot) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: slotKey(prefix, from), UpperBound: []byte{prefix + 1}})
		if err != nil {
			yield(entry{}, err)
			return
		}
		defer func() { _ = it.Close() }()
		for it.First(); it.Valid(); it.Next() {
			raw, err := it.ValueAndErr()
			if !yield(entry{it.Key(), bytes.Clone(raw)}, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(entry{}, err)
		}
	}
}
