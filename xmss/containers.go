package xmss

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// ErrInvalid is wrapped by every error of a Parse function whose input is not a valid
// encoding.
var ErrInvalid = errors.New("invalid encoding")

// PublicKeySize is the length in bytes of an encoded public key in every scheme.
const PublicKeySize = digestSize + parameterSize

// PublicKey is the public part of a key pair. It is comparable. It does not identify
// its scheme. The zero value verifies no signature.
//
// leanSpec: spec/crypto/xmss/containers.py, PublicKey
type PublicKey struct {
	root      hashDigest // of the tree over all slots of the lifetime
	parameter publicParameter
}

// ParsePublicKey decodes a public key of [PublicKeySize] bytes. Errors wrap
// [ErrInvalid].
func ParsePublicKey(b []byte) (PublicKey, error) {
	var pk PublicKey
	d := decoder{rest: b}
	d.vector(pk.root[:])
	d.vector(pk.parameter[:])
	return pk, d.finish("public key")
}

// String returns the SSZ encoding in hex, with the prefix 0x.
func (pk PublicKey) String() string { return fmt.Sprintf("0x%x", pk.Bytes()) }

// Bytes returns the SSZ encoding.
func (pk PublicKey) Bytes() [PublicKeySize]byte {
	b := koalabear.AppendVector(make([]byte, 0, PublicKeySize), pk.root[:])
	return [PublicKeySize]byte(koalabear.AppendVector(b, pk.parameter[:]))
}

// HashTreeRoot returns the hash tree root of the key.
func (pk PublicKey) HashTreeRoot() [32]byte {
	return ssz.Merkleize([][32]byte{vectorRoot(pk.root[:]), vectorRoot(pk.parameter[:])}, 0)
}

// Signature is a signature for one slot. It is immutable and safe for concurrent
// use. It holds neither the slot nor the message.
//
// leanSpec: spec/crypto/xmss/containers.py, Signature
type Signature struct {
	scheme *Scheme
	path   []hashDigest // sibling of the leaf, of its parent, and so on up to the root
	rho    randomness
	hashes []hashDigest // released chain values, one for each chain
}

const signatureFixedSize = bytesPerOffset + randomnessSize + bytesPerOffset

// SignatureSize returns the length in bytes of an encoded signature.
func (s *Scheme) SignatureSize() int {
	return s.hashesOffset() + digestSize*s.dimension
}

// hashesOffset returns the offset of the released chain values in an encoded signature.
func (s *Scheme) hashesOffset() int {
	return signatureFixedSize + bytesPerOffset + digestSize*s.logLifetime
}

// ParseSignature decodes a signature of this scheme. A signature has exactly one
// encoding. Errors wrap [ErrInvalid].
func (s *Scheme) ParseSignature(b []byte) (*Signature, error) {
	if len(b) != s.SignatureSize() {
		return nil, fmt.Errorf("xmss: %w: signature of %d bytes, want %d", ErrInvalid, len(b), s.SignatureSize())
	}
	sig := s.newSignature()
	d := decoder{rest: b}
	d.offset(signatureFixedSize)
	d.vector(sig.rho[:])
	d.offset(s.hashesOffset())
	d.offset(bytesPerOffset)
	for i := range sig.path {
		d.vector(sig.path[i][:])
	}
	for i := range sig.hashes {
		d.vector(sig.hashes[i][:])
	}
	if err := d.finish("signature"); err != nil {
		return nil, err
	}
	return sig, nil
}

func (s *Scheme) newSignature() *Signature {
	digests := make([]hashDigest, s.logLifetime+s.dimension)
	return &Signature{
		scheme: s,
		path:   digests[:s.logLifetime:s.logLifetime],
		hashes: digests[s.logLifetime:],
	}
}

// Bytes returns the SSZ encoding.
func (sig *Signature) Bytes() []byte {
	return sig.AppendSSZ(make([]byte, 0, sig.scheme.SignatureSize()))
}

// AppendSSZ appends the SSZ encoding to b.
func (sig *Signature) AppendSSZ(b []byte) []byte {
	b = appendOffset(b, signatureFixedSize)
	b = koalabear.AppendVector(b, sig.rho[:])
	b = appendOffset(b, sig.scheme.hashesOffset())
	b = appendOffset(b, bytesPerOffset) // the path is a container with one field
	b = appendDigests(b, sig.path)
	return appendDigests(b, sig.hashes)
}

// HashTreeRoot returns the hash tree root of the signature.
func (sig *Signature) HashTreeRoot() [32]byte {
	return ssz.Merkleize([][32]byte{
		digestsRoot(sig.path, sig.scheme.nodeListLimit()),
		vectorRoot(sig.rho[:]),
		digestsRoot(sig.hashes, sig.scheme.nodeListLimit()),
	}, 0)
}

// treeLayer is a run of nodes of one level of a tree.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashTreeLayer
type treeLayer struct {
	start uint64 // index in its level of the first node
	nodes []hashDigest
}

const treeLayerFixedSize = 8 + bytesPerOffset

// parseLayer decodes a layer. Errors wrap [ErrInvalid].
func (s *Scheme) parseLayer(b []byte) (treeLayer, error) {
	var l treeLayer
	d := decoder{rest: b}
	l.start = d.uint64()
	d.offset(treeLayerFixedSize)
	l.nodes = d.digests(s.nodeListLimit())
	return l, d.finish("hash tree layer")
}

func (l treeLayer) appendSSZ(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, l.start)
	return appendDigests(appendOffset(b, treeLayerFixedSize), l.nodes)
}

func (l treeLayer) size() int { return treeLayerFixedSize + digestSize*len(l.nodes) }

// vectorRoot returns the hash tree root of a vector of at most 8 field elements.
func vectorRoot(elements []koalabear.Element) (root [32]byte) {
	koalabear.AppendVector(root[:0], elements)
	return root
}

// digestsRoot returns the hash tree root of a list of at most limit digests.
func digestsRoot(digests []hashDigest, limit uint64) [32]byte {
	chunks := make([][32]byte, len(digests))
	for i := range digests {
		chunks[i] = vectorRoot(digests[i][:])
	}
	return ssz.MixInLength(ssz.Merkleize(chunks, limit), uint64(len(digests)))
}

func appendDigests(b []byte, digests []hashDigest) []byte {
	for i := range digests {
		b = koalabear.AppendVector(b, digests[i][:])
	}
	return b
}

func appendOffset(b []byte, offset int) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(offset))
}

// decoder reads the fields of an encoding. After an error it returns zeros.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || len(d.rest) < n {
		d.fail("%d remaining bytes, want at least %d", len(d.rest), n)
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }

func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// offset reads an offset, which must have the given value.
func (d *decoder) offset(want int) {
	if got := d.uint32(); uint64(got) != uint64(want) {
		d.fail("offset %d, want %d", got, want)
	}
}

func (d *decoder) vector(dst []koalabear.Element) {
	if err := koalabear.ParseVector(dst, d.take(koalabear.Size*len(dst))); err != nil {
		d.fail("%w", err)
	}
}

// digests reads a list of at most limit digests, up to the end of the input.
func (d *decoder) digests(limit uint64) []hashDigest {
	n := len(d.rest) / digestSize
	if d.err != nil || uint64(n) > limit || len(d.rest)%digestSize != 0 {
		d.fail("list of %d bytes, want a multiple of %d and at most %d digests", len(d.rest), digestSize, limit)
		return nil
	}
	digests := make([]hashDigest, n)
	for i := range digests {
		d.vector(digests[i][:])
	}
	return digests
}

// finish returns the first error. Bytes that remain are an error.
func (d *decoder) finish(what string) error {
	if len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	if d.err != nil {
		return fmt.Errorf("xmss: %w: %s: %w", ErrInvalid, what, d.err)
	}
	return nil
}
