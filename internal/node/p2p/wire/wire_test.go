package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	text := []byte(strings.Repeat("some text ", 20))
	whole := CompressFrames(text)
	frame := whole[len(streamIdentifier):]
	edit := func(at int, b byte) []byte {
		edited := bytes.Clone(whole)
		edited[at] = b
		return edited
	}
	raw := func(data []byte) []byte {
		n := checksumSize + len(data)
		sum := checksum(data)
		return append([]byte{frameUncompressed, byte(n), byte(n >> 8), byte(n >> 16),
			byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, data...)
	}
	for name, test := range map[string]struct {
		stream []byte
		want   []byte // nil: to be rejected
	}{
		"one frame":                  {whole, text},
		"two frames":                 {slices.Concat(whole, frame), slices.Concat(text, text)},
		"identifier again":           {slices.Concat(whole, whole), slices.Concat(text, text)},
		"skippable frame":            {slices.Concat(streamIdentifier, []byte{0x80, 2, 0, 0, 1, 2}, frame), text},
		"padding":                    {slices.Concat(whole, []byte{0xfe, 1, 0, 0, 0}), text},
		"uncompressed frame":         {slices.Concat(streamIdentifier, raw([]byte("x"))), []byte("x")},
		"largest uncompressed frame": {slices.Concat(streamIdentifier, raw(make([]byte, maxFrameData))), make([]byte, maxFrameData)},
		"larger uncompressed frame":  {slices.Concat(streamIdentifier, raw(make([]byte, maxFrameData+1))), nil},
		"no identifier":              {frame, nil},
		"identifier of wrong length": {slices.Concat(whole, []byte{0xff, 5, 0, 0, 's', 'N', 'a', 'P', 'p'}), nil},
		"identifier of wrong text":   {slices.Concat(whole, []byte("\xff\x06\x00\x00sNaPpy")), nil},
		"unknown frame":              {slices.Concat(whole, []byte{0x02, 0, 0, 0}), nil},
		"wrong checksum":             {edit(len(streamIdentifier)+4, whole[len(streamIdentifier)+4]^1), nil},
		"frame without checksum":     {slices.Concat(streamIdentifier, []byte{0, 3, 0, 0, 1, 2, 3}), nil},
		"truncated header":           {whole[:len(streamIdentifier)+2], nil},
		"truncated frame":            {whole[:len(whole)-1], nil},
		"truncated skippable frame":  {slices.Concat(whole, []byte{0x80, 2, 0, 0, 1}), nil},
		"more than the limit":        {CompressFrames(make([]byte, 1<<20+1)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecompressFrames(test.stream, 1<<20)
			switch {
			case test.want == nil && !errors.Is(err, ErrInvalid):
				t.Errorf("got %d bytes and error %v, want an error that wraps %v", len(got), err, ErrInvalid)
			case test.want != nil && (err != nil || !bytes.Equal(got, test.want)):
				t.Errorf("got %q and error %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestVarintErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":          {},
		"truncated":      {0x80},
		"eleven bytes":   append(bytes.Repeat([]byte{0x80}, 10), 1),
		"above 64 bits":  append(bytes.Repeat([]byte{0xff}, 9), 2),
		"never an end":   bytes.Repeat([]byte{0xff}, 100),
		"ten, truncated": bytes.Repeat([]byte{0xff}, 9),
	} {
		if v, _, err := Varint(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %d and error %v, want an error that wraps %v", name, v, err, ErrInvalid)
		}
	}
}

func TestParseTopicErrors(t *testing.T) {
	for _, s := range []string{
		"", "/", "block", "/leanconsensus/x/block", "leanconsensus/x/block/ssz_snappy", "//leanconsensus/x/block/ssz_snappy",
		"/eth2/x/block/ssz_snappy", "/leanconsensus/x/block/ssz", "/leanconsensus/x/blocks/ssz_snappy",
		"/leanconsensus/x/attestation/ssz_snappy", "/leanconsensus/x/attestation_/ssz_snappy",
		"/leanconsensus/x/attestation_-1/ssz_snappy", "/leanconsensus/x/attestation_01/ssz_snappy",
		"/leanconsensus/x/attestation_18446744073709551616/ssz_snappy", "/leanconsensus/x/block/ssz_snappy/",
	} {
		if topic, err := ParseTopic(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is read as %v (error %v), want an error that wraps %v", s, topic, err, ErrInvalid)
		}
	}
}

// TestGossipID holds that a message has one id however it is compressed, and that
// what does not decompress has another.
func TestGossipID(t *testing.T) {
	const topic = "/leanconsensus/12345678/block/ssz_snappy"
	data := []byte(strings.Repeat("x", 40))
	literal := append([]byte{byte(len(data)), byte(len(data)-1) << 2}, data...)
	id := GossipID(topic, CompressBlock(data))
	if id != GossipID(topic, literal) || id != MessageID(DomainValidSnappy, topic, data) {
		t.Error("the id depends on how the message is compressed")
	}
	if GossipID(topic, data) != MessageID(DomainInvalidSnappy, topic, data) {
		t.Error("bytes that do not decompress: want the id of the raw bytes")
	}
	if id == GossipID("/leanconsensus/12345678/aggregation/ssz_snappy", CompressBlock(data)) {
		t.Error("the id does not depend on the topic")
	}
}

func TestResponseCodes(t *testing.T) {
	for raw, want := range map[byte]ResponseCode{
		0: Success, 1: InvalidRequest, 2: ServerError, 3: ResourceUnavailable,
		4: ServerError, 127: ServerError, 128: InvalidRequest, 255: InvalidRequest,
	} {
		code, _, err := DecodeResponse(AppendResponse(nil, ResponseCode(raw), []byte("x")))
		if err != nil || code != want {
			t.Errorf("code %d is read as %s (error %v), want %s", raw, code, err, want)
		}
	}
}
