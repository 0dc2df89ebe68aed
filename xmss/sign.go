package xmss

import "fmt"

// checkSlot returns an error that wraps [ErrOutsideWindow] or [ErrNotPrepared] if the key
// cannot sign the slot.
func (sk *SecretKey) checkSlot(slot uint64) error {
	if start, end := sk.ActivationInterval(); slot < start || slot >= end {
		return fmt.Errorf("%w: slot %d, want %d to %d", ErrOutsideWindow, slot, start, end-1)
	}
	if start, end := sk.PreparedInterval(); slot < start || slot >= end {
		return fmt.Errorf("%w: slot %d, want %d to %d", ErrNotPrepared, slot, start, end-1)
	}
	return nil
}

// SignUnguarded signs a message for a slot without a [Ledger]. The same key, slot and
// message always give the same signature. Errors wrap [ErrOutsideWindow], [ErrNotPrepared]
// or [ErrNoEncoding].
//
// Signatures of two different messages for one slot reveal the one-time key. A caller that
// cannot rule this out must use a [Signer].
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.sign
func (sk *SecretKey) SignUnguarded(slot uint64, message [32]byte) (*Signature, error) {
	if err := sk.checkSlot(slot); err != nil {
		return nil, err
	}

	s := sk.scheme
	secrets := newPRF(sk.prfKey)
	sig := s.newSignature()
	word, attempts := sk.findCodeword(secrets, slot, &message, &sig.rho)
	if attempts == maxTries {
		return nil, fmt.Errorf("%w: slot %d, message %x, %d attempts", ErrNoEncoding, slot, message, attempts)
	}
	for chain := range sig.hashes {
		sig.hashes[chain] = secrets.chainStart(slot, chain)
		walkChain(&sk.parameter, slot, chain, 0, int(word[chain]), &sig.hashes[chain])
	}

	// leanSpec: spec/crypto/xmss/merkle.py, combined_path
	half := s.halfHeight()
	bottom := &sk.leftBottomTree
	index := slot / s.LeavesPerBottomTree()
	if index != sk.leftIndex {
		bottom = &sk.rightBottomTree
	}
	bottom.path(slot, sig.path[:half])
	sk.topTree.path(index, sig.path[half:])
	return sig, nil
}

// findCodeword tries randomness until the message has a valid codeword, or for maxTries
// attempts. It returns the codeword and the number of failed attempts.
func (sk *SecretKey) findCodeword(secrets *prf, slot uint64, message *[32]byte, rho *randomness) (word codeword, attempts int) {
	m := newMessageHash(&sk.parameter, slot, message)
	for ; attempts < maxTries; attempts++ {
		*rho = secrets.randomness(slot, message, attempts)
		if sk.scheme.encode(&m, rho, &word) {
			break
		}
	}
	return word, attempts
}
