package conformance

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A snappy block has many valid encodings. The vectors contain the one of leanSpec's
// compressor, which differs from the one of the library that the node uses. This is
// leanSpec's compressor.
//
// leanSpec: node/snappy/compress.py, node/snappy/encoding.py
const (
	windowSize   = 1 << 16 // a match is inside of one window
	scanMargin   = 15      // a match does not begin in the last bytes of a window
	minMatch     = 4
	maxMatch     = 64
	minTableBits = 8
	maxTableBits = 15
	hashFactor   = 0x1e35a7bd

	tagLiteral = 0
	tagCopy1   = 1 // 4 to 11 bytes, offset less than 2048
	tagCopy2   = 2
)

// referenceBlock returns leanSpec's raw snappy block of b.
//
// leanSpec: node/snappy/compress.py, compress
func referenceBlock(b []byte) []byte {
	out := binary.AppendUvarint(make([]byte, 0, len(b)+len(b)/64+16), uint64(len(b)))
	// An entry is a position plus one, or zero if it is empty.
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

	pending, end := 0, len(window)-scanMargin // the next literal begins at pending
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

// tableBits returns the binary logarithm of the table's size: a quarter of the window,
// rounded up to a power of two, within bounds.
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

// appendCopy appends a copy of n bytes, 4 to 64, at an offset of less than 2^16 bytes.
func appendCopy(out []byte, offset, n int) []byte {
	if n <= 11 && offset < 2048 {
		return append(out, byte(offset>>8)<<5|byte(n-4)<<2|tagCopy1, byte(offset))
	}
	return append(out, byte(n-1)<<2|tagCopy2, byte(offset), byte(offset>>8))
}

// referenceFrames returns leanSpec's framed snappy stream of b.
//
// leanSpec: node/snappy/framing.py, frame_compress
func referenceFrames(b []byte) []byte {
	const frameSize = 1 << 16
	out := []byte("\xff\x06\x00\x00sNaPpY")
	for len(b) > 0 {
		data := b[:min(len(b), frameSize)]
		b = b[len(data):]
		kind, body := byte(0x00), referenceBlock(data)
		if len(body) >= len(data) {
			kind, body = 0x01, data
		}
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		n := 4 + len(body)
		out = append(out, kind, byte(n), byte(n>>8), byte(n>>16))
		out = binary.LittleEndian.AppendUint32(out, (sum>>15|sum<<17)+0xa282ead8)
		out = append(out, body...)
	}
	return out
}

// referencePayload returns leanSpec's encoding of a request, or of a response without its
// code.
//
// leanSpec: node/networking/reqresp/codec.py, encode_request
func referencePayload(b []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(b))), referenceFrames(b)...)
}
