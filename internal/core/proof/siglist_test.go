package proof

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/xmss"
)

const slot = 3

// signer is a validator with its key.
type signer struct {
	index uint64
	key   *xmss.SecretKey
	pub   xmss.PublicKey
}

var signers = func() []signer {
	s := make([]signer, 4)
	for i := range s {
		key, err := xmss.Test.GenerateKey(context.Background(), xmss.KeyGenOptions{NumActiveSlots: 16, Short: true})
		if err != nil {
			panic(err)
		}
		s[i] = signer{uint64(10 * (i + 1)), key, key.PublicKey()}
	}
	return s
}()

func (s *signer) sign(t testing.TB, message [32]byte) Signature {
	t.Helper()
	sig, err := s.key.SignUnguarded(slot, message)
	if err != nil {
		t.Fatal(err)
	}
	return Signature{s.index, &s.pub, sig}
}

// single returns a proof of some signers, and the component that it proves.
func single(t testing.TB, scheme Scheme, message [32]byte, who ...int) (Child, Component) {
	t.Helper()
	var signatures []Signature
	for _, i := range who {
		signatures = append(signatures, signers[i].sign(t, message))
	}
	validators, proof, err := scheme.Aggregate(nil, signatures, message, slot)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(who)
	child := Child{Validators: validators, Proof: proof}
	for _, i := range who {
		child.Keys = append(child.Keys, &signers[i].pub)
	}
	return child, Component{child.Keys, slot, message}
}

func TestSingle(t *testing.T) {
	scheme := NewSigList(xmss.Test, nil)
	message := [32]byte{1}
	child, component := single(t, scheme, message, 2, 0)
	if want := []uint64{10, 30}; !slices.Equal(child.Validators, want) {
		t.Errorf("validators = %v, want %v: ascending, independent of the order of the signatures", child.Validators, want)
	}
	if err := scheme.VerifySingle(component, child.Proof); err != nil {
		t.Errorf("VerifySingle of a valid proof: %v", err)
	}
	if want := 8 + 2*xmss.Test.SignatureSize(); len(child.Proof) != want || string(child.Proof[:4]) != "LSL1" || child.Proof[4] != 2 {
		t.Errorf("proof of %d bytes that begins with %x, want %d bytes, LSL1 and the number 2", len(child.Proof), child.Proof[:8], want)
	}

	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(child.Proof)) }
	size := xmss.Test.SignatureSize()
	for name, bad := range map[string][]byte{
		"empty":            {},
		"other magic":      edit(func(b []byte) []byte { b[0] = 'X'; return b }),
		"no count":         child.Proof[:4],
		"count too small":  edit(func(b []byte) []byte { b[4] = 1; return b }),
		"count too large":  edit(func(b []byte) []byte { b[4] = 3; return b }),
		"huge count":       edit(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[4:], 1<<31); return b }),
		"cut":              child.Proof[:len(child.Proof)-1],
		"trailing byte":    append(slices.Clone(child.Proof), 0),
		"flipped bit":      edit(func(b []byte) []byte { b[len(b)-5] ^= 1; return b }),
		"swapped":          edit(func(b []byte) []byte { return slices.Concat(b[:8], b[8+size:], b[8:8+size]) }),
		"not a signature":  edit(func(b []byte) []byte { b[8]++; return b }),
		"one signed twice": edit(func(b []byte) []byte { return slices.Concat(b[:8], b[8:8+size], b[8:8+size]) }),
	} {
		if err := scheme.VerifySingle(component, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
	for name, c := range map[string]Component{
		"other message":      {component.Keys, slot, [32]byte{2}},
		"other slot":         {component.Keys, slot + 1, message},
		"other signers":      {[]*xmss.PublicKey{&signers[0].pub, &signers[1].pub}, slot, message},
		"more signers":       {append(slices.Clone(component.Keys), &signers[3].pub), slot, message},
		"signer without key": {[]*xmss.PublicKey{&signers[0].pub, nil}, slot, message},
	} {
		if err := scheme.VerifySingle(c, child.Proof); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestUnionOfChildren(t *testing.T) {
	scheme := NewSigList(xmss.Test, nil)
	message := [32]byte{7}
	a, _ := single(t, scheme, message, 0, 1)
	b, _ := single(t, scheme, message, 1, 3)
	validators, merged, err := scheme.Aggregate([]Child{a, b}, []Signature{signers[2].sign(t, message)}, message, slot)
	if err != nil {
		t.Fatal(err)
	}
	_, want := single(t, scheme, message, 0, 1, 2, 3)
	if !slices.Equal(validators, []uint64{10, 20, 30, 40}) {
		t.Errorf("validators = %v, want 10, 20, 30 and 40", validators)
	}
	if err := scheme.VerifySingle(want, merged); err != nil {
		t.Errorf("VerifySingle of the union: %v", err)
	}
	if _, _, err := scheme.Aggregate(nil, nil, message, slot); err == nil {
		t.Error("Aggregate of no signatures returned no error")
	}
	a.Proof = a.Proof[:len(a.Proof)-1]
	if _, _, err := scheme.Aggregate([]Child{a}, nil, message, slot); !errors.Is(err, ErrInvalid) {
		t.Errorf("truncated child: error = %v, want ErrInvalid", err)
	}
}

func TestMergeAndSplit(t *testing.T) {
	scheme := NewSigList(xmss.Test, nil)
	var parts []Child
	var components []Component
	for i, who := range [][]int{{0, 2}, {1}, {0, 1, 2, 3}} {
		part, component := single(t, scheme, [32]byte{byte(i)}, who...)
		parts, components = append(parts, part), append(components, component)
	}
	merged, err := scheme.Merge(parts)
	if err != nil {
		t.Fatal(err)
	}
	if err := scheme.VerifyMulti(components, merged); err != nil {
		t.Errorf("VerifyMulti of a valid proof: %v", err)
	}
	for i := range parts {
		split, err := scheme.Split(components, i, merged)
		if err != nil || !slices.Equal(split, parts[i].Proof) {
			t.Errorf("Split(%d) = %x, %v, want %x", i, split, err, parts[i].Proof)
		}
	}
	swapped := slices.Clone(components)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for name, tt := range map[string]struct {
		components []Component
		proof      []byte
	}{
		"components in another order": {swapped, merged},
		"one component too many":      {components[:2], merged},
		"trailing byte":               {components, append(slices.Clone(merged), 0)},
		"cut":                         {components, merged[:len(merged)-1]},
		"no count":                    {components, merged[:4]},
		"a single-message proof":      {components[:1], parts[0].Proof},
		"empty":                       {components, nil},
	} {
		if err := scheme.VerifyMulti(tt.components, tt.proof); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
	if _, err := scheme.Merge(nil); err == nil {
		t.Error("Merge of no proofs returned no error")
	}
}

func TestCapacity(t *testing.T) {
	for _, tt := range []struct {
		scheme *xmss.Scheme
		want   int
	}{{xmss.Prod, 206}, {xmss.Test, 1236}} {
		s := NewSigList(tt.scheme, nil)
		if got := s.MaxSignatures(); got != tt.want {
			t.Errorf("%s: MaxSignatures = %d, want %d", tt.scheme, got, tt.want)
		}
		if size := 8 + maxComponents*4 + s.MaxSignatures()*tt.scheme.SignatureSize(); size > sizeLimit {
			t.Errorf("%s: size of a full proof = %d bytes, want at most %d", tt.scheme, size, sizeLimit)
		}
	}
}

func FuzzVerify(f *testing.F) {
	scheme := NewSigList(xmss.Test, nil)
	a, first := single(f, scheme, [32]byte{1}, 0, 1)
	b, second := single(f, scheme, [32]byte{2}, 2)
	merged, err := scheme.Merge([]Child{a, b})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.Proof)
	f.Add(merged)
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := scheme.VerifySingle(first, in); err == nil {
			if !slices.Equal(in, a.Proof) {
				t.Fatal("a second encoding of a proof is valid")
			}
		} else if !errors.Is(err, ErrInvalid) {
			t.Fatalf("error %v does not wrap ErrInvalid", err)
		}
		components := []Component{first, second}
		if err := scheme.VerifyMulti(components, in); err == nil {
			if !slices.Equal(in, merged) {
				t.Fatal("a second encoding of a proof is valid")
			}
		} else if !errors.Is(err, ErrInvalid) {
			t.Fatalf("error %v does not wrap ErrInvalid", err)
		}
		for i := range components {
			if _, err := scheme.Split(components, i, in); err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v does not wrap ErrInvalid", err)
			}
		}
	})
}
