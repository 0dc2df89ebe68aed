// Package poseidon implements the Poseidon permutation over the KoalaBear field in widths
// 16 and 24, and the compression function and the sponge that XMSS uses. It does not
// allocate.
//
// A permutation consists of 4 full rounds, then partial rounds (20 for width 16, 23 for
// width 24), then 4 full rounds. A round adds constants, cubes all elements (full round)
// or the first one (partial round), and multiplies by a circulant MDS matrix. This package
// computes the same function in another order:
//
//   - Full rounds work on lazily reduced uint64 values, and split the circulant product by
//     the factors of X^t - 1 (mds.go).
//   - A partial round is linear except for one cube. So all partial rounds together are a
//     few inner products with precomputed rows (partial.go).
//   - The round constants are derived at program start, with the generator of the Poseidon
//     paper, instead of copied (grain.go).
//
// leanSpec: spec/crypto/poseidon.py
package poseidon

import "github.com/leanEthereum/leanspec-node/internal/core/koalabear"

const (
	fullRounds      = 8
	halfRounds      = fullRounds / 2
	partialRounds16 = 20
	partialRounds24 = 23
)

// constants holds the parameters of one width.
type constants struct {
	initial  []uint32 // round constants of the first full rounds
	partial  partialLayer
	terminal []uint32 // round constants of the last full rounds
}

var (
	params16 = newConstants(mdsRow16[:], partialRounds16)
	params24 = newConstants(mdsRow24[:], partialRounds24)
)

func newConstants(mdsRow []koalabear.Element, partialRounds int) *constants {
	width := len(mdsRow)
	rc := roundConstants(width, fullRounds, partialRounds)
	partial, terminal := halfRounds*width, (halfRounds+partialRounds)*width
	c := &constants{partial: newPartialLayer(mdsRow, rc[partial:terminal])}
	for _, e := range rc[:partial] {
		c.initial = append(c.initial, uint32(e))
	}
	for _, e := range rc[terminal:] {
		c.terminal = append(c.terminal, uint32(e))
	}
	return c
}

// Permute16 applies the permutation of width 16 in place.
//
// leanSpec: spec/crypto/poseidon.py, Poseidon.permute with PARAMS_16
func Permute16(state *[16]koalabear.Element) {
	var s [16]uint64
	for i, e := range state {
		s[i] = uint64(e)
	}
	for r := range halfRounds - 1 {
		cubes16(&s, params16.initial[16*r:])
		mds16(&s)
	}
	cubes16(&s, params16.initial[16*(halfRounds-1):])

	var vars [9]variables
	for i, x := range s {
		vars[i/4][i%4] = subtractOnce(x)
	}
	params16.partial.cubes16(&vars)
	for i := range s {
		a := &params16.partial.outputs[i]
		s[i] = dot36(a.row, &vars) + a.constant
	}

	for r := range halfRounds {
		cubes16(&s, params16.terminal[16*r:])
		mds16(&s)
	}
	for i := range state {
		state[i] = koalabear.Reduce(s[i])
	}
}

// Permute24 applies the permutation of width 24 in place.
//
// leanSpec: spec/crypto/poseidon.py, Poseidon.permute with PARAMS_24
func Permute24(state *[24]koalabear.Element) {
	var s [24]uint64
	for i, e := range state {
		s[i] = uint64(e)
	}
	for r := range halfRounds - 1 {
		cubes24(&s, params24.initial[24*r:])
		mds24(&s)
	}
	cubes24(&s, params24.initial[24*(halfRounds-1):])

	var vars [12]variables
	for i, x := range s {
		vars[i/4][i%4] = x
	}
	params24.partial.cubes24(&vars)
	for i := range s {
		a := &params24.partial.outputs[i]
		s[i] = dot48(a.row, &vars) + a.constant
	}

	for r := range halfRounds {
		cubes24(&s, params24.terminal[24*r:])
		mds24(&s)
	}
	for i := range state {
		state[i] = koalabear.Reduce(s[i])
	}
}

// Compress16 replaces the state by Permute16(state) + state. The digest is a prefix of the
// result.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.compress
func Compress16(state *[16]koalabear.Element) {
	input := *state
	Permute16(state)
	for i := range state {
		state[i] = koalabear.Add(state[i], input[i])
	}
}

// Compress24 replaces the state by Permute24(state) + state. The digest is a prefix of the
// result.
//
// leanSpec: spec/crypto/xmss/poseidon.py, PoseidonXmss.compress
func Compress24(state *[24]koalabear.Element) {
	input := *state
	Permute24(state)
	for i := range state {
		state[i] = koalabear.Add(state[i], input[i])
	}
}

// cubes16 adds the round constants to the state and cubes it. The state must be below
// 2^59. The results are below 2^32.
func cubes16(s *[16]uint64, constants []uint32) {
	c := (*[16]uint32)(constants)
	for i := range s {
		s[i] = cube(s[i] + uint64(c[i]))
	}
}

// cubes24 adds the round constants to the state and cubes it. The state must be below
// 2^61. The results are below P.
func cubes24(s *[24]uint64, constants []uint32) {
	c := (*[24]uint32)(constants)
	for i := range s {
		s[i] = subtractOnce(cube(s[i] + uint64(c[i])))
	}
}

// cube returns a number below 2P that is congruent to x³. x must be below P².
func cube(x uint64) uint64 {
	x = koalabear.ReduceLazy(x)
	return koalabear.ReduceLazy(x * koalabear.ReduceLazy(x*x))
}

// subtractOnce returns x mod P. x must be below 2P.
func subtractOnce(x uint64) uint64 {
	return uint64(min(uint32(x), uint32(x)-koalabear.P)) // wraps to a large value if x < P
}
