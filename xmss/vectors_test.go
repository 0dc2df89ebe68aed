package xmss

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// TestSSZVectors runs leanSpec's ssz vectors for the types of this package.
func TestSSZVectors(t *testing.T) {
	folder := "../../shared/vectors/lstar-43246bd6"
	if env := os.Getenv("LEANSPEC_VECTORS"); env != "" {
		folder = env
	}
	files, err := filepath.Glob(filepath.Join(folder, "consensus/ssz/lstar/ssz/test_xmss_containers/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		missing(t, filepath.Join(folder, "consensus/ssz"))
	}
	ran := map[string]int{}
	for _, file := range files {
		var cases map[string]struct {
			TypeName         string
			Serialized, Root hexBytes
		}
		readJSON(t, file, &cases)
		for _, c := range cases {
			ran[c.TypeName]++
			t.Run(filepath.Base(file), func(t *testing.T) {
				var encoded []byte
				var root [32]byte
				var err error
				switch c.TypeName {
				case "PublicKey":
					var v PublicKey
					v, err = ParsePublicKey(c.Serialized)
					b := v.Bytes()
					encoded, root = b[:], v.HashTreeRoot()
				case "Signature":
					var v *Signature
					if v, err = Test.ParseSignature(c.Serialized); err == nil {
						encoded, root = v.Bytes(), v.HashTreeRoot()
					}
				default:
					t.Skipf("%s belongs to another package", c.TypeName)
				}
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(encoded, c.Serialized) {
					t.Errorf("encoding = %x, want %x", encoded, c.Serialized)
				}
				if !bytes.Equal(root[:], c.Root) {
					t.Errorf("root = %x, want %x", root, c.Root)
				}
			})
		}
	}
	for _, name := range []string{"PublicKey", "Signature"} {
		if ran[name] == 0 {
			t.Errorf("vectors for %s = 0, want at least 1", name)
		}
	}
}

type keyPairJSON struct {
	PublicKey hexBytes `json:"public_key"`
	SecretKey hexBytes `json:"secret_key"`
}

// TestLeanSpecKeys signs all slots of keys that leanSpec made. Their pads are random.
func TestLeanSpecKeys(t *testing.T) {
	folder := sharedFile(t, "keys/test_scheme")
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no keys in %s: %v", folder, err)
	}
	for _, file := range files {
		var pairs map[string]keyPairJSON
		readJSON(t, file, &pairs)
		if len(pairs) != 2 {
			t.Errorf("%s: %d keys, want 2", file, len(pairs))
		}
		for role, pair := range pairs {
			t.Run(filepath.Base(file)+"/"+role, func(t *testing.T) {
				sk, err := Test.ParseSecretKey(pair.SecretKey)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(sk.Bytes(), pair.SecretKey) {
					t.Error("the encoding of the secret key differs from the file")
				}
				if pk := sk.PublicKey().Bytes(); !bytes.Equal(pk[:], pair.PublicKey) {
					t.Errorf("public key = %x, want %x", pk, pair.PublicKey)
				}
				for slot, end := sk.ActivationInterval(); slot < end; slot++ {
					if _, prepared := sk.PreparedInterval(); slot >= prepared {
						if sk, err = sk.AdvancePreparation(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					checkSigns(t, sk, slot)
				}
			})
		}
	}
}

// knownAnswers is the content of xmss_prod_kat.json.
type knownAnswers struct {
	Keys []struct {
		PRFKey          hexBytes `json:"prf_key"`
		Parameter       publicParameter
		ActivationSlot  uint64       `json:"activation_slot"`
		NumActiveSlots  uint64       `json:"num_active_slots"`
		PublicKey       hexBytes     `json:"public_key"`
		BottomTreeRoots []hashDigest `json:"bottom_tree_roots"`
		Leaves          map[string]hashDigest
		TopTreeLayers   []struct {
			Start uint64
			Nodes []hexBytes
		} `json:"top_tree_layers"`
		Signatures []knownSignature
	}
}

type knownSignature struct {
	Slot      uint64
	Message   hexBytes
	Attempts  *int
	Codeword  []uint8
	Signature hexBytes
	Valid     bool
	Comment   string
}

func readKnownAnswers(t testing.TB) (answers knownAnswers) {
	readJSON(t, sharedFile(t, "vectors/xmss_prod_kat.json"), &answers)
	if len(answers.Keys) == 0 {
		t.Fatal("the known answers have 0 keys, want at least 1")
	}
	for i, k := range answers.Keys {
		if len(k.BottomTreeRoots) == 0 || len(k.Leaves) == 0 || len(k.TopTreeLayers) == 0 || len(k.Signatures) == 0 {
			t.Fatalf("key %d of the known answers: %d bottom trees, %d leaves, %d layers and %d signatures, want at least 1 of each",
				i, len(k.BottomTreeRoots), len(k.Leaves), len(k.TopTreeLayers), len(k.Signatures))
		}
	}
	return answers
}

// knownKey returns key i of the known answers, with the top tree and without bottom trees.
func (answers *knownAnswers) knownKey(t testing.TB, i int) *SecretKey {
	k := &answers.Keys[i]
	sk := &SecretKey{
		scheme:         Prod,
		prfKey:         (*[32]byte)(k.PRFKey),
		parameter:      k.Parameter,
		activationSlot: k.ActivationSlot,
		numActiveSlots: k.NumActiveSlots,
		leftIndex:      k.ActivationSlot >> 16,
	}
	for _, l := range k.TopTreeLayers {
		layer := treeLayer{start: l.Start, nodes: make([]hashDigest, len(l.Nodes))}
		for j, b := range l.Nodes {
			if err := koalabear.ParseVector(layer.nodes[j][:], b); err != nil {
				t.Fatal(err)
			}
		}
		sk.topTree.layers = append(sk.topTree.layers, layer)
	}
	return sk
}

// TestKnownAnswers checks the parts of the known answers that do not need bottom trees:
// leaves, top trees, public keys, codewords, and whether signatures are valid.
func TestKnownAnswers(t *testing.T) {
	answers := readKnownAnswers(t)
	for i, k := range answers.Keys {
		t.Run(fmt.Sprintf("key %d", i), func(t *testing.T) {
			sk := answers.knownKey(t, i)
			if err := sk.checkTopTree(); err != nil {
				t.Errorf("top tree: %v", err)
			}
			for j, want := range k.BottomTreeRoots {
				if got := sk.topTree.node(0, sk.leftIndex+uint64(j)); *got != want {
					t.Errorf("root of bottom tree %d = %v, want %v", j, *got, want)
				}
			}
			wantKey, err := ParsePublicKey(k.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			pk := sk.PublicKey()
			if pk != wantKey {
				t.Errorf("public key = %v, want %v", pk, wantKey)
			}

			secrets := newPRF(sk.prfKey)
			for decimal, want := range k.Leaves {
				slot, err := strconv.ParseUint(decimal, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				if got := sk.leaf(secrets, slot); got != want {
					t.Errorf("leaf of slot %d = %v, want %v", slot, got, want)
				}
			}
			for j, want := range k.Signatures {
				msg := [32]byte(want.Message)
				sig, err := Prod.ParseSignature(want.Signature)
				if err != nil {
					if want.Valid {
						t.Errorf("signature %d: %v", j, err)
					}
					continue
				}
				if got := Prod.Verify(&pk, want.Slot, msg, sig); got != want.Valid {
					t.Errorf("signature %d (%s): valid = %v, want %v", j, want.Comment, got, want.Valid)
				}
				if !want.Valid {
					continue
				}
				var rho randomness
				word, attempts := sk.findCodeword(secrets, want.Slot, &msg, &rho)
				if !slices.Equal(word[:Prod.dimension], want.Codeword) {
					t.Errorf("codeword %d = %v, want %v", j, word, want.Codeword)
				}
				if attempts+1 != *want.Attempts {
					t.Errorf("attempts for codeword %d = %d, want %d", j, attempts+1, *want.Attempts)
				}
			}
		})
	}
}

// TestKnownAnswersFromSeed computes the bottom trees of the known answers from their seeds,
// which takes minutes, and compares the signatures.
func TestKnownAnswersFromSeed(t *testing.T) {
	if testing.Short() {
		t.Skip("builds four bottom trees of 65536 leaves")
	}
	answers := readKnownAnswers(t)
	for i, k := range answers.Keys {
		t.Run(fmt.Sprintf("key %d", i), func(t *testing.T) {
			sk := answers.knownKey(t, i)
			for j, tree := range []*subTree{&sk.leftBottomTree, &sk.rightBottomTree} {
				report := progressFunc(func(done, total uint64) {
					if done%(total/4) < 16 {
						t.Logf("bottom tree %d: %d of %d leaves", j, done, total)
					}
				}, Prod.LeavesPerBottomTree())
				var err error
				if *tree, err = sk.bottomTree(t.Context(), runtime.GOMAXPROCS(0), sk.leftIndex+uint64(j), report); err != nil {
					t.Fatal(err)
				}
				if *tree.root() != k.BottomTreeRoots[j] {
					t.Fatalf("root of bottom tree %d = %v, want %v", j, *tree.root(), k.BottomTreeRoots[j])
				}
			}
			checkRoundTrip(t, sk)
			for _, want := range k.Signatures {
				if !want.Valid {
					continue
				}
				sig, err := sk.SignUnguarded(want.Slot, [32]byte(want.Message))
				if err != nil {
					t.Errorf("slot %d: %v", want.Slot, err)
				} else if got := sig.Bytes(); !bytes.Equal(got, want.Signature) {
					t.Errorf("signature for slot %d = %x, want %x", want.Slot, got, []byte(want.Signature))
				}
			}
		})
	}
}
