package conformance

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// sszFixture is a value with its encoding and its root, or an invalid encoding.
//
// leanSpec: test_fixtures/ssz.py
type sszFixture struct {
	envelope
	TypeName   string
	Value      any
	RawBytes   *hexBytes // invalid encoding
	Serialized hexBytes
	Root       string // empty for an invalid encoding
}

func (f *sszFixture) run(t *testing.T, env *environment) {
	typ, ok := sszTypes[f.TypeName]
	if !ok {
		t.Fatalf("unknown type %s", f.TypeName)
	}
	decoded, err := typ.decode(env.read, f.Serialized)
	if f.RejectionReason != nil {
		if *f.RejectionReason != lstar.DecodeError {
			t.Fatalf("rejection reason = %s, want %s", *f.RejectionReason, lstar.DecodeError)
		}
		if f.RawBytes == nil || !bytes.Equal(*f.RawBytes, f.Serialized) {
			t.Error("rawBytes and serialized differ")
		}
		if f.Root != "" {
			t.Errorf("root of an invalid encoding = %s, want an empty string", f.Root)
		}
		if !errors.Is(err, ssz.ErrInvalid) {
			t.Errorf("decoding: error = %v, want %v", err, ssz.ErrInvalid)
		}
		return
	}
	if err != nil {
		t.Fatalf("decoding: %v", err)
	}
	built, err := typ.build(env.read, f.Value)
	if err != nil {
		t.Fatalf("reading the value: %v", err)
	}
	for name, got := range map[string]encoded{"value decoded from bytes": decoded, "value built from JSON": built} {
		if !bytes.Equal(got.bytes, f.Serialized) {
			t.Errorf("%s: encoding =\n0x%x, want\n0x%x", name, got.bytes, f.Serialized)
		}
		if root := "0x" + hex.EncodeToString(got.root[:]); root != f.Root {
			t.Errorf("%s: root = %s, want %s", name, root, f.Root)
		}
	}
}

// encoded is the encoding and the root of a value.
type encoded struct {
	bytes []byte
	root  [32]byte
}

// sszType reads values of a type from their encoding and from JSON.
type sszType struct {
	decode func(r reader, b []byte) (encoded, error)
	build  func(r reader, j any) (encoded, error)
}

var sszTypes = map[string]sszType{
	// Containers of the protocol.
	"AggregatedAttestation":       container[lstar.AggregatedAttestation](),
	"Attestation":                 container[attestation](),
	"AttestationData":             container[lstar.AttestationData](),
	"Block":                       container[lstar.Block](),
	"BlockBody":                   container[lstar.BlockBody](),
	"BlockHeader":                 container[lstar.BlockHeader](),
	"Checkpoint":                  container[lstar.Checkpoint](),
	"Config":                      container[lstar.GenesisConfig](),
	"MultiMessageAggregate":       container[lstar.MultiMessageAggregate](),
	"SignedAggregatedAttestation": container[lstar.SignedAggregatedAttestation](),
	"SignedBlock":                 container[lstar.SignedBlock](),
	"SingleMessageAggregate":      container[lstar.SingleMessageAggregate](),
	"Validator":                   container[lstar.Validator](),
	"SignedAttestation": parsed(
		func(r reader, b []byte) (*lstar.SignedAttestation, error) {
			return lstar.DecodeSignedAttestation(b, r.scheme)
		},
		func(_ reader, a *lstar.SignedAttestation) encoded { return encoded{a.Encode(), a.HashTreeRoot()} }),
	"State":      stateType,
	"Validators": validatorsType,

	// Signatures.
	"Fp":              value[fieldElement](),
	"HashTreeLayer":   container[hashTreeLayer](),
	"HashTreeOpening": container[hashTreeOpening](),
	"PublicKey": parsed(
		func(_ reader, b []byte) (xmss.PublicKey, error) {
			k, err := xmss.ParsePublicKey(b)
			return k, invalid(err)
		},
		func(_ reader, k xmss.PublicKey) encoded { b := k.Bytes(); return encoded{b[:], k.HashTreeRoot()} }),
	"Signature": parsed(
		func(r reader, b []byte) (*xmss.Signature, error) {
			s, err := r.scheme.ParseSignature(b)
			return s, invalid(err)
		},
		func(_ reader, s *xmss.Signature) encoded { return encoded{s.AppendSSZ(nil), s.HashTreeRoot()} }),

	// Basic types.
	"Boolean":        fixed(ssz.Bool),
	"Uint8":          fixed(ssz.Uint[uint8]),
	"Uint16":         fixed(ssz.Uint[uint16]),
	"Uint32":         fixed(ssz.Uint[uint32]),
	"Uint64":         fixed(ssz.Uint[uint64]),
	"Bytes4":         fixed(func(d *ssz.Codec, v *[4]byte) { ssz.FixedBytes(d, v[:]) }),
	"Bytes32":        fixed(ssz.Bytes32[[32]byte]),
	"Bytes52":        fixed(func(d *ssz.Codec, v *[52]byte) { ssz.FixedBytes(d, v[:]) }),
	"Bytes64":        fixed(func(d *ssz.Codec, v *[64]byte) { ssz.FixedBytes(d, v[:]) }),
	"ByteList512KiB": variable(func(d *ssz.Codec, v *[]byte) { ssz.ByteList(d, v, 512<<10) }),

	// Types of leanSpec's own tests.
	"BoundaryBitlist256":   bitlist(256),
	"DecodeBitlist8":       bitlist(8),
	"SampleBitlist16":      bitlist(16),
	"SmokeBitlist8":        bitlist(8),
	"BoundaryBitvector1":   value[bitvector[[1]bool]](),
	"BoundaryBitvector7":   value[bitvector[[7]bool]](),
	"BoundaryBitvector9":   value[bitvector[[9]bool]](),
	"BoundaryBitvector255": value[bitvector[[255]bool]](),
	"BoundaryBitvector256": value[bitvector[[256]bool]](),
	"BoundaryBitvector257": value[bitvector[[257]bool]](),
	"DecodeBitvector16":    value[bitvector[[16]bool]](),
	"SampleBitvector8":     value[bitvector[[8]bool]](),
	"SampleBitvector64":    value[bitvector[[64]bool]](),
	"SampleBytes32List8":   variable(func(d *ssz.Codec, v *[]root) { ssz.List(d, v, 8) }),
	"BoundaryUint64List32": uintList[uint64](32),
	"SampleUint32List16":   uintList[uint32](16),
	"SampleUint16Vector3":  value[uintVector[[3]uint16]](),
	"SampleUint64Vector4":  value[uintVector[[4]uint64]](),

	// Messages between peers.
	"AttestationSubnets":  value[bitvector[[64]bool]](),
	"BlocksByRootRequest": container[blocksByRootRequest](),
	"Status":              container[status](),
}

// container returns the sszType of a type that describes itself to the codec.
func container[T any, P interface {
	*T
	ssz.Object
}]() sszType {
	encode := func(v *T) encoded { return encoded{ssz.Marshal(P(v)), ssz.HashTreeRoot(P(v))} }
	return sszType{
		decode: func(_ reader, b []byte) (encoded, error) {
			v := new(T)
			if err := ssz.Unmarshal(b, P(v)); err != nil {
				return encoded{}, err
			}
			return encode(v), nil
		},
		build: func(r reader, j any) (encoded, error) {
			v := new(T)
			err := r.into(v, j)
			return encode(v), err
		},
	}
}

// parsed returns the sszType of a type with its own decoder.
func parsed[T any](parse func(reader, []byte) (T, error), encode func(reader, T) encoded) sszType {
	return sszType{
		decode: func(r reader, b []byte) (encoded, error) {
			v, err := parse(r, b)
			if err != nil {
				return encoded{}, err
			}
			return encode(r, v), nil
		},
		build: func(r reader, j any) (encoded, error) {
			var v T
			if err := r.into(&v, j); err != nil {
				return encoded{}, err
			}
			return encode(r, v), nil
		},
	}
}

// field is a container with a single field, because the codec can encode some types only as
// fields.
type field[T any] struct {
	value  T
	define func(*ssz.Codec, *T)
}

func (f *field[T]) DefineSSZ(d *ssz.Codec) { f.define(d, &f.value) }

// fixed returns the sszType of a type of fixed size. Its encoding and its root are those of
// a container with that single field.
func fixed[T any](define func(*ssz.Codec, *T)) sszType { return fieldType(define, nil) }

// variable returns the sszType of a type of variable size. In the container, an offset
// precedes it.
func variable[T any](define func(*ssz.Codec, *T)) sszType {
	return fieldType(define, []byte{4, 0, 0, 0})
}

func fieldType[T any](define func(*ssz.Codec, *T), offset []byte) sszType {
	encode := func(f *field[T]) encoded { return encoded{ssz.Marshal(f)[len(offset):], ssz.HashTreeRoot(f)} }
	return sszType{
		decode: func(_ reader, b []byte) (encoded, error) {
			f := &field[T]{define: define}
			if err := ssz.Unmarshal(append(bytes.Clone(offset), b...), f); err != nil {
				return encoded{}, err
			}
			return encode(f), nil
		},
		build: func(r reader, j any) (encoded, error) {
			f := &field[T]{define: define}
			err := r.into(&f.value, j)
			return encode(f), err
		},
	}
}

// value returns the sszType of a type of fixed size with its own encoding.
func value[T any, P interface {
	*T
	ssz.Value
}]() sszType {
	return fixed(func(d *ssz.Codec, v *T) { ssz.Custom(d, P(v)) })
}

func bitlist(limit uint64) sszType {
	return variable(func(d *ssz.Codec, v *ssz.Bitlist) { ssz.Bits(d, v, limit) })
}

// root is a root that can be an element of a list.
type root lstar.Root

func (r *root) DefineSSZ(d *ssz.Codec) { ssz.Bytes32(d, r) }

// status and blocksByRootRequest are requests between peers.
//
// leanSpec: node/networking/reqresp/message.py
type status struct{ Finalized, Head lstar.Checkpoint }

func (s *status) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &s.Finalized)
	ssz.Nested(d, &s.Head)
}

type blocksByRootRequest struct{ Roots []root }

func (b *blocksByRootRequest) DefineSSZ(d *ssz.Codec) { ssz.List(d, &b.Roots, 1024) }

var stateType = sszType{
	decode: func(_ reader, b []byte) (encoded, error) {
		s, err := lstar.DecodeState(b)
		if err != nil {
			return encoded{}, err
		}
		return encoded{s.Encode(), s.Root()}, nil
	},
	build: container[state]().build,
}

// state is a State with plain lists instead of trees, which only the transition can change.
//
// leanSpec: containers/state.py
type state struct {
	Config                           lstar.GenesisConfig
	Slot                             lstar.Slot
	LatestBlockHeader                lstar.BlockHeader
	LatestJustified, LatestFinalized lstar.Checkpoint
	HistoricalBlockHashes            []root
	JustifiedSlots                   ssz.Bitlist
	Validators                       []lstar.Validator
	JustificationsRoots              []root
	JustificationsValidators         ssz.Bitlist
}

func (s *state) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &s.Config)
	ssz.Uint(d, &s.Slot)
	ssz.Nested(d, &s.LatestBlockHeader)
	ssz.Nested(d, &s.LatestJustified)
	ssz.Nested(d, &s.LatestFinalized)
	ssz.List(d, &s.HistoricalBlockHashes, lstar.HistoricalRootsLimit)
	ssz.Bits(d, &s.JustifiedSlots, lstar.HistoricalRootsLimit)
	ssz.List(d, &s.Validators, lstar.ValidatorRegistryLimit)
	ssz.List(d, &s.JustificationsRoots, lstar.HistoricalRootsLimit)
	ssz.Bits(d, &s.JustificationsValidators, lstar.HistoricalRootsLimit*lstar.ValidatorRegistryLimit)
}

// decode returns the node's own state.
func (s *state) decode(t *testing.T) *lstar.State {
	t.Helper()
	decoded, err := lstar.DecodeState(ssz.Marshal(s))
	if err != nil {
		t.Fatalf("state of the vector: %v", err)
	}
	return decoded
}

var validatorsType = sszType{
	decode: func(_ reader, b []byte) (encoded, error) {
		v, err := lstar.DecodeValidators(b)
		if err != nil {
			return encoded{}, err
		}
		list := make([]lstar.Validator, v.Len())
		for i := range list {
			list[i] = *v.At(lstar.ValidatorIndex(i))
		}
		return encoded{ssz.AppendList(nil, list), v.HashTreeRoot()}, nil
	},
	build: variable(func(d *ssz.Codec, v *[]lstar.Validator) { ssz.List(d, v, lstar.ValidatorRegistryLimit) }).build,
}

// attestation is the vote of one validator without a signature. The node has no use for it.
//
// leanSpec: containers/attestation.py, Attestation
type attestation struct {
	ValidatorIndex lstar.ValidatorIndex
	Data           lstar.AttestationData
}

func (a *attestation) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &a.ValidatorIndex)
	ssz.Nested(d, &a.Data)
}

// fieldElement is a field element as an SSZ value.
//
// leanSpec: spec/crypto/koalabear.py, Fp
type fieldElement koalabear.Element

func (e *fieldElement) SizeSSZ() (int, bool) { return koalabear.Size, true }

func (e *fieldElement) AppendSSZ(b []byte) []byte {
	return koalabear.AppendVector(b, []koalabear.Element{koalabear.Element(*e)})
}

func (e *fieldElement) DecodeSSZ(b []byte) error {
	var v [1]koalabear.Element
	err := koalabear.ParseVector(v[:], b)
	*e = fieldElement(v[0])
	return invalid(err)
}

func (e *fieldElement) HashTreeRoot() [32]byte { return packedRoot(e.AppendSSZ(nil)) }

// readJSON reads "Fp(value=1)".
func (e *fieldElement) readJSON(_ reader, j any) error {
	var n uint32
	if _, err := sscan(j, "Fp(value=%d)", &n); err != nil {
		return err
	}
	*e = fieldElement(n)
	return nil
}
