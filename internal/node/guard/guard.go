package guard

import (
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
	"github.com/leanEthereum/leanspec-node/internal/telemetry"
)

// folder is the guard's folder in the data folder, lockName the file in it that
// is locked.
const (
	folder   = "guard"
	lockName = "lock"
)

// opening is how many keys are opened at once: it is all waiting for the disk.
const opening = 16

// KeyFile is a key to guard.
type KeyFile struct {
	Path      string // of the secret key
	PublicKey PublicKey
	// Validator and Role are for the reader of logs.
	Validator uint64
	Role      config.Role
}

// KeyFiles lists the keys of validators, two each.
func KeyFiles(keys []config.ValidatorKeys) []KeyFile {
	var files []KeyFile
	for _, k := range keys {
		files = append(files,
			KeyFile{k.AttestationPath, k.Attestation.PublicKey().Bytes(), k.Index, config.Attestation},
			KeyFile{k.ProposalPath, k.Proposal.PublicKey().Bytes(), k.Index, config.Proposal})
	}
	return files
}

// Options are what Open needs.
type Options struct {
	Keys []KeyFile
	// DataDir is the node's data folder, or empty.
	DataDir string
	// Now returns the current slot, and whether genesis is over. Open calls it after
	// it has the locks: from then on no other process on this machine can sign.
	Now func() (slot uint64, begun bool)
	Log *slog.Logger

	fs   FS                                                // the machine's if nil
	lock func(path string, create bool) (io.Closer, error) // flock if nil
}

// Guard holds the records and the locks of some keys.
type Guard struct {
	keys    []*Key
	byKey   map[PublicKey]*Key
	locks   []io.Closer
	missing Missing
}

// Missing lists the keys for which Open found no record after genesis.
type Missing struct {
	Keys []KeyFile
	// Slot is the slot in which Open did not find the records, and Closed the last
	// slot for which the keys sign nothing.
	Slot, Closed uint64
}

// Open locks the keys, reads their records and brings all copies up to date.
//
// Before genesis a key without a record has signed nothing. After genesis it may
// have signed any slot so far, so Open closes it, durably, up to the slot after
// the current one, and lists it in [Guard.Missing].
//
// With no keys Open touches nothing. Errors are of type [*config.Error].
func Open(o Options) (*Guard, error) {
	if o.fs == nil {
		o.fs = diskFS{}
	}
	if o.lock == nil {
		o.lock = lockFile
	}
	g := &Guard{byKey: make(map[PublicKey]*Key)}
	if len(o.Keys) == 0 {
		return g, nil
	}
	if err := g.open(&o); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guard) open(o *Options) error {
	if err := g.takeLocks(o); err != nil {
		return err
	}
	slot, begun := o.Now()
	l := loading{Options: o, slot: slot, begun: begun}
	for _, file := range o.Keys {
		k := &Key{KeyFile: file, fs: o.fs}
		g.keys, g.byKey[file.PublicKey] = append(g.keys, k), k
	}
	failures := make([]error, len(g.keys))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(opening, len(g.keys)) {
		wg.Go(func() {
			for i := range next {
				failures[i] = g.keys[i].load(&l)
			}
		})
	}
	for i := range g.keys {
		next <- i
	}
	close(next)
	wg.Wait()
	if i := slices.IndexFunc(failures, func(err error) bool { return err != nil }); i >= 0 {
		return failures[i]
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

// loading is what the keys share while their records are read.
type loading struct {
	*Options
	slot       uint64
	begun      bool
	unwritable sync.Map // folders of which a warning says that they cannot be written
}

// closed is the record of a key of which nothing is known. The slot after the
// current one is closed too, because the clock may have been ahead a moment ago.
func (l *loading) closed() Record { return Record{Kind: Closed, Slot: l.slot + 1} }

// takeLocks locks the key files and the guard's data folder.
func (g *Guard) takeLocks(o *Options) error {
	take := func(path string, create bool) error {
		lock, err := o.lock(path, create)
		var held *heldError
		switch {
		case errors.As(err, &held):
			return &config.Error{File: path, Err: err,
				Problem: "in use by another process" + held.holder() + ": two nodes that sign with one key give it away"}
		case errors.Is(err, errNoLocks):
			o.Log.Warn("a key file cannot be locked here", "file", path, telemetry.Err(err),
				telemetry.Advice("make sure that no other node uses it: two nodes that sign with one key give it away"))
		case err != nil:
			return fileError(path, err)
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

// Missing returns the keys for which there was no record.
func (g *Guard) Missing() Missing { return g.missing }

// Key returns the guard of a key, nil if it is not guarded here.
func (g *Guard) Key(public PublicKey) *Key { return g.byKey[public] }

// Close gives up the locks. The keys sign no more.
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

// places are where the record of a key is, beside the key first.
func (f *KeyFile) places(dataDir string) []place {
	path := f.Path
	// One record for one file, whatever it is called.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	places := []place{{path: fmt.Sprintf("%s.%x.guard", path, f.PublicKey[:4])}}
	if dataDir != "" {
		name := hex.EncodeToString(f.PublicKey[:]) + ".guard"
		places = append(places, place{path: filepath.Join(dataDir, folder, name), inData: true})
	}
	return places
}

// copyOf is what was found at a place.
type copyOf struct {
	place
	found bool
	content
}

// read reads the record of a key at its places, and what they say together.
func (f *KeyFile) read(fsys FS, places []place) (copies []copyOf, merged Record, err error) {
	for _, p := range places {
		c := copyOf{place: p}
		data, err := readAll(fsys, p.path, fileSize)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, merged, fileError(p.path, err)
		default:
			c.found = true
			if c.content, err = decodeFile(f.PublicKey, data); err != nil {
				return nil, merged, contentError(p.path, err)
			}
		}
		copies = append(copies, c)
	}
	for i, c := range copies {
		if merged, err = merge(merged, c.record); err != nil {
			return nil, merged, &config.Error{File: c.path, Err: err, Problem: fmt.Sprintf(
				"says that 0x%x was signed for slot %d, and %s that 0x%x was: the key may be given away, so it signs no more",
				c.record.Message, c.record.Slot, copies[i-1].path, copies[i-1].record.Message)}
		}
	}
	return copies, merged, nil
}

// Folders returns the folders in which the record of a key is.
func Folders(f KeyFile, dataDir string) []string {
	var folders []string
	for _, p := range f.places(dataDir) {
		folders = append(folders, filepath.Dir(p.path))
	}
	return folders
}

// Read returns the record of a key, and whether there is one, without locking or
// changing anything: a node may use the key.
func Read(f KeyFile, dataDir string) (record Record, found bool, err error) {
	copies, record, err := f.read(diskFS{}, f.places(dataDir))
	return record, slices.ContainsFunc(copies, func(c copyOf) bool { return c.found }), err
}

// load reads the record and brings all places up to date.
func (k *Key) load(o *loading) error {
	copies, merged, err := k.read(o.fs, k.KeyFile.places(o.DataDir))
	if err != nil {
		return err
	}
	known, upToDate := merged, true
	var highest uint64
	for _, c := range copies {
		highest = max(highest, c.sequence)
	}
	for i, c := range copies {
		behind := c.record != known
		if !c.found || c.torn || behind || c.sequence != highest {
			upToDate = false
		}
		other := copies[(i+1)%len(copies)] // the copy itself if there is but one
		switch {
		case c.torn:
			o.Log.Warn("half of a record of signatures is damaged, as by a power cut", "file", c.path,
				telemetry.Advice("nothing to do: it is written anew, and slots that may have been signed are closed"))
			if !(other.found && !other.torn && other.sequence >= c.sequence) {
				// The damaged half may have had a later slot, up to the current one.
				merged = Record{Kind: Closed, Slot: max(known.Slot, o.slot)}
			}
		// A crash between two writes leaves one copy behind by one.
		case c.found && behind && highest-c.sequence > 1:
			o.Log.Warn("record of signatures is behind its copy, whose higher record is used",
				"file", c.path, "record", c.record.String(), "copy", other.path, "copy_record", other.record.String(),
				telemetry.Advice("was the folder restored from a backup? Never restore the records of signatures"))
		}
	}
	sequence := highest
	if !upToDate {
		sequence = (highest+3)&^1 - 1 // odd: the second half of a new file
	}
	// A record that cannot be written may be an old one, from before the folder was
	// read-only. So the places with a record come first: where none of them can be
	// written the key has no record that counts.
	if last := copies[len(copies)-1]; !copies[0].found && last.found {
		slices.Reverse(copies)
	}
	for _, c := range copies {
		recorded := len(k.places) > 0 && !k.missing
		switch {
		case c.found || k.missing:
		case recorded && copies[0].found:
			o.Log.Info("record of signatures is missing, taken from its copy", "file", c.path, "copy", copies[0].path)
		case o.begun && !recorded:
			k.missing = true
			merged, _ = merge(merged, o.closed()) // a closed record conflicts with none
		}
		if upToDate {
			err = c.probe(o.fs)
		} else {
			err = c.replace(o.fs, k.PublicKey, merged, sequence-1)
		}
		switch {
		case err == nil:
			k.places = append(k.places, c.place)
		case c.inData:
			return dataError(c.path, err)
		case !notWritable(err):
			return fileError(c.path, err)
		default:
			dir := filepath.Dir(c.path)
			if o.DataDir == "" {
				return &config.Error{File: dir, Err: err, Problem: "cannot be written, but what the keys sign must be recorded: " +
					"set --data-dir (LEANSPEC_DATA_DIR) to a folder that outlives the node"}
			}
			if _, warned := o.unwritable.LoadOrStore(dir, true); !warned {
				o.Log.Warn("the folder of the keys cannot be written", "keys", dir, "data_dir", o.DataDir,
					telemetry.Advice("what is signed is recorded in the data folder alone, so keep that"))
			}
		}
	}
	k.record, k.loaded, k.sequence = merged, merged, sequence
	return nil
}

// probe makes sure that the file can be written.
func (p place) probe(fsys FS) error {
	f, err := fsys.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// report writes what is known of the key.
func (k *Key) report(o *loading) {
	log := o.Log.With(telemetry.Validator(k.Validator), "role", k.Role.String())
	log.Debug("key", "record", k.record.String(), "file", k.places[0].path)
	if k.record.Kind != Unused && (!o.begun || k.record.Slot > o.slot) && k.record != o.closed() {
		log.Warn("the key has signed for a slot that is yet to come, and signs nothing until it is over",
			telemetry.Slot(o.slot), "signed_slot", k.record.Slot, "next_slot", k.record.Slot+1,
			telemetry.Advice("is the clock behind, or are these the keys of an earlier network? genesis --force makes new ones"))
	}
}

// notWritable: the file system or the permissions forbid it.
func notWritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// fileError names the file, and leaves out of the cause what repeats it.
func fileError(path string, err error) error {
	problem := err
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		problem = pathError.Err
	}
	return &config.Error{File: path, Problem: problem.Error(), Err: err}
}

// dataError says what to do about a data folder that cannot be written.
func dataError(path string, err error) error {
	if !notWritable(err) {
		return fileError(path, err)
	}
	return &config.Error{File: path, Err: err, Problem: "cannot be written, but what the keys sign must be recorded in the data folder: " +
		"let the node write to it, or set --data-dir (LEANSPEC_DATA_DIR) to another folder"}
}

// contentError says what to do about a record that cannot be used.
func contentError(path string, err error) error {
	problem := err.Error()
	switch {
	case errors.Is(err, errDamaged):
		problem = "damaged, so it does not say what was signed: restore it; or remove it if its copy is good; " +
			"or find out the last signed slot, remove it, and write that with keys import"
	case errors.Is(err, errConflict):
		problem += ": the key may be given away, so it signs no more"
	case errors.Is(err, errVersion):
		problem += ": written by a newer leanspec-node?"
	}
	return &config.Error{File: path, Problem: problem, Err: err}
}
