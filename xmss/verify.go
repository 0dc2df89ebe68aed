package xmss

// Verify reports whether sig is a valid signature of message for slot under the
// public key. It returns false for every other input, which includes a slot beyond
// the lifetime, a signature of another scheme, and nil. It does not allocate.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.verify
func (s *Scheme) Verify(pk *PublicKey, slot uint64, message [32]byte, sig *Signature) bool {
	if pk == nil || sig == nil || sig.scheme != s || slot >= s.Lifetime() {
		return false
	}
	var word codeword
	m := newMessageHash(&pk.parameter, slot, &message)
	if !s.encode(&m, &sig.rho, &word) {
		return false
	}

	leaf := s.newLeaf(&pk.parameter, slot)
	for chain := range s.dimension {
		digest := sig.hashes[chain]
		walkChain(&pk.parameter, slot, chain, int(word[chain]), base-1, &digest)
		leaf.Absorb(digest[:])
	}

	// leanSpec: spec/crypto/xmss/merkle.py, verify_path
	node, index := leaf.Squeeze(), slot
	for level := range s.logLifetime {
		left, right := &node, &sig.path[level]
		if index%2 == 1 {
			left, right = right, left
		}
		index /= 2
		node = hashNodes(&pk.parameter, level+1, index, left, right)
	}
	return node == pk.root
}

// Verification holds the arguments of one call of [Scheme.Verify].
type Verification struct {
	PublicKey *PublicKey
	Slot      uint64
	Message   [32]byte
	Signature *Signature
}

// VerifyBatch verifies every item and stores the results in ok, which must be at least as
// long as items. It does not use several goroutines.
func (s *Scheme) VerifyBatch(items []Verification, ok []bool) {
	for i := range items {
		v := &items[i]
		ok[i] = s.Verify(v.PublicKey, v.Slot, v.Message, v.Signature)
	}
}
