package poseidon

import "github.com/leanEthereum/leanspec-node/internal/core/koalabear"

const (
	// Capacity is the number of elements of a Sponge that input never touches.
	Capacity = 9
	// Rate is the number of elements that one permutation absorbs or yields.
	Rate = 24 - Capacity
)

// Sponge is Poseidon of width 24 in sponge mode. Absorbing replaces the rate part
// of the state, 15 elements at a time, and zeros pad the last block.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.sponge
type Sponge struct {
	state [24]koalabear.Element // capacity, then rate
	n     int                   // elements of the rate that wait for the permutation
}

// NewSponge returns an empty sponge. The capacity value separates its domain from
// those of other sponges.
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

// Squeeze ends the input and returns the first half of the rate part, a digest of
// 8 elements. The sponge must not be used afterwards.
func (s *Sponge) Squeeze() (digest [8]koalabear.Element) {
	if s.n > 0 {
		clear(s.state[Capacity+s.n:])
		Permute24(&s.state)
	}
	copy(digest[:], s.state[Capacity:])
	return digest
}
