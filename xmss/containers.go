package xmss

import (
	"encoding/binary"
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/spec/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/spec/ssz"
)

// PublicKeySize is the length in bytes of an encoded public key, in all schemes.
const PublicKeySize = digestSize + parameterSize

// PublicKey is the public part of a key pair. It does not tell its scheme.
//
// leanSpec: spec/crypto/xmss/containers.py, PublicKey
type PublicKey struct {
	Root      Digest    // of the tree over all slots of the lifetime
	Parameter Parameter // personalizes the hashes
}

// ParsePublicKey decodes a public key. Errors wrap [ssz.ErrInvalid].
func ParsePublicKey(b []byte) (PublicKey, error) {
	var pk PublicKey
	d := decoder{rest: b}
	d.vector(pk.Root[:])
	d.vector(pk.Parameter[:])
	return pk, d.finish("public key")
}

// Bytes returns the SSZ encoding.
func (pk PublicKey) Bytes() [PublicKeySize]byte {
	b := koalabear.AppendVector(make([]byte, 0, PublicKeySize), pk.Root[:])
	return [PublicKeySize]byte(koalabear.AppendVector(b, pk.Parameter[:]))
}

// HashTreeRoot returns the SSZ root.
func (pk PublicKey) HashTreeRoot() [32]byte {
	return ssz.Merkleize([][32]byte{vectorRoot(pk.Root[:]), vectorRoot(pk.Parameter[:])}, 0)
}

// HashTreeOpening is the path of a leaf: its sibling, its parent's sibling, and so
// on up to the root.
//
// leanSpec: spec/crypto/xmss/types.py, HashTreeOpening
type HashTreeOpening struct {
	Siblings []Digest
}

// ParseHashTreeOpening decodes an opening of any length up to the limit of the
// scheme. Errors wrap [ssz.ErrInvalid].
func (s *Scheme) ParseHashTreeOpening(b []byte) (HashTreeOpening, error) {
	var o HashTreeOpening
	d := decoder{rest: b}
	d.offset(bytesPerOffset)
	o.Siblings = d.digests(s.nodeListLimit())
	return o, d.finish("hash tree opening")
}

// AppendSSZ appends the encoding to b.
func (o HashTreeOpening) AppendSSZ(b []byte) []byte {
	return appendDigests(appendOffset(b, bytesPerOffset), o.Siblings)
}

// HashTreeRoot returns the SSZ root under the limits of scheme s.
func (o HashTreeOpening) HashTreeRoot(s *Scheme) [32]byte {
	return digestsRoot(o.Siblings, s.nodeListLimit())
}

// HashTreeLayer is a run of nodes of one level of a tree.
//
// leanSpec: spec/crypto/xmss/merkle.py, HashTreeLayer
type HashTreeLayer struct {
	StartIndex uint64 // index in its level of the first node
	Nodes      []Digest
}

const hashTreeLayerFixedSize = 8 + bytesPerOffset

// ParseHashTreeLayer decodes a layer of any length up to the limit of the scheme.
// Errors wrap [ssz.ErrInvalid].
func (s *Scheme) ParseHashTreeLayer(b []byte) (HashTreeLayer, error) {
	var l HashTreeLayer
	d := decoder{rest: b}
	l.StartIndex = d.uint64()
	d.offset(hashTreeLayerFixedSize)
	l.Nodes = d.digests(s.nodeListLimit())
	return l, d.finish("hash tree layer")
}

// AppendSSZ appends the encoding to b.
func (l HashTreeLayer) AppendSSZ(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, l.StartIndex)
	return appendDigests(appendOffset(b, hashTreeLayerFixedSize), l.Nodes)
}

// HashTreeRoot returns the SSZ root under the limits of scheme s.
func (l HashTreeLayer) HashTreeRoot(s *Scheme) [32]byte {
	var start [32]byte
	binary.LittleEndian.PutUint64(start[:], l.StartIndex)
	return ssz.Merkleize([][32]byte{start, digestsRoot(l.Nodes, s.nodeListLimit())}, 0)
}

func (l HashTreeLayer) size() int { return hashTreeLayerFixedSize + digestSize*len(l.Nodes) }

// Signature is a signature for one slot. It is immutable, and always complete: its
// lists have the lengths of its scheme.
//
// leanSpec: spec/crypto/xmss/containers.py, Signature
type Signature struct {
	scheme *Scheme
	path   HashTreeOpening
	rho    randomness
	hashes []Digest // released chain values, one for each chain
}

const signatureFixedSize = bytesPerOffset + randomnessSize + bytesPerOffset

// SignatureSize returns the length in bytes of an encoded signature.
func (s *Scheme) SignatureSize() int {
	return s.hashesOffset() + digestSize*s.dimension
}

// hashesOffset is where the released chain values begin in an encoded signature.
func (s *Scheme) hashesOffset() int {
	return signatureFixedSize + bytesPerOffset + digestSize*s.logLifetime
}

// ParseSignature decodes a signature of this scheme, which has exactly one encoding.
// Errors wrap [ssz.ErrInvalid].
func (s *Scheme) ParseSignature(b []byte) (*Signature, error) {
	if len(b) != s.SignatureSize() {
		return nil, fmt.Errorf("xmss: %w: signature of %d bytes, want %d", ssz.ErrInvalid, len(b), s.SignatureSize())
	}
	sig := s.newSignature()
	d := decoder{rest: b}
	d.offset(signatureFixedSize)
	d.vector(sig.rho[:])
	d.offset(s.hashesOffset())
	d.offset(bytesPerOffset)
	for i := range sig.path.Siblings {
		d.vector(sig.path.Siblings[i][:])
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
	digests := make([]Digest, s.logLifetime+s.dimension)
	return &Signature{
		scheme: s,
		path:   HashTreeOpening{Siblings: digests[:s.logLifetime:s.logLifetime]},
		hashes: digests[s.logLifetime:],
	}
}

// Bytes returns the SSZ encoding.
func (sig *Signature) Bytes() []byte {
	return sig.AppendSSZ(make([]byte, 0, sig.scheme.SignatureSize()))
}

// AppendSSZ appends the encoding to b.
func (sig *Signature) AppendSSZ(b []byte) []byte {
	b = appendOffset(b, signatureFixedSize)
	b = koalabear.AppendVector(b, sig.rho[:])
	b = appendOffset(b, sig.scheme.hashesOffset())
	b = sig.path.AppendSSZ(b)
	return appendDigests(b, sig.hashes)
}

// HashTreeRoot returns the SSZ root of leanSpec's container.
func (sig *Signature) HashTreeRoot() [32]byte {
	return ssz.Merkleize([][32]byte{
		sig.path.HashTreeRoot(sig.scheme),
		vectorRoot(sig.rho[:]),
		digestsRoot(sig.hashes, sig.scheme.nodeListLimit()),
	}, 0)
}

// vectorRoot is the SSZ root of up to 8 field elements.
func vectorRoot(elements []koalabear.Element) (root [32]byte) {
	koalabear.AppendVector(root[:0], elements)
	return root
}

// digestsRoot is the SSZ root of a list of digests.
func digestsRoot(digests []Digest, limit uint64) [32]byte {
	chunks := make([][32]byte, len(digests))
	for i := range digests {
		chunks[i] = vectorRoot(digests[i][:])
	}
	return ssz.MixInLength(ssz.Merkleize(chunks, limit), uint64(len(digests)))
}

func appendDigests(b []byte, digests []Digest) []byte {
	for i := range digests {
		b = koalabear.AppendVector(b, digests[i][:])
	}
	return b
}

func appendOffset(b []byte, offset int) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(offset))
}

// decoder reads fields one after the other. After an error it reads zeros.
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
		d.fail("%d bytes left, want %d", len(d.rest), n)
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }

func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// offset reads an offset that has only one right value.
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

// digests reads a list of digests up to the end.
func (d *decoder) digests(limit uint64) []Digest {
	n := len(d.rest) / digestSize
	if d.err != nil || uint64(n) > limit || len(d.rest)%digestSize != 0 {
		d.fail("list of %d bytes, want a multiple of %d and at most %d digests", len(d.rest), digestSize, limit)
		return nil
	}
	digests := make([]Digest, n)
	for i := range digests {
		d.vector(digests[i][:])
	}
	return digests
}

// finish returns the first error, or one if bytes are left over.
func (d *decoder) finish(what string) error {
	if len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return fmt.Errorf("xmss: %w: %s: %w", ssz.ErrInvalid, what, d.err)
	}
	return nil
}
