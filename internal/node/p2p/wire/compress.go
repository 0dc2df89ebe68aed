package wire

import (
	"encoding/binary"
	"math/bits"
)

// A snappy block has many encodings. leanSpec's vectors fix the one that its own
// compressor makes, which finds other matches than the library does, so there is
// a compressor here that makes the same. It scans every position; the fields
// that messages are made of, signatures and roots, do not compress anyway.
//
// leanSpec: node/snappy/compress.py, node/snappy/encoding.py
const (
	windowSize   = 1 << 16 // matches do not reach across windows
	scanMargin   = 15      // no match begins in the last bytes of a window
	minMatch     = 4
	maxMatch     = 64
	minTableBits = 8
	maxTableBits = 15
	hashFactor   = 0x1e35a7bd

	tagLiteral = 0
	tagCopy1   = 1 // 4 to 11 bytes from less than 2048 bytes back
	tagCopy2   = 2
)

// CompressBlock compresses b into a raw snappy block.
//
// leanSpec: node/snappy/compress.py, compress
func CompressBlock(b []byte) []byte {
	out := AppendVarint(make([]byte, 0, len(b)+len(b)/64+16), uint64(len(b)))
	// Positions are stored plus one: zero is an empty entry.
	var table [1 << maxTableBits]int32
	for len(b) > 0 {
		window := b[:min(len(b), windowSize)]
		b = b[len(window):]
		out = appendWindow(out, window, &table)
		if len(b) > 0 {
			clear(table[:])
		}
	}
	return out
}

func appendWindow(out, window []byte, table *[1 << maxTableBits]int32) []byte {
	shift := 32 - tableBits(len(window))
	hash := func(at int) uint32 { return binary.LittleEndian.Uint32(window[at:]) * hashFactor >> shift }

	pending, end := 0, len(window)-scanMargin // pending is where the next literal begins
	for at := 0; at < end; {
		slot := &table[hash(at)&(1<<maxTableBits-1)]
		match := int(*slot) - 1
		*slot = int32(at + 1)
		if match < 0 || binary.LittleEndian.Uint32(window[match:]) != binary.LittleEndian.Uint32(window[at:]) {
			at++
			continue
		}
		n := minMatch
		for n < maxMatch && at+n < len(window) && window[match+n] == window[at+n] {
			n++
		}
		out = appendLiteral(out, window[pending:at])
		out = appendCopy(out, at-match, n)
		next := at + n
		if next < end {
			for i := at + 1; i < next-1; i += 2 {
				table[hash(i)&(1<<maxTableBits-1)] = int32(i + 1)
			}
		}
		at, pending = next, next
	}
	return appendLiteral(out, window[pending:])
}

// tableBits is the logarithm of the table's size: a quarter of the window,
// rounded up, within bounds.
func tableBits(window int) int {
	return min(max(bits.Len(uint(max(window/4, 1)-1)), minTableBits), maxTableBits)
}

func appendLiteral(out, b []byte) []byte {
	switch n := len(b) - 1; {
	case n < 0:
		return out
	case n < 60:
		out = append(out, byte(n)<<2|tagLiteral)
	case n < 1<<8:
		out = append(out, 60<<2|tagLiteral, byte(n))
	default: // a window has at most 2^16 bytes
		out = append(out, 61<<2|tagLiteral, byte(n), byte(n>>8))
	}
	return append(out, b...)
}

// appendCopy repeats n bytes, 4 to 64, from offset bytes back, less than 2^16.
func appendCopy(out []byte, offset, n int) []byte {
	if n <= 11 && offset < 2048 {
		return append(out, byte(offset>>8)<<5|byte(n-4)<<2|tagCopy1, byte(offset))
	}
	return append(out, byte(n-1)<<2|tagCopy2, byte(offset), byte(offset>>8))
}
