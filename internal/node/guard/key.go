package guard

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Key guards one key. It is safe for concurrent use.
type Key struct {
	KeyFile
	fs      FS
	files   []recordFile // the copies of the record that are written
	missing bool         // no record was found after genesis

	mu       sync.Mutex
	record   Record
	sequence uint64 // of the latest write
	loaded   Record // the record at the start
	synced   bool   // this process has written the record; one that was only read may not be durable
	failed   error  // why the key does not sign any more
}

// recordFile is the file of one copy of a record.
type recordFile struct {
	path   string
	inData bool // in the data folder
}

// Record returns the record of the key's latest signature.
func (k *Key) Record() Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record
}

// ClosedAtStart reports whether a slot was closed when the guard was opened because the record was
// missing or damaged, in this run or an earlier one. Reserve refuses all messages for such a slot.
func (k *Key) ClosedAtStart(slot uint64) bool {
	return k.loaded.Kind == Closed && slot <= k.loaded.Slot
}

// Reserve records durably that a message is signed for a slot. It implements
// [xmss.Ledger]. The error is a [*RefusedError] if another message was reserved for the
// slot or if the slot is before the latest one, and a [*WriteError] if the record cannot be written.
func (k *Key) Reserve(slot uint64, message [32]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	allowed, recorded := k.record.allows(slot, message)
	switch {
	case !allowed:
		return &RefusedError{Slot: slot, Latest: k.record, EarlierRun: k.record == k.loaded}
	case recorded && k.synced:
		return nil
	case recorded:
		return k.write(k.record)
	}
	return k.write(Record{Signed, slot, message})
}

// Raise merges a record from another machine into the record of the key. It never lowers the
// record, and fails if the two hold different messages for one slot.
func (k *Key) Raise(r Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	merged, err := merge(k.record, r)
	if err != nil || merged == k.record {
		return err
	}
	return k.write(merged)
}

// write makes a record durable in all files, concurrently. The caller holds the lock.
func (k *Key) write(r Record) error {
	c := cell{r, k.sequence + 1, k.PublicKey}
	failures := make([]error, len(k.files))
	var wg sync.WaitGroup
	for i, f := range k.files {
		wg.Go(func() {
			if err := f.write(k.fs, &c); err != nil {
				failures[i] = &WriteError{f.path, err}
			}
		})
	}
	wg.Wait()
	// A failed sync may have dropped the data, and the next sync would not report that. So the
	// write is never repeated.
	if k.failed = cmp.Or(failures...); k.failed != nil {
		return k.failed
	}
	k.record, k.sequence, k.synced = r, c.sequence, true
	return nil
}

// write overwrites the older cell of the file.
func (f recordFile) write(fsys FS, c *cell) error {
	opened, err := fsys.OpenFile(f.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // removed while the guard is open
		return f.replace(fsys, c.key, c.record, c.sequence&^1)
	}
	if err != nil {
		return err
	}
	return writeSyncClose(opened, c.encode(), c.offset())
}

// replace writes the whole file.
func (f recordFile) replace(fsys FS, key PublicKey, r Record, sequence uint64) error {
	if f.inData {
		if err := makeDir(fsys, filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	return replace(fsys, f.path, encodeFile(key, r, sequence))
}
