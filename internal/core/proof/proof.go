// Package proof makes and verifies aggregation proofs. [Scheme] is the interface,
// [SigList] the scheme that is built in.
//
// A single-message proof proves that a set of validators signed one message. A
// multi-message proof, of which a block has one, consists of components: one for each
// attestation of the body, in order, then the proposer's signature. Proofs contain neither
// keys nor messages. The verifier takes both from data that it already trusts.
//
// The package starts no goroutine and caches nothing. The caller passes a [VerifyFunc],
// which may use several processors and a cache.
//
// leanSpec: spec/forks/lstar/containers/aggregation.py
package proof

import (
	"errors"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// ErrInvalid is wrapped by every error of Split, VerifySingle and VerifyMulti: the proof is
// malformed, or does not prove the component.
var ErrInvalid = errors.New("invalid aggregation proof")

// Signature is the signature of one validator.
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

// Component is a message with the keys that signed it, in ascending order of the
// validators' indices. A key that is nil makes verification fail.
type Component struct {
	Keys    []*xmss.PublicKey
	Slot    uint64
	Message [32]byte
}

// VerifyFunc reports whether every signature is valid.
type VerifyFunc func([]xmss.Verification) bool

// Scheme is a proof system. Its methods are safe for concurrent use.
type Scheme interface {
	// Name returns the name of the scheme in the configuration.
	Name() string
	// MaxSignatures returns the number of signatures for which a proof has room, in all
	// components together.
	MaxSignatures() int
	// Aggregate returns a single-message proof for the union of the validators of
	// children and signatures, and the indices of these validators in ascending order.
	Aggregate(children []Child, signatures []Signature, message [32]byte, slot uint64) (validators []uint64, proof []byte, err error)
	// VerifySingle returns nil if the proof proves exactly the component.
	VerifySingle(c Component, proof []byte) error
	// Merge returns a multi-message proof with one component for each of the given
	// single-message proofs, in order.
	Merge(parts []Child) ([]byte, error)
	// VerifyMulti returns nil if the proof proves exactly the components.
	VerifyMulti(components []Component, proof []byte) error
	// Split returns component i of a multi-message proof as a single-message proof. It
	// checks the layout of the proof, not the signatures.
	Split(components []Component, i int, proof []byte) ([]byte, error)
}
