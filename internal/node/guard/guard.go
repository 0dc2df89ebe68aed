package guard

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// folder is the guard's folder in the data folder, and lockName the file in it that Open locks.
const (
	folder   = "guard"
	lockName = "lock"
)

// maxLoads is the number of records that Open reads and writes at a time. Each of them mostly waits
// for the disk.
const maxLoads = 16

// KeyFile is a key to guard.
type KeyFile struct {
	Path      string // of the secret key
	PublicKey PublicKey
	// Validator and Role identify the key in logs.
	Validator uint64
	Role      config.Role
}

// KeyFiles returns the two keys of each validator.
func KeyFiles(keys []config.ValidatorKeys) []KeyFile {
	var files []KeyFile
	for _, k := range keys {
		files = append(files,
			KeyFile{k.AttestationPath, k.Attestation.PublicKey().Bytes(), k.Index, config.Attestation},
			KeyFile{k.ProposalPath, k.Proposal.PublicKey().Bytes(), k.Index, config.Proposal})
	}
	return files
}

// Options configures Open.
type Options struct {
	Keys []KeyFile
	// DataDir is the node's data folder. If it is empty, records are only stored beside the keys.
	DataDir string
	// Now returns the current slot, and whether genesis has passed. Open calls it while it holds
	// the locks, when no other process on this machine can sign.
	Now func() (slot uint64, begun bool)
	Log *slog.Logger

	fs   FS                                                // the operating system's if nil
	lock func(path string, create bool) (io.Closer, error) // flock if nil
}

// Guard holds the records and the locks of a set of keys.
type Guard struct {
	keys    []*Key
	byKey   map[PublicKey]*Key
	locks   []io.Closer
	missing Missing
}

// Missing lists the keys for which Open found no record after genesis.
type Missing struct {
	Keys []KeyFile
	// Slot is the slot in which Open looked for the records. Closed is the last slot that Open has
	// closed for the keys.
	Slot, Closed uint64
}

// Open locks the keys, reads their records and brings all copies up to date.
//
// Before genesis, a key without a record has signed nothing. After genesis, it may have signed any
// slot so far, so Open durably closes it up to the slot after the current one, and lists it in
// [Guard.Missing].
//
// Without keys, Open creates and locks no file. Errors are of type [*config.Error]. The caller must
// call [Guard.Close].
func Open(o Options) (*Guard, error) {
	if o.fs == nil {
		o.fs = diskFS{}
	}
	if o.lock == nil {
		o.lock = lockFile
	}
	g := &Guard{byKey: make(map[PublicKey]*Key)}
	if err := g.open(&o); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guard) open(o *Options) error {
	if len(o.Keys) == 0 {
		return nil
	}
	if err := g.takeLocks(o); err != nil {
		return err
	}
	slot, begun := o.Now()
	l := loading{Options: o, slot: slot, begun: begun}
	failures := make([]error, len(o.Keys))
	limit := make(chan struct{}, maxLoads)
	var wg sync.WaitGroup
	for i, file := range o.Keys {
		k := &Key{KeyFile: file, fs: o.fs}
		g.keys, g.byKey[file.PublicKey] = append(g.keys, k), k
		limit <- struct{}{}
		wg.Go(func() {
			failures[i] = k.load(&l)
			<-limit
		})
	}
	wg.Wait()
	if err := cmp.Or(failures...); err != nil {
		return err
	}
	g.missing = Missing{Slot: slot, Closed: l.closed().Slot}
	for _, k := range g.keys {
		k.report(&l)
		if k.missing {
			g.missing.Keys = append(g.missing.Keys, k.KeyFile)
		}
	}
	return nil
}

// loading is the state that the keys share while Open reads their records.
type loading struct {
	*Options
	slot       uint64
	begun      bool
	unwritable sync.Map // folders about which a warning was logged
}

// closed returns the record of a key that may have signed any slot so far. It closes the next slot
// too, because the clock may have been ahead when the key signed.
func (l *loading) closed() Record { return Record{Kind: Closed, Slot: l.slot + 1} }

// takeLocks locks the key files and the guard's folder in the data folder.
func (g *Guard) takeLocks(o *Options) error {
	take := func(path string, create bool) error {
		lock, err := o.lock(path, create)
		var held *heldError
		switch {
		case errors.As(err, &held):
			return &config.Error{File: path, Err: err,
				Problem: "in use by another process" + held.holder() + "; two nodes that sign with one key reveal it"}
		case errors.Is(err, errNoLocks):
			o.Log.Warn("key file cannot be locked", "file", path, logging.Err(err),
				logging.Advice("Make sure that no other node uses this key. Two nodes that sign with one key reveal it."))
		case err != nil:
			return config.OSError(path, err)
		}
		if lock != nil {
			g.locks = append(g.locks, lock)
		}
		return nil
	}
	for _, key := range o.Keys {
		if err := take(key.Path, false); err != nil {
			return err
		}
	}
	if o.DataDir == "" {
		return nil
	}
	dir := filepath.Join(o.DataDir, folder)
	if err := makeDir(o.fs, dir); err != nil {
		return dataError(dir, err)
	}
	return take(filepath.Join(dir, lockName), true)
}

// Missing returns the keys for which Open found no record after genesis.
func (g *Guard) Missing() Missing { return g.missing }

// Key returns the guard of a key, or nil if the key is not in Options.Keys.
func (g *Guard) Key(public PublicKey) *Key { return g.byKey[public] }

// Close releases the locks. After it, Reserve and Raise fail.
func (g *Guard) Close() {
	for _, k := range g.keys {
		k.mu.Lock()
		k.failed = errClosed
		k.mu.Unlock()
	}
	for _, lock := range g.locks {
		_ = lock.Close()
	}
	g.locks = nil
}

// recordFiles returns the files of the record of a key, the one beside the key first.
func (f *KeyFile) recordFiles(dataDir string) []recordFile {
	path := f.Path
	// A key has one record, whichever link names it.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	files := []recordFile{{path: fmt.Sprintf("%s.%x.guard", path, f.PublicKey[:4])}}
	if dataDir != "" {
		name := hex.EncodeToString(f.PublicKey[:]) + ".guard"
		files = append(files, recordFile{path: filepath.Join(dataDir, folder, name), inData: true})
	}
	return files
}

// recordCopy is one copy of a record.
type recordCopy struct {
	recordFile
	found bool
	content
}

// read reads the copies of the record of a key, and merges their records.
func (f *KeyFile) read(fsys FS, dataDir string) (copies []recordCopy, merged Record, err error) {
	for _, file := range f.recordFiles(dataDir) {
		c := recordCopy{recordFile: file}
		data, err := readAll(fsys, c.path, fileSize)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, merged, config.OSError(c.path, err)
		default:
			c.found = true
			if c.content, err = decodeFile(f.PublicKey, data); err != nil {
				return nil, merged, contentError(c.path, err)
			}
		}
		copies = append(copies, c)
	}
	for i, c := range copies {
		if merged, err = merge(merged, c.record); err != nil {
			return nil, merged, &config.Error{File: c.path, Err: err, Problem: fmt.Sprintf(
				"message 0x%x was signed for slot %d, but %s has 0x%x; the key may be revealed, so it does not sign any more",
				c.record.Message, c.record.Slot, copies[i-1].path, copies[i-1].record.Message)}
		}
	}
	return copies, merged, nil
}

// Folders returns the folders of the copies of a key's record.
func Folders(f KeyFile, dataDir string) []string {
	var folders []string
	for _, file := range f.recordFiles(dataDir) {
		folders = append(folders, filepath.Dir(file.path))
	}
	return folders
}

// Read returns the record of a key, and whether it exists. It locks and changes nothing, so a node
// may use the key at the same time.
func Read(f KeyFile, dataDir string) (record Record, found bool, err error) {
	copies, record, err := f.read(diskFS{}, dataDir)
	return record, slices.ContainsFunc(copies, func(c recordCopy) bool { return c.found }), err
}

// load reads the record of the key and brings all copies up to date.
func (k *Key) load(l *loading) error {
	copies, merged, err := k.read(l.fs, l.DataDir)
	if err != nil {
		return err
	}
	var highest uint64
	for _, c := range copies {
		highest = max(highest, c.sequence)
	}
	record, sequence := merged, highest
	upToDate := true
	for i, c := range copies {
		if !c.found || c.torn || c.record != merged || c.sequence != highest {
			upToDate = false
		}
		other := copies[(i+1)%len(copies)] // c itself if it is the only copy
		if c.torn && (!other.found || other.torn || other.sequence < c.sequence) {
			// The damaged cell may have held a later slot, up to the current one.
			record = Record{Kind: Closed, Slot: max(merged.Slot, l.slot)}
		}
	}
	if !upToDate {
		sequence = (highest+3)&^1 - 1 // of the second cell of a new file, so odd
	}
	// Copies that exist come first. A copy that cannot be written may be from before the folder became
	// read-only, so if no copy that exists can be written, the key counts as a key without a record.
	if last := copies[len(copies)-1]; !copies[0].found && last.found {
		slices.Reverse(copies)
	}
	for i, c := range copies {
		if !c.found && l.begun && len(k.files) == 0 {
			k.missing = true
			record, _ = merge(record, l.closed()) // a closed record conflicts with no record
		}
		if upToDate {
			err = c.probe(l.fs)
		} else {
			err = c.replace(l.fs, k.PublicKey, record, sequence-1)
		}
		dir := filepath.Dir(c.path)
		switch {
		case err == nil:
			k.files = append(k.files, c.recordFile)
			if !k.missing {
				c.logRepair(l.Log, merged, copies[(i+1)%len(copies)])
			}
		case c.inData:
			return dataError(c.path, err)
		case !notWritable(err):
			return config.OSError(c.path, err)
		case l.DataDir == "":
			return &config.Error{File: dir, Err: err, Fix: setting.DataDir, Problem: "not writable, but signatures must be recorded: " +
				"set the data folder to a path that outlives the node"}
		default:
			if _, warned := l.unwritable.LoadOrStore(dir, true); !warned {
				l.Log.Warn("folder of the keys is not writable", "keys", dir, "data_dir", l.DataDir,
					logging.Advice("Keep the data folder: it has the only record of what the keys have signed."))
			}
		}
	}
	k.record, k.loaded, k.sequence = record, record, sequence
	return nil
}

// logRepair logs why the copy was written again. It is called after the write, so a copy in a
// read-only folder is not reported at each start.
func (c *recordCopy) logRepair(log *slog.Logger, merged Record, other recordCopy) {
	switch {
	case c.torn:
		log.Warn("signing record was damaged", "file", c.path,
			logging.Advice("No action needed. A power cut can damage one of its two cells. The node has rewritten the record, and does not sign slots that the damaged cell may have held."))
	// A crash between two writes leaves one copy one write behind.
	case c.found && c.record != merged && other.sequence > c.sequence+1:
		log.Warn("signing record was behind its copy",
			"file", c.path, "record", c.record.String(), "copy", other.path, "copy_record", other.record.String(),
			logging.Advice("The node uses the higher record. Never restore signing records from a backup."))
	case !c.found && other.found:
		log.Info("missing signing record was restored from its copy", "file", c.path, "copy", other.path)
	}
}

// probe returns an error if the file cannot be opened for writing.
func (f recordFile) probe(fsys FS) error {
	opened, err := fsys.OpenFile(f.path, os.O_RDWR, 0)
	if err == nil {
		err = opened.Close()
	}
	return err
}

// report logs the record of the key, and warns if it is ahead of the clock.
func (k *Key) report(l *loading) {
	log := l.Log.With(logging.Validator(k.Validator), "role", k.Role.String())
	log.Debug("key", "record", k.record.String(), "file", k.files[0].path)
	if k.record.Kind != Unused && (!l.begun || k.record.Slot > l.slot) && k.record != l.closed() {
		log.Warn("signing record is ahead of the clock",
			logging.Slot(l.slot), "signed_slot", k.record.Slot, "next_slot", k.record.Slot+1,
			logging.Advice("The key signs again from next_slot on. Check that the clock is not behind. If the keys are from an earlier network, make a new network with the genesis command."))
	}
}

// notWritable reports whether permissions or a read-only file system caused the error.
func notWritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// dataError returns the error for a path in the data folder, with advice if it is not writable.
func dataError(path string, err error) error {
	if !notWritable(err) {
		return config.OSError(path, err)
	}
	return &config.Error{File: path, Err: err, Fix: setting.DataDir, Problem: "not writable, but signatures must be recorded in the data folder: " +
		"make it writable for the node, or set another data folder"}
}

// contentError returns the error for a record that cannot be used, with advice for the operator.
func contentError(path string, err error) error {
	problem := err.Error()
	switch {
	case errors.Is(err, errDamaged):
		problem = "both cells of the record are damaged: if the other copy of the record is intact, remove this file; " +
			"otherwise find the last slot that the key signed, remove this file, and import that slot with keys import"
	case errors.Is(err, errConflict):
		problem += "; the key may be revealed, so it does not sign any more"
	case errors.Is(err, errVersion):
		problem += "; a newer leanspec-node may have written it"
	}
	return &config.Error{File: path, Problem: problem, Err: err}
}
