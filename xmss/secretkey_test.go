package xmss

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// TestParseCorruptSecretKey damages keys so that their encoding remains valid.
func TestParseCorruptSecretKey(t *testing.T) {
	aligned := KeyGenOptions{ActivationSlot: 16, NumActiveSlots: 48}
	short := KeyGenOptions{ActivationSlot: 21, NumActiveSlots: 6, Short: true}
	tests := []struct {
		name    string
		options KeyGenOptions
		damage  func(sk *SecretKey)
	}{
		{"seed", aligned, func(sk *SecretKey) { sk.prfKey[31] ^= 1 }},
		{"parameter", aligned, func(sk *SecretKey) { sk.parameter[4] ^= 1 }},
		{"empty window", aligned, func(sk *SecretKey) { sk.numActiveSlots = 0 }},
		{"window beyond lifetime", aligned, func(sk *SecretKey) { sk.numActiveSlots = 241 }},
		{"window overflows", aligned, func(sk *SecretKey) { sk.numActiveSlots = 1<<64 - 8 }},
		{"window from beyond lifetime", aligned, func(sk *SecretKey) { sk.activationSlot = 256 }},
		{"window wider than the top tree", aligned, func(sk *SecretKey) { sk.numActiveSlots = 80 }},
		{"window before the top tree", KeyGenOptions{ActivationSlot: 64, NumActiveSlots: 32}, func(sk *SecretKey) { sk.activationSlot, sk.numActiveSlots = 32, 64 }},
		{"short window wider than its leaves", short, func(sk *SecretKey) { sk.numActiveSlots = 8 }},
		{"short window before its leaves", short, func(sk *SecretKey) { sk.activationSlot, sk.numActiveSlots = 19, 8 }},
		{"pad taken for a leaf", short, func(sk *SecretKey) { sk.activationSlot = 20 }},
		{"index of bottom trees too small", aligned, func(sk *SecretKey) { sk.leftIndex-- }},
		{"index of bottom trees too large", aligned, func(sk *SecretKey) { sk.leftIndex++ }},
		{"index of bottom trees at the end", aligned, func(sk *SecretKey) { sk.leftIndex = 15 }},
		{"index of bottom trees overflows", aligned, func(sk *SecretKey) { sk.leftIndex = 1<<64 - 1 }},
		{"bottom trees swapped", aligned, func(sk *SecretKey) {
			sk.leftBottomTree, sk.rightBottomTree = sk.rightBottomTree, sk.leftBottomTree
		}},
		{"left bottom tree missing", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers = nil }},
		{"right bottom tree missing", aligned, func(sk *SecretKey) { sk.rightBottomTree.layers = nil }},
		{"right bottom tree too many", short, func(sk *SecretKey) { sk.rightBottomTree = sk.leftBottomTree }},
		{"top tree missing", aligned, func(sk *SecretKey) { sk.topTree.layers = nil }},
		{"leaf", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers[0].nodes[0][0] ^= 1 }},
		{"last leaf", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers[0].nodes[15][0] ^= 1 }},
		{"sibling", aligned, func(sk *SecretKey) { sk.rightBottomTree.layers[1].nodes[1][0] ^= 1 }},
		{"bottom tree root", aligned, func(sk *SecretKey) { sk.rightBottomTree.layers[4].nodes[0][0] ^= 1 }},
		{"bottom tree with a padded root", aligned, func(sk *SecretKey) {
			sk.rightBottomTree.layers[4].nodes = append(sk.rightBottomTree.layers[4].nodes, hashDigest{})
			sk.rightBottomTree.layers[4].start = 2
		}},
		{"leaf of the top tree", aligned, func(sk *SecretKey) { sk.topTree.layers[0].nodes[1][0] ^= 1 }},
		{"pad of the top tree", aligned, func(sk *SecretKey) { sk.topTree.layers[3].nodes[1][0] ^= 1 }},
		{"root", aligned, func(sk *SecretKey) { sk.topTree.layers[4].nodes[0][0] ^= 1 }},
		{"layer without nodes", aligned, func(sk *SecretKey) { sk.topTree.layers[4].nodes = nil }},
		{"layer cut short", aligned, func(sk *SecretKey) {
			l := &sk.leftBottomTree.layers[1]
			l.nodes = l.nodes[:len(l.nodes)-2]
		}},
		{"leaves cut to an odd number", aligned, func(sk *SecretKey) {
			l := &sk.leftBottomTree.layers[0]
			l.nodes = l.nodes[:len(l.nodes)-1]
		}},
		{"layer moved", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers[2].start += 2 }},
		{"leaves moved far away", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers[0].start = 1<<64 - 2 }},
		{"leaves moved to an odd index", aligned, func(sk *SecretKey) { sk.leftBottomTree.layers[0].start-- }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sk := testKey(t, tt.options)
			if _, err := Test.ParseSecretKey(sk.Bytes()); err != nil {
				t.Fatalf("undamaged key: %v", err)
			}
			tt.damage(sk)
			if _, err := Test.ParseSecretKey(sk.Bytes()); !errors.Is(err, ErrCorruptKey) {
				t.Errorf("error = %v, want %v", err, ErrCorruptKey)
			}
		})
	}
}

// TestParseMalformed changes valid encodings to invalid ones.
func TestParseMalformed(t *testing.T) {
	sk := testKey(t, KeyGenOptions{NumActiveSlots: 32})
	pk := sk.PublicKey().Bytes()
	sig, err := sk.SignUnguarded(0, message(0))
	if err != nil {
		t.Fatal(err)
	}
	layer := sk.leftBottomTree.layers[0]
	parsers := []struct {
		name  string
		valid []byte
		parse func(b []byte) error
		wrong map[int]uint32 // by offset, words that make the encoding invalid
	}{
		{"PublicKey", pk[:],
			func(b []byte) error { _, err := ParsePublicKey(b); return err },
			map[int]uint32{0: koalabear.P, 48: 1<<32 - 1}},
		{"Signature", sig.Bytes(),
			func(b []byte) error { _, err := Test.ParseSignature(b); return err },
			map[int]uint32{0: 37, 4: koalabear.P, 32: 296 - 32, 36: 8, 40: koalabear.P, 420: koalabear.P}},
		{"treeLayer", layer.appendSSZ(nil),
			func(b []byte) error { _, err := Test.parseLayer(b); return err },
			map[int]uint32{8: 13, 12: koalabear.P}},
		{"SecretKey", sk.Bytes(),
			func(b []byte) error { _, err := Test.ParseSecretKey(b); return err },
			map[int]uint32{
				32: koalabear.P, 68: 89, 80: 87, 84: 88, // header
				88: 9, 96: 5, 104: 21, 108: 24, 112: 19, 116: 1 << 31, // top tree
			}},
	}
	for _, p := range parsers {
		t.Run(p.name, func(t *testing.T) {
			if err := p.parse(p.valid); err != nil {
				t.Fatalf("valid encoding: %v", err)
			}
			check := func(what string, b []byte) {
				if err := p.parse(b); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: error = %v, want %v", what, err, ErrInvalid)
				}
			}
			check("empty", nil)
			check("one byte too few", p.valid[:len(p.valid)-1])
			check("one byte too many", append(slices.Clone(p.valid), 0))
			check("half", p.valid[:len(p.valid)/2+1])
			for offset, word := range p.wrong {
				b := slices.Clone(p.valid)
				binary.LittleEndian.PutUint32(b[offset:], word)
				check(fmt.Sprintf("word at %d", offset), b)
			}
		})
	}
	long := treeLayer{nodes: make([]hashDigest, Test.nodeListLimit()+1)}
	if _, err := Test.parseLayer(long.appendSSZ(nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("layer beyond the list limit: error = %v, want %v", err, ErrInvalid)
	}
	if _, err := Prod.ParseSignature(sig.Bytes()); !errors.Is(err, ErrInvalid) {
		t.Errorf("signature of the other scheme: error = %v, want %v", err, ErrInvalid)
	}
	if _, err := Prod.ParseSecretKey(sk.Bytes()); err == nil {
		t.Error("secret key of the other scheme: error = nil, want an error")
	}
}

// TestSecretKeyIsRedacted prints a key with packages fmt, log/slog and encoding/json, and
// checks that the output does not contain its seed.
func TestSecretKeyIsRedacted(t *testing.T) {
	sk := testKey(t, KeyGenOptions{NumActiveSlots: 2, Short: true})
	for i := range sk.prfKey {
		sk.prfKey[i] = 0xa7
	}
	type holder struct{ Key, hidden *SecretKey }
	type copied struct{ hidden SecretKey }
	values := []any{sk, *sk, holder{sk, sk}, &holder{sk, sk}, []*SecretKey{sk}, []SecretKey{*sk}, map[string]*SecretKey{"key": sk},
		NewSigner(sk, &ledger{})}
	var printed strings.Builder
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
		fmt.Fprintf(&printed, "%v %+v %#v\n", copied{*sk}, copied{*sk}, &copied{*sk})
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&printed, nil)).Info("m", "v", v)
		_ = json.NewEncoder(&printed).Encode(v)
	}
	for _, secret := range []string{"a7a7", "A7A7", "167 167", "247 247", "10100111 10100111", "0xa7, 0xa7", "U+00A7 U+00A7", "\u00a7"} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("output contains the seed as %q", secret)
		}
	}
	want := "xmss.SecretKey(public key " + sk.PublicKey().String() + ")"
	for _, got := range []string{sk.String(), sk.GoString(), fmt.Sprintf("%+v", sk), fmt.Sprintf("%#v", sk)} {
		if got != want {
			t.Errorf("printed key = %q, want %q", got, want)
		}
	}
	if got, want := fmt.Sprint((*SecretKey)(nil), &SecretKey{}), "<nil> xmss.SecretKey(empty)"; got != want {
		t.Errorf("printed empty keys = %q, want %q", got, want)
	}
}
