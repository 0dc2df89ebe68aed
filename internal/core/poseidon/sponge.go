package poseidon

import "github.com/leanEthereum/leanspec-node/internal/core/koalabear"

const (
	// Capacity is the number of elements of a [Sponge] that input does not replace.
	Capacity = 9
	// Rate is the number of elements that a permutation absorbs or yields.
	Rate = 24 - Capacity
)

// Sponge is a hash function of Poseidon with width 24. Input replaces the rate part of the
// state, 15 elements at a time. The last block is padded with zeros.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.sponge
type Sponge struct {
	state [24]koalabear.Element // capacity, then rate
	n     int                   // number of elements absorbed since the last permutation
}

// NewSponge returns a sponge without input. Sponges with different capacity values give
// unrelated digests.
func NewSponge(capacity *[Capacity]koalabear.Element) Sponge {
	var s Sponge
	copy(s.state[:], capacity[:])
	return s
}

// Absorb appends elements to the input.
func (s *Sponge) Absorb(elements []koalabear.Element) {
	for len(elements) > 0 {
		n := copy(s.state[Capacity+s.n:], elements)
		elements = elements[n:]
		if s.n += n; s.n == Rate {
			Permute24(&s.state)
			s.n = 0
		}
	}
}

// Squeeze returns the digest of the input, 8 elements. The sponge must not be used
// afterwards.
func (s *Sponge) Squeeze() (digest [8]koalabear.Element) {
	if s.n > 0 {
		clear(s.state[Capacity+s.n:])
		Permute24(&s.state)
	}
	copy(digest[:], s.state[Capacity:])
	return digest
}
