package ssz

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

type point struct {
	X uint64
	Y uint16
}

func (p *point) DefineSSZ(c *Codec) {
	Uint(c, &p.X)
	Uint(c, &p.Y)
}

type sample struct {
	A      uint32
	Data   []byte
	Point  point
	Votes  Bitlist
	Root   [32]byte
	Points []point
	Nested []sample
	Flag   bool
}

func (s *sample) DefineSSZ(c *Codec) {
	Uint(c, &s.A)
	ByteList(c, &s.Data, 64)
	Nested(c, &s.Point)
	Bits(c, &s.Votes, 40)
	Bytes32(c, &s.Root)
	List(c, &s.Points, 4)
	List(c, &s.Nested, 3)
	Bool(c, &s.Flag)
}

func drawSample(t *rapid.T, depth int) (s sample) {
	s.A = rapid.Uint32().Draw(t, "a")
	s.Data = rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "data")
	s.Point = point{rapid.Uint64().Draw(t, "x"), rapid.Uint16().Draw(t, "y")}
	s.Votes = NewBitlist(rapid.IntRange(0, 40).Draw(t, "votes"))
	for i := range s.Votes.Len() {
		if rapid.Bool().Draw(t, "vote") {
			s.Votes.Set(i)
		}
	}
	s.Root[31] = rapid.Byte().Draw(t, "root")
	for range rapid.IntRange(0, 4).Draw(t, "points") {
		s.Points = append(s.Points, point{X: rapid.Uint64().Draw(t, "px")})
	}
	if depth > 0 {
		for range rapid.IntRange(0, 3).Draw(t, "nested") {
			s.Nested = append(s.Nested, drawSample(t, depth-1))
		}
	}
	s.Flag = rapid.Bool().Draw(t, "flag")
	return s
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSample(t, 2)
		b := Marshal(&s)
		if len(b) != Size(&s) {
			t.Fatalf("Size = %d, want %d", Size(&s), len(b))
		}
		var back sample
		if err := Unmarshal(b, &back); err != nil {
			t.Fatalf("Unmarshal(%x): %v", b, err)
		}
		if again := Marshal(&back); !bytes.Equal(b, again) {
			t.Fatalf("encoding of the decoded value\n got %x\nwant %x", again, b)
		}
		if got, want := HashTreeRoot(&back), HashTreeRoot(&s); got != want {
			t.Fatalf("root of the decoded value = %x, want %x", got, want)
		}
	})
}

func TestRejects(t *testing.T) {
	good := Marshal(&sample{Data: []byte{1}, Votes: NewBitlist(3), Points: []point{{}, {}}})
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	const dataOffset, flag = 4, 4 + 4 + 10 + 4 + 32 + 4 + 4
	for name, in := range map[string][]byte{
		"empty":                    {},
		"cut in the fixed part":    good[:20],
		"cut in the dynamic part":  good[:len(good)-1],
		"trailing byte":            append(bytes.Clone(good), 0),
		"first offset too small":   edit(func(b []byte) []byte { b[dataOffset]--; return b }),
		"first offset too large":   edit(func(b []byte) []byte { b[dataOffset]++; return b }),
		"offset past the end":      edit(func(b []byte) []byte { b[flag-1] = 0xff; return b }),
		"boolean of 2":             edit(func(b []byte) []byte { b[flag] = 2; return b }),
		"byte list over the limit": Marshal(&sample{Data: make([]byte, 65)}),
		"bitlist over the limit":   Marshal(&sample{Votes: NewBitlist(41)}),
		"list over the limit":      Marshal(&sample{Points: make([]point, 5)}),
		"nested over the limit":    Marshal(&sample{Nested: make([]sample, 4)}),
	} {
		if err := Unmarshal(in, &sample{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error = %v, want ErrInvalid", name, err)
		}
	}
	for name, in := range map[string][]byte{"no byte": {}, "no delimiter": {0xff, 0}, "too long": {0, 0, 2}} {
		if _, err := DecodeBitlist(in, 16); !errors.Is(err, ErrInvalid) {
			t.Errorf("bitlist with %s: error = %v, want ErrInvalid", name, err)
		}
	}
}

// plainRoot computes the Merkle root of all 2^depth chunks.
func plainRoot(chunks [][32]byte, depth int) [32]byte {
	if depth == 0 {
		if len(chunks) == 0 {
			return [32]byte{}
		}
		return chunks[0]
	}
	half := min(len(chunks), 1<<(depth-1))
	left, right := plainRoot(chunks[:half], depth-1), plainRoot(chunks[half:], depth-1)
	return sha256.Sum256(append(left[:], right[:]...))
}

func drawChunks(t *rapid.T, n int) [][32]byte {
	chunks := make([][32]byte, n)
	for i := range chunks {
		chunks[i][0] = rapid.ByteRange(0, 2).Draw(t, "chunk") // zeros are a special case
	}
	return chunks
}

func TestMerkleize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		depth := rapid.IntRange(0, 6).Draw(t, "depth")
		chunks := drawChunks(t, rapid.IntRange(0, 1<<depth).Draw(t, "n"))
		want := plainRoot(chunks, depth)
		if got := (Tree{}).Replace(chunks).Root(1 << depth); got != want {
			t.Fatalf("root of a tree of %d chunks = %x, want %x", len(chunks), got, want)
		}
		if got := Merkleize(chunks, 1<<depth); got != want {
			t.Fatalf("root of %d chunks = %x, want %x", len(chunks), got, want)
		}
	})
}

// TestTree changes trees at random and compares every version at the end with the list of
// its chunks.
func TestTree(t *testing.T) {
	const limit = 1 << 6
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree   Tree
			chunks [][32]byte
		}
		versions := []version{{}}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			v := versions[rapid.IntRange(0, len(versions)-1).Draw(t, "from")]
			chunks := append([][32]byte(nil), v.chunks...)
			tree := v.tree
			switch op := rapid.SampledFrom([]string{"append", "grow", "set", "replace"}).Draw(t, "op"); {
			case op == "append" && len(chunks) < limit:
				c := drawChunks(t, 1)[0]
				tree, chunks = tree.Append(c), append(chunks, c)
			case op == "grow":
				n := rapid.IntRange(len(chunks), limit).Draw(t, "n")
				tree = tree.Grow(uint64(n))
				chunks = append(chunks, make([][32]byte, n-len(chunks))...)
			case op == "set" && len(chunks) > 0:
				i := rapid.IntRange(0, len(chunks)-1).Draw(t, "i")
				chunks[i] = drawChunks(t, 1)[0]
				tree = tree.Set(uint64(i), chunks[i])
			case op == "replace":
				chunks = drawChunks(t, rapid.IntRange(0, limit).Draw(t, "n"))
				tree = tree.Replace(chunks)
			}
			versions = append(versions, version{tree, chunks})
		}
		for i, v := range versions {
			if v.tree.Len() != uint64(len(v.chunks)) {
				t.Fatalf("version %d: length = %d, want %d", i, v.tree.Len(), len(v.chunks))
			}
			for j, want := range v.chunks {
				if got := v.tree.At(uint64(j)); got != want {
					t.Fatalf("version %d: chunk %d = %x, want %x", i, j, got, want)
				}
			}
			if got, want := v.tree.Root(limit), plainRoot(v.chunks, 6); got != want {
				t.Fatalf("version %d: root = %x, want %x", i, got, want)
			}
		}
	})
}

// TestTreeShares counts the nodes that a change of one chunk adds.
func TestTreeShares(t *testing.T) {
	chunks := make([][32]byte, 1<<12)
	for i := range chunks {
		chunks[i][0], chunks[i][1] = byte(i), byte(i>>8)+1
	}
	tree := (Tree{}).Replace(chunks)
	known := map[*treeNode]bool{}
	count := func(n *treeNode) (added int) {
		var walk func(n *treeNode)
		walk = func(n *treeNode) {
			if n != nil && !known[n] {
				known[n] = true
				added++
				walk(n.left)
				walk(n.right)
			}
		}
		walk(n)
		return added
	}
	count(tree.root)
	chunks[77][5] = 1
	for name, changed := range map[string]Tree{"Set": tree.Set(77, chunks[77]), "Replace": tree.Replace(chunks)} {
		if got, want := count(changed.root), 13; got != want {
			t.Errorf("%s of one chunk of 4096 adds %d nodes, want %d", name, got, want)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(Marshal(&sample{Data: []byte{1}, Votes: NewBitlist(3), Points: []point{{}, {}}, Nested: make([]sample, 2)}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var s sample
		if err := Unmarshal(in, &s); err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error = %v, want ErrInvalid", err)
			}
			return
		}
		if out := Marshal(&s); !bytes.Equal(in, out) {
			t.Fatalf("encoding = %x, want the input %x", out, in)
		}
	})
}

// TestBitRanges compares Slice and Or with loops over single bits.
func TestBitRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n int, name string) Bitlist {
			b := NewBitlist(n)
			for i := range n {
				if rapid.Bool().Draw(t, name) {
					b.Set(i)
				}
			}
			return b
		}
		b := draw(rapid.IntRange(0, 70).Draw(t, "length"), "bit")
		from := rapid.IntRange(0, b.Len()).Draw(t, "from")
		n := rapid.IntRange(0, b.Len()-from).Draw(t, "n")
		got, want := b.Slice(from, n), NewBitlist(n)
		for i := range n {
			if b.Get(from + i) {
				want.Set(i)
			}
		}
		if !got.Equal(&want) {
			t.Fatalf("Slice(%d, %d) of %v = %v, want %v", from, n, b, got, want)
		}
		more, wantAll := draw(n, "more"), b.Clone()
		for i := range more.All {
			wantAll.Set(from + i)
		}
		all := b.Clone()
		if all.Or(from, &more); !all.Equal(&wantAll) {
			t.Fatalf("Or(%d, %v) of %v = %v, want %v", from, more, b, all, wantAll)
		}
	})
}
