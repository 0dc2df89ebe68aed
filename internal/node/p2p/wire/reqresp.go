package wire

import (
	"bufio"
	"bytes"
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

// MaxErrorSize bounds the text of an error response, in bytes.
//
// leanSpec: node/networking/config.py, MAX_ERROR_MESSAGE_SIZE
const MaxErrorSize = 256

// ResponseCode is the first byte of every part of a response.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode
type ResponseCode byte

const (
	Success ResponseCode = iota
	InvalidRequest
	ServerError
	ResourceUnavailable
)

// String returns the name that leanSpec gives the code.
func (c ResponseCode) String() string {
	names := [...]string{"SUCCESS", "INVALID_REQUEST", "SERVER_ERROR", "RESOURCE_UNAVAILABLE"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", byte(c))
}

// responseCode reads a code. Those not yet in use count as SERVER_ERROR, those
// that never will be as INVALID_REQUEST.
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

// AppendRequest appends a request: the length of the payload, which is SSZ, and
// its snappy frames.
//
// leanSpec: node/networking/reqresp/codec.py, encode_request
func AppendRequest(b, payload []byte) []byte {
	return appendFrames(AppendVarint(b, uint64(len(payload))), payload)
}

// AppendResponse appends one part of a response.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode.encode
func AppendResponse(b []byte, code ResponseCode, payload []byte) []byte {
	return AppendRequest(append(b, byte(code)), payload)
}

// ReadRequest reads a request whose payload has at most limit bytes.
func ReadRequest(r *bufio.Reader, limit int) ([]byte, error) {
	size, err := readVarint(r)
	if err == io.EOF {
		return nil, invalid("empty")
	}
	if err != nil {
		return nil, err
	}
	if size > uint64(limit) {
		return nil, invalid("%d bytes are declared, at most %d are allowed", size, limit)
	}
	return readFrames(r, int(size))
}

// ReadResponse reads one part of a response, or io.EOF where the stream ends
// before it. A payload has at most limit bytes, and that of an error is its text
// and has at most MaxErrorSize.
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

// DecodeRequest decodes exactly the bytes of a request.
//
// leanSpec: node/networking/reqresp/codec.py, decode_request
func DecodeRequest(b []byte) ([]byte, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	payload, err := ReadRequest(r, MaxPayloadSize)
	if err != nil {
		return nil, err
	}
	return payload, atEnd(r)
}

// DecodeResponse decodes exactly the bytes of one part of a response.
//
// leanSpec: node/networking/reqresp/codec.py, ResponseCode.decode
func DecodeResponse(b []byte) (ResponseCode, []byte, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	code, payload, err := ReadResponse(r, MaxPayloadSize)
	switch {
	case err == io.EOF:
		return 0, nil, invalid("empty")
	case err != nil:
		return 0, nil, err
	}
	return code, payload, atEnd(r)
}

func atEnd(r *bufio.Reader) error {
	if _, err := r.ReadByte(); err != io.EOF {
		return invalid("bytes after the end")
	}
	return nil
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

// EncodeRoots returns the SSZ of a BlocksByRootRequest, a container of one list
// of roots.
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

// DecodeRoots decodes the SSZ of a BlocksByRootRequest, of at most
// MaxRequestBlocks roots.
func DecodeRoots[R ~[32]byte](b []byte) ([]R, error) {
	if len(b) < rootsOffset || binary.LittleEndian.Uint32(b) != rootsOffset {
		return nil, invalid("BlocksByRootRequest: wrong offset of the roots")
	}
	list := b[rootsOffset:]
	if len(list)%32 != 0 {
		return nil, invalid("BlocksByRootRequest: %d bytes of roots", len(list))
	}
	if n := len(list) / 32; n > MaxRequestBlocks {
		return nil, invalid("BlocksByRootRequest: %d roots, at most %d are allowed", n, MaxRequestBlocks)
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

// DecodeRange decodes the SSZ of a BlocksByRangeRequest. Any count is valid here.
func DecodeRange(b []byte) (start, count uint64, err error) {
	if len(b) != BlocksByRangeSize {
		return 0, 0, invalid("BlocksByRangeRequest: %d bytes, want %d", len(b), BlocksByRangeSize)
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), nil
}

// Response is one part of a response.
type Response struct {
	Code    ResponseCode
	Payload []byte
}

// DecodeResponses decodes exactly the bytes of a whole response, part by part.
func DecodeResponses(b []byte) (parts []Response, err error) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		code, payload, err := ReadResponse(r, MaxPayloadSize)
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, Response{code, payload})
	}
}
