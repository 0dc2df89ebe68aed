package ssz

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// maxDepth is the maximum depth of a tree.
const maxDepth = 63

// zeroHashes holds at index d the root of a perfect tree of 2^d zero chunks.
var zeroHashes = func() (z [maxDepth + 1][32]byte) {
	for d := range maxDepth {
		z[d+1] = hashPair(&z[d], &z[d])
	}
	return z
}()

// hashPair returns SHA-256(left || right).
func hashPair(left, right *[32]byte) [32]byte {
	var b [64]byte
	copy(b[:32], left[:])
	copy(b[32:], right[:])
	return sha256.Sum256(b[:])
}

// depthOf returns the depth of the smallest perfect tree with at least n leaves.
func depthOf(n uint64) int {
	if n <= 1 {
		return 0
	}
	return bits.Len64(n - 1)
}

// Merkleize returns the Merkle root of chunks in the smallest tree with room for limit
// chunks, or for the given chunks if limit is 0. It overwrites chunks. It panics if limit
// is not 0 and less than the number of chunks; decoders check limits before.
//
// leanSpec: spec/crypto/merkleization.py, merkleize
func Merkleize(chunks [][32]byte, limit uint64) [32]byte {
	n := uint64(len(chunks))
	if limit == 0 {
		limit = max(n, 1)
	}
	if n > limit {
		panic("ssz: more chunks than the limit")
	}
	depth := depthOf(limit)
	if n == 0 {
		return zeroHashes[depth]
	}
	for d := range depth {
		odd := len(chunks) % 2
		for i := range len(chunks) / 2 {
			chunks[i] = hashPair(&chunks[2*i], &chunks[2*i+1])
		}
		half := len(chunks) / 2
		if odd == 1 {
			chunks[half] = hashPair(&chunks[len(chunks)-1], &zeroHashes[d])
		}
		chunks = chunks[:half+odd]
	}
	return chunks[0]
}

// MixInLength returns the root of a list of n elements from the root of its chunks.
//
// leanSpec: spec/crypto/merkleization.py, mix_in_length
func MixInLength(root [32]byte, n uint64) [32]byte {
	var length [32]byte
	binary.LittleEndian.PutUint64(length[:], n)
	return hashPair(&root, &length)
}

// Pack splits bytes into chunks and pads the last one with zeros.
func Pack(b []byte) [][32]byte {
	chunks := make([][32]byte, (len(b)+31)/32)
	for i := range chunks {
		copy(chunks[i][:], b[i*32:])
	}
	return chunks
}
