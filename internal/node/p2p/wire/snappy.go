package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/golang/snappy"
)

// CompressBlock compresses b into a raw snappy block.
//
// leanSpec: node/snappy/compress.py, compress, which finds other matches
func CompressBlock(b []byte) []byte { return snappy.Encode(nil, b) }

// maxBlockRatio bounds how much a snappy block can grow. The densest element
// copies 64 bytes and takes 3.
const maxBlockRatio = 22

// DecompressBlock decompresses a raw snappy block of at most limit bytes. The
// declared length is checked before any memory is spent on it.
//
// leanSpec: node/snappy/decompress.py, decompress
func DecompressBlock(b []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(b)
	switch {
	case err != nil:
		return nil, invalid("snappy block: %v", err)
	case n > limit:
		return nil, invalid("snappy block declares %d bytes, at most %d are allowed", n, limit)
	case n > maxBlockRatio*len(b):
		return nil, invalid("snappy block of %d bytes cannot hold the %d that it declares", len(b), n)
	}
	out, err := snappy.Decode(nil, b)
	if err != nil {
		return nil, invalid("snappy block: %v", err)
	}
	return out, nil
}

// The framing format of snappy.
//
// leanSpec: node/snappy/framing.py
const (
	frameCompressed   = 0x00
	frameUncompressed = 0x01
	frameSkippable    = 0x80 // and above
	frameIdentifier   = 0xff

	frameHeaderSize = 4
	checksumSize    = 4
	maxFrameData    = 65536
)

var streamIdentifier = []byte("\xff\x06\x00\x00sNaPpY")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the masked CRC of uncompressed data.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// CompressFrames compresses b into a framed snappy stream.
//
// leanSpec: node/snappy/framing.py, frame_compress
func CompressFrames(b []byte) []byte { return appendFrames(nil, b) }

func appendFrames(out, b []byte) []byte {
	out = append(out, streamIdentifier...)
	compressed := make([]byte, snappy.MaxEncodedLen(min(len(b), maxFrameData)))
	for len(b) > 0 {
		data := b[:min(len(b), maxFrameData)]
		b = b[len(data):]
		kind, body := byte(frameCompressed), snappy.Encode(compressed, data)
		if len(body) >= len(data) {
			kind, body = frameUncompressed, data
		}
		n := checksumSize + len(body)
		out = append(out, kind, byte(n), byte(n>>8), byte(n>>16))
		out = binary.LittleEndian.AppendUint32(out, checksum(data))
		out = append(out, body...)
	}
	return out
}

// DecompressFrames decompresses a whole framed stream of at most limit bytes.
//
// leanSpec: node/snappy/framing.py, frame_decompress
func DecompressFrames(b []byte, limit int) ([]byte, error) {
	f := frameReader{r: bufio.NewReader(bytes.NewReader(b)), budget: len(b), limit: limit}
	if err := f.identifier(); err != nil {
		return nil, err
	}
	for f.budget > 0 {
		if err := f.frame(); err != nil {
			return nil, err
		}
	}
	return f.out, nil
}

// readFrames reads a framed stream up to the end of the frame that brings it to
// size bytes, and no further.
//
// leanSpec: node/networking/reqresp/handler.py, _read_request, which reads until
// what it has decompresses to the declared length.
func readFrames(r *bufio.Reader, size int) ([]byte, error) {
	// The worst that compression does to a payload, as leanSpec bounds it, so
	// that frames without data cannot go on for ever.
	f := frameReader{r: r, budget: size + size/6 + 1024, limit: size, out: make([]byte, 0, min(size, maxFrameData))}
	if err := f.identifier(); err != nil {
		return nil, err
	}
	for len(f.out) < size {
		if err := f.frame(); err != nil {
			return nil, err
		}
	}
	return f.out, nil
}

type frameReader struct {
	r      *bufio.Reader
	budget int // bytes that may still be read
	limit  int // bytes that out may have
	out    []byte
}

// read fills b from the stream. An end of the stream makes the encoding invalid.
func (f *frameReader) read(b []byte) error {
	if f.budget -= len(b); f.budget < 0 {
		return invalid("snappy frames: truncated, or too many bytes for the payload")
	}
	_, err := io.ReadFull(f.r, b)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("snappy frames: truncated")
	}
	return err
}

func (f *frameReader) identifier() error {
	var id [10]byte
	if err := f.read(id[:]); err != nil {
		return err
	}
	if !bytes.Equal(id[:], streamIdentifier) {
		return invalid("snappy frames: wrong stream identifier")
	}
	return nil
}

func (f *frameReader) frame() error {
	var header [frameHeaderSize]byte
	if err := f.read(header[:]); err != nil {
		return err
	}
	size := int(header[1]) | int(header[2])<<8 | int(header[3])<<16
	switch kind := header[0]; {
	case kind == frameCompressed || kind == frameUncompressed:
		return f.data(kind, size)
	case kind == frameIdentifier:
		if size != len(streamIdentifier)-frameHeaderSize {
			return invalid("snappy frames: stream identifier of %d bytes", size)
		}
		var id [6]byte
		if err := f.read(id[:]); err != nil {
			return err
		}
		if !bytes.Equal(id[:], streamIdentifier[frameHeaderSize:]) {
			return invalid("snappy frames: wrong stream identifier")
		}
		return nil
	case kind >= frameSkippable:
		if f.budget -= size; f.budget < 0 {
			return invalid("snappy frames: truncated, or too many bytes for the payload")
		}
		if _, err := f.r.Discard(size); err == io.EOF {
			return invalid("snappy frames: truncated")
		} else if err != nil {
			return err
		}
		return nil
	default:
		return invalid("snappy frames: unknown frame type %#x", kind)
	}
}

func (f *frameReader) data(kind byte, size int) error {
	if size < checksumSize || size > checksumSize+snappy.MaxEncodedLen(maxFrameData) {
		return invalid("snappy frames: data frame of %d bytes", size)
	}
	room := min(maxFrameData, f.limit-len(f.out))
	if kind == frameUncompressed && size-checksumSize > room {
		return invalid("snappy frames: more data than declared")
	}
	frame := make([]byte, size)
	if err := f.read(frame); err != nil {
		return err
	}
	want, data := binary.LittleEndian.Uint32(frame), frame[checksumSize:]
	if kind == frameCompressed {
		var err error
		if data, err = DecompressBlock(data, room); err != nil {
			return err
		}
	}
	if checksum(data) != want {
		return invalid("snappy frames: wrong checksum")
	}
	f.out = append(f.out, data...)
	return nil
}
