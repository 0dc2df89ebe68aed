// Package wire is how the network spells things: varints, snappy blocks and
// frames, requests and responses, gossip topics and message ids.
//
// Everything in here is a pure function of bytes. Every decoder takes bytes that
// a peer chose: it checks a declared length before it believes it, and what it
// returns for an error wraps ErrInvalid.
//
// leanSpec: node/networking, node/snappy
package wire

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every error that the bytes are to blame for, as
// opposed to errors of the stream that they are read from.
var ErrInvalid = errors.New("invalid encoding")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// MaxPayloadSize bounds an uncompressed message, in bytes.
//
// leanSpec: node/networking/config.py, MAX_PAYLOAD_SIZE
const MaxPayloadSize = 10 << 20
