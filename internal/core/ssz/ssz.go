// Package ssz implements Simple Serialize: strict encoding and decoding of
// containers, and their Merkle roots.
//
// A container describes its fields once, in DefineSSZ, and the package derives
// the encoded size, the encoding, the decoding and the hash tree root from that
// one description:
//
//	func (c *Checkpoint) DefineSSZ(d *ssz.Codec) {
//		ssz.Bytes32(d, &c.Root)
//		ssz.Uint(d, &c.Slot)
//	}
//
// Decoding is strict. Offsets must start where the fixed part ends, must not
// decrease and must stay inside the input; bitlists need their delimiter; limits
// hold; nothing may follow the last field. Anything else is an error that wraps
// [ErrInvalid] and names the field, and the value decoded so far is not to be
// used. No input makes this package panic or allocate much more than its size.
//
// leanSpec: spec/ssz, spec/crypto/merkleization.py
package ssz

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every decoding error: the bytes are not the encoding
// of any value of the type.
var ErrInvalid = errors.New("invalid SSZ")

// bytesPerOffset is the width of the offset that stands in the fixed part for a
// field of variable size.
const bytesPerOffset = 4

// Object is a container that describes its fields to a Codec, in order.
type Object interface {
	DefineSSZ(c *Codec)
}

// Value is a type that implements its own encoding, for those that a field
// description cannot express: lists that carry their Merkle tree with them, or
// signatures whose size depends on the scheme.
type Value interface {
	// SizeSSZ returns the encoded size in bytes, and whether every value of the
	// type has this size.
	SizeSSZ() (size int, fixed bool)
	// AppendSSZ appends the encoding to b.
	AppendSSZ(b []byte) []byte
	// DecodeSSZ sets the receiver from exactly the bytes of b, which it must not
	// keep. Errors wrap ErrInvalid.
	DecodeSSZ(b []byte) error
	// HashTreeRoot returns the Merkle root.
	HashTreeRoot() [32]byte
}

// Size returns the number of bytes of the encoding of o.
func Size(o Object) int {
	fixed, dynamic, _ := measure(o)
	return fixed + dynamic
}

// Marshal returns the encoding of o.
func Marshal(o Object) []byte {
	return Append(make([]byte, 0, Size(o)), o)
}

// Append appends the encoding of o to b.
func Append(b []byte, o Object) []byte {
	fixed, _, variable := measure(o)
	c := Codec{mode: encodeFixed, out: b, offset: fixed}
	o.DefineSSZ(&c)
	if variable {
		c.mode = encodeDynamic
		o.DefineSSZ(&c)
	}
	return c.out
}

// Unmarshal sets o from exactly the bytes of b. The error wraps ErrInvalid.
func Unmarshal(b []byte, o Object) error {
	c := Codec{mode: decodeFixed, in: b}
	o.DefineSSZ(&c)
	if c.err != nil {
		return c.err
	}
	if len(c.offsets) == 0 {
		if c.pos != len(b) {
			return fmt.Errorf("%w: %T: %d bytes, want %d", ErrInvalid, o, len(b), c.pos)
		}
		return nil
	}
	if int(c.offsets[0]) != c.pos {
		return fmt.Errorf("%w: %T: first offset is %d, the fixed part ends at %d", ErrInvalid, o, c.offsets[0], c.pos)
	}
	c.offsets = append(c.offsets, uint32(len(b)))
	for i := range len(c.offsets) - 1 {
		if c.offsets[i] > c.offsets[i+1] {
			return fmt.Errorf("%w: %T: offset %d is past its end %d", ErrInvalid, o, c.offsets[i], c.offsets[i+1])
		}
	}
	c.mode = decodeDynamic
	o.DefineSSZ(&c)
	return c.err
}

// HashTreeRoot returns the Merkle root of o.
func HashTreeRoot(o Object) [32]byte {
	var fields [16][32]byte
	c := Codec{mode: hash, chunks: fields[:0]}
	o.DefineSSZ(&c)
	return Merkleize(c.chunks, 0)
}

// measure returns the sizes of the fixed part (offsets included) and of the
// dynamic part, and whether the type has a dynamic part at all.
func measure(o Object) (fixed, dynamic int, variable bool) {
	c := Codec{mode: size}
	o.DefineSSZ(&c)
	return c.fixed, c.dynamic, c.variable
}
