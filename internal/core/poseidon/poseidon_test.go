package poseidon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"pgregory.net/rapid"
)

// permuteTextbook applies the permutation as leanSpec defines it, round by round.
func permuteTextbook(state []koalabear.Element, partialRounds int, mdsRow []koalabear.Element) {
	t := len(state)
	rc := roundConstants(t, fullRounds, partialRounds)
	for r := range fullRounds + partialRounds {
		for i := range state {
			state[i] = koalabear.Add(state[i], rc[r*t+i])
		}
		cubed := t
		if r >= halfRounds && r < halfRounds+partialRounds {
			cubed = 1
		}
		for i := range cubed {
			state[i] = koalabear.Mul(state[i], koalabear.Mul(state[i], state[i]))
		}
		product := make([]koalabear.Element, t)
		for i := range t {
			for j := range t {
				product[i] = koalabear.Add(product[i], koalabear.Mul(mdsRow[(j-i+t)%t], state[j]))
			}
		}
		copy(state, product)
	}
}

func textbook(state []koalabear.Element) []koalabear.Element {
	state = slices.Clone(state)
	if len(state) == 16 {
		permuteTextbook(state, partialRounds16, mdsRow16[:])
	} else {
		permuteTextbook(state, partialRounds24, mdsRow24[:])
	}
	return state
}

func permute(state []koalabear.Element) []koalabear.Element {
	state = slices.Clone(state)
	if len(state) == 16 {
		Permute16((*[16]koalabear.Element)(state))
	} else {
		Permute24((*[24]koalabear.Element)(state))
	}
	return state
}

func drawState(t *rapid.T, width int) []koalabear.Element {
	edge := rapid.SampledFrom([]koalabear.Element{0, 1, koalabear.P / 2, koalabear.P - 2, koalabear.P - 1})
	any := rapid.Custom(func(t *rapid.T) koalabear.Element {
		return koalabear.Element(rapid.Uint32Range(0, koalabear.P-1).Draw(t, "element"))
	})
	return rapid.SliceOfN(rapid.OneOf(any, edge), width, width).Draw(t, "state")
}

func TestPermuteMatchesTextbook(t *testing.T) {
	for _, width := range []int{16, 24} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				state := drawState(t, width)
				if got, want := permute(state), textbook(state); !slices.Equal(got, want) {
					t.Fatalf("permutation of %v\n got %v\nwant %v", state, got, want)
				}
			})
		})
	}
}

func TestPermuteMatchesTextbookAtExtremes(t *testing.T) {
	for _, width := range []int{16, 24} {
		state := slices.Repeat([]koalabear.Element{koalabear.P - 1}, width)
		for range 1000 {
			want := textbook(state)
			if got := permute(state); !slices.Equal(got, want) {
				t.Fatalf("permutation of %v\n got %v\nwant %v", state, got, want)
			}
			state = want
		}
	}
}

// TestLinearLayersWithLargestInputs checks the products for the largest inputs that mds16
// and mds24 accept.
func TestLinearLayersWithLargestInputs(t *testing.T) {
	product := func(row []koalabear.Element, x []uint64, i int) (sum uint64) {
		for j := range x {
			sum = (sum + x[j]%koalabear.P*uint64(row[(j-i+len(x))%len(x)])) % koalabear.P
		}
		return sum
	}
	rapid.Check(t, func(t *rapid.T) {
		var s16, x16 [16]uint64
		for i := range s16 {
			s16[i] = rapid.SampledFrom([]uint64{0, 1<<32 - 1}).Draw(t, "s16")
		}
		x16 = s16
		mds16(&s16)
		for i, got := range s16 {
			if want := product(mdsRow16[:], x16[:], i); got%koalabear.P != want || got >= 1<<41 {
				t.Fatalf("mds16 of %v: element %d = %d, want %d mod p and less than 2^41", x16, i, got, want)
			}
		}
		var s24, x24 [24]uint64
		for i := range s24 {
			s24[i] = rapid.SampledFrom([]uint64{0, koalabear.P - 1}).Draw(t, "s24")
		}
		x24 = s24
		mds24(&s24)
		for i, got := range s24 {
			if want := product(mdsRow24[:], x24[:], i); got%koalabear.P != want || got >= 1<<61 {
				t.Fatalf("mds24 of %v: element %d = %d, want %d mod p and less than 2^61", x24, i, got, want)
			}
		}
	})
}

func TestCompressAddsInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s16, s24 := drawState(t, 16), drawState(t, 24)
		want16, want24 := textbook(s16), textbook(s24)
		for i := range want16 {
			want16[i] = koalabear.Add(want16[i], s16[i])
		}
		for i := range want24 {
			want24[i] = koalabear.Add(want24[i], s24[i])
		}
		Compress16((*[16]koalabear.Element)(s16))
		Compress24((*[24]koalabear.Element)(s24))
		if !slices.Equal(s16, want16) || !slices.Equal(s24, want24) {
			t.Fatalf("got %v and %v, want %v and %v", s16, s24, want16, want24)
		}
	})
}

// TestRoundConstants compares the first and the last constants with leanSpec's table. The
// vectors cover the others.
func TestRoundConstants(t *testing.T) {
	tests := []struct {
		width, partialRounds int
		first, last          koalabear.Element
	}{
		{16, partialRounds16, 0x7ee56a48, 0x07e2d7ef},
		{24, partialRounds24, 0x1d0939dc, 0x21fa33c6},
	}
	for _, tt := range tests {
		rc := roundConstants(tt.width, fullRounds, tt.partialRounds)
		if want := tt.width * (fullRounds + tt.partialRounds); len(rc) != want {
			t.Fatalf("width %d: %d constants, want %d", tt.width, len(rc), want)
		}
		if rc[0] != tt.first || rc[len(rc)-1] != tt.last {
			t.Errorf("width %d: first and last constants are %#x and %#x, want %#x and %#x",
				tt.width, rc[0], rc[len(rc)-1], tt.first, tt.last)
		}
		for i, e := range rc {
			if e >= koalabear.P {
				t.Errorf("width %d: constant %d = %#x, want less than the modulus", tt.width, i, e)
			}
		}
	}
}

// TestVectors runs the poseidon_permutation vectors of leanSpec.
func TestVectors(t *testing.T) {
	root := os.Getenv("LEANSPEC_VECTORS")
	if root == "" {
		root = "../../../../shared/vectors/lstar-43246bd6"
	}
	files, err := filepath.Glob(filepath.Join(root, "consensus/poseidon_permutation/lstar/poseidon/*/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("no vectors in %s", root)
		}
		t.Skip("no vectors found; set LEANSPEC_VECTORS")
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases map[string]struct {
			Width                   int
			InputState, OutputState []string
		}
		if err := json.Unmarshal(raw, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range cases {
			t.Run(filepath.Base(file), func(t *testing.T) {
				input, want := parseState(t, c.InputState), parseState(t, c.OutputState)
				if len(input) != c.Width || len(want) != c.Width {
					t.Fatalf("states of %d and %d elements, want %d", len(input), len(want), c.Width)
				}
				if got := permute(input); !slices.Equal(got, want) {
					t.Errorf("permutation\n got %v\nwant %v", got, want)
				}
			})
		}
	}
}

func parseState(t *testing.T, decimals []string) (state []koalabear.Element) {
	t.Helper()
	for _, d := range decimals {
		v, err := strconv.ParseUint(d, 10, 32)
		if err != nil || v >= koalabear.P {
			t.Fatalf("element %q: %v", d, err)
		}
		state = append(state, koalabear.Element(v))
	}
	return state
}

func BenchmarkPermute16(b *testing.B) {
	b.ReportAllocs()
	var state [16]koalabear.Element
	for b.Loop() {
		Permute16(&state)
	}
}

func BenchmarkPermute24(b *testing.B) {
	b.ReportAllocs()
	var state [24]koalabear.Element
	for b.Loop() {
		Permute24(&state)
	}
}

func BenchmarkInit(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newConstants(mdsRow16[:], partialRounds16)
		newConstants(mdsRow24[:], partialRounds24)
	}
}

// TestSponge absorbs input in pieces and compares the digest with that of leanSpec's
// sponge, which takes the whole input.
func TestSponge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		input := slices.Concat(drawState(t, 24), drawState(t, 24), drawState(t, 16))
		input = input[:rapid.IntRange(1, len(input)).Draw(t, "length")]
		capacity := [Capacity]koalabear.Element(drawState(t, 16))

		state := slices.Concat(capacity[:], make([]koalabear.Element, Rate))
		for chunk := range slices.Chunk(input, Rate) {
			clear(state[Capacity:])
			copy(state[Capacity:], chunk)
			state = textbook(state)
		}

		sponge := NewSponge(&capacity)
		for rest := input; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			sponge.Absorb(rest[:n])
			rest = rest[n:]
		}
		if got, want := sponge.Squeeze(), [8]koalabear.Element(state[Capacity:]); got != want {
			t.Fatalf("sponge of %v\n got %v\nwant %v", input, got, want)
		}
	})
}
