package xmss

import (
	"bytes"
	"testing"
)

// fuzzKey returns a small key and a signature, as seeds for fuzzing.
func fuzzKey(f *testing.F) (*SecretKey, *Signature) {
	sk, err := Test.deriveKey(f.Context(), [32]byte{9}, publicParameter{9}, KeyGenOptions{ActivationSlot: 14, NumActiveSlots: 5, Short: true})
	if err != nil {
		f.Fatal(err)
	}
	sig, err := sk.SignUnguarded(15, [32]byte{})
	if err != nil {
		f.Fatal(err)
	}
	return sk, sig
}

func FuzzParsePublicKey(f *testing.F) {
	sk, _ := fuzzKey(f)
	b := sk.PublicKey().Bytes()
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		pk, err := ParsePublicKey(b)
		if err != nil {
			return
		}
		if again := pk.Bytes(); !bytes.Equal(again[:], b) {
			t.Fatalf("encoding = %x, want the input %x", again, b)
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	_, sig := fuzzKey(f)
	f.Add(sig.Bytes())
	f.Add(make([]byte, Prod.SignatureSize()))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []*Scheme{Test, Prod} {
			sig, err := s.ParseSignature(b)
			if err != nil {
				continue
			}
			if again := sig.Bytes(); !bytes.Equal(again, b) {
				t.Fatalf("%s: encoding = %x, want the input %x", s, again, b)
			}
			sig.HashTreeRoot()
		}
	})
}

func FuzzParseSecretKey(f *testing.F) {
	sk, _ := fuzzKey(f)
	f.Add(sk.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		sk, err := Test.ParseSecretKey(b)
		if err != nil {
			return
		}
		if again := sk.Bytes(); !bytes.Equal(again, b) {
			t.Fatalf("encoding = %x, want the input %x", again, b)
		}
		pk := sk.PublicKey()
		start, end := sk.PreparedInterval()
		for _, slot := range []uint64{start, end - 1} {
			sig, err := sk.SignUnguarded(slot, [32]byte{})
			if err != nil || !Test.Verify(&pk, slot, [32]byte{}, sig) {
				t.Fatalf("key %x does not sign slot %d of its prepared window: %v", b, slot, err)
			}
		}
	})
}

// FuzzVerify verifies every input that decodes.
func FuzzVerify(f *testing.F) {
	sk, sig := fuzzKey(f)
	pk := sk.PublicKey().Bytes()
	f.Add(pk[:], uint64(15), make([]byte, 32), sig.Bytes())
	f.Fuzz(func(t *testing.T, pkBytes []byte, slot uint64, msg, sigBytes []byte) {
		pk, err := ParsePublicKey(pkBytes)
		if err != nil || len(msg) != 32 {
			return
		}
		for _, s := range []*Scheme{Test, Prod} {
			sig, err := s.ParseSignature(sigBytes)
			if err != nil {
				continue
			}
			if s.Verify(&pk, slot, [32]byte(msg), sig) && slot >= s.Lifetime() {
				t.Fatalf("%s: signature is valid for slot %d", s, slot)
			}
		}
	})
}
