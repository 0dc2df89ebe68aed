package poseidon

import (
	"math/bits"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// partialLayer computes all partial rounds, and the MDS products before and after them, as
// inner products.
//
// Let x be the state after the cubes of the last full round, and y_k the cube of partial
// round k. All other operations are affine. So the number that round k cubes is a fixed
// combination of x and y_0 … y_{k-1}, and the state after the last round is a fixed
// combination of x and all y. This takes a quarter of the multiplications of the textbook
// order, and one reduction for each inner product. The usual factorization into sparse
// matrices reduces every element in every round.
type partialLayer struct {
	rounds  []partialRound
	outputs []affine
}

// partialRound is the combination whose value a round cubes. The factor of the previous
// round's cube is separate, so that the long inner product does not depend on that cube.
type partialRound struct {
	affine
	previous uint64 // factor of the previous round's cube
}

// affine is the combination row·(x, y) + constant of the variables.
type affine struct {
	row      []factors // padded with zeros
	constant uint64
}

// factors and variables are four consecutive entries of a row and of (x, y). All entries
// are below P, so the sum of four products is below 2^64.
type (
	factors   [4]uint32
	variables [4]uint64
)

// newPartialLayer computes the textbook rounds with symbols instead of numbers: state[i]
// holds the factors of x and y and the constant of element i.
func newPartialLayer(mdsRow, constants []koalabear.Element) partialLayer {
	width := len(mdsRow)
	rounds := len(constants) / width
	one := width + rounds // column of the constant

	state := make([][]koalabear.Element, width)
	for i := range state {
		state[i] = make([]koalabear.Element, one+1)
		state[i][i] = 1
	}
	multiplyMDS(state, mdsRow)

	var l partialLayer
	for k := range rounds {
		for i := range state {
			state[i][one] = koalabear.Add(state[i][one], constants[k*width+i])
		}
		y := width + k // column of this round's cube
		r := partialRound{affine: newAffine(state[0])}
		if k > 0 {
			r.previous = uint64(state[0][y-1])
			r.row[(y-1)/4][(y-1)%4] = 0
		}
		l.rounds = append(l.rounds, r)

		clear(state[0])
		state[0][y] = 1
		multiplyMDS(state, mdsRow)
	}
	for i := range state {
		l.outputs = append(l.outputs, newAffine(state[i]))
	}
	return l
}

// newAffine returns a combination from the factors of all variables, followed by the
// constant.
func newAffine(row []koalabear.Element) affine {
	n := len(row) - 1
	a := affine{row: make([]factors, (n+3)/4), constant: uint64(row[n])}
	for i, e := range row[:n] {
		a.row[i/4][i%4] = uint32(e)
	}
	return a
}

// multiplyMDS replaces m by the product of the circulant matrix and m.
func multiplyMDS(m [][]koalabear.Element, mdsRow []koalabear.Element) {
	n := len(m)
	product := make([][]koalabear.Element, n)
	for i := range product {
		product[i] = make([]koalabear.Element, len(m[0]))
		for j := range n {
			factor := mdsRow[(j-i+n)%n]
			for c, e := range m[j] {
				product[i][c] = koalabear.Add(product[i][c], koalabear.Mul(factor, e))
			}
		}
	}
	copy(m, product)
}

// cubes16 computes the partial rounds of width 16. The variables begin with x, and cubes16
// sets y, which must be zero.
//
// All rows have the length of the last one, because a multiplication by zero costs less
// than a loop of variable length. Each cube is stored one round later, so that the inner
// product of the next round, where its factor is zero, does not wait for the store.
func (l *partialLayer) cubes16(vars *[9]variables) {
	var y uint64
	for k := range l.rounds {
		r := &l.rounds[k]
		z := koalabear.Reduce(dot36(r.row, vars) + r.constant)
		if i := 16 + k - 1; k > 0 {
			vars[i/4][i%4] = y
		}
		y = subtractOnce(cube(uint64(z) + r.previous*y))
	}
	vars[35/4][35%4] = y
}

// cubes24 is cubes16 for width 24.
func (l *partialLayer) cubes24(vars *[12]variables) {
	var y uint64
	for k := range l.rounds {
		r := &l.rounds[k]
		z := koalabear.Reduce(dot48(r.row, vars) + r.constant)
		if i := 24 + k - 1; k > 0 {
			vars[i/4][i%4] = y
		}
		y = subtractOnce(cube(uint64(z) + r.previous*y))
	}
	vars[46/4][46%4] = y
}

// dot36 returns a number below 2^58 that is congruent to the inner product of a row and the
// variables, for width 16.
func dot36(row []factors, vars *[9]variables) uint64 {
	c := (*[9]factors)(row)
	var acc accumulator
	acc.add(&c[0], &vars[0])
	acc.add(&c[1], &vars[1])
	acc.add(&c[2], &vars[2])
	acc.add(&c[3], &vars[3])
	acc.add(&c[4], &vars[4])
	acc.add(&c[5], &vars[5])
	acc.add(&c[6], &vars[6])
	acc.add(&c[7], &vars[7])
	acc.add(&c[8], &vars[8])
	return acc.fold()
}

// dot48 is dot36 for width 24.
func dot48(row []factors, vars *[12]variables) uint64 {
	c := (*[12]factors)(row)
	var acc accumulator
	acc.add(&c[0], &vars[0])
	acc.add(&c[1], &vars[1])
	acc.add(&c[2], &vars[2])
	acc.add(&c[3], &vars[3])
	acc.add(&c[4], &vars[4])
	acc.add(&c[5], &vars[5])
	acc.add(&c[6], &vars[6])
	acc.add(&c[7], &vars[7])
	acc.add(&c[8], &vars[8])
	acc.add(&c[9], &vars[9])
	acc.add(&c[10], &vars[10])
	acc.add(&c[11], &vars[11])
	return acc.fold()
}

// accumulator is the sum hi·2^64 + lo of products.
type accumulator struct {
	hi, lo uint64
}

// add adds the inner product of c and x.
func (a *accumulator) add(c *factors, x *variables) {
	sum := uint64(c[0])*x[0] + uint64(c[1])*x[1] + uint64(c[2])*x[2] + uint64(c[3])*x[3]
	var carry uint64
	a.lo, carry = bits.Add64(a.lo, sum, 0)
	a.hi += carry
}

// fold returns a number below 2^58 that is congruent to the sum.
func (a *accumulator) fold() uint64 {
	const (
		mod32 = 1 << 32 % koalabear.P // 2^25 - 2
		mod64 = mod32 * mod32 % koalabear.P
	)
	return a.hi*mod64 + (a.lo>>32)*mod32 + a.lo&(1<<32-1)
}
