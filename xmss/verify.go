package xmss

// Verify reports whether sig is the signature of message for slot under the public
// key. It is false for any input that is not, whatever its kind: a slot beyond the
// lifetime, a signature of the other scheme, nil. It does not allocate.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.verify
func (s *Scheme) Verify(pk *PublicKey, slot uint64, message [32]byte, sig *Signature) bool {
	if pk == nil || sig == nil || sig.scheme != s || slot >= s.Lifetime() {
		return false
	}
	var word codeword
	m := newMessageHash(&pk.Parameter, slot, &message)
	if !s.encode(&m, &sig.rho, &word) {
		return false
	}

	leaf := s.newLeaf(&pk.Parameter, slot)
	for chain := range s.dimension {
		digest := sig.hashes[chain]
		walkChain(&pk.Parameter, slot, chain, int(word[chain]), base-1, &digest)
		leaf.Absorb(digest[:])
	}

	// leanSpec: spec/crypto/xmss/merkle.py, verify_path
	node, index := leaf.Squeeze(), slot
	for level := range s.logLifetime {
		left, right := &node, &sig.path.Siblings[level]
		if index%2 == 1 {
			left, right = right, left
		}
		index /= 2
		node = hashNodes(&pk.Parameter, level+1, index, left, right)
	}
	return node == pk.Root
}

// Verification is one signature to verify, with the arguments of [Scheme.Verify].
type Verification struct {
	PublicKey *PublicKey
	Slot      uint64
	Message   [32]byte
	Signature *Signature
}

// VerifyBatch verifies every item and sets ok, of the same length, to the verdicts.
func (s *Scheme) VerifyBatch(items []Verification, ok []bool) {
	for i := range items {
		v := &items[i]
		ok[i] = s.Verify(v.PublicKey, v.Slot, v.Message, v.Signature)
	}
}
