package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// Kind says what a Record knows.
type Kind uint8

// The kinds of records.
const (
	// Unused: nothing was signed.
	Unused Kind = iota
	// Signed: Message was signed for Slot, and nothing for a later slot.
	Signed
	// Closed: nothing was signed for a slot after Slot. What was signed for Slot, if
	// anything, is not known, so no message for it can be signed any more.
	Closed
)

// Record is the latest that was signed with a key. Slots before it are closed.
type Record struct {
	Kind    Kind
	Slot    uint64   // 0 if unused
	Message [32]byte // zero unless signed
}

// allows says whether a message may be signed for a slot, and whether that is
// on record already.
func (r Record) allows(slot uint64, message [32]byte) (allowed, recorded bool) {
	switch {
	case r.Kind == Unused || slot > r.Slot:
		return true, false
	case r == Record{Signed, slot, message}:
		return true, true
	}
	return false, false
}

// Conflicts says whether two records of one key hold two messages for one slot.
func (r Record) Conflicts(other Record) bool {
	_, err := merge(r, other)
	return err != nil
}

// String is the record in words.
func (r Record) String() string {
	switch r.Kind {
	case Unused:
		return "nothing signed"
	case Closed:
		return fmt.Sprintf("closed up to slot %d", r.Slot)
	}
	return fmt.Sprintf("slot %d, message 0x%x", r.Slot, r.Message)
}

// SlotsLeft returns for how many slots a key with a window from start up to but
// not including end can still sign in the slot now.
func SlotsLeft(r Record, start, end, now uint64) uint64 {
	next := max(start, now)
	if r.Kind != Unused {
		next = max(next, r.Slot+1)
	}
	return end - min(next, end)
}

// errConflict: two messages are on record for one slot.
var errConflict = errors.New("two messages are on record for one slot")

// merge returns what is known from two records of one key.
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

// A record file has two cells, each in a disk block of its own. They are written
// in turn, so that a torn write leaves the other one. A cell is, little-endian:
//
//	 0  magic, 8 bytes
//	 8  version, 4 bytes
//	12  kind, 1 byte, and 3 zeros
//	16  sequence, 8 bytes: counts the writes
//	24  slot, 8 bytes
//	32  message, 32 bytes
//	64  public key, 52 bytes
//	116 8 zeros
//	124 CRC-32C of all before, 4 bytes
//
// docs/keys.md describes it too. Later versions keep magic, version and checksum
// where they are.
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

// cell is one of the two halves of a record file.
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

// offset is the place of the cell in the file.
func (c *cell) offset() int64 { return int64(c.sequence%2) * blockSize }

var (
	// errDamaged: not what was written.
	errDamaged = errors.New("damaged")
	// errVersion: intact, but of a version that this program does not know.
	errVersion = errors.New("unknown version")
)

// decodeCell is strict: what it takes, encode gives back.
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

// content is a whole record file.
type content struct {
	record   Record
	sequence uint64 // of the latest write
	// torn: only one half is good. The other may have held a later record.
	torn bool
}

// encodeFile returns a file with both halves good. The first sequence is even.
func encodeFile(key PublicKey, record Record, sequence uint64) []byte {
	data := make([]byte, fileSize)
	for i := range uint64(2) {
		c := cell{record, sequence + i, key}
		copy(data[c.offset():], c.encode())
	}
	return data
}

// decodeFile reads a record file. A file with no good half is an error: it must
// never count as nothing signed.
func decodeFile(key PublicKey, data []byte) (content, error) {
	var (
		c    content
		good int
	)
	for i := range 2 {
		half, err := decodeCell(data[min(i*blockSize, len(data)):])
		if errors.Is(err, errVersion) {
			return content{}, err
		}
		if err != nil || half.sequence%2 != uint64(i) {
			continue
		}
		if half.key != key {
			return content{}, fmt.Errorf("the record of another key, 0x%x…", half.key[:8])
		}
		if c.record, err = merge(c.record, half.record); err != nil {
			return content{}, err
		}
		c.sequence = max(c.sequence, half.sequence)
		good++
	}
	if good == 0 {
		return content{}, errDamaged
	}
	c.torn = good == 1
	return c, nil
}
