package xmss

import (
	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/poseidon"
)

// Prefixes that separate the three uses of the hash.
//
// leanSpec: spec/crypto/xmss/constants.py
const (
	tweakPrefixChain   = 0x00
	tweakPrefixTree    = 0x01
	tweakPrefixMessage = 0x02
)

// putTweak writes a packed tweak as two digits in base p, the lower digit first.
// Tweaks are below 2^56, so the higher digit is below p.
//
// leanSpec: spec/crypto/xmss/field.py, int_to_base_p
func putTweak(dst *[tweakLength]koalabear.Element, tweak uint64) {
	dst[0] = koalabear.Element(tweak % koalabear.P)
	dst[1] = koalabear.Element(tweak / koalabear.P)
}

func treeTweak(level int, index uint64) uint64 {
	return uint64(level)<<40 | index<<8 | tweakPrefixTree
}

func chainTweak(slot uint64, chain, step int) uint64 {
	return slot<<24 | uint64(chain)<<16 | uint64(step)<<8 | tweakPrefixChain
}

// walkChain advances digest from the given step of a chain to step end.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.hash_chain
func walkChain(parameter *publicParameter, slot uint64, chain, step, end int, digest *hashDigest) {
	var state [16]koalabear.Element // digest, parameter, tweak, zero
	copy(state[:], digest[:])
	for step < end {
		step++
		copy(state[8:], parameter[:])
		putTweak((*[tweakLength]koalabear.Element)(state[13:]), chainTweak(slot, chain, step))
		state[15] = 0
		poseidon.Compress16(&state)
	}
	copy(digest[:], state[:])
}

// hashNodes returns the parent, at the given level and index, of two siblings.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.tweak_hash
func hashNodes(parameter *publicParameter, level int, index uint64, left, right *hashDigest) hashDigest {
	var state [24]koalabear.Element // parameter, tweak, left, right, zero
	copy(state[:], parameter[:])
	putTweak((*[tweakLength]koalabear.Element)(state[5:]), treeTweak(level, index))
	copy(state[7:], left[:])
	copy(state[15:], right[:])
	poseidon.Compress24(&state)
	return hashDigest(state[:])
}

// newLeaf returns the sponge that hashes the chain ends of a slot to its leaf.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.tweak_hash
func (s *Scheme) newLeaf(parameter *publicParameter, slot uint64) poseidon.Sponge {
	sponge := poseidon.NewSponge(&s.leafCapacity)
	sponge.Absorb(parameter[:])
	var tweak [tweakLength]koalabear.Element
	putTweak(&tweak, treeTweak(0, slot))
	sponge.Absorb(tweak[:])
	return sponge
}

// leafCapacity returns the capacity value of the leaf sponge. It depends on the lengths of
// the inputs, so inputs of other lengths give unrelated hashes.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.safe_domain_separator
func leafCapacity(dimension int) [poseidon.Capacity]koalabear.Element {
	var state [24]koalabear.Element
	lengths := []uint32{digestLength, uint32(dimension), tweakLength, parameterLength}
	basePDigits(state[:], lengths)
	poseidon.Compress24(&state)
	return [poseidon.Capacity]koalabear.Element(state[:])
}

// basePDigits fills dst with the digits in base p, lowest first, of the number
// whose digits in base 2^32, lowest first, are words. It overwrites words.
//
// leanSpec: spec/crypto/xmss/field.py, int_to_base_p
func basePDigits(dst []koalabear.Element, words []uint32) {
	for i := range dst {
		var remainder uint64
		for j := len(words) - 1; j >= 0; j-- {
			v := remainder<<32 | uint64(words[j])
			words[j], remainder = uint32(v/koalabear.P), v%koalabear.P
		}
		dst[i] = koalabear.Element(remainder)
	}
}
