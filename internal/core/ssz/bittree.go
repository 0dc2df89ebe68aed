package ssz

import "fmt"

// bitsPerChunk is the number of bits in a chunk.
const bitsPerChunk = 256

// BitTree is an immutable bitlist with its Merkle tree. It shares unchanged parts with
// earlier versions, as [Tree] does. The zero value is the empty list.
type BitTree struct {
	tree Tree
	n    uint64
}

// NewBitTree returns a list with the bits of b.
func NewBitTree(b *Bitlist) BitTree { return BitTree{}.Replace(b) }

// Len returns the number of bits.
func (b BitTree) Len() uint64 { return b.n }

// Get returns bit i, or false if i is not below the length.
func (b BitTree) Get(i uint64) bool {
	if i >= b.n {
		return false
	}
	chunk := b.tree.At(i / bitsPerChunk)
	return chunk[i%bitsPerChunk/8]>>(i%8)&1 == 1
}

// Set returns a list in which bit i is one. It panics if i is not below the length.
func (b BitTree) Set(i uint64) BitTree {
	if i >= b.n {
		panic("ssz: bit is outside of the list")
	}
	chunk := b.tree.At(i / bitsPerChunk)
	chunk[i%bitsPerChunk/8] |= 1 << (i % 8)
	b.tree = b.tree.Set(i/bitsPerChunk, chunk)
	return b
}

// Grow returns a list with zero bits appended up to a length of n. Its cost does not
// depend on n.
func (b BitTree) Grow(n uint64) BitTree {
	b.n = max(b.n, n)
	b.tree = b.tree.Grow((b.n + bitsPerChunk - 1) / bitsPerChunk)
	return b
}

// Drop returns the list without its first n bits.
func (b BitTree) Drop(n uint64) BitTree {
	if n >= b.n {
		return BitTree{}
	}
	bits := b.Bitlist()
	rest := NewBitlist(int(b.n - n))
	for i := range bits.All {
		if uint64(i) >= n {
			rest.Set(i - int(n))
		}
	}
	return b.Replace(&rest)
}

// Replace returns a list with the bits of o. It shares equal parts at the same place
// with b.
func (b BitTree) Replace(o *Bitlist) BitTree {
	return BitTree{tree: b.tree.Replace(Pack(o.bits)), n: uint64(o.n)}
}

// Bitlist returns a copy of the bits.
func (b BitTree) Bitlist() Bitlist {
	out := NewBitlist(int(b.n))
	for i := uint64(0); i < b.tree.n; i++ {
		chunk := b.tree.At(i)
		copy(out.bits[min(int(i)*32, len(out.bits)):], chunk[:])
	}
	return out
}

// HashTreeRoot returns the hash tree root of a bitlist of at most limit bits.
func (b BitTree) HashTreeRoot(limit uint64) [32]byte {
	return MixInLength(b.tree.Root((limit+bitsPerChunk-1)/bitsPerChunk), b.n)
}

// TreeBits describes a field that is a bitlist of at most limit bits.
func TreeBits(c *Codec, v *BitTree, limit uint64) {
	Custom(c, &treeBits{v, limit})
}

type treeBits struct {
	*BitTree
	limit uint64
}

func (t *treeBits) SizeSSZ() (int, bool) { return int(t.n/8) + 1, false }

func (t *treeBits) AppendSSZ(b []byte) []byte {
	bits := t.Bitlist()
	return bits.AppendSSZ(b)
}

func (t *treeBits) DecodeSSZ(b []byte) error {
	bits, err := DecodeBitlist(b, t.limit)
	if err == nil {
		*t.BitTree = NewBitTree(&bits)
	}
	return err
}

func (t *treeBits) HashTreeRoot() [32]byte { return t.BitTree.HashTreeRoot(t.limit) }

// TreeChunks describes a field that is a list of at most limit roots.
func TreeChunks(c *Codec, v *Tree, limit uint64) {
	Custom(c, &treeChunks{v, limit})
}

type treeChunks struct {
	*Tree
	limit uint64
}

func (t *treeChunks) SizeSSZ() (int, bool) { return int(t.n) * 32, false }

func (t *treeChunks) AppendSSZ(b []byte) []byte {
	for i := uint64(0); i < t.n; i++ {
		chunk := t.At(i)
		b = append(b, chunk[:]...)
	}
	return b
}

func (t *treeChunks) DecodeSSZ(b []byte) error {
	if len(b)%32 != 0 {
		return fmt.Errorf("%w: list of roots of %d bytes, want a multiple of 32", ErrInvalid, len(b))
	}
	if n := uint64(len(b) / 32); n > t.limit {
		return fmt.Errorf("%w: list of %d roots exceeds the limit of %d", ErrInvalid, n, t.limit)
	}
	*t.Tree = Tree{}.Replace(Pack(b))
	return nil
}

func (t *treeChunks) HashTreeRoot() [32]byte { return MixInLength(t.Root(t.limit), t.n) }
