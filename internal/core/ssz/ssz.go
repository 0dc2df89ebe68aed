// Package ssz implements Simple Serialize (SSZ): strict encoding and decoding of
// containers, and their hash tree roots.
//
// A container describes its fields once, in DefineSSZ. The package derives the encoded
// size, the encoding, the decoding and the hash tree root from that description:
//
//	func (c *Checkpoint) DefineSSZ(d *ssz.Codec) {
//		ssz.Bytes32(d, &c.Root)
//		ssz.Uint(d, &c.Slot)
//	}
//
// Decoding accepts exactly one encoding of each value. The first offset must be the length
// of the fixed part, offsets must not decrease or exceed the input, bitlists must have a
// delimiter, limits hold, and no bytes may follow the last field. Otherwise decoding
// returns an error that wraps [ErrInvalid], and the decoded value must not be used. No
// input causes a panic, or an allocation much larger than the input.
//
// [Tree] and [BitTree] are immutable lists that share unchanged parts of their Merkle
// trees with earlier versions.
//
// leanSpec: spec/ssz, spec/crypto/merkleization.py
package ssz

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every decoding error: the bytes are not the encoding of a value
// of the type.
var ErrInvalid = errors.New("invalid SSZ")

// bytesPerOffset is the length of the offset of a field of variable size.
const bytesPerOffset = 4

// Object is a container. DefineSSZ describes its fields to the codec, in order.
type Object interface {
	DefineSSZ(c *Codec)
}

// Value is a type with its own encoding, such as a list with a stored Merkle tree, or a
// signature whose size depends on the scheme.
type Value interface {
	// SizeSSZ returns the encoded size in bytes, and whether every value of the type has
	// this size.
	SizeSSZ() (size int, fixed bool)
	// AppendSSZ appends the encoding to b.
	AppendSSZ(b []byte) []byte
	// DecodeSSZ sets the receiver to the value that b encodes. It must not retain b.
	// Errors wrap ErrInvalid.
	DecodeSSZ(b []byte) error
	// HashTreeRoot returns the hash tree root.
	HashTreeRoot() [32]byte
}

// Size returns the length of the encoding of o in bytes.
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

// Unmarshal sets o to the value that b encodes. Errors wrap [ErrInvalid].
func Unmarshal(b []byte, o Object) error {
	c := Codec{mode: decodeFixed, in: b}
	o.DefineSSZ(&c)
	if c.err != nil {
		return c.err
	}
	if len(c.offsets) == 0 {
		if c.pos != len(b) {
			return fmt.Errorf("%w: %T of %d bytes, want %d", ErrInvalid, o, len(b), c.pos)
		}
		return nil
	}
	if int(c.offsets[0]) != c.pos {
		return fmt.Errorf("%w: %T: first offset is %d, want %d", ErrInvalid, o, c.offsets[0], c.pos)
	}
	c.offsets = append(c.offsets, uint32(len(b)))
	for i := range len(c.offsets) - 1 {
		if c.offsets[i] > c.offsets[i+1] {
			return fmt.Errorf("%w: %T: offset %d, want at most %d", ErrInvalid, o, c.offsets[i], c.offsets[i+1])
		}
	}
	c.mode = decodeDynamic
	o.DefineSSZ(&c)
	return c.err
}

// HashTreeRoot returns the hash tree root of o.
func HashTreeRoot(o Object) [32]byte {
	var fields [16][32]byte
	c := Codec{mode: hash, chunks: fields[:0]}
	o.DefineSSZ(&c)
	return Merkleize(c.chunks, 0)
}

// measure returns the lengths of the fixed part, including offsets, and of the dynamic
// part, and whether the type has a dynamic part.
func measure(o Object) (fixed, dynamic int, variable bool) {
	c := Codec{mode: size}
	o.DefineSSZ(&c)
	return c.fixed, c.dynamic, c.variable
}
