package xmss

import (
	"slices"
	"testing"
	"time"
)

// benchKey returns a short key of the Prod scheme.
func benchKey(b *testing.B) *SecretKey {
	b.Helper()
	sk, err := Prod.deriveKey(b.Context(), [32]byte{1}, publicParameter{1, 2, 3, 4, 5}, KeyGenOptions{ActivationSlot: 100, NumActiveSlots: 4, Short: true})
	if err != nil {
		b.Fatal(err)
	}
	return sk
}

func BenchmarkVerify(b *testing.B) {
	sk := benchKey(b)
	pk := sk.PublicKey()
	sig, err := sk.SignUnguarded(101, message(1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !Prod.Verify(&pk, 101, message(1), sig) {
			b.Fatal("signature is not valid")
		}
	}
}

// BenchmarkSign signs different messages, because the number of attempts depends on the
// message. It also reports the median.
func BenchmarkSign(b *testing.B) {
	sk := benchKey(b)
	var took []time.Duration
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		start := time.Now()
		if _, err := sk.SignUnguarded(102, message(n)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "median-ns/op")
}

// BenchmarkGenerateShortKey generates a key for 4096 slots on one goroutine.
func BenchmarkGenerateShortKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, err := Prod.GenerateKey(b.Context(), KeyGenOptions{NumActiveSlots: 4096, Short: true, Workers: 1})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseSignature(b *testing.B) {
	sig, err := benchKey(b).SignUnguarded(101, message(1))
	if err != nil {
		b.Fatal(err)
	}
	encoded := sig.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Prod.ParseSignature(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
