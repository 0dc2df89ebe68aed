package conformance

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// These types occur in vectors but not in containers of the protocol, so package ssz does
// not have them.

// bitvector is a vector of bits. B is an array of bool.
type bitvector[B any] struct{ bits B }

func (v *bitvector[B]) all() reflect.Value { return reflect.ValueOf(&v.bits).Elem() }

func (v *bitvector[B]) SizeSSZ() (int, bool) { return (v.all().Len() + 7) / 8, true }

func (v *bitvector[B]) AppendSSZ(b []byte) []byte {
	n, _ := v.SizeSSZ()
	packed := make([]byte, n)
	for i := range v.all().Len() {
		if v.all().Index(i).Bool() {
			packed[i/8] |= 1 << (i % 8)
		}
	}
	return append(b, packed...)
}

func (v *bitvector[B]) DecodeSSZ(b []byte) error {
	n := v.all().Len()
	for i := range 8 * len(b) {
		bit := b[i/8]>>(i%8)&1 == 1
		if i < n {
			v.all().Index(i).SetBool(bit)
		} else if bit {
			return fmt.Errorf("%w: bit %d of a vector of %d bits is set", ssz.ErrInvalid, i, n)
		}
	}
	return nil
}

func (v *bitvector[B]) HashTreeRoot() [32]byte { return packedRoot(v.AppendSSZ(nil)) }

func (v *bitvector[B]) readJSON(r reader, j any) error { return r.into(&v.bits, j) }

// uintVector is a vector of integers. U is an array of them.
type uintVector[U any] struct{ values U }

func (v *uintVector[U]) SizeSSZ() (int, bool) { return binary.Size(v.values), true }

func (v *uintVector[U]) AppendSSZ(b []byte) []byte { return mustAppend(b, v.values) }

func (v *uintVector[U]) DecodeSSZ(b []byte) error {
	_, err := binary.Decode(b, binary.LittleEndian, &v.values)
	return invalid(err)
}

func (v *uintVector[U]) HashTreeRoot() [32]byte { return packedRoot(v.AppendSSZ(nil)) }

func (v *uintVector[U]) readJSON(r reader, j any) error { return r.into(&v.values, j) }

// uintList returns the sszType of a list of at most limit integers.
func uintList[U uint32 | uint64](limit int) sszType {
	return variable(func(d *ssz.Codec, v *[]U) { ssz.Custom(d, &uints[U]{v, limit}) })
}

type uints[U any] struct {
	values *[]U
	limit  int
}

func (v *uints[U]) SizeSSZ() (int, bool) { return binary.Size(*v.values), false }

func (v *uints[U]) AppendSSZ(b []byte) []byte { return mustAppend(b, *v.values) }

func (v *uints[U]) DecodeSSZ(b []byte) error {
	width := binary.Size(*new(U))
	if len(b)%width != 0 || len(b)/width > v.limit {
		return fmt.Errorf("%w: list of %d bytes, want at most %d integers of %d bytes", ssz.ErrInvalid, len(b), v.limit, width)
	}
	*v.values = make([]U, len(b)/width)
	_, err := binary.Decode(b, binary.LittleEndian, *v.values)
	return invalid(err)
}

func (v *uints[U]) HashTreeRoot() [32]byte {
	chunks := (v.limit*binary.Size(*new(U)) + 31) / 32
	packed := ssz.Merkleize(ssz.Pack(v.AppendSSZ(nil)), uint64(chunks))
	return ssz.MixInLength(packed, uint64(len(*v.values)))
}

// nodeListLimit is the limit of a list of digests in the test scheme.
//
// leanSpec: spec/crypto/xmss/types.py, NODE_LIST_LIMIT
const nodeListLimit = 32

// hashTreeOpening holds the siblings of a path.
//
// leanSpec: spec/crypto/xmss/types.py, HashTreeOpening
type hashTreeOpening struct{ Siblings []hashDigest }

func (o *hashTreeOpening) DefineSSZ(d *ssz.Codec) { ssz.List(d, &o.Siblings, nodeListLimit) }

// hashTreeLayer is a run of nodes of one level.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashTreeLayer
type hashTreeLayer struct {
	StartIndex uint64
	Nodes      []hashDigest
}

func (l *hashTreeLayer) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &l.StartIndex)
	ssz.List(d, &l.Nodes, nodeListLimit)
}

// hashDigest is a vector of 8 field elements. It describes itself as a container with that
// single field, which has the same encoding and root.
type hashDigest [8]koalabear.Element

func (v *hashDigest) DefineSSZ(d *ssz.Codec) { ssz.Custom(d, (*elements)(v)) }

type elements [8]koalabear.Element

func (v *elements) SizeSSZ() (int, bool) { return koalabear.Size * len(v), true }

func (v *elements) AppendSSZ(b []byte) []byte { return koalabear.AppendVector(b, v[:]) }

func (v *elements) DecodeSSZ(b []byte) error { return invalid(koalabear.ParseVector(v[:], b)) }

func (v *elements) HashTreeRoot() [32]byte { return packedRoot(v.AppendSSZ(nil)) }

// packedRoot returns the root of a vector of basic values.
func packedRoot(b []byte) [32]byte { return ssz.Merkleize(ssz.Pack(b), 0) }

func mustAppend(b []byte, values any) []byte {
	out, err := binary.Append(b, binary.LittleEndian, values)
	if err != nil {
		panic(err) // the type is not an array or a slice of integers
	}
	return out
}

// invalid wraps an error of another package with ssz.ErrInvalid.
func invalid(err error) error {
	if err != nil {
		err = fmt.Errorf("%w: %w", ssz.ErrInvalid, err)
	}
	return err
}

func sscan(j any, format string, into ...any) (int, error) {
	return fmt.Sscanf(fmt.Sprint(j), format, into...)
}
