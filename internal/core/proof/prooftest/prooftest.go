// Package prooftest has a proof scheme for tests that are not about proofs.
package prooftest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
)

// Proofs that Trusting does not believe.
const (
	// Forged is a proof of which each component alone is valid.
	Forged = "forged"
	// Unsigned is a proof of which no component is valid.
	Unsigned = "unsigned"
)

var errForged = errors.New(Forged)

// Trusting is a proof scheme that believes every proof but Forged and Unsigned. Its
// aggregates say nothing but differ where the participants do.
type Trusting struct{ Max int } // signatures in a proof

// Name returns the name of the scheme.
func (Trusting) Name() string { return "trusting" }

// MaxSignatures returns Max.
func (t Trusting) MaxSignatures() int { return t.Max }

// Aggregate names all validators of the children and the signatures.
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

// VerifySingle believes all but Forged and Unsigned.
func (Trusting) VerifySingle(_ proof.Component, p []byte) error { return check(p) }

// VerifyMulti believes all but Forged and Unsigned.
func (Trusting) VerifyMulti(_ []proof.Component, p []byte) error { return check(p) }

// Merge returns a byte.
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
