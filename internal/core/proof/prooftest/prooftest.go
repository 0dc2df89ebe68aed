// Package prooftest has a proof scheme without cryptography, for tests of other packages.
package prooftest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
)

// Proofs that [Trusting] rejects.
const (
	// Forged is an invalid proof from which Split returns valid components.
	Forged = "forged"
	// Unsigned is an invalid proof that cannot be split.
	Unsigned = "unsigned"
)

var errForged = errors.New(Forged)

// Trusting is a proof scheme that accepts every proof except [Forged] and [Unsigned]. Its
// aggregates of different validators or messages are different.
type Trusting struct {
	Max int // value of MaxSignatures
}

// Name returns the name of the scheme.
func (Trusting) Name() string { return "trusting" }

// MaxSignatures returns Max.
func (t Trusting) MaxSignatures() int { return t.Max }

// Aggregate returns the union of all validators, and a hash of it and the message.
func (Trusting) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, _ uint64) ([]uint64, []byte, error) {
	var all []uint64
	for _, c := range children {
		all = append(all, c.Validators...)
	}
	for _, s := range signatures {
		all = append(all, s.Validator)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	h := sha256.New()
	h.Write(message[:])
	_ = binary.Write(h, binary.LittleEndian, all)
	return all, h.Sum(nil), nil
}

// VerifySingle rejects Forged and Unsigned.
func (Trusting) VerifySingle(_ proof.Component, p []byte) error { return check(p) }

// VerifyMulti rejects Forged and Unsigned.
func (Trusting) VerifyMulti(_ []proof.Component, p []byte) error { return check(p) }

// Merge returns the same proof for all parts.
func (Trusting) Merge([]proof.Child) ([]byte, error) { return []byte{1}, nil }

// Split returns the message of the component, or an error for Unsigned.
func (Trusting) Split(c []proof.Component, i int, p []byte) ([]byte, error) {
	if string(p) == Unsigned {
		return nil, errForged
	}
	return c[i].Message[:], nil
}

func check(p []byte) error {
	if string(p) == Forged || string(p) == Unsigned {
		return errForged
	}
	return nil
}
