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
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"pgregory.net/rapid"
)

// The two copies of the record of the key in most tests.
const (
	beside = "/keys/a.ssz.01020000.guard"
	inData = "/data/guard/0102"
)

var public = PublicKey{1, 2}

func beforeGenesis() (slot uint64, begun bool) { return 0, false }

func message(n byte) [32]byte { return [32]byte{n} }

// fixture is one key, its files and the log.
type fixture struct {
	fs       *memFS
	dataDir  string
	slot     uint64 // current
	begun    bool   // genesis has passed; true after the first open
	lines    bytes.Buffer
	guard    *Guard
	readOnly bool // the folder of the keys
}

func newFixture(dataDir string) *fixture {
	return &fixture{fs: newMemFS("/keys"), dataDir: dataDir, slot: 100}
}

// open opens the key, as after a restart.
func (w *fixture) open() (*Key, error) {
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

// protect makes the folder of the keys read-only if w.readOnly is set.
func (w *fixture) protect() {
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

func (w *fixture) mustOpen(t testing.TB) *Key {
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
		t.Fatalf("Reserve(%d, message %d) = %v, want no error", slot, m, err)
	}
}

func mustRefuse(t testing.TB, k *Key, slot uint64, m byte) {
	t.Helper()
	var refused *RefusedError
	if err := k.Reserve(slot, message(m)); !errors.As(err, &refused) {
		t.Errorf("Reserve(%d, message %d) = %v, want a RefusedError", slot, m, err)
	}
}

func TestReserve(t *testing.T) {
	for _, dataDir := range []string{"", "/data", "/deep/er/data"} {
		w := newFixture(dataDir)
		k := w.mustOpen(t)
		if r := k.Record(); r.Kind != Unused {
			t.Errorf("record of a new key = %s, want %s", r, Record{})
		}
		mustReserve(t, k, 0, 1)
		for _, restart := range []bool{false, true} {
			if restart {
				k = w.mustOpen(t)
			}
			mustReserve(t, k, 0, 1)
			mustRefuse(t, k, 0, 2)
		}
		mustReserve(t, k, 7, 3)
		for _, restart := range []bool{false, true} {
			if restart {
				k = w.mustOpen(t)
			}
			mustReserve(t, k, 7, 3)
			mustRefuse(t, k, 7, 4)
			mustRefuse(t, k, 6, 3)
			mustRefuse(t, k, 0, 1) // not in the record any more
		}
		var refused *RefusedError
		if err := k.Reserve(7, message(4)); !errors.As(err, &refused) || !refused.EarlierRun {
			t.Errorf("Reserve = %v, want a refusal with EarlierRun set", err)
		}
		mustReserve(t, k, 8, 4)
		if err := k.Reserve(8, message(5)); !errors.As(err, &refused) || refused.EarlierRun {
			t.Errorf("Reserve = %v, want a refusal without EarlierRun", err)
		}
		w.guard.Close()
		if err := k.Reserve(9, message(1)); !errors.Is(err, errClosed) {
			t.Errorf("Reserve after Close = %v, want %v", err, errClosed)
		}
	}
}

// TestRepeatedReserve checks that a message that is already recorded is not written again.
func TestRepeatedReserve(t *testing.T) {
	w := newFixture("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 1, 1)
	before := w.fs.ops
	mustReserve(t, k, 1, 1)
	mustRefuse(t, k, 1, 2)
	if w.fs.ops != before {
		t.Errorf("operations = %d, want 0", w.fs.ops-before)
	}
}

// TestCopies checks that one of the two copies of a record is enough.
func TestCopies(t *testing.T) {
	for name, tt := range map[string]struct {
		part string // of the path of the changed copy
		old  bool   // an older version replaces it; otherwise it is removed
		log  string
	}{
		"data folder restored": {inData, true, "was behind its copy"},
		"keys restored":        {beside, true, "was behind its copy"},
		"data folder lost":     {inData, false, "was restored from its copy"},
		"copy deleted":         {beside, false, "was restored from its copy"},
	} {
		w := newFixture("/data")
		k := w.mustOpen(t)
		mustReserve(t, k, 10, 1)
		old := w.fs.files(tt.part)
		if len(old) != 1 {
			t.Fatalf("%s: files = %v, want one", name, old)
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
			t.Errorf("%s: log = %q, want %q", name, w.lines.String(), tt.log)
		}
		mustRefuse(t, k, 20, 2)
		mustRefuse(t, k, 11, 2)
		mustReserve(t, k, 20, 1)
		// The copy is repaired, so the other one may be lost.
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
			t.Errorf("%s: log with intact records = %q, want no line", name, w.lines.String())
		}
	}
}

// TestMissing checks that a key without a record after genesis signs nothing up to the slot after
// the current one, also after a restart or a power cut.
func TestMissing(t *testing.T) {
	for _, dataDir := range []string{"", "/data"} {
		for _, lost := range []bool{true, false} { // the record was lost, or never existed
			w := newFixture(dataDir)
			w.slot, w.begun = 41, true
			if lost {
				w.begun = false
				mustReserve(t, w.mustOpen(t), 40, 1)
				if got := w.guard.Missing(); len(got.Keys) > 0 {
					t.Errorf("missing before genesis = %+v, want no key", got)
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
			for _, again := range []string{"the first start", "a restart", "a power cut"} {
				switch again {
				case "a restart":
					k = w.mustOpen(t)
				case "a power cut":
					w.fs = w.fs.crash(rand.New(rand.NewPCG(1, 1)))
					k = w.mustOpen(t)
				}
				if got := w.guard.Missing(); again != "the first start" && len(got.Keys) > 0 {
					t.Errorf("missing after %s = %+v, want no key", again, got)
				}
				if w.lines.Len() > 0 {
					t.Errorf("log after %s = %q, want no line", again, w.lines.String())
				}
				for _, slot := range []uint64{40, 41, 42} {
					if !k.ClosedAtStart(slot) {
						t.Errorf("ClosedAtStart(%d) after %s = false, want true", slot, again)
					}
					mustRefuse(t, k, slot, 1)
				}
			}
			if k.ClosedAtStart(43) {
				t.Error("ClosedAtStart(43) = true, want false")
			}
			mustReserve(t, k, 43, 1)
			if k = w.mustOpen(t); k.ClosedAtStart(43) {
				t.Error("ClosedAtStart(43) after a signature = true, want false")
			}
		}
	}
}

// TestMissingReadsClockUnderLock checks that Open reads the clock after it has the locks, because
// another process may sign until then.
func TestMissingReadsClockUnderLock(t *testing.T) {
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

// TestOldRecordBesideReadOnlyKey checks that a record in a read-only folder does not count without
// its copy, because it may be from before the folder became read-only.
func TestOldRecordBesideReadOnlyKey(t *testing.T) {
	w := newFixture("/data")
	mustReserve(t, w.mustOpen(t), 10, 1)
	w.readOnly = true
	k := w.mustOpen(t)
	for slot := uint64(98); slot <= 100; slot++ {
		mustReserve(t, k, slot, 1)
	}
	k = w.mustOpen(t)
	if lines := w.lines.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, "not writable") {
		t.Errorf("log = %q, want one line that the folder is not writable", lines)
	}
	mustRefuse(t, k, 100, 2)
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

	// Once the folder is writable again, Open updates the record there.
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
	w := newFixture("/data")
	mustReserve(t, w.mustOpen(t), 10, 1)
	other := newFixture("/data")
	mustReserve(t, other.mustOpen(t), 10, 2)
	w.fs.set(other.fs.files(inData))
	_, err := w.open()
	var failure *config.Error
	if !errors.As(err, &failure) || !errors.Is(err, errConflict) || !strings.Contains(err.Error(), "slot 10") {
		t.Errorf("Open = %v, want a conflict about slot 10", err)
	}
}

// TestKeyReplaced checks that a new key at an old path has its own record.
func TestKeyReplaced(t *testing.T) {
	w := newFixture("")
	mustReserve(t, w.mustOpen(t), 10, 1)
	old := public
	defer func() { public = old }()
	public = PublicKey{9, 9}
	w.begun = false // a new key is for a new genesis
	k := w.mustOpen(t)
	mustReserve(t, k, 1, 2)
	public = old
	mustRefuse(t, w.mustOpen(t), 10, 2)

	// A record of another key under the name of this key's record is refused.
	for _, data := range w.fs.files(beside) {
		w.fs.set(map[string][]byte{"/keys/a.ssz.09090000.guard": data})
	}
	public = PublicKey{9, 9}
	if _, err := w.open(); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("Open = %v, want an error about another key", err)
	}
}

// TestTorn damages a record at every byte and cuts it at several sizes, and checks that the key
// never signs a second message for a slot.
func TestTorn(t *testing.T) {
	w := newFixture("")
	k := w.mustOpen(t)
	for slot := uint64(50); slot < 52; slot++ { // even and odd, so that each cell holds the latest record once
		mustReserve(t, k, slot, 1)
		good := w.fs.files(beside)[beside]
		for c := range 2 {
			for i := range cellSize {
				bad := bytes.Clone(good)
				bad[c*blockSize+i] ^= 0x10
				checkDamaged(t, fmt.Sprintf("byte %d of cell %d", i, c), bad, slot)
			}
		}
		for _, size := range []int{1, 5, 127, 128, 129, 4095, 4096, 4097, 4096 + 127} {
			checkDamaged(t, fmt.Sprintf("cut at %d", size), good[:size], slot)
		}
		if len(good) != fileSize {
			t.Fatalf("file size = %d, want %d", len(good), fileSize)
		}
	}
}

// checkDamaged opens a key with a damaged record and checks that it does not sign a second message
// for a slot.
func checkDamaged(t *testing.T, what string, data []byte, slot uint64) {
	t.Helper()
	w := newFixture("")
	w.fs.set(map[string][]byte{beside: data})
	k, err := w.open()
	if len(data) < cellSize {
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), beside) || !strings.Contains(err.Error(), "keys import") {
			t.Errorf("%s: Open = %v, want an error that names the file and keys import", what, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: Open = %v, want no error", what, err)
		return
	}
	mustRefuse(t, k, slot, 2)
	mustRefuse(t, k, w.slot, 2) // the damaged cell may have held any slot up to the current one
	mustReserve(t, k, w.slot+1, 2)
	if !strings.Contains(w.lines.String(), "damaged") {
		t.Errorf("%s: log = %q, want a line about the damage", what, w.lines.String())
	}
}

// TestTornWithCopy checks that an intact copy replaces a record with a damaged cell.
func TestTornWithCopy(t *testing.T) {
	w := newFixture("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 10, 1)
	mustReserve(t, k, 11, 1)
	for c := range 2 {
		data := bytes.Clone(w.fs.files(beside)[beside])
		data[c*blockSize+30] ^= 1
		w.fs.set(map[string][]byte{beside: data})
		k = w.mustOpen(t)
		mustReserve(t, k, 11, 1)
		mustRefuse(t, k, 11, 2)
	}
	mustReserve(t, k, 12, 1)

	// If both cells are damaged, Open fails.
	w.fs.set(map[string][]byte{beside: make([]byte, fileSize)})
	if _, err := w.open(); !errors.Is(err, errDamaged) {
		t.Errorf("Open = %v, want %v", err, errDamaged)
	}
}

// TestTornWithOldCopy checks that an older copy does not replace the record of a damaged cell.
func TestTornWithOldCopy(t *testing.T) {
	w := newFixture("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 10, 1)
	old := w.fs.files(inData)
	for slot := uint64(11); slot < 14; slot++ {
		mustReserve(t, k, slot, 1)
	}
	w.fs.set(old)
	data := bytes.Clone(w.fs.files(beside)[beside])
	latest := cell{sequence: k.sequence}
	data[latest.offset()] ^= 1 // slot 13 is lost
	w.fs.set(map[string][]byte{beside: data})
	k = w.mustOpen(t)
	mustRefuse(t, k, 13, 2)
	mustReserve(t, k, w.slot+1, 2)
}

// TestOneAhead checks that after a crash between the writes of the two copies the higher record
// applies, without a warning.
func TestOneAhead(t *testing.T) {
	for _, part := range []string{beside, inData} {
		w := newFixture("/data")
		k := w.mustOpen(t)
		mustReserve(t, k, 10, 1)
		behind := w.fs.files(part)
		mustReserve(t, k, 11, 1)
		w.fs.set(behind)
		k = w.mustOpen(t)
		if w.lines.Len() > 0 {
			t.Errorf("log = %q, want no line", w.lines.String())
		}
		mustReserve(t, k, 11, 1)
		mustRefuse(t, k, 11, 2)
	}
}

func TestVersion(t *testing.T) {
	w := newFixture("")
	c := cell{Record{}, 0, public}
	data := encodeFile(public, Record{}, 0)
	encoded := c.encode()
	encoded[8] = 2
	copy(data, seal(encoded))
	w.fs.set(map[string][]byte{beside: data})
	if _, err := w.open(); !errors.Is(err, errVersion) || !strings.Contains(err.Error(), "unknown version 2") {
		t.Errorf("Open = %v, want %v", err, errVersion)
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
		w := newFixture("")
		w.fs.fail = deny
		_, err := w.open()
		var failure *config.Error
		if !errors.As(err, &failure) || failure.File != "/keys" || failure.Fix != setting.DataDir {
			t.Errorf("Open = %v, want an error about /keys that is fixed by the data folder", err)
		}
		w = newFixture("/data")
		for _, writable := range []bool{false, true, false} {
			w.fs.fail = deny
			if writable {
				w.fs.fail = nil
			}
			k := w.mustOpen(t)
			if warned := strings.Contains(w.lines.String(), "not writable"); warned == writable {
				t.Errorf("writable = %v: log = %q, want a warning = %v", writable, w.lines.String(), !writable)
			}
			w.slot++
			mustReserve(t, k, w.slot, 1)
			mustRefuse(t, w.mustOpen(t), w.slot, 2)
		}
		// The data folder must be writable.
		w.fs.fail = func(_ int, _, name string) error {
			if strings.HasPrefix(name, "/data/") {
				return denied
			}
			return nil
		}
		if _, err := w.open(); !errors.As(err, &failure) || !strings.HasPrefix(failure.File, "/data/") || failure.Fix != setting.DataDir {
			t.Errorf("Open = %v, want an error about /data that is fixed by the data folder", err)
		}
	}
}

// TestFaults lets each operation fail once, and checks that Reserve either fails or has made the
// record durable.
func TestFaults(t *testing.T) {
	errFault := errors.New("input/output error")
	for _, dataDir := range []string{"", "/data"} {
		for at := 1; ; at++ {
			w := newFixture(dataDir)
			w.fs.fail = func(n int, op, name string) error {
				if n == at {
					return errFault
				}
				return nil
			}
			released, reached := signUntilFailure(w)
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

// TestPowerCut cuts the power before each operation, and checks that the record covers everything
// that was signed.
func TestPowerCut(t *testing.T) {
	for _, dataDir := range []string{"", "/data"} {
		for at := 1; ; at++ {
			reachedEnd := false
			for seed := range uint64(20) {
				w := newFixture(dataDir)
				w.fs.fail = func(n int, op, name string) error {
					if n >= at {
						return errPowerCut
					}
					return nil
				}
				released, reached := signUntilFailure(w)
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

// signUntilFailure opens a key three times, signs some slots and removes a copy. It returns the
// message that was signed for each slot, and whether an operation failed. Slot 0 is in the result
// if the key signed after a failure.
func signUntilFailure(w *fixture) (released map[uint64]byte, failed bool) {
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
				// After a failure the key must not sign.
				if k.Reserve(slot, message(1)) == nil || k.Reserve(slot+1, message(1)) == nil {
					released[0] = 1
				}
				return released, true
			}
			released[slot] = 1
		}
		if round == 1 && w.dataDir != "" {
			w.fs.set(map[string][]byte{beside: nil})
		}
	}
	return released, false
}

// checkReleased opens the key after a fault, and checks that it refuses a second message for each
// signed slot.
func checkReleased(t *testing.T, w *fixture, released map[uint64]byte) {
	t.Helper()
	if released[0] != 0 {
		t.Fatal("Reserve succeeded after a failed write, want an error")
	}
	k, err := w.open()
	if err != nil {
		t.Fatalf("Open after the fault = %v, want no error", err)
	}
	for slot := range released {
		if err := k.Reserve(slot, message(2)); err == nil {
			t.Fatalf("a second message for slot %d was reserved, want a refusal; record at the start = %s", slot, k.loaded)
		}
	}
	mustReserve(t, k, w.slot+1, 2)
}

// TestSyncOrder checks that Reserve returns after both copies are durable.
func TestSyncOrder(t *testing.T) {
	w := newFixture("/data")
	k := w.mustOpen(t)
	mustReserve(t, k, 5, 1)
	for path, node := range w.fs.live {
		if strings.HasSuffix(path, ".guard") && !bytes.Equal(node.live, node.durable) {
			t.Errorf("%s is not synced after Reserve", path)
		}
	}
	// A failed sync of either copy is an error.
	for _, part := range []string{beside, inData} {
		w := newFixture("/data")
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
			t.Errorf("Reserve = %v, want a WriteError for %s", err, part)
		}
		w.fs.fail = nil
		if err := k.Reserve(6, message(1)); !errors.As(err, &failure) {
			t.Errorf("Reserve after a failed sync = %v, want the WriteError again", err)
		}
	}
}

// TestRemovedWhileOpen checks that Reserve creates a record file again that was removed while the
// guard was open.
func TestRemovedWhileOpen(t *testing.T) {
	w := newFixture("/data")
	k := w.mustOpen(t)
	for slot := range uint64(4) {
		mustReserve(t, k, slot, 1)
		for path := range w.fs.files(".guard") {
			w.fs.set(map[string][]byte{path: nil})
		}
		mustReserve(t, k, slot+10, 1)
		mustRefuse(t, w.mustOpen(t), slot+10, 2)
		w.fs.set(map[string][]byte{beside: nil, inData: nil})
		w = newFixture("/data")
		k = w.mustOpen(t)
	}
}

// TestAhead checks the warning about a record that is ahead of the clock.
func TestAhead(t *testing.T) {
	w := newFixture("")
	mustReserve(t, w.mustOpen(t), 100, 1)
	w.mustOpen(t)
	if w.lines.Len() > 0 {
		t.Errorf("log with a record of the current slot = %q, want no line", w.lines.String())
	}
	w.slot = 99
	mustRefuse(t, w.mustOpen(t), 100, 2)
	if lines := w.lines.String(); !strings.Contains(lines, "next_slot=101") || !strings.Contains(lines, "genesis command") {
		t.Errorf("log = %q, want a warning about slot 101", lines)
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
		w := newFixture("/data")
		k := w.mustOpen(t)
		if err := k.Raise(tt.from); err != nil {
			t.Fatal(err)
		}
		if err := k.Raise(tt.to); (err != nil) != tt.fails {
			t.Errorf("%s: Raise = %v, want an error = %v", name, err, tt.fails)
		}
		if got := w.mustOpen(t).Record(); got != tt.want {
			t.Errorf("%s: record = %s, want %s", name, got, tt.want)
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
			t.Errorf("SlotsLeft(%s, %d, %d, %d) = %d, want %d", tt.r, tt.start, tt.end, tt.now, got, tt.want)
		}
	}
}

// TestNeverTwice checks that no sequence of signatures, crashes, lost records, folders that become
// read-only, and restores of one of the two copies makes a key sign two messages for a slot.
func TestNeverTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newFixture(rapid.SampledFrom([]string{"", "/data"}).Draw(t, "data"))
		signed := map[uint64]byte{}
		w.slot = 0
		var k *Key
		reopen := func() {
			var err error
			if k, err = w.open(); err != nil {
				t.Fatalf("Open = %v, want no error", err)
			}
		}
		reopen()
		var old map[string][]byte // a backup of one copy
		restorable := true
		t.Repeat(map[string]func(*rapid.T){
			"sign": func(t *rapid.T) {
				slot := rapid.Uint64Range(0, w.slot).Draw(t, "slot")
				m := byte(rapid.IntRange(1, 2).Draw(t, "message"))
				if k.Reserve(slot, message(m)) != nil {
					return
				}
				if before, ok := signed[slot]; ok && before != m {
					t.Fatalf("slot %d: signed messages %d and %d, want one", slot, before, m)
				}
				signed[slot] = m
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
				// The crash is in Reserve or in Open.
				slot := w.slot
				if k.Reserve(slot, message(1)) == nil {
					if before, ok := signed[slot]; ok && before != 1 {
						t.Fatalf("slot %d: signed messages %d and 1, want one", slot, before)
					}
					signed[slot] = 1
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
					t.Skip("no writable folder")
				}
				w.fs.fail, w.readOnly = nil, !w.readOnly
				old, restorable = nil, false // the copy beside the key is old as well
				reopen()
			},
			"lose a copy": func(t *rapid.T) {
				if w.dataDir == "" {
					t.Skip("there is only one copy")
				}
				part := rapid.SampledFrom([]string{beside, inData}).Draw(t, "copy")
				for path := range w.fs.files(part) {
					w.fs.set(map[string][]byte{path: nil})
				}
				reopen()
			},
			"back up a copy": func(t *rapid.T) {
				old = w.fs.files(rapid.SampledFrom([]string{beside, inData}).Draw(t, "copy"))
			},
			"restore a copy": func(t *rapid.T) {
				if !restorable || w.dataDir == "" || len(old) == 0 {
					t.Skip("no backup to restore")
				}
				w.fs.set(old)
				reopen()
			},
			"restart": func(*rapid.T) { reopen() },
		})
	})
}

// onDisk returns options for n keys in files of the operating system.
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
	// A link to a key has the same record.
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
		t.Errorf("record = %s, want slot 9", record)
	}
	o.Keys[0].Path = link
	for _, dataDir := range []string{"", o.DataDir} {
		if got, found, err := Read(o.Keys[0], dataDir); err != nil || !found || got != record {
			t.Errorf("Read = %s, %v, %v, want %s, true, no error", got, found, err, record)
		}
	}
	err = filepath.WalkDir(filepath.Dir(link), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if strings.HasSuffix(path, ".guard") && info.Mode() != 0o600 || strings.HasSuffix(path, ".new") {
			t.Errorf("%s has mode %s, want mode 0600 and no temporary file", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if unknown, found, err := Read(KeyFile{Path: link, PublicKey: PublicKey{77}}, ""); err != nil || found || unknown.Kind != Unused {
		t.Errorf("Read of a key that was never opened = %s, %v, %v, want no record", unknown, found, err)
	}
}

// TestNoKeys checks that Open without keys creates no file.
func TestNoKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	g, err := Open(Options{DataDir: dir, Log: slog.New(slog.DiscardHandler), Now: beforeGenesis})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of the data folder = %v, want %v", err, fs.ErrNotExist)
	}
}

func BenchmarkReserve(b *testing.B) {
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

// benchmark reserves one slot with all keys, 32 at a time as the validators do.
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

// TestUnsyncedRecord checks that a record that was written but not synced, by a process that was
// killed between the two, is synced before Reserve relies on it.
func TestUnsyncedRecord(t *testing.T) {
	for seed := range uint64(200) {
		w := newFixture("")
		k := w.mustOpen(t)
		mustReserve(t, k, 5, 1)
		w.fs.fail = func(_ int, op, _ string) error {
			if op == "sync" {
				return errors.New("killed")
			}
			return nil
		}
		if k.Reserve(6, message(1)) == nil {
			t.Fatal("Reserve succeeded without a sync, want an error")
		}
		w.fs.fail = nil
		k = w.mustOpen(t)
		mustReserve(t, k, 6, 1)
		w.fs = w.fs.crash(rand.New(rand.NewPCG(seed, 1)))
		k = w.mustOpen(t)
		if k.Reserve(6, message(2)) == nil {
			t.Fatalf("seed %d: two messages were reserved for slot 6, want one", seed)
		}
	}
}
