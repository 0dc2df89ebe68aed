package xmss

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// sharedFile returns the path of a file relative to the folder two levels above the one that
// LEANSPEC_VECTORS names. The default is the folder shared beside the repository. If there is
// no such file, it calls missing.
func sharedFile(t testing.TB, path string) string {
	t.Helper()
	root := "../../shared"
	if vectors := os.Getenv("LEANSPEC_VECTORS"); vectors != "" {
		root = filepath.Join(vectors, "../..")
	}
	file := filepath.Join(root, path)
	if _, err := os.Stat(file); err != nil {
		missing(t, file)
	}
	return file
}

// missing skips a test whose file does not exist. Under CI it fails the test.
func missing(t testing.TB, file string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s", file)
	}
	t.Skipf("no %s; set LEANSPEC_VECTORS", file)
}

func readJSON(t testing.TB, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// hexBytes is a JSON string of hex digits, with or without 0x.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	return err
}

// testKey derives a key of the Test scheme from a fixed seed.
func testKey(t testing.TB, o KeyGenOptions) *SecretKey {
	t.Helper()
	sk, err := Test.deriveKey(t.Context(), [32]byte{1, 2, 3}, publicParameter{1, 2, 3, 4, 5}, o)
	if err != nil {
		t.Fatal(err)
	}
	return sk
}

// message returns a different message for each number.
func message(n uint64) (m [32]byte) {
	binary.LittleEndian.PutUint64(m[7:], n*0x9e3779b97f4a7c15)
	return m
}

// checkSigns checks that a key signs a slot, and that the signature is valid only for the
// right public key, slot and message.
func checkSigns(t *testing.T, sk *SecretKey, slot uint64) {
	t.Helper()
	msg := message(slot)
	sig, err := sk.SignUnguarded(slot, msg)
	if err != nil {
		t.Fatalf("SignUnguarded(%d): %v", slot, err)
	}
	pk := sk.PublicKey()
	if !sk.scheme.Verify(&pk, slot, msg, sig) {
		t.Fatalf("signature for slot %d is not valid", slot)
	}
	if sk.scheme.Verify(&pk, slot, message(slot+1), sig) {
		t.Errorf("signature for slot %d is valid for another message", slot)
	}
	if sk.scheme.Verify(&pk, slot^1, msg, sig) {
		t.Errorf("signature for slot %d is valid for slot %d", slot, slot^1)
	}
	other := pk
	other.root[7] = koalabear.Add(other.root[7], 1)
	if sk.scheme.Verify(&other, slot, msg, sig) {
		t.Errorf("signature for slot %d is valid under another root", slot)
	}
}

// checkRefuses checks that a key does not sign a slot, for the given reason.
func checkRefuses(t *testing.T, sk *SecretKey, slot uint64, want error) {
	t.Helper()
	if _, err := sk.SignUnguarded(slot, message(slot)); !errors.Is(err, want) {
		t.Errorf("SignUnguarded(%d): error = %v, want %v", slot, err, want)
	}
}

// checkRoundTrip checks that the encoding of a key decodes to the same key.
func checkRoundTrip(t *testing.T, sk *SecretKey) {
	t.Helper()
	b := sk.Bytes()
	again, err := sk.scheme.ParseSecretKey(b)
	if err != nil {
		t.Fatalf("ParseSecretKey: %v", err)
	}
	if string(again.Bytes()) != string(b) {
		t.Error("the encoding of the decoded secret key differs from the input")
	}
	if got, want := again.PublicKey(), sk.PublicKey(); got != want {
		t.Errorf("public key of the decoded key = %v, want %v", got, want)
	}
}

func TestScheme(t *testing.T) {
	tests := []struct {
		scheme                 *Scheme
		name, keyScheme        string
		size, logLifetime      int
		leaves, lifetime, list uint64
	}{
		{Prod, "prod", "SIGTopLevelTargetSumLifetime32Dim46Base8", 2536, 32, 1 << 16, 1 << 32, 1 << 17},
		{Test, "test", "SIGTopLevelTargetSumLifetime8Dim4Base8", 424, 8, 1 << 4, 1 << 8, 1 << 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.scheme
			if got, err := ParseScheme(tt.name); got != s || err != nil {
				t.Errorf("ParseScheme(%q) = %v, %v, want %v", tt.name, got, err, s)
			}
			if got := s.String(); got != tt.name {
				t.Errorf("String() = %q, want %q", got, tt.name)
			}
			if got := s.KeyScheme(); got != tt.keyScheme {
				t.Errorf("KeyScheme() = %q, want %q", got, tt.keyScheme)
			}
			if got := s.SignatureSize(); got != tt.size {
				t.Errorf("SignatureSize() = %d, want %d", got, tt.size)
			}
			if got := s.LogLifetime(); got != tt.logLifetime {
				t.Errorf("LogLifetime() = %d, want %d", got, tt.logLifetime)
			}
			if got := s.LeavesPerBottomTree(); got != tt.leaves {
				t.Errorf("LeavesPerBottomTree() = %d, want %d", got, tt.leaves)
			}
			if got := s.Lifetime(); got != tt.lifetime {
				t.Errorf("Lifetime() = %d, want %d", got, tt.lifetime)
			}
			if got := s.nodeListLimit(); got != tt.list {
				t.Errorf("nodeListLimit() = %d, want %d", got, tt.list)
			}
		})
	}
	if _, err := ParseScheme("toy"); err == nil {
		t.Error(`ParseScheme("toy"): error = nil, want an error`)
	}
}

// TestAlignedWindows has the cases of leanSpec's tests of _expand_activation_time.
func TestAlignedWindows(t *testing.T) {
	tests := []struct{ slot, count, wantStart, wantEnd uint64 }{
		{0, 1, 0, 32},
		{0, 33, 0, 48},
		{15, 2, 0, 32},
		{16, 16, 16, 48},
		{100, 30, 96, 144},
		{230, 26, 224, 256},
		{255, 1, 224, 256},
		{0, 256, 0, 256},
		{1, 255, 0, 256},
	}
	for _, tt := range tests {
		sk := testKey(t, KeyGenOptions{ActivationSlot: tt.slot, NumActiveSlots: tt.count})
		if start, end := sk.ActivationInterval(); start != tt.wantStart || end != tt.wantEnd {
			t.Errorf("key for %d slots from %d is active from %d to %d, want %d to %d",
				tt.count, tt.slot, start, end, tt.wantStart, tt.wantEnd)
		}
		if start, end := sk.PreparedInterval(); start != tt.wantStart || end != tt.wantStart+32 {
			t.Errorf("key for %d slots from %d is prepared from %d to %d, want %d to %d",
				tt.count, tt.slot, start, end, tt.wantStart, tt.wantStart+32)
		}
		checkRoundTrip(t, sk)
	}
}

func TestWindowsOutsideLifetime(t *testing.T) {
	for _, o := range []KeyGenOptions{
		{ActivationSlot: 0, NumActiveSlots: 0},
		{ActivationSlot: 0, NumActiveSlots: 257},
		{ActivationSlot: 250, NumActiveSlots: 7},
		{ActivationSlot: 256, NumActiveSlots: 1},
		{ActivationSlot: 1, NumActiveSlots: 1<<64 - 1},
		{ActivationSlot: 1<<64 - 1, NumActiveSlots: 2},
	} {
		for _, o.Short = range []bool{false, true} {
			if _, err := Test.GenerateKey(t.Context(), o); err == nil {
				t.Errorf("key for %d slots from %d (short: %v): error = nil, want an error", o.NumActiveSlots, o.ActivationSlot, o.Short)
			}
		}
	}
}

func TestAdvancePreparation(t *testing.T) {
	sk := testKey(t, KeyGenOptions{ActivationSlot: 32, NumActiveSlots: 80})
	for tree := uint64(2); tree <= 5; tree++ {
		for slot := tree * 16; slot < (tree+2)*16; slot++ {
			checkSigns(t, sk, slot)
		}
		checkRefuses(t, sk, 31, ErrOutsideWindow)
		checkRefuses(t, sk, 112, ErrOutsideWindow)
		if tree > 2 {
			checkRefuses(t, sk, tree*16-1, ErrNotPrepared)
		}
		if tree < 5 {
			checkRefuses(t, sk, (tree+2)*16, ErrNotPrepared)
		}
		checkRoundTrip(t, sk)

		next, err := sk.AdvancePreparation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if atEnd := tree == 5; (next == sk) != atEnd {
			t.Fatalf("window from tree %d: same key = %v, want %v", tree, next == sk, atEnd)
		}
		sk = next
	}
}

func TestShortKeys(t *testing.T) {
	tests := []struct {
		name        string
		slot, count uint64
	}{
		{"one slot", 5, 1},
		{"last slot of a tree", 15, 1},
		{"two slots across a boundary", 15, 2},
		{"within a tree", 33, 9},
		{"odd ends across two trees", 21, 22},
		{"across three trees", 30, 19},
		{"across five trees", 45, 70},
		{"aligned", 64, 48},
		{"first slot", 0, 1},
		{"last slot", 255, 1},
		{"in the last tree", 243, 10},
		{"up to the end", 200, 56},
		{"whole lifetime", 0, 256},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sk := testKey(t, KeyGenOptions{ActivationSlot: tt.slot, NumActiveSlots: tt.count, Short: true})
			end := tt.slot + tt.count
			if from, to := sk.ActivationInterval(); from != tt.slot || to != end {
				t.Errorf("active from %d to %d, want %d to %d", from, to, tt.slot, end)
			}
			pk := sk.PublicKey()
			for slot := tt.slot; slot < end; slot++ {
				if _, prepared := sk.PreparedInterval(); slot >= prepared {
					checkRefuses(t, sk, slot, ErrNotPrepared)
					next, err := sk.AdvancePreparation(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					sk = next
					checkRoundTrip(t, sk)
				}
				checkSigns(t, sk, slot)
			}
			if got := sk.PublicKey(); got != pk {
				t.Errorf("public key at the end of the window = %v, want %v", got, pk)
			}
			for _, slot := range []uint64{tt.slot - 1, end, end + 16, 256, 1<<64 - 1} {
				checkRefuses(t, sk, slot, ErrOutsideWindow)
			}
			if next, err := sk.AdvancePreparation(t.Context()); next != sk || err != nil {
				t.Errorf("AdvancePreparation at the end: same key = %v, error = %v, want true and nil", next == sk, err)
			}
		})
	}
}

// TestShortKeyHoldsNothingElse checks that a short key has only the leaves of its window.
func TestShortKeyHoldsNothingElse(t *testing.T) {
	var done, total uint64
	sk := testKey(t, KeyGenOptions{ActivationSlot: 21, NumActiveSlots: 6, Short: true,
		Progress: func(d, n uint64) { done, total = d, n }})
	if done != 6 || total != 6 {
		t.Errorf("progress at the end = %d of %d leaves, want 6 of 6", done, total)
	}
	if !sk.rightBottomTree.empty() {
		t.Errorf("right bottom tree has %d layers, want 0", len(sk.rightBottomTree.layers))
	}
	leaves := sk.leftBottomTree.layers[0]
	if leaves.start != 20 || len(leaves.nodes) != 8 {
		t.Errorf("%d leaves from %d, want 8 from 20", len(leaves.nodes), leaves.start)
	}
	secrets := newPRF(sk.prfKey)
	if leaves.nodes[0] != secrets.pad(0, 20) || leaves.nodes[7] != secrets.pad(0, 27) {
		t.Error("leaves 20 and 27 are computed, want pads")
	}
}

func TestKeysAreDeterministicOnAnyNumberOfWorkers(t *testing.T) {
	o := KeyGenOptions{ActivationSlot: 7, NumActiveSlots: 90, Short: true, Workers: 1}
	want := testKey(t, o).Bytes()
	for o.Workers = range 6 {
		if string(testKey(t, o).Bytes()) != string(want) {
			t.Errorf("the key of %d workers differs from the key of one worker", o.Workers)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	a, err := Test.GenerateKey(t.Context(), KeyGenOptions{NumActiveSlots: 16})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Test.GenerateKey(t.Context(), KeyGenOptions{NumActiveSlots: 16})
	if err != nil {
		t.Fatal(err)
	}
	if a.prfKey == b.prfKey || a.parameter == b.parameter {
		t.Error("two keys have the same seed or parameter")
	}
	checkSigns(t, a, 3)

	_, err = Test.GenerateKey(t.Context(), KeyGenOptions{NumActiveSlots: 16, Rand: strings.NewReader("too short")})
	if err == nil {
		t.Error("GenerateKey with 9 bytes of randomness: error = nil, want an error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Test.GenerateKey(ctx, KeyGenOptions{NumActiveSlots: 16}); !errors.Is(err, context.Canceled) {
		t.Errorf("GenerateKey with a canceled context: error = %v, want %v", err, context.Canceled)
	}
}

func TestVerifyRejects(t *testing.T) {
	sk := testKey(t, KeyGenOptions{NumActiveSlots: 32})
	pk, msg := sk.PublicKey(), message(1)
	sig, err := sk.SignUnguarded(9, msg)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		ok   bool
	}{
		{"other scheme", Prod.Verify(&pk, 9, msg, sig)},
		{"no public key", Test.Verify(nil, 9, msg, sig)},
		{"no signature", Test.Verify(&pk, 9, msg, nil)},
		{"zero signature", Test.Verify(&pk, 9, msg, new(Signature))},
		{"slot beyond the lifetime", Test.Verify(&pk, 9+256, msg, sig)},
		{"slot beyond 32 bits", Test.Verify(&pk, 9+1<<32, msg, sig)},
	}
	for _, tt := range tests {
		if tt.ok {
			t.Errorf("%s: valid, want invalid", tt.name)
		}
	}

	// A signature with any byte changed must be invalid.
	b := sig.Bytes()
	for i := range b {
		changed := []byte(string(b))
		changed[i] ^= 1
		if sig, err := Test.ParseSignature(changed); err == nil && Test.Verify(&pk, 9, msg, sig) {
			t.Errorf("signature with byte %d changed is valid", i)
		}
	}
}

func TestVerifyBatch(t *testing.T) {
	sk := testKey(t, KeyGenOptions{NumActiveSlots: 32})
	pk := sk.PublicKey()
	items := make([]Verification, 20)
	for i := range items {
		slot := uint64(i)
		sig, err := sk.SignUnguarded(slot, message(slot))
		if err != nil {
			t.Fatal(err)
		}
		items[i] = Verification{&pk, slot, message(slot), sig}
		if i%3 == 0 {
			items[i].Message[0] ^= 1
		}
	}
	ok := make([]bool, len(items))
	Test.VerifyBatch(items, ok)
	for i, got := range ok {
		if want := i%3 != 0; got != want {
			t.Errorf("item %d: valid = %v, want %v", i, got, want)
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	sk := testKey(t, KeyGenOptions{NumActiveSlots: 32})
	pk := sk.PublicKey()
	sig, err := sk.SignUnguarded(3, message(3))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { Test.Verify(&pk, 3, message(3), sig) }); n != 0 {
		t.Errorf("Verify allocates %v times, want 0", n)
	}
	secrets := newPRF(sk.prfKey)
	if n := testing.AllocsPerRun(10, func() { sk.leaf(secrets, 3) }); n != 0 {
		t.Errorf("leaf allocates %v times, want 0", n)
	}
	var rho randomness
	msg := message(3)
	if n := testing.AllocsPerRun(10, func() { sk.findCodeword(secrets, 3, &msg, &rho) }); n != 0 {
		t.Errorf("findCodeword allocates %v times, want 0", n)
	}
}
