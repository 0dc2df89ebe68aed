package wire

import (
	"encoding/binary"
	"io"
)

// AppendVarint appends the LEB128 encoding of v.
//
// leanSpec: node/networking/varint.py, encode_varint
func AppendVarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// Varint decodes the varint that b begins with, and returns how many bytes it
// takes: 1 to 10.
//
// leanSpec: node/networking/varint.py, decode_varint
func Varint(b []byte) (v uint64, n int, err error) {
	switch v, n = binary.Uvarint(b); {
	case n > 0:
		return v, n, nil
	case n == 0 && len(b) < binary.MaxVarintLen64:
		return 0, 0, invalid("truncated varint")
	default:
		return 0, 0, invalid("varint exceeds 64 bits")
	}
}

// readVarint reads a varint from a stream. An end of the stream before the first
// byte is io.EOF.
func readVarint(r io.ByteReader) (uint64, error) {
	var buf [binary.MaxVarintLen64]byte
	for i := range buf {
		b, err := r.ReadByte()
		if err != nil {
			if err == io.EOF && i > 0 {
				return 0, invalid("truncated varint")
			}
			return 0, err
		}
		buf[i] = b
		if b < 0x80 {
			v, _, err := Varint(buf[:i+1])
			return v, err
		}
	}
	return 0, invalid("varint exceeds 64 bits")
}
