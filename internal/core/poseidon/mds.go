package poseidon

import (
	"math/bits"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// The MDS matrices are circulant: row i is the first row rotated right by i. So a product
// with the matrix is a product with a polynomial, its first column, modulo X^t - 1. Because
// X^2n - 1 = (X^n - 1)(X^n + 1), the product modulo X^2n - 1 follows from the product of the
// folded sums modulo X^n - 1 and that of the folded differences modulo X^n + 1. This halves
// the multiplications.

// mdsRow16 is the first row of the matrix of width 16.
//
// leanSpec: spec/crypto/poseidon.py, _MDS_FIRST_ROW_16
var mdsRow16 = [16]koalabear.Element{1, 1, 51, 1, 11, 17, 2, 1, 101, 63, 15, 2, 67, 22, 13, 3}

// mdsRow24 is the first row of the matrix of width 24.
//
// leanSpec: spec/crypto/poseidon.py, _MDS_FIRST_ROW_24
var mdsRow24 = [24]koalabear.Element{
	0x2d0aaaab, 0x64850517, 0x17f5551d, 0x04ecbeb5, 0x6d91a8d5, 0x60703026,
	0x18d6f3ca, 0x729601a7, 0x77cda9e2, 0x3c0f5038, 0x26d52a61, 0x0360405d,
	0x68fc71c8, 0x2495a71d, 0x5d57afc2, 0x1689dd98, 0x3c2c3dbe, 0x0c23dc41,
	0x0524c7f2, 0x6be4df69, 0x0a6e572c, 0x5c7790fa, 0x17e118f6, 0x0878a07f,
}

// mds16 multiplies s by the MDS matrix over the integers. The entries of s must be below
// 2^32. The entries of a row of the matrix add up to 371, so the results are below 2^41.
//
// Each level works on the differences, modulo X^n + 1, and leaves the sums to the next
// level. Combining two results doubles them. So the factors of a level are doubled once
// for each level below it, and the end divides by 16.
func mds16(s *[16]uint64) {
	// The polynomial of the matrix, folded:
	//	X^16-1  1 3 13 22 67 2 15 63 101 1 2 17 11 1 51 1
	//	X^8+1   -100 2 11 5 56 1 -36 62		X^8-1  102 4 15 39 78 3 66 64
	//	X^4+1   24 1 -51 -25			X^4-1  180 7 81 103
	//	X^2+1   99 -96				X^2-1  261 110
	//	X+1     151				X-1    371
	d0, p0 := butterfly(s[0], s[8])
	d1, p1 := butterfly(s[1], s[9])
	d2, p2 := butterfly(s[2], s[10])
	d3, p3 := butterfly(s[3], s[11])
	d4, p4 := butterfly(s[4], s[12])
	d5, p5 := butterfly(s[5], s[13])
	d6, p6 := butterfly(s[6], s[14])
	d7, p7 := butterfly(s[7], s[15])

	// The sums, modulo X^8 - 1 = (X^4 + 1)(X^2 + 1)(X + 1)(X - 1).
	f0, f1, f2, f3 := negacyclic4(4*24, 4*1, 4*-51, 4*-25, p0-p4, p1-p5, p2-p6, p3-p7)
	p0, p1, p2, p3 = p0+p4, p1+p5, p2+p6, p3+p7
	g, h := p0-p2, p1-p3
	g, h = 2*99*g+2*96*h, 2*99*h-2*96*g
	p0, p1 = p0+p2, p1+p3
	u, v := 371*(p0+p1), 151*(p0-p1)
	p0, p1 = u+v, u-v
	p0, p1, p2, p3 = p0+g, p1+h, p0-g, p1-h
	p0, p1, p2, p3, p4, p5, p6, p7 = p0+f0, p1+f1, p2+f2, p3+f3, p0-f0, p1-f1, p2-f2, p3-f3

	// The differences, modulo X^8 + 1, by Karatsuba's method: with Y = X², three products
	// modulo Y^4 + 1, of the even powers, the odd powers, and their sums.
	b0, b1, b2, b3 := negacyclic4(8*-98, 8*16, 8*57, 8*26, d0+d1, d2+d3, d4+d5, d6+d7)
	e0, e1, e2, e3 := negacyclic4(8*-100, 8*11, 8*56, 8*-36, d0, d2, d4, d6)
	o0, o1, o2, o3 := negacyclic4(8*2, 8*5, 8*1, 8*62, d1, d3, d5, d7)
	s[0], s[8] = unbutterfly(p0, e0-o3)
	s[1], s[9] = unbutterfly(p1, b0-e0-o0)
	s[2], s[10] = unbutterfly(p2, e1+o0)
	s[3], s[11] = unbutterfly(p3, b1-e1-o1)
	s[4], s[12] = unbutterfly(p4, e2+o1)
	s[5], s[13] = unbutterfly(p5, b2-e2-o2)
	s[6], s[14] = unbutterfly(p6, e3+o2)
	s[7], s[15] = unbutterfly(p7, b3-e3-o3)
}

func butterfly(a, b uint64) (difference, sum int64) { return int64(a - b), int64(a + b) }

// unbutterfly combines the results of the first level and divides them by 16.
func unbutterfly(sum, difference int64) (a, b uint64) {
	return uint64(sum+difference) / 16, uint64(sum-difference) / 16
}

// negacyclic4 returns the product of the polynomials c and x modulo X^4 + 1.
func negacyclic4(c0, c1, c2, c3, x0, x1, x2, x3 int64) (y0, y1, y2, y3 int64) {
	return c0*x0 - c3*x1 - c2*x2 - c1*x3,
		c1*x0 + c0*x1 - c3*x2 - c2*x3,
		c2*x0 + c1*x1 + c0*x2 - c3*x3,
		c3*x0 + c2*x1 + c1*x2 + c0*x3
}

// factors24 holds the first column of the matrix of width 24, folded by X^12 ± 1 and
// X^6 ± 1, as matrices. Combining the levels doubles the results once or twice, so the
// factors are divided by 2 or 4.
var factors24 = newFactors24()

type mds24Factors struct {
	cyclic6, negacyclic6 [6][6]uint32
	negacyclic12         [12][12]uint32
}

func newFactors24() *mds24Factors {
	var column [24]koalabear.Element
	for i := range column {
		column[i] = mdsRow24[(24-i)%24]
	}
	const (
		half    = (koalabear.P + 1) / 2
		quarter = (3*koalabear.P + 1) / 4
	)
	fold := func(c []koalabear.Element) (sums, differences []koalabear.Element) {
		for i, n := 0, len(c)/2; i < n; i++ {
			sums = append(sums, koalabear.Add(c[i], c[i+n]))
			differences = append(differences, koalabear.Sub(c[i], c[i+n]))
		}
		return sums, differences
	}
	sums, differences12 := fold(column[:])
	sums6, differences6 := fold(sums)

	var f mds24Factors
	for i := range 6 {
		for j := range 6 {
			c, d := koalabear.Mul(quarter, sums6[(i-j+6)%6]), koalabear.Mul(quarter, differences6[(i-j+6)%6])
			if j > i {
				d = koalabear.Sub(0, d)
			}
			f.cyclic6[i][j], f.negacyclic6[i][j] = uint32(c), uint32(d)
		}
	}
	for i := range 12 {
		for j := range 12 {
			d := koalabear.Mul(half, differences12[(i-j+12)%12])
			if j > i {
				d = koalabear.Sub(0, d)
			}
			f.negacyclic12[i][j] = uint32(d)
		}
	}
	return &f
}

// mds24 multiplies s by the MDS matrix. The entries of s must be below P. The results are
// congruent to the product and below 2^61.
func mds24(s *[24]uint64) {
	f := factors24
	var p, d [12]uint64
	for i := range 12 {
		p[i], d[i] = addMod(s[i], s[i+12]), subMod(s[i], s[i+12])
	}
	var pp, pd [6]uint64
	for i := range 6 {
		pp[i], pd[i] = addMod(p[i], p[i+6]), subMod(p[i], p[i+6])
	}
	const offset = koalabear.P << 27 // a multiple of P that is larger than any fold
	for i := range 6 {
		c, n := dot6(&f.cyclic6[i], &pp), dot6(&f.negacyclic6[i], &pd)
		a, b := c+n, c+offset-n
		l, h := dot12(&f.negacyclic12[i], &d), dot12(&f.negacyclic12[i+6], &d)
		s[i], s[i+6] = a+l, b+h
		s[i+12], s[i+18] = a+offset-l, b+offset-h
	}
}

// dot6 and dot12 return a number below 2^58 that is congruent to the inner product of c and
// x, whose entries must be below P.
func dot6(c *[6]uint32, x *[6]uint64) uint64 {
	var acc accumulator
	a := uint64(c[0])*x[0] + uint64(c[1])*x[1] + uint64(c[2])*x[2] + uint64(c[3])*x[3]
	b := uint64(c[4])*x[4] + uint64(c[5])*x[5]
	acc.lo, acc.hi = bits.Add64(a, b, 0)
	return acc.fold()
}

func dot12(c *[12]uint32, x *[12]uint64) uint64 {
	var acc accumulator
	acc.add((*factors)(c[0:]), (*variables)(x[0:]))
	acc.add((*factors)(c[4:]), (*variables)(x[4:]))
	acc.add((*factors)(c[8:]), (*variables)(x[8:]))
	return acc.fold()
}

// addMod and subMod return a + b and a - b modulo P. a and b must be below P.
func addMod(a, b uint64) uint64 {
	return uint64(koalabear.Add(koalabear.Element(a), koalabear.Element(b)))
}

func subMod(a, b uint64) uint64 {
	return uint64(koalabear.Sub(koalabear.Element(a), koalabear.Element(b)))
}
