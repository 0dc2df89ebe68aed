package ssz

import (
	"bytes"
	"fmt"
	"math/bits"
)

// Bitlist is a list of bits. The zero value is an empty list. [Bitlist.Set] and
// [Bitlist.Or] change the list in place, so a copy of the struct shares its bits.
//
// leanSpec: spec/ssz/bitfields.py, BaseBitlist
type Bitlist struct {
	bits []byte // bit i is bits[i/8]>>(i%8)&1; padding is zero
	n    int
}

// NewBitlist returns a list of n zero bits.
func NewBitlist(n int) Bitlist { return Bitlist{bits: make([]byte, (n+7)/8), n: n} }

// Len returns the number of bits.
func (b *Bitlist) Len() int { return b.n }

// Get returns bit i, or false if i is outside of the list.
func (b *Bitlist) Get(i int) bool {
	return i >= 0 && i < b.n && b.bits[i/8]>>(i%8)&1 == 1
}

// Set sets bit i to one. It panics if i is outside of the list.
func (b *Bitlist) Set(i int) {
	if i >= b.n {
		panic("ssz: bit is outside of the list")
	}
	b.bits[i/8] |= 1 << (i % 8)
}

// Count returns the number of ones.
func (b *Bitlist) Count() (ones int) {
	for _, v := range b.bits {
		ones += bits.OnesCount8(v)
	}
	return ones
}

// All yields the positions of the ones in ascending order.
func (b *Bitlist) All(yield func(i int) bool) {
	for i, v := range b.bits {
		for ; v != 0; v &= v - 1 {
			if !yield(8*i + bits.TrailingZeros8(v)) {
				return
			}
		}
	}
}

// Slice returns a copy of n bits that begin at position from. It panics if they are
// outside of the list.
func (b *Bitlist) Slice(from, n int) Bitlist {
	if from < 0 || n < 0 || from+n > b.n {
		panic("ssz: bits are outside of the list")
	}
	out := NewBitlist(n)
	shift := from % 8
	in := b.bits[from/8:]
	for i := range out.bits {
		out.bits[i] = in[i] >> shift
		if shift > 0 && i+1 < len(in) {
			out.bits[i] |= in[i+1] << (8 - shift)
		}
	}
	if rest := n % 8; rest > 0 {
		out.bits[len(out.bits)-1] &= 1<<rest - 1
	}
	return out
}

// Or sets bit at+i for each bit i that is set in o. It panics if o, moved by at, is
// outside of the list.
func (b *Bitlist) Or(at int, o *Bitlist) {
	if at < 0 || at+o.n > b.n {
		panic("ssz: bits are outside of the list")
	}
	shift := at % 8
	for i, v := range o.bits {
		b.bits[at/8+i] |= v << shift
		if high := v >> (8 - shift); high > 0 {
			b.bits[at/8+i+1] |= high
		}
	}
}

// Equal reports whether the lists have the same length and bits.
func (b *Bitlist) Equal(o *Bitlist) bool { return b.n == o.n && bytes.Equal(b.bits, o.bits) }

// Clone returns a copy of the list.
func (b *Bitlist) Clone() Bitlist { return Bitlist{bits: bytes.Clone(b.bits), n: b.n} }

func (b *Bitlist) encodedSize() int { return b.n/8 + 1 }

// AppendSSZ appends the encoding, with the delimiter.
func (b *Bitlist) AppendSSZ(out []byte) []byte {
	out = append(out, b.bits...)
	if b.n%8 == 0 {
		return append(out, 1)
	}
	out[len(out)-1] |= 1 << (b.n % 8)
	return out
}

// DecodeBitlist decodes a list of at most limit bits. Errors wrap [ErrInvalid].
func DecodeBitlist(in []byte, limit uint64) (Bitlist, error) {
	if len(in) == 0 {
		return Bitlist{}, fmt.Errorf("%w: bitlist of 0 bytes, want at least 1", ErrInvalid)
	}
	last := in[len(in)-1]
	if last == 0 {
		return Bitlist{}, fmt.Errorf("%w: bitlist without a delimiter", ErrInvalid)
	}
	n := 8*(len(in)-1) + bits.Len8(last) - 1
	if uint64(n) > limit {
		return Bitlist{}, fmt.Errorf("%w: bitlist of %d bits exceeds the limit of %d", ErrInvalid, n, limit)
	}
	b := Bitlist{bits: bytes.Clone(in[:(n+7)/8]), n: n}
	if n%8 != 0 {
		b.bits[n/8] &^= 1 << (n % 8)
	}
	return b, nil
}

// HashTreeRoot returns the hash tree root of a bitlist of at most limit bits.
func (b *Bitlist) HashTreeRoot(limit uint64) [32]byte {
	return MixInLength(Merkleize(Pack(b.bits), (limit+255)/256), uint64(b.n))
}
