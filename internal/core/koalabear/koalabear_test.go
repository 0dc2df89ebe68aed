package koalabear

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestArithmeticMatchesBigInt(t *testing.T) {
	p := big.NewInt(P)
	if !p.ProbablyPrime(20) {
		t.Fatalf("modulus %d is not prime", P)
	}
	mod := func(x *big.Int) Element { return Element(x.Mod(x, p).Uint64()) }
	element := rapid.OneOf(
		rapid.Uint32Range(0, P-1),
		rapid.SampledFrom([]uint32{0, 1, 2, P - 2, P - 1}),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := Element(element.Draw(t, "a")), Element(element.Draw(t, "b"))
		x, y := big.NewInt(int64(a)), big.NewInt(int64(b))
		if got, want := Add(a, b), mod(new(big.Int).Add(x, y)); got != want {
			t.Fatalf("Add(%d, %d) = %d, want %d", a, b, got, want)
		}
		if got, want := Sub(a, b), mod(new(big.Int).Sub(x, y)); got != want {
			t.Fatalf("Sub(%d, %d) = %d, want %d", a, b, got, want)
		}
		if got, want := Mul(a, b), mod(new(big.Int).Mul(x, y)); got != want {
			t.Fatalf("Mul(%d, %d) = %d, want %d", a, b, got, want)
		}
	})
}

func TestReduce(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, x uint64) {
		if got, want := Reduce(x), Element(x%P); got != want {
			t.Fatalf("Reduce(%d) = %d, want %d", x, got, want)
		}
		lazy := ReduceLazy(x)
		if lazy%P != x%P {
			t.Fatalf("ReduceLazy(%d) = %d, want a number congruent to %d", x, lazy, x%P)
		}
		limit := uint64(119 * P / 100)
		if x <= P*P {
			limit = 105 * P / 100
		}
		if lazy >= limit {
			t.Fatalf("ReduceLazy(%d) = %d, want less than %d", x, lazy, limit)
		}
	}
	for _, multiple := range []uint64{0, 1, 2, 1 << 31, 1<<33 - 1, barrett - 1, barrett} {
		for _, d := range []uint64{0, 1, 2, P - 2, P - 1} {
			if x := multiple * P; x+d >= x {
				check(t, x+d)
			}
		}
	}
	check(t, 1<<64-1)
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Uint64().Draw(t, "x")) })
}

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		bytes []byte
		want  Element
		err   error
	}{
		{"zero", []byte{0, 0, 0, 0}, 0, nil},
		{"one", []byte{1, 0, 0, 0}, 1, nil},
		{"largest", []byte{0, 0, 0, 0x7f}, P - 1, nil},
		{"modulus", []byte{1, 0, 0, 0x7f}, 0, ErrNotCanonical},
		{"all ones", []byte{0xff, 0xff, 0xff, 0xff}, 0, ErrNotCanonical},
		{"short", []byte{0, 0, 0}, 0, ErrLength},
		{"long", []byte{0, 0, 0, 0, 0}, 0, ErrLength},
		{"empty", nil, 0, ErrLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got [1]Element
			if err := ParseVector(got[:], tt.bytes); got[0] != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("ParseVector(%x) = %d, %v; want %d, %v", tt.bytes, got[0], err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseVector(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0x7f, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		elements := make([]Element, len(b)/Size)
		if ParseVector(elements, b) != nil {
			return
		}
		if again := AppendVector(nil, elements); !bytes.Equal(again, b) {
			t.Fatalf("encoding = %x, want the input %x", again, b)
		}
	})
}
