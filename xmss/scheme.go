package xmss

import (
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
	"github.com/leanEthereum/leanspec-node/internal/core/poseidon"
)

// Parameters that all schemes share. Lengths are in field elements.
//
// leanSpec: spec/crypto/xmss/constants.py
const (
	parameterLength  = 5
	tweakLength      = 2
	messageLength    = 9
	randomnessLength = 7
	digestLength     = 8

	base           = 8   // number of values of a codeword digit
	digitsPerFp    = 8   // digits taken from one field element
	quotient       = 127 // quotient · base^digitsPerFp = p - 1
	maxTries       = 100_000
	maxDimension   = 46
	prfKeyLength   = 32
	bytesPerOffset = 4

	digestSize     = digestLength * koalabear.Size
	parameterSize  = parameterLength * koalabear.Size
	randomnessSize = randomnessLength * koalabear.Size
)

// hashDigest is the output of the tweakable hash, such as a node of the tree.
//
// leanSpec: spec/crypto/xmss/types.py, HashDigestVector
type hashDigest = [digestLength]koalabear.Element

// publicParameter is an input of all hashes of a key pair, so that different key pairs have
// unrelated hashes. It is part of the public key.
//
// leanSpec: spec/crypto/xmss/types.py, Parameter
type publicParameter = [parameterLength]koalabear.Element

// randomness is the value that the signer varies until the message has a valid codeword.
//
// leanSpec: spec/crypto/xmss/types.py, Randomness
type randomness = [randomnessLength]koalabear.Element

// Scheme is a parameter set. The two values are [Prod] and [Test]; a Scheme is
// immutable and safe for concurrent use.
//
// leanSpec: spec/crypto/xmss/constants.py, XmssConfig
type Scheme struct {
	name        string
	logLifetime int // height of the tree
	dimension   int // chains of a one-time key, digits of a codeword
	targetSum   int // sum of the digits of a valid codeword

	leafCapacity [poseidon.Capacity]koalabear.Element
}

var (
	// Prod is the production scheme.
	Prod = newScheme("prod", 32, 46, 200)

	// Test is a small scheme for tests. It gives no security.
	Test = newScheme("test", 8, 4, 6)
)

func newScheme(name string, logLifetime, dimension, targetSum int) *Scheme {
	return &Scheme{
		name:         name,
		logLifetime:  logLifetime,
		dimension:    dimension,
		targetSum:    targetSum,
		leafCapacity: leafCapacity(dimension),
	}
}

// ParseScheme returns the scheme with the given name, "prod" or "test".
func ParseScheme(name string) (*Scheme, error) {
	for _, s := range []*Scheme{Prod, Test} {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("xmss: unknown scheme %q, want %q or %q", name, Prod.name, Test.name)
}

// String returns the name that ParseScheme accepts.
func (s *Scheme) String() string { return s.name }

// KeyScheme returns the name of the scheme in validator key manifests.
func (s *Scheme) KeyScheme() string {
	return fmt.Sprintf("SIGTopLevelTargetSumLifetime%dDim%dBase%d", s.logLifetime, s.dimension, base)
}

// LogLifetime returns the height of the tree, which is also the number of nodes in the path
// of a signature.
func (s *Scheme) LogLifetime() int { return s.logLifetime }

// Lifetime returns the number of slots that a key can have. Slots start at 0.
func (s *Scheme) Lifetime() uint64 { return 1 << s.logLifetime }

// LeavesPerBottomTree returns W, the number of slots of a bottom tree, which is also the
// number of bottom trees.
func (s *Scheme) LeavesPerBottomTree() uint64 { return 1 << s.halfHeight() }

// halfHeight is the height of each bottom tree and of the top tree.
func (s *Scheme) halfHeight() int { return s.logLifetime / 2 }

// nodeListLimit is the SSZ limit of a list of digests.
//
// leanSpec: spec/crypto/xmss/types.py, NODE_LIST_LIMIT
func (s *Scheme) nodeListLimit() uint64 { return 2 * s.LeavesPerBottomTree() }
