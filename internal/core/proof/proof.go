// Package proof makes and checks the aggregation proofs that votes and blocks
// carry, behind one interface with several schemes.
//
// A single-message proof says that a set of validators signed one message. A
// multi-message proof, one a block, holds a component for every attestation of
// the body, in order, and last the proposer's signature. Proofs contain neither
// keys nor messages: the verifier derives both from what it already trusts.
//
// The package is as pure as the specification: a scheme is given a Verify
// function, and whether that one checks signatures in a pool of workers or
// remembers those that it has seen is not its concern.
//
// leanSpec: spec/forks/lstar/containers/aggregation.py
package proof

import (
	"errors"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// ErrInvalid is wrapped by every error of Split and of the Verify methods: the
// proof does not prove what it should.
var ErrInvalid = errors.New("invalid aggregation proof")

// Signature is the contribution of one validator.
type Signature struct {
	Validator uint64
	Key       *xmss.PublicKey
	Signature *xmss.Signature
}

// Child is a single-message proof that becomes part of a larger one.
type Child struct {
	Validators []uint64 // ascending
	Keys       []*xmss.PublicKey
	Proof      []byte
}

// Component is one message of a multi-message proof, with the keys that signed
// it, in ascending order of their validators.
type Component struct {
	Keys    []*xmss.PublicKey
	Slot    uint64
	Message [32]byte
}

// VerifyFunc reports whether every signature is valid.
type VerifyFunc func([]xmss.Verification) bool

// Scheme is a way to prove that many signatures exist.
type Scheme interface {
	// Name is the value of the proof scheme setting.
	Name() string
	// MaxSignatures is the number of signatures that fit into one proof, all
	// components of a multi-message proof taken together.
	MaxSignatures() int
	// Aggregate returns a single-message proof for the union of all validators,
	// whose indices it returns in ascending order.
	Aggregate(children []Child, signatures []Signature, message [32]byte, slot uint64) (validators []uint64, proof []byte, err error)
	// VerifySingle checks a single-message proof against exactly these signers.
	VerifySingle(signers Component, proof []byte) error
	// Merge returns a multi-message proof whose components are the given
	// single-message proofs, in order.
	Merge(parts []Child) ([]byte, error)
	// VerifyMulti checks a multi-message proof against exactly these components.
	VerifyMulti(components []Component, proof []byte) error
	// Split returns component i of a multi-message proof, as a single-message
	// proof. It checks the layout, not the signatures.
	Split(components []Component, i int, proof []byte) ([]byte, error)
}
