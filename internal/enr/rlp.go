package enr

import (
	"encoding/binary"
	"errors"
)

// The first byte of an RLP item with a content of n bytes is its kind plus n if n is at most maxShort. Otherwise it is the
// kind plus maxShort plus the size of n, which follows.
const (
	rlpString = 0x80
	rlpList   = 0xc0
	maxShort  = 55
)

var errRLP = errors.New("not canonical RLP")

// appendItem appends a string or a list of less than 2^16 bytes.
func appendItem(b []byte, kind byte, content []byte) []byte {
	switch n := len(content); {
	case n == 1 && kind == rlpString && content[0] < rlpString: // encodes itself
	case n <= maxShort:
		b = append(b, kind+byte(n))
	case n < 1<<8:
		b = append(b, kind+maxShort+1, byte(n))
	default:
		b = append(b, kind+maxShort+2, byte(n>>8), byte(n))
	}
	return append(b, content...)
}

// splitItem decodes the header of the first item in b, whose content has less than 2^16 bytes. It accepts the canonical form
// only. It does not check the items of a list.
func splitItem(b []byte) (kind byte, content, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, nil, errRLP
	}
	first := b[0]
	if first < rlpString {
		return rlpString, b[:1], b[1:], nil
	}
	if kind = rlpString; first >= rlpList {
		kind = rlpList
	}
	n, b := int(first-kind), b[1:]
	if n > maxShort {
		size := n - maxShort
		if size > 2 || len(b) < size || b[0] == 0 {
			return 0, nil, nil, errRLP
		}
		n = int(binary.BigEndian.Uint16(append(make([]byte, 2-size, 2), b[:size]...)))
		if b = b[size:]; n <= maxShort {
			return 0, nil, nil, errRLP
		}
	}
	if n > len(b) || n == 1 && kind == rlpString && b[0] < rlpString {
		return 0, nil, nil, errRLP
	}
	return kind, b[:n], b[n:], nil
}

// splitString decodes the string that b begins with.
func splitString(b []byte) (content, rest []byte, err error) {
	kind, content, rest, err := splitItem(b)
	if err != nil || kind != rlpString {
		return nil, nil, errRLP
	}
	return content, rest, nil
}

// number returns the bytes of an unsigned integer, without leading zeros.
func number(v uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, v)
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}
