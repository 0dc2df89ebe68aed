package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

// seal sets the checksum of a changed cell.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[crcPosition:], crc32.Checksum(b[:crcPosition], castagnoli))
	return b
}

// FuzzCell checks that encode returns the bytes that decodeCell accepts.
func FuzzCell(f *testing.F) {
	for _, r := range []Record{{}, {Signed, 5, [32]byte{1}}, {Closed, 5, [32]byte{}}} {
		c := cell{r, 7, PublicKey{1}}
		f.Add(c.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			if c, err := decodeCell(b); err == nil && !bytes.Equal(c.encode(), b[:cellSize]) {
				t.Errorf("decodeCell(%x) = %+v, which encodes differently", b, c)
			}
		}
		check(b)
		if len(b) >= cellSize {
			check(seal(bytes.Clone(b)))
		}
	})
}

// FuzzFile checks that a record that decodeFile accepts is the same after encodeFile.
func FuzzFile(f *testing.F) {
	f.Add(encodeFile(PublicKey{1}, Record{Signed, 5, [32]byte{1}}, 4))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeFile(PublicKey{1}, b)
		if err != nil {
			return
		}
		again, err := decodeFile(PublicKey{1}, encodeFile(PublicKey{1}, c.record, 0))
		if err != nil || again.record != c.record {
			t.Errorf("record after encodeFile and decodeFile = %s, %v, want %s", again.record, err, c.record)
		}
	})
}

// TestStrictCell checks that decodeCell refuses invalid fields with a valid checksum.
func TestStrictCell(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"unused with a slot":    func(b []byte) { b[24] = 1 },
		"unused with a message": func(b []byte) { b[32] = 1 },
		"closed with a message": func(b []byte) { b[12], b[32] = byte(Closed), 1 },
		"unknown kind":          func(b []byte) { b[12] = 3 },
		"padding":               func(b []byte) { b[13] = 1 },
		"more padding":          func(b []byte) { b[120] = 1 },
		"magic":                 func(b []byte) { b[0] = 'x' },
	} {
		c := cell{key: PublicKey{1}}
		b := c.encode()
		change(b)
		if _, err := decodeCell(seal(b)); !errors.Is(err, errDamaged) {
			t.Errorf("%s: decodeCell = %v, want %v", name, err, errDamaged)
		}
	}
}
