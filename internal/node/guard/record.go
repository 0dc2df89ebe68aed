package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// Kind is the kind of a Record.
type Kind uint8

// The kinds of records. With each of them, no slot after Record.Slot was signed.
const (
	// Unused means that the key has signed nothing.
	Unused Kind = iota
	// Signed means that Message was signed for Slot.
	Signed
	// Closed means that it is not known whether a message was signed for Slot, so no message can be
	// signed for it.
	Closed
)

// Record describes a key's latest signature. All slots before Slot are closed.
type Record struct {
	Kind    Kind
	Slot    uint64   // 0 if unused
	Message [32]byte // zero unless signed
}

// allows reports whether a message may be signed for a slot, and whether the record already has it.
func (r Record) allows(slot uint64, message [32]byte) (allowed, recorded bool) {
	switch {
	case r.Kind == Unused || slot > r.Slot:
		return true, false
	case r == Record{Signed, slot, message}:
		return true, true
	}
	return false, false
}

// Conflicts reports whether two records of one key have different messages for one slot.
func (r Record) Conflicts(other Record) bool {
	_, err := merge(r, other)
	return err != nil
}

// String returns the record as text for logs and errors.
func (r Record) String() string {
	switch r.Kind {
	case Unused:
		return "nothing signed"
	case Closed:
		return fmt.Sprintf("closed up to slot %d", r.Slot)
	}
	return fmt.Sprintf("slot %d, message 0x%x", r.Slot, r.Message)
}

// SlotsLeft returns the number of slots that a key with the window [start, end) can still sign when
// the current slot is now.
func SlotsLeft(r Record, start, end, now uint64) uint64 {
	next := max(start, now)
	if r.Kind != Unused {
		next = max(next, r.Slot+1)
	}
	return end - min(next, end)
}

// errConflict is the error for two records with different messages for one slot.
var errConflict = errors.New("two messages are on record for one slot")

// merge returns the higher of two records of one key, or errConflict if they have different
// messages for one slot.
func merge(a, b Record) (Record, error) {
	switch {
	case a == b || b.Kind == Unused:
		return a, nil
	case a.Kind == Unused || b.Slot > a.Slot:
		return b, nil
	case a.Slot > b.Slot:
		return a, nil
	case a.Kind == Signed && b.Kind == Signed:
		return Record{}, errConflict
	}
	return Record{Kind: Closed, Slot: a.Slot}, nil
}

// A record file has two cells, each in a disk block of its own. They are written in turn, so a torn
// write leaves one of them intact. The layout of a cell, little-endian:
//
//	 0  magic, 8 bytes
//	 8  version, 4 bytes
//	12  kind, 1 byte, and 3 zeros
//	16  sequence, 8 bytes: counts the writes
//	24  slot, 8 bytes
//	32  message, 32 bytes
//	64  public key, 52 bytes
//	116 8 zeros
//	124 CRC-32C of the 124 bytes before, 4 bytes
//
// docs/keys.md documents the layout. Later versions keep the offsets of magic, version and checksum.
const (
	magic       = "LEANGRD\n"
	version     = 1
	cellSize    = 128
	blockSize   = 4096
	fileSize    = 2 * blockSize
	keyPosition = 64
	crcPosition = cellSize - 4
)

// PublicKey is an encoded XMSS public key.
type PublicKey = [xmss.PublicKeySize]byte

// cell is one of the two cells of a record file.
type cell struct {
	record   Record
	sequence uint64
	key      PublicKey
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *cell) encode() []byte {
	b := make([]byte, cellSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	b[12] = byte(c.record.Kind)
	binary.LittleEndian.PutUint64(b[16:], c.sequence)
	binary.LittleEndian.PutUint64(b[24:], c.record.Slot)
	copy(b[32:], c.record.Message[:])
	copy(b[keyPosition:], c.key[:])
	binary.LittleEndian.PutUint32(b[crcPosition:], crc32.Checksum(b[:crcPosition], castagnoli))
	return b
}

// offset returns the offset of the cell in the file, in bytes.
func (c *cell) offset() int64 { return int64(c.sequence%2) * blockSize }

var (
	// errDamaged is the error for bytes that encode did not write.
	errDamaged = errors.New("damaged")
	// errVersion is the error for an intact cell with an unknown version of the format.
	errVersion = errors.New("unknown version")
)

// decodeCell decodes the first 128 bytes of b. It is strict: encode returns the same bytes for the
// result. The error is errDamaged or wraps errVersion.
func decodeCell(b []byte) (c cell, err error) {
	if len(b) < cellSize {
		return c, errDamaged
	}
	b = b[:cellSize]
	if string(b[:8]) != magic || crc32.Checksum(b[:crcPosition], castagnoli) != binary.LittleEndian.Uint32(b[crcPosition:]) {
		return c, errDamaged
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return c, fmt.Errorf("%w %d, want %d", errVersion, v, version)
	}
	c.record.Kind = Kind(b[12])
	c.sequence = binary.LittleEndian.Uint64(b[16:])
	c.record.Slot = binary.LittleEndian.Uint64(b[24:])
	copy(c.record.Message[:], b[32:])
	copy(c.key[:], b[keyPosition:])
	valid := c.record.Kind == Signed ||
		c.record.Kind == Unused && c.record == Record{} ||
		c.record.Kind == Closed && c.record.Message == [32]byte{}
	if !valid || !bytes.Equal(c.encode(), b) {
		return cell{}, errDamaged
	}
	return c, nil
}

// content is the content of a record file.
type content struct {
	record   Record
	sequence uint64 // of the latest write
	torn     bool   // one cell is damaged; it may have held a later record
}

// encodeFile returns a file with the record in both cells. sequence is that of the first cell, and
// must be even.
func encodeFile(key PublicKey, record Record, sequence uint64) []byte {
	data := make([]byte, fileSize)
	for i := range uint64(2) {
		c := cell{record, sequence + i, key}
		copy(data[c.offset():], c.encode())
	}
	return data
}

// decodeFile decodes a record file. A file without an intact cell is an error, so that it never
// counts as an unused key.
func decodeFile(key PublicKey, data []byte) (content, error) {
	var (
		c      content
		intact int
	)
	for i := range 2 {
		decoded, err := decodeCell(data[min(i*blockSize, len(data)):])
		if errors.Is(err, errVersion) {
			return content{}, err
		}
		if err != nil || decoded.sequence%2 != uint64(i) {
			continue
		}
		if decoded.key != key {
			return content{}, fmt.Errorf("holds the record of another key, 0x%x…, want 0x%x…", decoded.key[:8], key[:8])
		}
		if c.record, err = merge(c.record, decoded.record); err != nil {
			return content{}, err
		}
		c.sequence = max(c.sequence, decoded.sequence)
		intact++
	}
	if intact == 0 {
		return content{}, errDamaged
	}
	c.torn = intact == 1
	return c, nil
}
