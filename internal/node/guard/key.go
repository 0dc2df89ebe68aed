package guard

import (
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
	places  []place // where the record is written
	missing bool    // no record was found after genesis

	mu       sync.Mutex
	record   Record
	sequence uint64 // of the latest write
	loaded   Record // the record as it was at the start
	synced   bool   // the record was written by this process: what was read may never have reached the disk
	failed   error  // why the key signs no more
}

// place is a record file.
type place struct {
	path string
	// inData: in the data folder, which is the node's own.
	inData bool
}

// Record returns the latest that was signed.
func (k *Key) Record() Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record
}

// Waits reports whether the record, as it was at the start, closes a slot without
// saying what was signed for it. The record was missing or damaged then, in this
// run or an earlier one. Reserve refuses all messages for such a slot.
func (k *Key) Waits(slot uint64) bool { return k.loaded.Kind == Closed && slot <= k.loaded.Slot }

// Reserve records durably that a message is signed for a slot. It implements
// [xmss.Ledger]. It fails with a [*RefusedError] if another message was reserved for
// the slot or if the slot is before the latest one, and with a [*WriteError] if it
// cannot write the record.
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

// Raise takes over a record of the key from elsewhere, if it is the higher one.
// It never lowers the record.
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

// write makes a record durable in all places, at the same time.
func (k *Key) write(r Record) error {
	c := cell{r, k.sequence + 1, k.PublicKey}
	failures := make([]error, len(k.places))
	var wg sync.WaitGroup
	for i, p := range k.places[1:] {
		wg.Go(func() { failures[i+1] = p.write(k.fs, &c) })
	}
	failures[0] = k.places[0].write(k.fs, &c)
	wg.Wait()
	for i, err := range failures {
		if err != nil {
			// A sync that failed may have dropped the data, and the next would not
			// tell. So there is no second try.
			k.failed = &WriteError{File: k.places[i].path, Err: err}
			return k.failed
		}
	}
	k.record, k.sequence, k.synced = r, c.sequence, true
	return nil
}

// write replaces the older half of the file.
func (p place) write(fsys FS, c *cell) error {
	f, err := fsys.OpenFile(p.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // removed under our feet
		return p.replace(fsys, c.key, c.record, c.sequence&^1)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(c.encode(), c.offset())
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replace writes the whole file.
func (p place) replace(fsys FS, key PublicKey, r Record, sequence uint64) error {
	if p.inData {
		if err := makeDir(fsys, filepath.Dir(p.path)); err != nil {
			return err
		}
	}
	return replace(fsys, p.path, encodeFile(key, r, sequence))
}
