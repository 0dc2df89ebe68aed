package xmss

import (
	"crypto/sha3"
	"encoding/binary"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// prfDomainSeparator is the prefix of every input.
//
// leanSpec: spec/crypto/xmss/prf.py, PRF_DOMAIN_SEP
const prfDomainSeparator = "\xae\xae\x22\xff\x00\x01\xfa\xff\x21\xaf\x12\x00\x01\x11\xff\x00"

// Tags for the uses of the output. leanSpec does not have the pad tag.
const (
	prfTagChainStart = 0x00
	prfTagRandomness = 0x01
	prfTagPad        = 0x02
)

// prf derives all secrets of a key from its seed with SHAKE128. It is not safe for
// concurrent use.
//
// leanSpec: spec/crypto/xmss/prf.py, PRFKey
type prf struct {
	shake *sha3.SHAKE
	in    [16 + 1 + prfKeyLength + 4 + 32 + 8]byte
	out   [16 * digestLength]byte
}

func newPRF(key *[prfKeyLength]byte) *prf {
	p := &prf{shake: sha3.NewSHAKE128()}
	copy(p.in[:], prfDomainSeparator)
	copy(p.in[17:], key[:])
	return p
}

// chainStart derives the secret start of one chain of a slot.
//
// leanSpec: spec/crypto/xmss/prf.py, PRFKey.derive_chain_start
func (p *prf) chainStart(slot uint64, chain int) (d hashDigest) {
	in := binary.BigEndian.AppendUint32(p.input(prfTagChainStart), uint32(slot))
	p.elements(d[:], binary.BigEndian.AppendUint64(in, uint64(chain)))
	return d
}

// randomness derives the randomness of one attempt to encode a message.
//
// leanSpec: spec/crypto/xmss/prf.py, PRFKey.derive_randomness
func (p *prf) randomness(slot uint64, message *[32]byte, attempt int) (r randomness) {
	in := binary.BigEndian.AppendUint32(p.input(prfTagRandomness), uint32(slot))
	in = append(in, message[:]...)
	p.elements(r[:], binary.BigEndian.AppendUint64(in, uint64(attempt)))
	return r
}

// pad derives the digest that replaces a node.
func (p *prf) pad(level int, index uint64) (d hashDigest) {
	in := append(p.input(prfTagPad), byte(level))
	p.elements(d[:], binary.BigEndian.AppendUint64(in, index))
	return d
}

// input returns the start of the input: domain separator, tag and key.
func (p *prf) input(tag byte) []byte {
	p.in[16] = tag
	return p.in[:17+prfKeyLength]
}

// elements derives dst from the input. Each element is a big-endian number of 16 bytes of
// output, reduced modulo p.
func (p *prf) elements(dst []koalabear.Element, in []byte) {
	const mod64 = (1 << 32 % koalabear.P) * (1 << 32 % koalabear.P) % koalabear.P // 2^64 mod p

	p.shake.Reset()
	p.shake.Write(in)
	p.shake.Read(p.out[:16*len(dst)])
	for i := range dst {
		high := koalabear.Reduce(binary.BigEndian.Uint64(p.out[16*i:]))
		low := koalabear.Reduce(binary.BigEndian.Uint64(p.out[16*i+8:]))
		dst[i] = koalabear.Add(koalabear.Mul(high, mod64), low)
	}
}
