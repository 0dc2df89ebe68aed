package ssz

import (
	"encoding/binary"
	"fmt"
	"math"
)

type mode uint8

const (
	size mode = iota
	encodeFixed
	encodeDynamic
	decodeFixed
	decodeDynamic
	hash
)

// Codec is an operation on an [Object], whose fields it visits in order. Encoding and
// decoding visit them twice: for the fixed part, and for the contents of the fields of
// variable size.
type Codec struct {
	mode mode
	err  error

	// size
	fixed, dynamic int
	variable       bool

	// encode
	out    []byte
	offset int

	// decode
	in      []byte
	pos     int
	offsets []uint32
	field   int

	// hash
	chunks [][32]byte
}

// fail sets the error of a decoding, if there is none. It does nothing for other
// operations.
func (c *Codec) fail(format string, args ...any) {
	if (c.mode == decodeFixed || c.mode == decodeDynamic) && c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
}

// take returns the next n bytes of the fixed part.
func (c *Codec) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.in)-c.pos < n {
		c.fail("%d bytes, want at least %d", len(c.in), c.pos+n)
		return nil
	}
	b := c.in[c.pos : c.pos+n]
	c.pos += n
	return b
}

// takeOffset reads the offset of the next field of variable size.
func (c *Codec) takeOffset() {
	if b := c.take(bytesPerOffset); b != nil {
		c.offsets = append(c.offsets, binary.LittleEndian.Uint32(b))
	}
}

// takeDynamic returns the bytes of the next field of variable size.
func (c *Codec) takeDynamic() []byte {
	start, end := c.offsets[c.field], c.offsets[c.field+1]
	c.field++
	return c.in[start:end]
}

func (c *Codec) putOffset(size int) {
	c.out = binary.LittleEndian.AppendUint32(c.out, uint32(c.offset))
	c.offset += size
}

func (c *Codec) addFixed(n int) { c.fixed += n }

func (c *Codec) addDynamic(n int) {
	c.fixed += bytesPerOffset
	c.dynamic += n
	c.variable = true
}

// Uint describes an unsigned integer field.
func Uint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c *Codec, v *T) {
	width := uintWidth[T]()
	switch c.mode {
	case size:
		c.addFixed(width)
	case encodeFixed:
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(*v))
		c.out = append(c.out, b[:width]...)
	case decodeFixed:
		if in := c.take(width); in != nil {
			var b [8]byte
			copy(b[:], in)
			*v = T(binary.LittleEndian.Uint64(b[:]))
		}
	case hash:
		var chunk [32]byte
		binary.LittleEndian.PutUint64(chunk[:], uint64(*v))
		c.chunks = append(c.chunks, chunk)
	}
}

func uintWidth[T ~uint8 | ~uint16 | ~uint32 | ~uint64]() int {
	switch uint64(^T(0)) {
	case math.MaxUint8:
		return 1
	case math.MaxUint16:
		return 2
	case math.MaxUint32:
		return 4
	}
	return 8
}

// Bool describes a boolean field, which is encoded as 0 or 1.
func Bool(c *Codec, v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	Uint(c, &b)
	if c.mode == decodeFixed {
		if b > 1 {
			c.fail("boolean %d, want 0 or 1", b)
		}
		*v = b == 1
	}
}

// Bytes32 describes a field of 32 bytes.
func Bytes32[T ~[32]byte](c *Codec, v *T) {
	switch c.mode {
	case size:
		c.addFixed(32)
	case encodeFixed:
		b := [32]byte(*v)
		c.out = append(c.out, b[:]...)
	case decodeFixed:
		if b := c.take(32); b != nil {
			*v = T([32]byte(b))
		}
	case hash:
		c.chunks = append(c.chunks, [32]byte(*v))
	}
}

// FixedBytes describes a byte vector of len(b) bytes. Decoding writes to b.
func FixedBytes(c *Codec, b []byte) {
	switch c.mode {
	case size:
		c.addFixed(len(b))
	case encodeFixed:
		c.out = append(c.out, b...)
	case decodeFixed:
		copy(b, c.take(len(b)))
	case hash:
		c.chunks = append(c.chunks, Merkleize(Pack(b), 0))
	}
}

// ByteList describes a list of at most limit bytes.
func ByteList[T ~[]byte](c *Codec, v *T, limit uint64) {
	switch c.mode {
	case size:
		c.addDynamic(len(*v))
	case encodeFixed:
		c.putOffset(len(*v))
	case encodeDynamic:
		c.out = append(c.out, *v...)
	case decodeFixed:
		c.takeOffset()
	case decodeDynamic:
		if c.err != nil {
			return
		}
		b := c.takeDynamic()
		if uint64(len(b)) > limit {
			c.fail("byte list of %d bytes exceeds the limit of %d", len(b), limit)
			return
		}
		*v = append(T(nil), b...)
	case hash:
		c.chunks = append(c.chunks, MixInLength(Merkleize(Pack(*v), (limit+31)/32), uint64(len(*v))))
	}
}

// Bits describes a bitlist of at most limit bits.
func Bits(c *Codec, v *Bitlist, limit uint64) {
	switch c.mode {
	case size:
		c.addDynamic(v.encodedSize())
	case encodeFixed:
		c.putOffset(v.encodedSize())
	case encodeDynamic:
		c.out = v.AppendSSZ(c.out)
	case decodeFixed:
		c.takeOffset()
	case decodeDynamic:
		if c.err != nil {
			return
		}
		*v, c.err = DecodeBitlist(c.takeDynamic(), limit)
	case hash:
		c.chunks = append(c.chunks, v.HashTreeRoot(limit))
	}
}

// Nested describes a field that is a container.
func Nested(c *Codec, o Object) {
	switch c.mode {
	case size:
		fixed, dynamic, variable := measure(o)
		if variable {
			c.addDynamic(fixed + dynamic)
		} else {
			c.addFixed(fixed)
		}
	case encodeFixed:
		fixed, dynamic, variable := measure(o)
		if variable {
			c.putOffset(fixed + dynamic)
		} else {
			c.out = Append(c.out, o)
		}
	case encodeDynamic:
		if _, _, variable := measure(o); variable {
			c.out = Append(c.out, o)
		}
	case decodeFixed:
		if fixed, _, variable := measure(o); variable {
			c.takeOffset()
		} else if b := c.take(fixed); b != nil {
			c.err = Unmarshal(b, o)
		}
	case decodeDynamic:
		if _, _, variable := measure(o); variable && c.err == nil {
			c.err = Unmarshal(c.takeDynamic(), o)
		}
	case hash:
		c.chunks = append(c.chunks, HashTreeRoot(o))
	}
}

// Custom describes a field with its own encoding.
func Custom(c *Codec, v Value) {
	n, fixed := v.SizeSSZ()
	switch c.mode {
	case size:
		if fixed {
			c.addFixed(n)
		} else {
			c.addDynamic(n)
		}
	case encodeFixed:
		if fixed {
			c.out = v.AppendSSZ(c.out)
		} else {
			c.putOffset(n)
		}
	case encodeDynamic:
		if !fixed {
			c.out = v.AppendSSZ(c.out)
		}
	case decodeFixed:
		if !fixed {
			c.takeOffset()
		} else if b := c.take(n); b != nil {
			c.err = v.DecodeSSZ(b)
		}
	case decodeDynamic:
		if !fixed && c.err == nil {
			c.err = v.DecodeSSZ(c.takeDynamic())
		}
	case hash:
		c.chunks = append(c.chunks, v.HashTreeRoot())
	}
}

// objectPointer is the constraint that *T is an Object.
type objectPointer[T any] interface {
	*T
	Object
}

// List describes a list of at most limit containers.
func List[T any, P objectPointer[T]](c *Codec, v *[]T, limit uint64) {
	switch c.mode {
	case size:
		c.addDynamic(listSize[T, P](*v))
	case encodeFixed:
		c.putOffset(listSize[T, P](*v))
	case encodeDynamic:
		c.out = AppendList[T, P](c.out, *v)
	case decodeFixed:
		c.takeOffset()
	case decodeDynamic:
		if c.err == nil {
			*v, c.err = DecodeList[T, P](c.takeDynamic(), limit)
		}
	case hash:
		c.chunks = append(c.chunks, ListRoot[T, P](*v, limit))
	}
}

func listSize[T any, P objectPointer[T]](v []T) (n int) {
	for i := range v {
		fixed, dynamic, variable := measure(P(&v[i]))
		n += fixed + dynamic
		if variable {
			n += bytesPerOffset
		}
	}
	return n
}

// AppendList appends the encoding of a list of containers to b.
func AppendList[T any, P objectPointer[T]](b []byte, v []T) []byte {
	if _, _, variable := measure(P(new(T))); variable {
		offset := len(v) * bytesPerOffset
		for i := range v {
			b = binary.LittleEndian.AppendUint32(b, uint32(offset))
			offset += Size(P(&v[i]))
		}
	}
	for i := range v {
		b = Append(b, P(&v[i]))
	}
	return b
}

// DecodeList decodes a list of at most limit containers. Errors wrap [ErrInvalid].
func DecodeList[T any, P objectPointer[T]](b []byte, limit uint64) ([]T, error) {
	if len(b) == 0 {
		return nil, nil
	}
	width, _, variable := measure(P(new(T)))
	if variable {
		return decodeVariableList[T, P](b, limit)
	}
	if len(b)%width != 0 {
		return nil, fmt.Errorf("%w: list of %d bytes, want a multiple of the element size %d", ErrInvalid, len(b), width)
	}
	n := len(b) / width
	if uint64(n) > limit {
		return nil, fmt.Errorf("%w: list of %d elements exceeds the limit of %d", ErrInvalid, n, limit)
	}
	v := make([]T, n)
	for i := range v {
		if err := Unmarshal(b[i*width:(i+1)*width], P(&v[i])); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func decodeVariableList[T any, P objectPointer[T]](b []byte, limit uint64) ([]T, error) {
	if len(b) < bytesPerOffset {
		return nil, fmt.Errorf("%w: list of %d bytes, want at least %d for an offset", ErrInvalid, len(b), bytesPerOffset)
	}
	first := binary.LittleEndian.Uint32(b)
	if first == 0 || first%bytesPerOffset != 0 || uint64(first) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: list of %d bytes has first offset %d", ErrInvalid, len(b), first)
	}
	n := first / bytesPerOffset
	if uint64(n) > limit {
		return nil, fmt.Errorf("%w: list of %d elements exceeds the limit of %d", ErrInvalid, n, limit)
	}
	v := make([]T, n)
	start := first
	for i := range v {
		end := uint32(len(b))
		if i+1 < len(v) {
			end = binary.LittleEndian.Uint32(b[(i+1)*bytesPerOffset:])
		}
		if start > end || uint64(end) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: list element %d spans bytes %d to %d of %d", ErrInvalid, i, start, end, len(b))
		}
		if err := Unmarshal(b[start:end], P(&v[i])); err != nil {
			return nil, err
		}
		start = end
	}
	return v, nil
}

// ListRoot returns the hash tree root of a list of at most limit containers.
func ListRoot[T any, P objectPointer[T]](v []T, limit uint64) [32]byte {
	chunks := make([][32]byte, len(v))
	for i := range v {
		chunks[i] = HashTreeRoot(P(&v[i]))
	}
	return MixInLength(Merkleize(chunks, limit), uint64(len(v)))
}
