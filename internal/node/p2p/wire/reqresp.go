package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// The protocols of requests.
//
// leanSpec: node/networking/reqresp/message.py
const (
	StatusProtocol        = "/leanconsensus/req/status/1/ssz_snappy"
	BlocksByRootProtocol  = "/leanconsensus/req/blocks_by_root/1/ssz_snappy"
	BlocksByRangeProtocol = "/leanconsensus/req/blocks_by_range/1/ssz_snappy"
)

// MaxErrorSize is the largest size of the text of an error response, in bytes.
//
// leanSpec: node/networking/config.py, MAX_ERROR_MESSAGE_SIZE
const MaxErrorSize = 256

// ResponseCode is the first byte of each part of a response.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode
type ResponseCode byte

// The response codes.
const (
	Success ResponseCode = iota
	InvalidRequest
	ServerError
	ResourceUnavailable
)

// String returns the name of the code in leanSpec.
func (c ResponseCode) String() string {
	names := [...]string{"SUCCESS", "INVALID_REQUEST", "SERVER_ERROR", "RESOURCE_UNAVAILABLE"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", byte(c))
}

// responseCode decodes a code. Unassigned codes count as ServerError, and reserved ones as
// InvalidRequest.
func responseCode(b byte) ResponseCode {
	switch {
	case b <= byte(ResourceUnavailable):
		return ResponseCode(b)
	case b < 128:
		return ServerError
	default:
		return InvalidRequest
	}
}

// AppendRequest appends a request: the length of the payload as a varint, and the payload, which is
// SSZ, as snappy frames.
//
// leanSpec: node/networking/reqresp/codec.py, encode_request
func AppendRequest(b, payload []byte) []byte {
	return appendFrames(binary.AppendUvarint(b, uint64(len(payload))), payload)
}

// AppendResponse appends one part of a response.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode.encode
func AppendResponse(b []byte, code ResponseCode, payload []byte) []byte {
	return AppendRequest(append(b, byte(code)), payload)
}

// ReadVarint reads a LEB128 varint of at most 64 bits. If the stream ends before the first byte,
// the error is io.EOF.
//
// leanSpec: node/networking/varint.py, decode_varint
func ReadVarint(r io.ByteReader) (uint64, error) {
	var buf [binary.MaxVarintLen64]byte
	for i := range buf {
		b, err := r.ReadByte()
		switch {
		case err == io.EOF && i > 0:
			return 0, invalid("truncated varint")
		case err != nil:
			return 0, err
		}
		if buf[i] = b; b < 0x80 {
			if v, n := binary.Uvarint(buf[:i+1]); n > 0 {
				return v, nil
			}
		}
	}
	return 0, invalid("varint exceeds 64 bits")
}

// ReadRequest reads a request with a payload of at most limit bytes.
//
// leanSpec: node/networking/reqresp/codec.py, decode_request
func ReadRequest(r *bufio.Reader, limit int) ([]byte, error) {
	size, err := ReadVarint(r)
	switch {
	case err == io.EOF:
		return nil, invalid("empty")
	case err != nil:
		return nil, err
	case size > uint64(limit):
		return nil, invalid("%d bytes are declared, want at most %d", size, limit)
	}
	return readFrames(r, int(size))
}

// ReadResponse reads one part of a response. The payload has at most limit bytes; that of an error is
// its text, of at most MaxErrorSize bytes. If the stream ends before the part, the error is io.EOF.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode.decode
func ReadResponse(r *bufio.Reader, limit int) (ResponseCode, []byte, error) {
	b, err := r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	code := responseCode(b)
	if code != Success {
		limit = MaxErrorSize
	}
	payload, err := ReadRequest(r, limit)
	return code, payload, err
}

// MaxRequestBlocks is the largest number of blocks in one request.
//
// leanSpec: node/networking/config.py, MAX_REQUEST_BLOCKS
const MaxRequestBlocks = 1024

// Sizes of requests, in bytes of SSZ.
const (
	rootsOffset       = 4
	MaxRootsSize      = rootsOffset + 32*MaxRequestBlocks
	BlocksByRangeSize = 16
)

// EncodeRoots returns the SSZ of a BlocksByRootRequest, a container with one list of roots.
//
// leanSpec: node/networking/reqresp/message.py, BlocksByRootRequest
func EncodeRoots[R ~[32]byte](roots []R) []byte {
	b := binary.LittleEndian.AppendUint32(nil, rootsOffset)
	for i := range roots {
		root := [32]byte(roots[i])
		b = append(b, root[:]...)
	}
	return b
}

// DecodeRoots decodes the SSZ of a BlocksByRootRequest with at most MaxRequestBlocks roots.
func DecodeRoots[R ~[32]byte](b []byte) ([]R, error) {
	if len(b) < rootsOffset || binary.LittleEndian.Uint32(b) != rootsOffset {
		return nil, invalid("BlocksByRootRequest: wrong offset of the roots")
	}
	list := b[rootsOffset:]
	if len(list)%32 != 0 {
		return nil, invalid("BlocksByRootRequest: %d bytes of roots, want a multiple of 32", len(list))
	}
	if n := len(list) / 32; n > MaxRequestBlocks {
		return nil, invalid("BlocksByRootRequest: %d roots, want at most %d", n, MaxRequestBlocks)
	}
	roots := make([]R, len(list)/32)
	for i := range roots {
		roots[i] = R(list[32*i:])
	}
	return roots, nil
}

// EncodeRange returns the SSZ of a BlocksByRangeRequest.
//
// leanSpec: node/networking/reqresp/message.py, BlocksByRangeRequest
func EncodeRange(start, count uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, start), count)
}

// DecodeRange decodes the SSZ of a BlocksByRangeRequest. It accepts any count.
func DecodeRange(b []byte) (start, count uint64, err error) {
	if len(b) != BlocksByRangeSize {
		return 0, 0, invalid("BlocksByRangeRequest: %d bytes, want %d", len(b), BlocksByRangeSize)
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), nil
}
