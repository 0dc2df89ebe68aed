// Package wire encodes and decodes messages between nodes: snappy blocks and frames, requests and
// responses, gossip topics and message ids.
//
// Its functions depend only on their arguments. Decoders accept any bytes: they check a declared
// length before they allocate memory for it, and return errors that wrap ErrInvalid.
//
// leanSpec: node/networking, node/snappy
package wire

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every error about invalid bytes, but not by errors of the stream that
// they are read from.
var ErrInvalid = errors.New("invalid encoding")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// MaxPayloadSize is the largest size of an uncompressed message, in bytes.
//
// leanSpec: node/networking/config.py, MAX_PAYLOAD_SIZE
const MaxPayloadSize = 10 << 20
