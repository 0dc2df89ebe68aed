package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
)

// checkError checks that errors about the bytes wrap ErrInvalid.
func checkError(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrInvalid) {
		t.Errorf("got error %v, want one that wraps %v", err, ErrInvalid)
	}
}

func FuzzReadVarint(f *testing.F) {
	for _, v := range []uint64{0, 127, 128, 300, 1<<64 - 1} {
		f.Add(binary.AppendUvarint(nil, v))
	}
	f.Add([]byte{0x80})
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		v, err := ReadVarint(r)
		if len(b) == 0 {
			if err != io.EOF {
				t.Errorf("got error %v, want %v", err, io.EOF)
			}
			return
		}
		checkError(t, err)
		if n := len(b) - r.Len(); err == nil && (n < 1 || n > 10 || len(binary.AppendUvarint(nil, v)) > n) {
			t.Errorf("%d is read from %d bytes", v, n)
		}
	})
}

func FuzzDecompressBlock(f *testing.F) {
	f.Add(CompressBlock([]byte("some text, some text, some text")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		out, err := DecompressBlock(b, limit)
		checkError(t, err)
		if len(out) > limit {
			t.Errorf("%d bytes, at most %d are allowed", len(out), limit)
		}
		if _, err := DecompressBlock(b, MaxPayloadSize); err != nil {
			checkError(t, err)
		}
	})
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte("some text, some text, some text"))
	f.Add(make([]byte, 70000))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := DecompressBlock(CompressBlock(b), len(b))
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("as a block, %x becomes %x, %v", b, again, err)
		}
		r := bufio.NewReader(bytes.NewReader(append(appendFrames(nil, b), b...)))
		again, err = readFrames(r, len(b))
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("as frames, %x becomes %x, %v", b, again, err)
		}
		if rest, _ := io.ReadAll(r); !bytes.Equal(rest, b) {
			t.Errorf("the frames are followed by %x, want %x", rest, b)
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	f.Add(AppendRequest(nil, []byte("payload")))
	f.Add(AppendRequest(nil, nil))
	f.Add([]byte{0x81, 0x80, 0x80, 0x05})
	f.Add(append(AppendRequest(nil, []byte("x")), 0x80, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		payload, err := ReadRequest(bufio.NewReader(bytes.NewReader(b)), limit)
		checkError(t, err)
		if len(payload) > limit {
			t.Errorf("payload of %d bytes, want at most %d", len(payload), limit)
		}
		if err != nil {
			return
		}
		again, err := ReadRequest(bufio.NewReader(bytes.NewReader(AppendRequest(nil, payload))), limit)
		if err != nil || !bytes.Equal(again, payload) {
			t.Errorf("payload %x becomes %x, %v", payload, again, err)
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	f.Add(AppendResponse(AppendResponse(nil, Success, []byte("one")), ResourceUnavailable, []byte("two")))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			code, payload, err := ReadResponse(r, 1<<16)
			if err == io.EOF {
				return
			}
			checkError(t, err)
			if code > ResourceUnavailable {
				t.Errorf("code %d was not mapped", code)
			}
			if code != Success && len(payload) > MaxErrorSize {
				t.Errorf("error text of %d bytes, want at most %d", len(payload), MaxErrorSize)
			}
			if err != nil {
				return
			}
		}
	})
}

func FuzzRoots(f *testing.F) {
	f.Add(EncodeRoots([][32]byte{{1}, {2}}))
	f.Add([]byte{4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		roots, err := DecodeRoots[[32]byte](b)
		checkError(t, err)
		if err == nil && !bytes.Equal(EncodeRoots(roots), b) {
			t.Errorf("%x encodes to %x", b, EncodeRoots(roots))
		}
	})
}

func FuzzRange(f *testing.F) {
	f.Add(EncodeRange(1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		start, count, err := DecodeRange(b)
		checkError(t, err)
		if err == nil && !bytes.Equal(EncodeRange(start, count), b) {
			t.Errorf("%x encodes to %x", b, EncodeRange(start, count))
		}
	})
}

func FuzzTopic(f *testing.F) {
	f.Add(Topic{Kind: TopicBlock, Network: "12345678"}.String())
	f.Add(Topic{Kind: TopicAttestation, Network: "x", Subnet: 63}.String())
	f.Add("/leanconsensus/x/attestation_+1/ssz_snappy")
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := ParseTopic(s)
		checkError(t, err)
		if err == nil && topic.String() != s {
			t.Errorf("%q is read as %q", s, topic)
		}
	})
}

// TestStreamErrorsAreNotInvalid checks that errors of the connection do not wrap ErrInvalid.
func TestStreamErrorsAreNotInvalid(t *testing.T) {
	whole := AppendResponse(nil, Success, bytes.Repeat([]byte("payload"), 20000))
	broken := errors.New("connection reset")
	for n := range 40 {
		r := bufio.NewReader(io.MultiReader(bytes.NewReader(whole[:n]), failingReader{broken}))
		if _, _, err := ReadResponse(r, MaxPayloadSize); !errors.Is(err, broken) || errors.Is(err, ErrInvalid) {
			t.Errorf("broken after %d bytes: error is %v, want %v", n, err, broken)
		}
	}
}

func readRequest(b []byte) error {
	_, err := ReadRequest(bufio.NewReader(bytes.NewReader(b)), MaxPayloadSize)
	return err
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// TestBombsCostNoMemory checks that decoders do not allocate the declared size.
func TestBombsCostNoMemory(t *testing.T) {
	for name, bomb := range map[string]func() error{
		"block": func() error {
			_, err := DecompressBlock(binary.AppendUvarint(nil, MaxPayloadSize), MaxPayloadSize)
			return err
		},
		"request": func() error {
			return readRequest(append(binary.AppendUvarint(nil, MaxPayloadSize), streamIdentifier...))
		},
		"skippable frame": func() error {
			return readRequest(append(append(binary.AppendUvarint(nil, 10), streamIdentifier...), 0x80, 0xff, 0xff, 0xff))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := bomb()
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error is %v, want one that wraps %v", err, ErrInvalid)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
				t.Errorf("%d bytes are allocated, want at most 256 KiB", got)
			}
		})
	}
}

func BenchmarkGossipID(b *testing.B) {
	raw := CompressBlock(bytes.Repeat([]byte("0123456789abcdef"), 512<<10/16))
	b.ReportAllocs()
	for b.Loop() {
		GossipID("/leanconsensus/12345678/block/ssz_snappy", raw)
	}
}

func BenchmarkCompressBlock(b *testing.B) {
	data := make([]byte, 512<<10)
	state := uint64(1)
	for i := range data {
		state = state*6364136223846793005 + 1442695040888963407
		data[i] = byte(state >> 56)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		CompressBlock(data)
	}
}
