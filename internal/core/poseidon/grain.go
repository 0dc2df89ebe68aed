package poseidon

import "github.com/leanEthereum/leanspec-node/internal/core/koalabear"

// elementBits is the bit length of the modulus.
const elementBits = 31

// roundConstants returns the round constants of a Poseidon instance, width of them for each
// round. They are the output of the Grain LFSR, seeded with the parameters of the instance,
// as the Poseidon paper defines it (https://eprint.iacr.org/2019/458, appendix F).
//
// leanSpec: spec/crypto/poseidon.py, _RAW_CONSTANTS_16 and _RAW_CONSTANTS_24
func roundConstants(width, fullRounds, partialRounds int) []koalabear.Element {
	const (
		primeField = 1
		powerSbox  = 0
	)
	var g grain
	g.seed(primeField, 2)
	g.seed(powerSbox, 4)
	g.seed(elementBits, 12)
	g.seed(uint64(width), 12)
	g.seed(uint64(fullRounds), 10)
	g.seed(uint64(partialRounds), 10)
	g.seed(1<<30-1, 30)
	for range 160 {
		g.clock()
	}

	rc := make([]koalabear.Element, 0, width*(fullRounds+partialRounds))
	for len(rc) < cap(rc) {
		if v := g.next(elementBits); v < koalabear.P {
			rc = append(rc, koalabear.Element(v))
		}
	}
	return rc
}

// grain is an 80-bit linear feedback shift register in self-shrinking mode.
type grain struct {
	bits   [80]byte // a ring
	oldest int      // index of b0
	seeded int
}

// seed sets the next n bits of the initial state to v, most significant bit first.
func (g *grain) seed(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		g.bits[g.seeded] = byte(v>>i) & 1
		g.seeded++
	}
}

// clock shifts the register by one bit and returns the new bit.
func (g *grain) clock() byte {
	var b byte
	for _, tap := range [...]int{62, 51, 38, 23, 13, 0} {
		b ^= g.bits[(g.oldest+tap)%len(g.bits)]
	}
	g.bits[g.oldest] = b
	g.oldest = (g.oldest + 1) % len(g.bits)
	return b
}

// next returns n output bits as a number, most significant bit first. Of each pair of
// register bits, the second one is output if the first one is set.
func (g *grain) next(n int) (v uint64) {
	for n > 0 {
		first, second := g.clock(), g.clock()
		if first == 1 {
			v = v<<1 | uint64(second)
			n--
		}
	}
	return v
}
