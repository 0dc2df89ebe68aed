package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"pgregory.net/rapid"
)

// The files of the key that most tests have.
const (
	marker = "/keys/a.ssz.01020000.guard"
	inData = "/data/guard/0102"
)

var public = PublicKey{1, 2}

func beforeGenesis() (slot uint64, begun bool) { return 0, false }

func message(n byte) [32]byte { return [32]byte{n} }

// world is one key, its files and the log.
type world struct {
	fs      *memFS
	dataDir string
	slot    uint64 // current
	begun   bool   // genesis is over, as it is after the first start
	lines   bytes.Buffer
	guard   *Guard
	// readOnly: the folder of the keys cannot be written.
	readOnly bool
}

func newWorld(dataDir string) *world {
	return &world{fs: newMemFS("/keys"), dataDir: dataDir, slot: 100}
}

// open opens the key anew, as after a restart.
func (w *world) open() (*Key, error) {
	if w.guard != nil {
		w.guard.Close()
	}
	w.lines.Reset()
	w.protect()
	g, err := Open(Options{
		Keys: []KeyFile{{Path: "/keys/a.ssz", PublicKey: public}}, DataDir: w.dataDir,
		Now: func() (uint64, bool) { return w.slot, w.begun },
		Log: slog.New(slog.NewTextHandler(&w.lines, nil)),
		fs:  w.fs, lock: func(string, bool) (io.Closer, error) { return nil, nil },
	})
	if err != nil {
		w.guard = nil
		return nil, err
	}
	w.guard, w.begun = g, true
	return g.Key(public), nil
}

// protect makes the folder of the keys read-only, if it is to be.
func (w *world) protect() {
	if !w.readOnly {
		return
	}
	fail := w.fs.fail
	w.fs.fail = func(n int, op, name string) error {
		if strings.HasPrefix(name, "/keys") {
			return syscall.EROFS
		}
		if fail != nil {
			return fail(n, op, name)
		}
		return nil
	}
}

func (w *world) mustOpen(t testing.TB) *Key {
	t.Helper()
	k, err := w.open()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustReserve(t testing.TB, k *Key, slot uint64, m byte) {
	t.Helper()
	if err := k.Reserve(slot, message(m)); err != nil {
		t.Fatalf("slot %d, message %d: %v", slot, m, err)
	}
}

func mustRefuse(t testing.TB, k *Key, slot uint64, m byte) {
	t.Helper()
	var refused *RefusedError
	if err := k.Reserve(slot, message(m)); !errors.As(err, &refused) {
		t.Errorf("slot %d, message %d: %v, want a refusal", slot, m, err)
	}
}

func TestReserve(t *testing.T) {
	for _, dataDir := range []string{"", "/data", "/deep/er/data"} {
		w := newWorld(dataDir)
		k := w.mustOpen(t)
		if r := k.Record(); r.Kind != Unused {
			t.Errorf("a new key has the record %s", r)
		}
		mustReserve(t, k, 0, 1)
		for _, again := range []bool{false, true} {
			if again {
				k = w.mustOpen(t)
			}
			mustReserve(t, k, 0, 1)
			mustRefuse(t, k, 0, 2)
		}
		mustReserve(t, k, 7, 3)
		for _, again := range []bool{false, true} {
			if again {
				k = w.mustOpen(t)
			}
			mustReserve(t, k, 7, 3)
			mustRefuse(t, k, 7, 4)
			mustRefuse(t, k, 6, 3)
			mustRefuse(t, k, 0, 1) // is on record no more
		}
		var refused *RefusedError
		if err := k.Reserve(7, message(4)); !errors.As(err, &refused) || !refused.EarlierRun {
			t.Errorf("%v: does not tell that an earlier run has signed", err)
		}
		mustReserve(t, k, 8, 4)
		if err := k.Reserve(8, message(5)); !errors.As(err, &refused) || refused.EarlierRun {
			t.Errorf("%v: tells of an earlier run", err)
		}
		w.guard.Close()
		if err := k.Reserve(9, message(1)); err == nil {
			t.Error("signs after the locks are given up")
		}
	}
}

// TestSameSlotCostsNothing: what is on record is not written again.
func TestSameSlotCostsNothing(t *testing.T) {
	w := newWorld("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 1, 1)
	before := w.fs.ops
	mustReserve(t, k, 1, 1)
	mustRefuse(t, k, 1, 2)
	if w.fs.ops != before {
		t.Errorf("%d operations for what is known", w.fs.ops-before)
	}
}

// TestCopies: whatever happens to one of the two copies, the other one holds.
func TestCopies(t *testing.T) {
	for name, tt := range map[string]struct {
		part string // of the file that something happens to
		old  bool   // it is an older one again, else it is gone
		log  string
	}{
		"data folder restored": {inData, true, "restored from a backup"},
		"keys restored":        {marker, true, "restored from a backup"},
		"data folder lost":     {inData, false, "is missing"},
		"marker deleted":       {marker, false, "is missing"},
	} {
		w := newWorld("/data")
		k := w.mustOpen(t)
		mustReserve(t, k, 10, 1)
		old := w.fs.files(tt.part)
		if len(old) != 1 {
			t.Fatalf("%s: files %v, want one", name, old)
		}
		mustReserve(t, k, 11, 1)
		mustReserve(t, k, 20, 1)
		for path := range old {
			if !tt.old {
				old[path] = nil
			}
		}
		w.fs.set(old)
		k = w.mustOpen(t)
		if !strings.Contains(w.lines.String(), tt.log) {
			t.Errorf("%s: the log says %q, want %q", name, w.lines.String(), tt.log)
		}
		mustRefuse(t, k, 20, 2)
		mustRefuse(t, k, 11, 2)
		mustReserve(t, k, 20, 1)
		// And it is mended: now the other one may be lost.
		for path := range w.fs.files(".guard") {
			if !strings.Contains(path, tt.part) {
				w.fs.set(map[string][]byte{path: nil})
			}
		}
		k = w.mustOpen(t)
		mustRefuse(t, k, 20, 2)
		mustReserve(t, k, 21, 2)
		w.mustOpen(t)
		if w.lines.Len() > 0 {
			t.Errorf("%s: a healthy record is not quiet: %s", name, w.lines.String())
		}
	}
}

// TestMissing: a key without a record after genesis signs nothing up to the slot
// after the current one, whatever becomes of the process.
func TestMissing(t *testing.T) {
	for _, dataDir := range []string{"", "/data"} {
		for _, lost := range []bool{true, false} { // the record was lost, or never was there
			w := newWorld(dataDir)
			w.slot, w.begun = 41, true
			if lost {
				w.begun = false
				mustReserve(t, w.mustOpen(t), 40, 1)
				if got := w.guard.Missing(); len(got.Keys) > 0 {
					t.Errorf("before genesis missing = %+v, want no key", got)
				}
				for path := range w.fs.files(".guard") {
					w.fs.set(map[string][]byte{path: nil})
				}
			}
			k := w.mustOpen(t)
			if got := w.guard.Missing(); len(got.Keys) != 1 || got.Slot != 41 || got.Closed != 42 {
				t.Errorf("missing = %+v, want one key, slot 41, closed 42", got)
			}
			if got, want := k.Record(), (Record{Kind: Closed, Slot: 42}); got != want {
				t.Errorf("record = %s, want %s", got, want)
			}
			for _, again := range []string{"", "a restart", "a power cut"} {
				switch again {
				case "a restart":
					k = w.mustOpen(t)
				case "a power cut":
					w.fs = w.fs.crash(rand.New(rand.NewPCG(1, 1)))
					k = w.mustOpen(t)
				}
				if got := w.guard.Missing(); again != "" && len(got.Keys) > 0 {
					t.Errorf("after %s missing = %+v, want no key", again, got)
				}
				if w.lines.Len() > 0 {
					t.Errorf("after %s the log says %s, want nothing", again, w.lines.String())
				}
				for _, slot := range []uint64{40, 41, 42} {
					if !k.Waits(slot) {
						t.Errorf("after %s: Waits(%d) = false, want true", again, slot)
					}
					mustRefuse(t, k, slot, 1)
				}
			}
			if k.Waits(43) {
				t.Error("Waits(43) = true, want false")
			}
			mustReserve(t, k, 43, 1)
			if k = w.mustOpen(t); k.Waits(43) {
				t.Error("after a signature Waits(43) = true, want false")
			}
		}
	}
}

// TestMissingTakesTheTimeUnderLock: another process may sign until it gives up the
// locks, so the slot is that of a moment after them.
func TestMissingTakesTheTimeUnderLock(t *testing.T) {
	slot := uint64(7)
	g, err := Open(Options{
		Keys: []KeyFile{{Path: "/keys/a.ssz", PublicKey: public}}, Log: slog.New(slog.DiscardHandler),
		Now:  func() (uint64, bool) { return slot, true },
		fs:   newMemFS("/keys"),
		lock: func(string, bool) (io.Closer, error) { slot += 5; return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := g.Key(public).Record(), (Record{Kind: Closed, Slot: 13}); got != want {
		t.Errorf("record = %s, want %s", got, want)
	}
}

// TestOldRecordBesideReadOnlyKey: a record that cannot be written is one from
// before the folder was read-only, so without the other copy it does not count.
func TestOldRecordBesideReadOnlyKey(t *testing.T) {
	w := newWorld("/data")
	mustReserve(t, w.mustOpen(t), 10, 1)
	w.readOnly = true
	k := w.mustOpen(t)
	mustReserve(t, k, 100, 1)
	for path := range w.fs.files(inData) {
		w.fs.set(map[string][]byte{path: nil})
	}
	k = w.mustOpen(t)
	mustRefuse(t, k, 100, 2)
	mustRefuse(t, k, 101, 2)
	if got := w.guard.Missing(); len(got.Keys) != 1 {
		t.Errorf("missing = %+v, want one key", got)
	}
	mustReserve(t, k, 102, 2)

	// Once the folder can be written again, the record there is brought up to date.
	w.fs.fail, w.readOnly = nil, false
	w.mustOpen(t)
	if got := w.guard.Missing(); len(got.Keys) != 0 {
		t.Errorf("missing = %+v, want no key", got)
	}
	for path := range w.fs.files(inData) {
		w.fs.set(map[string][]byte{path: nil})
	}
	mustRefuse(t, w.mustOpen(t), 102, 1)
}

func TestConflict(t *testing.T) {
	w := newWorld("/data")
	mustReserve(t, w.mustOpen(t), 10, 1)
	other := newWorld("/data")
	mustReserve(t, other.mustOpen(t), 10, 2)
	w.fs.set(other.fs.files(inData))
	_, err := w.open()
	var failure *config.Error
	if !errors.As(err, &failure) || !errors.Is(err, errConflict) || !strings.Contains(err.Error(), "slot 10") {
		t.Errorf("%v, want a conflict about slot 10", err)
	}
}

// TestKeyReplaced: a new key at an old path has a record of its own.
func TestKeyReplaced(t *testing.T) {
	w := newWorld("")
	mustReserve(t, w.mustOpen(t), 10, 1)
	old := public
	defer func() { public = old }()
	public = PublicKey{9, 9}
	w.begun = false // a new key is for a new genesis
	k := w.mustOpen(t)
	mustReserve(t, k, 1, 2)
	public = old
	mustRefuse(t, w.mustOpen(t), 10, 2)

	// A record under the name of another key is not taken for its own.
	for _, data := range w.fs.files(marker) {
		w.fs.set(map[string][]byte{"/keys/a.ssz.09090000.guard": data})
	}
	public = PublicKey{9, 9}
	if _, err := w.open(); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("%v, want an error about another key", err)
	}
}

// TestTorn damages each half of a record at every byte, and cuts the file
// everywhere: what was signed is never forgotten.
func TestTorn(t *testing.T) {
	w := newWorld("")
	k := w.mustOpen(t)
	for slot := uint64(50); slot < 52; slot++ { // even and odd: the latest is in each half once
		mustReserve(t, k, slot, 1)
		good := w.fs.files(marker)[marker]
		for half := range 2 {
			for i := range cellSize {
				bad := bytes.Clone(good)
				bad[half*blockSize+i] ^= 0x10
				checkDamaged(t, fmt.Sprintf("byte %d of half %d", i, half), bad, slot)
			}
		}
		for _, size := range []int{1, 5, 127, 128, 129, 4095, 4096, 4097, 4096 + 127} {
			checkDamaged(t, fmt.Sprintf("cut at %d", size), good[:size], slot)
		}
		if i := int64(len(good)); i != fileSize {
			t.Fatalf("%d bytes, want %d", i, fileSize)
		}
	}
}

// checkDamaged opens a damaged record of a key that has signed for a slot.
func checkDamaged(t *testing.T, what string, data []byte, slot uint64) {
	t.Helper()
	w := newWorld("")
	w.fs.set(map[string][]byte{marker: data})
	k, err := w.open()
	if len(data) < cellSize {
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), marker) || !strings.Contains(err.Error(), "keys import") {
			t.Errorf("%s: %v, want an error that names the file and a way out", what, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	mustRefuse(t, k, slot, 2)
	mustRefuse(t, k, w.slot, 2) // the bad half could have had any slot up to now
	mustReserve(t, k, w.slot+1, 2)
	if !strings.Contains(w.lines.String(), "damaged") {
		t.Errorf("%s: the log is silent about the damage: %q", what, w.lines.String())
	}
}

// TestTornWithCopy: a good copy says what the damaged half had.
func TestTornWithCopy(t *testing.T) {
	w := newWorld("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 10, 1)
	mustReserve(t, k, 11, 1)
	for half := range 2 {
		data := bytes.Clone(w.fs.files(marker)[marker])
		data[half*blockSize+30] ^= 1
		w.fs.set(map[string][]byte{marker: data})
		k = w.mustOpen(t)
		mustReserve(t, k, 11, 1)
		mustRefuse(t, k, 11, 2)
	}
	mustReserve(t, k, 12, 1)

	// Both halves gone is for a person to decide.
	w.fs.set(map[string][]byte{marker: make([]byte, fileSize)})
	if _, err := w.open(); !errors.Is(err, errDamaged) {
		t.Errorf("%v, want a damaged record", err)
	}
}

// TestTornWithOldCopy: a good copy that is older says nothing about the damaged
// half.
func TestTornWithOldCopy(t *testing.T) {
	w := newWorld("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 10, 1)
	old := w.fs.files(inData)
	for slot := uint64(11); slot < 14; slot++ {
		mustReserve(t, k, slot, 1)
	}
	w.fs.set(old)
	data := bytes.Clone(w.fs.files(marker)[marker])
	latest := cell{sequence: k.sequence}
	data[latest.offset()] ^= 1 // slot 13 is lost
	w.fs.set(map[string][]byte{marker: data})
	k = w.mustOpen(t)
	mustRefuse(t, k, 13, 2)
	mustReserve(t, k, w.slot+1, 2)
}

// TestOneAhead: a crash between the writes of the two copies is no restored
// folder, and what only one of them has counts.
func TestOneAhead(t *testing.T) {
	for _, part := range []string{marker, inData} {
		w := newWorld("/data")
		k := w.mustOpen(t)
		mustReserve(t, k, 10, 1)
		behind := w.fs.files(part)
		mustReserve(t, k, 11, 1)
		w.fs.set(behind)
		k = w.mustOpen(t)
		if w.lines.Len() > 0 {
			t.Errorf("the log says %q, want nothing", w.lines.String())
		}
		mustReserve(t, k, 11, 1)
		mustRefuse(t, k, 11, 2)
	}
}

func TestVersion(t *testing.T) {
	w := newWorld("")
	c := cell{Record{}, 0, public}
	data := encodeFile(public, Record{}, 0)
	half := c.encode()
	half[8] = 2
	copy(data, seal(half))
	w.fs.set(map[string][]byte{marker: data})
	if _, err := w.open(); !errors.Is(err, errVersion) || !strings.Contains(err.Error(), "unknown version 2") {
		t.Errorf("%v, want an unknown version", err)
	}
}

func TestReadOnlyKeys(t *testing.T) {
	for _, denied := range []error{fs.ErrPermission, syscall.EROFS, &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}} {
		deny := func(_ int, _, name string) error {
			if strings.HasPrefix(name, "/keys/") {
				return denied
			}
			return nil
		}
		w := newWorld("")
		w.fs.fail = deny
		_, err := w.open()
		var failure *config.Error
		if !errors.As(err, &failure) || failure.File != "/keys" || !strings.Contains(err.Error(), "--data-dir") {
			t.Errorf("%v, want an error that asks for --data-dir", err)
		}
		w = newWorld("/data")
		for _, writable := range []bool{false, true, false} {
			w.fs.fail = deny
			if writable {
				w.fs.fail = nil
			}
			k := w.mustOpen(t)
			if warned := strings.Contains(w.lines.String(), "cannot be written"); warned == writable {
				t.Errorf("writable is %v, and the log says %q", writable, w.lines.String())
			}
			w.slot++
			mustReserve(t, k, w.slot, 1)
			mustRefuse(t, w.mustOpen(t), w.slot, 2)
		}
		// A data folder that cannot be written is a mistake.
		w.fs.fail = func(_ int, _, name string) error {
			if strings.HasPrefix(name, "/data/") {
				return denied
			}
			return nil
		}
		if _, err := w.open(); !errors.As(err, &failure) || !strings.HasPrefix(failure.File, "/data/") || !strings.Contains(err.Error(), "--data-dir") {
			t.Errorf("%v, want an error about the data folder that asks for another", err)
		}
	}
}

// TestFaults lets each operation fail once: there is an error and nothing is
// signed, or the record is durable.
func TestFaults(t *testing.T) {
	errFault := errors.New("input/output error")
	for _, dataDir := range []string{"", "/data"} {
		for at := 1; ; at++ {
			w := newWorld(dataDir)
			w.fs.fail = func(n int, op, name string) error {
				if n == at {
					return errFault
				}
				return nil
			}
			released, reached := life(w)
			if !reached {
				break
			}
			w.fs.fail = nil
			rng := rand.New(rand.NewPCG(uint64(at), 1))
			w.fs = w.fs.crash(rng)
			checkReleased(t, w, released)
		}
	}
}

// TestPowerCut cuts the power before each operation: everything that was signed
// is on record afterwards.
func TestPowerCut(t *testing.T) {
	for _, dataDir := range []string{"", "/data"} {
		for at := 1; ; at++ {
			reachedEnd := false
			for seed := range uint64(20) {
				w := newWorld(dataDir)
				w.fs.fail = func(n int, op, name string) error {
					if n >= at {
						return errPowerCut
					}
					return nil
				}
				released, reached := life(w)
				if !reached {
					reachedEnd = true
					break
				}
				w.fs = w.fs.crash(rand.New(rand.NewPCG(seed, uint64(at))))
				checkReleased(t, w, released)
			}
			if reachedEnd {
				break
			}
		}
	}
}

// life opens a key, signs some slots, loses a copy and goes on. It returns what
// was allowed, and whether something failed.
func life(w *world) (released map[uint64]byte, failed bool) {
	released = map[uint64]byte{}
	slot := uint64(1)
	for round := range 3 {
		k, err := w.open()
		if err != nil {
			return released, true
		}
		for range 3 {
			slot++
			if err := k.Reserve(slot, message(1)); err != nil {
				// From now on the key signs nothing.
				if k.Reserve(slot, message(1)) == nil || k.Reserve(slot+1, message(1)) == nil {
					released[0] = 1
				}
				return released, true
			}
			released[slot] = 1
		}
		if round == 1 && w.dataDir != "" {
			w.fs.set(map[string][]byte{marker: nil})
		}
	}
	return released, false
}

// checkReleased opens the key after the fault: no second message for any slot.
func checkReleased(t *testing.T, w *world, released map[uint64]byte) {
	t.Helper()
	if released[0] != 0 {
		t.Fatal("the key signs after a failure to record")
	}
	k, err := w.open()
	if err != nil {
		t.Fatalf("after the fault: %v", err)
	}
	for slot := range released {
		if err := k.Reserve(slot, message(2)); err == nil {
			t.Fatalf("a second message for slot %d is allowed; the record was %s", slot, k.loaded)
		}
	}
	mustReserve(t, k, w.slot+1, 2) // and it goes on
}

// TestSyncOrder: Reserve comes back after the sync of both copies.
func TestSyncOrder(t *testing.T) {
	w := newWorld("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 5, 1)
	for path, node := range w.fs.live {
		if strings.HasSuffix(path, ".guard") && !bytes.Equal(node.live, node.durable) {
			t.Errorf("%s is not durable", path)
		}
	}
	// Each copy has to be.
	for _, part := range []string{marker, inData} {
		w := newWorld("/data")
		k := w.mustOpen(t)
		w.fs.fail = func(_ int, op, name string) error {
			if op == "sync" && strings.Contains(name, part) {
				return syscall.EIO
			}
			return nil
		}
		err := k.Reserve(5, message(1))
		var failure *WriteError
		if !errors.As(err, &failure) || !strings.Contains(failure.File, part) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%v, want a WriteError for %s", err, part)
		}
		w.fs.fail = nil
		if err := k.Reserve(6, message(1)); !errors.As(err, &failure) {
			t.Errorf("%v after a failed sync, want the WriteError again", err)
		}
	}
}

// TestRemovedWhileOpen: a record that is removed under the node comes back.
func TestRemovedWhileOpen(t *testing.T) {
	w := newWorld("/data")
	k := w.mustOpen(t)
	for slot := range uint64(4) {
		mustReserve(t, k, slot, 1)
		for path := range w.fs.files(".guard") {
			w.fs.set(map[string][]byte{path: nil})
		}
		mustReserve(t, k, slot+10, 1)
		mustRefuse(t, w.mustOpen(t), slot+10, 2)
		w.fs.set(map[string][]byte{marker: nil, inData: nil})
		w = newWorld("/data")
		k = w.mustOpen(t)
	}
}

func TestAhead(t *testing.T) {
	w := newWorld("")
	mustReserve(t, w.mustOpen(t), 100, 1)
	w.mustOpen(t)
	if w.lines.Len() > 0 {
		t.Errorf("a record of the current slot is not quiet: %s", w.lines.String())
	}
	w.slot = 99
	mustRefuse(t, w.mustOpen(t), 100, 2)
	if lines := w.lines.String(); !strings.Contains(lines, "next_slot=101") || !strings.Contains(lines, "genesis --force") {
		t.Errorf("the log says %q, want a warning about slot 101", lines)
	}
}

func TestRaise(t *testing.T) {
	signed := func(slot uint64, m byte) Record { return Record{Signed, slot, message(m)} }
	for name, tt := range map[string]struct {
		from, to, want Record
		fails          bool
	}{
		"new key":       {Record{}, signed(5, 1), signed(5, 1), false},
		"higher":        {signed(4, 1), signed(5, 1), signed(5, 1), false},
		"same":          {signed(5, 1), signed(5, 1), signed(5, 1), false},
		"lower":         {signed(6, 1), signed(5, 1), signed(6, 1), false},
		"nothing":       {signed(6, 1), Record{}, signed(6, 1), false},
		"other message": {signed(5, 1), signed(5, 2), signed(5, 1), true},
		"closed":        {signed(5, 1), Record{Kind: Closed, Slot: 5}, Record{Kind: Closed, Slot: 5}, false},
		"stays closed":  {Record{Kind: Closed, Slot: 5}, signed(5, 1), Record{Kind: Closed, Slot: 5}, false},
	} {
		w := newWorld("/data")
		k := w.mustOpen(t)
		if err := k.Raise(tt.from); err != nil {
			t.Fatal(err)
		}
		if err := k.Raise(tt.to); (err != nil) != tt.fails {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.mustOpen(t).Record(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestSlotsLeft(t *testing.T) {
	for _, tt := range []struct {
		r                     Record
		start, end, now, want uint64
	}{
		{Record{}, 10, 20, 0, 10},
		{Record{}, 10, 20, 12, 8},
		{Record{}, 10, 20, 30, 0},
		{Record{Kind: Signed, Slot: 12}, 10, 20, 12, 7},
		{Record{Kind: Closed, Slot: 15}, 10, 20, 12, 4},
		{Record{Kind: Signed, Slot: 19}, 10, 20, 12, 0},
	} {
		if got := SlotsLeft(tt.r, tt.start, tt.end, tt.now); got != tt.want {
			t.Errorf("%s, %d to %d, now %d: %d left, want %d", tt.r, tt.start, tt.end, tt.now, got, tt.want)
		}
	}
}

// TestNeverTwice is the promise: no history of signing, crashes, records lost,
// folders that become read-only, and copies restored, one of the two at a time,
// lets two messages for a slot out.
func TestNeverTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.SampledFrom([]string{"", "/data"}).Draw(t, "data"))
		out := map[uint64]byte{}
		w.slot = 0
		var k *Key
		reopen := func() {
			var err error
			if k, err = w.open(); err != nil {
				t.Fatalf("open: %v", err)
			}
		}
		reopen()
		var old map[string][]byte // one copy, as it was
		restorable := true
		t.Repeat(map[string]func(*rapid.T){
			"sign": func(t *rapid.T) {
				slot := rapid.Uint64Range(0, w.slot).Draw(t, "slot")
				m := byte(rapid.IntRange(1, 2).Draw(t, "message"))
				if k.Reserve(slot, message(m)) != nil {
					return
				}
				if before, ok := out[slot]; ok && before != m {
					t.Fatalf("slot %d: messages %d and %d", slot, before, m)
				}
				out[slot] = m
			},
			"time": func(t *rapid.T) { w.slot += rapid.Uint64Range(1, 3).Draw(t, "slots") },
			"crash": func(t *rapid.T) {
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				at := w.fs.ops + rapid.IntRange(1, 12).Draw(t, "operation")
				w.fs.fail = func(n int, _, _ string) error {
					if n >= at {
						return errPowerCut
					}
					return nil
				}
				// It dies while it signs, or while it starts.
				slot := w.slot
				if k.Reserve(slot, message(1)) == nil {
					if before, ok := out[slot]; ok && before != 1 {
						t.Fatalf("slot %d: messages %d and 1", slot, before)
					}
					out[slot] = 1
				}
				_, _ = w.open()
				w.fs = w.fs.crash(rng)
				reopen()
			},
			"lose the records": func(*rapid.T) {
				for path := range w.fs.files(".guard") {
					w.fs.set(map[string][]byte{path: nil})
				}
				old = nil
				reopen()
			},
			"keys read-only": func(*rapid.T) {
				if w.dataDir == "" {
					t.Skip("nothing can be recorded")
				}
				w.fs.fail, w.readOnly = nil, !w.readOnly
				old, restorable = nil, false // the copy beside the key is an old one, too
				reopen()
			},
			"lose a copy": func(t *rapid.T) {
				if w.dataDir == "" {
					t.Skip("it is the only one")
				}
				part := rapid.SampledFrom([]string{marker, inData}).Draw(t, "copy")
				for path := range w.fs.files(part) {
					w.fs.set(map[string][]byte{path: nil})
				}
				reopen()
			},
			"back up a copy": func(t *rapid.T) {
				old = w.fs.files(rapid.SampledFrom([]string{marker, inData}).Draw(t, "copy"))
			},
			"restore a copy": func(t *rapid.T) {
				if !restorable || w.dataDir == "" || len(old) == 0 {
					t.Skip("no copy")
				}
				w.fs.set(old)
				reopen()
			},
			"restart": func(*rapid.T) { reopen() },
		})
	})
}

// onDisk are keys in real files.
func onDisk(t testing.TB, n int) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{DataDir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler), Now: beforeGenesis}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		o.Keys = append(o.Keys, KeyFile{Path: path, PublicKey: PublicKey{byte(i)}})
	}
	return o
}

func TestDisk(t *testing.T) {
	o := onDisk(t, 20)
	// Another name for a key has the same record.
	link := o.Keys[0].Path + ".link"
	if err := os.Symlink(o.Keys[0].Path, link); err != nil {
		t.Fatal(err)
	}
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, file := range o.Keys {
		for m := range byte(4) {
			wg.Go(func() {
				for slot := range uint64(10) {
					_ = g.Key(file.PublicKey).Reserve(slot, message(m))
				}
			})
		}
	}
	wg.Wait()
	record := g.Key(o.Keys[0].PublicKey).Record()
	g.Close()
	if record.Slot != 9 {
		t.Errorf("record %s, want slot 9", record)
	}
	o.Keys[0].Path = link
	for _, dataDir := range []string{"", o.DataDir} {
		if got, found, err := Read(o.Keys[0], dataDir); err != nil || !found || got != record {
			t.Errorf("read %s, found %v, %v, want %s", got, found, err, record)
		}
	}
	err = filepath.WalkDir(filepath.Dir(link), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if strings.HasSuffix(path, ".guard") && info.Mode() != 0o600 || strings.HasSuffix(path, ".new") {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if unknown, found, err := Read(KeyFile{Path: link, PublicKey: PublicKey{77}}, ""); err != nil || found || unknown.Kind != Unused {
		t.Errorf("a key that was never opened: %s, found %v, %v, want no record", unknown, found, err)
	}
}

// TestNoKeys: a node without keys needs no guard, and leaves no trace.
func TestNoKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	g, err := Open(Options{DataDir: dir, Log: slog.New(slog.DiscardHandler), Now: beforeGenesis})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder: %v, want none", err)
	}
}

func BenchmarkAllow(b *testing.B) {
	for _, copies := range []int{1, 2} {
		b.Run(fmt.Sprintf("copies=%d", copies), func(b *testing.B) {
			o := onDisk(b, 1)
			if copies == 1 {
				o.DataDir = ""
			}
			benchmark(b, o)
		})
	}
	b.Run("copies=2/keys=200", func(b *testing.B) { benchmark(b, onDisk(b, 200)) })
}

// benchmark signs one slot with all keys, 32 at a time as the validators do.
func benchmark(b *testing.B, o Options) {
	g, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	b.ReportAllocs()
	var slot uint64
	for b.Loop() {
		slot++
		work := make(chan *Key)
		var wg sync.WaitGroup
		for range min(32, len(g.keys)) {
			wg.Go(func() {
				for k := range work {
					if err := k.Reserve(slot, message(1)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, k := range g.keys {
			work <- k
		}
		close(work)
		wg.Wait()
	}
}

// TestUnsyncedRecord: a record that was written and never synced, as by a process
// that was killed in between, is read like any other. Before a signature leaves on
// its word it is synced.
func TestUnsyncedRecord(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld("")
		k := w.mustOpen(t)
		mustReserve(t, k, 5, 1)
		w.fs.fail = func(_ int, op, _ string) error {
			if op == "sync" {
				return errors.New("killed")
			}
			return nil
		}
		if k.Reserve(6, message(1)) == nil {
			t.Fatal("allowed without a sync")
		}
		w.fs.fail = nil
		k = w.mustOpen(t)
		mustReserve(t, k, 6, 1)
		w.fs = w.fs.crash(rand.New(rand.NewPCG(seed, 1)))
		k = w.mustOpen(t)
		if k.Reserve(6, message(2)) == nil {
			t.Fatalf("seed %d: two messages for slot 6", seed)
		}
	}
}
