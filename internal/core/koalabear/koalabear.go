// Package koalabear implements the prime field with p = 2^31 - 2^24 + 1. Poseidon and the
// XMSS signatures of Lean Ethereum are defined over this field.
//
// An [Element] is a residue in [0, p), not in Montgomery form, so encoding, decoding and
// comparison need no conversion. The product of two elements fits into a uint64, and
// [Reduce] reduces any uint64 with two multiplications. So a caller can add several
// products before one reduction.
//
// The running time of the arithmetic does not depend on the values.
//
// leanSpec: spec/crypto/koalabear.py
package koalabear

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	// P is the modulus.
	P = 1<<31 - 1<<24 + 1

	// Size is the length in bytes of an encoded element.
	Size = 4

	// barrett is floor(2^64 / P).
	barrett = (1<<64 - 1) / P
)

// ErrNotCanonical reports an encoded value that is not below the modulus.
var ErrNotCanonical = errors.New("koalabear: value is not below the field modulus")

// ErrLength reports an encoding of the wrong number of bytes.
var ErrLength = errors.New("koalabear: wrong number of bytes")

// Element is a field element, always in [0, P).
type Element uint32

// Reduce returns x mod P.
func Reduce(x uint64) Element {
	r := uint32(ReduceLazy(x))
	return Element(min(r, r-P)) // r-P wraps to a large value if r < P
}

// ReduceLazy returns a number that is congruent to x mod P. It is below 1.19·P, and below
// 1.05·P if x is at most P². It is [Reduce] without the final subtraction.
func ReduceLazy(x uint64) uint64 {
	// With barrett = (2^64 - c)/P and c = 0.189·P, q is less than the quotient by at most
	// 1 + 0.189·x/2^64. This bounds the remainder.
	q, _ := bits.Mul64(x, barrett)
	return x - q*P
}

// Add returns a + b.
func Add(a, b Element) Element {
	s := uint32(a) + uint32(b)
	return Element(min(s, s-P))
}

// Sub returns a - b.
func Sub(a, b Element) Element {
	d := uint32(a) - uint32(b)
	return Element(min(d, d+P)) // d wrapped to a large value if a < b
}

// Mul returns a · b.
func Mul(a, b Element) Element {
	return Reduce(uint64(a) * uint64(b))
}

// ParseVector decodes len(dst) elements from b, 4 bytes each, little-endian. Errors wrap
// [ErrLength] or [ErrNotCanonical].
//
// leanSpec: spec/crypto/koalabear.py, Fp.deserialize
func ParseVector(dst []Element, b []byte) error {
	if len(b) != Size*len(dst) {
		return fmt.Errorf("%w: got %d, want %d", ErrLength, len(b), Size*len(dst))
	}
	for i := range dst {
		v := binary.LittleEndian.Uint32(b[Size*i:])
		if v >= P {
			return fmt.Errorf("%w: element %d is %d", ErrNotCanonical, i, v)
		}
		dst[i] = Element(v)
	}
	return nil
}

// AppendVector appends the encoding of elements to b, 4 bytes each, little-endian.
func AppendVector(b []byte, elements []Element) []byte {
	for _, e := range elements {
		b = binary.LittleEndian.AppendUint32(b, uint32(e))
	}
	return b
}
