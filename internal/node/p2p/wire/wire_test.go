package wire

import (
	"bufio"
	"bytes"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
)

// checksum is the masked CRC of the data of a frame.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}

func TestFrames(t *testing.T) {
	text := []byte(strings.Repeat("some text ", 20))
	whole := appendFrames(nil, text)
	id, frame := whole[:len(streamIdentifier)], whole[len(streamIdentifier):]
	edit := func(at int, b byte) []byte {
		edited := bytes.Clone(whole)
		edited[at] = b
		return edited
	}
	raw := func(data []byte) []byte {
		n := 4 + len(data)
		sum := checksum(data)
		return append([]byte{1, byte(n), byte(n >> 8), byte(n >> 16),
			byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, data...)
	}
	for name, test := range map[string]struct {
		stream []byte
		want   []byte // declared size of the data
		ok     bool
	}{
		"one frame":                  {whole, text, true},
		"two frames":                 {slices.Concat(whole, frame), slices.Concat(text, text), true},
		"identifier again":           {slices.Concat(whole, whole), slices.Concat(text, text), true},
		"skippable frame":            {slices.Concat(id, []byte{0x80, 2, 0, 0, 1, 2}, frame), text, true},
		"padding":                    {slices.Concat(id, []byte{0xfe, 1, 0, 0, 0}, frame), text, true},
		"frame without data":         {slices.Concat(id, raw(nil), frame), text, true},
		"no data":                    {id, nil, true},
		"uncompressed frame":         {slices.Concat(id, raw([]byte("x"))), []byte("x"), true},
		"largest uncompressed frame": {slices.Concat(id, raw(make([]byte, maxFrameData))), make([]byte, maxFrameData), true},
		"many frames":                {appendFrames(nil, make([]byte, 1<<20)), make([]byte, 1<<20), true},
		"larger uncompressed frame":  {slices.Concat(id, raw(make([]byte, maxFrameData+1))), make([]byte, maxFrameData+1), false},
		"no identifier":              {frame, text, false},
		"part of an identifier":      {id[:9], nil, false},
		"identifier of wrong length": {slices.Concat(id, []byte{0xff, 5, 0, 0, 's', 'N', 'a', 'P', 'p'}, frame), text, false},
		"identifier of wrong text":   {slices.Concat(id, []byte("\xff\x06\x00\x00sNaPpy"), frame), text, false},
		"unknown frame":              {slices.Concat(id, []byte{0x02, 0, 0, 0}, frame), text, false},
		"wrong checksum":             {edit(len(id)+4, whole[len(id)+4]^1), text, false},
		"frame without checksum":     {slices.Concat(id, []byte{0, 3, 0, 0, 1, 2, 3}), text, false},
		"truncated header":           {whole[:len(id)+2], text, false},
		"truncated frame":            {whole[:len(whole)-1], text, false},
		"truncated skippable frame":  {slices.Concat(id, []byte{0x80, 2, 0, 0, 1}), text, false},
		"less data than declared":    {whole, slices.Concat(text, []byte("x")), false},
		"more data than declared":    {whole, text[:len(text)-1], false},
		"much more than declared":    {appendFrames(nil, make([]byte, 1<<20)), make([]byte, 100), false},
		"frames without end":         {slices.Concat(id, bytes.Repeat([]byte{0x80, 0, 0, 0}, 1000), frame), text, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readFrames(bytes.NewReader(test.stream), len(test.want))
			switch {
			case !test.ok && !errors.Is(err, ErrInvalid):
				t.Errorf("got %d bytes and error %v, want an error that wraps %v", len(got), err, ErrInvalid)
			case test.ok && (err != nil || !bytes.Equal(got, test.want)):
				t.Errorf("got %q and error %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestVarintErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"truncated":      {0x80},
		"eleven bytes":   append(bytes.Repeat([]byte{0x80}, 10), 1),
		"above 64 bits":  append(bytes.Repeat([]byte{0xff}, 9), 2),
		"without end":    bytes.Repeat([]byte{0xff}, 100),
		"ten, truncated": bytes.Repeat([]byte{0xff}, 9),
	} {
		if v, err := ReadVarint(bytes.NewReader(b)); !errors.Is(err, ErrInvalid) {
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

// TestGossipID checks that the id of a message does not depend on its compression, and that a
// message that does not decompress has another id.
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
		code, _, err := ReadResponse(bufio.NewReader(bytes.NewReader(AppendResponse(nil, ResponseCode(raw), []byte("x")))), 1)
		if err != nil || code != want {
			t.Errorf("code %d is read as %s (error %v), want %s", raw, code, err, want)
		}
	}
}
