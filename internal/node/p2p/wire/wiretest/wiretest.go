// Package wiretest decodes whole messages in tests. The node reads them from streams.
package wiretest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// Request decodes a request. Bytes after its end are an error.
func Request(b []byte) ([]byte, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	payload, err := wire.ReadRequest(r, wire.MaxPayloadSize)
	if err == nil {
		if _, err := r.ReadByte(); err != io.EOF {
			return nil, fmt.Errorf("%w: bytes after the end", wire.ErrInvalid)
		}
	}
	return payload, err
}

// Response is one part of a response.
type Response struct {
	Code    wire.ResponseCode
	Payload []byte
}

// Responses decodes all parts of a response.
func Responses(b []byte) (parts []Response, err error) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		code, payload, err := wire.ReadResponse(r, wire.MaxPayloadSize)
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, Response{code, payload})
	}
}

// Frames returns data as a framed snappy stream.
func Frames(data []byte) []byte {
	return wire.AppendRequest(nil, data)[len(binary.AppendUvarint(nil, uint64(len(data)))):]
}
