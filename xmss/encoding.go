package xmss

import (
	"encoding/binary"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/poseidon"
)

// codeword holds the digits that a signature commits to, one for each chain.
type codeword [maxDimension]uint8

// messageHash is the input of the message hash, still without randomness.
//
// leanSpec: spec/crypto/xmss/encoding.py, message_hash
type messageHash [24]koalabear.Element // message, parameter, slot, randomness, zero

func newMessageHash(parameter *publicParameter, slot uint64, message *[32]byte) (m messageHash) {
	var words [8]uint32
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(message[4*i:])
	}
	basePDigits(m[:messageLength], words[:])
	copy(m[9:], parameter[:])
	putTweak((*[tweakLength]koalabear.Element)(m[14:]), slot<<8|tweakPrefixMessage)
	return m
}

// encode sets word to the codeword of the message under this randomness and reports
// whether it is valid. It sets one digit for each chain of the scheme.
//
// leanSpec: spec/crypto/xmss/encoding.py, target_sum_encode and aborting_decode
func (s *Scheme) encode(m *messageHash, rho *randomness, word *codeword) bool {
	state := [24]koalabear.Element(*m)
	copy(state[16:], rho[:])
	poseidon.Compress24(&state)

	sum := 0
	for i := 0; i < s.dimension; i += digitsPerFp {
		e := state[i/digitsPerFp]
		if e == koalabear.P-1 {
			return false // without this value, the digits are uniform
		}
		digits := uint32(e) / quotient
		for j := range min(digitsPerFp, s.dimension-i) {
			word[i+j] = uint8(digits % base)
			sum += int(digits % base)
			digits /= base
		}
	}
	return sum == s.targetSum
}
