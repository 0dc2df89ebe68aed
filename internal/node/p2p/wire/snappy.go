package wire

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/golang/snappy"
)

// CompressBlock compresses b into a raw snappy block.
//
// leanSpec: node/snappy/compress.py, compress, which finds other matches, so the bytes differ
func CompressBlock(b []byte) []byte { return snappy.Encode(nil, b) }

// maxBlockRatio is the largest factor by which decompression can enlarge a snappy block: an element
// of 3 bytes copies at most 64 bytes.
const maxBlockRatio = 22

// DecompressBlock decompresses a raw snappy block to at most limit bytes. It checks the declared
// length before it allocates memory.
//
// leanSpec: node/snappy/decompress.py, decompress
func DecompressBlock(b []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(b)
	switch {
	case err != nil:
		return nil, invalid("snappy block: %v", err)
	case n > limit:
		return nil, invalid("snappy block declares %d bytes, want at most %d", n, limit)
	case n > maxBlockRatio*len(b):
		return nil, invalid("snappy block of %d bytes declares %d bytes, want at most %d", len(b), n, maxBlockRatio*len(b))
	}
	out, err := snappy.Decode(nil, b)
	if err != nil {
		return nil, invalid("snappy block: %v", err)
	}
	return out, nil
}

// streamIdentifier is the first frame of a framed stream.
//
// leanSpec: node/snappy/framing.py
const streamIdentifier = "\xff\x06\x00\x00sNaPpY"

// maxFrameData is the largest size of the uncompressed data of a frame, in bytes.
const maxFrameData = 65536

var (
	frameWriters = sync.Pool{New: func() any { return snappy.NewBufferedWriter(nil) }}
	frameReaders = sync.Pool{New: func() any { return snappy.NewReader(nil) }}
)

// appendFrames appends data as a framed stream.
//
// leanSpec: node/snappy/framing.py, frame_compress
func appendFrames(b, data []byte) []byte {
	if len(data) == 0 {
		return append(b, streamIdentifier...) // which the library omits
	}
	out := bytes.NewBuffer(b)
	w := frameWriters.Get().(*snappy.Writer)
	w.Reset(out)
	_, _ = w.Write(data) // writing to a buffer does not fail
	_ = w.Flush()
	w.Reset(nil)
	frameWriters.Put(w)
	return out.Bytes()
}

// readFrames reads a framed stream up to the end of the frame that completes size bytes.
//
// leanSpec: node/networking/reqresp/handler.py, _read_request, which reads until the decompressed
// data has the declared length
func readFrames(r io.Reader, size int) ([]byte, error) {
	id := make([]byte, len(streamIdentifier))
	switch _, err := io.ReadFull(r, id); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, invalid("snappy frames: truncated")
	case err != nil:
		return nil, err
	case string(id) != streamIdentifier:
		return nil, invalid("snappy frames: wrong stream identifier")
	}
	// leanSpec's bound of the compressed size ends streams whose frames have no data.
	r = io.LimitReader(r, int64(size+size/6+1024))
	frames := frameReaders.Get().(*snappy.Reader)
	frames.Reset(io.MultiReader(strings.NewReader(streamIdentifier), r))
	defer func() {
		frames.Reset(nil)
		frameReaders.Put(frames)
	}()
	var out []byte
	for len(out) < size {
		// One byte more than declared, to detect a frame that is too long.
		out = slices.Grow(out, min(size-len(out), maxFrameData)+1)
		n, err := frames.Read(out[len(out):min(cap(out), size+1)])
		out = out[:len(out)+n]
		switch {
		case err == io.EOF:
			return nil, invalid("snappy frames: truncated, or too many bytes for the payload")
		case errors.Is(err, snappy.ErrCorrupt) || errors.Is(err, snappy.ErrUnsupported) || errors.Is(err, snappy.ErrTooLarge):
			return nil, invalid("snappy frames: %v", err)
		case err != nil:
			return nil, err
		}
	}
	if len(out) > size {
		return nil, invalid("snappy frames: more data than the declared %d bytes", size)
	}
	return out, nil
}
