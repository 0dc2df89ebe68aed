package conformance

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
)

// mockedProofs is the proof scheme of vectors with proofSetting 0. A proof is a hash of its
// inputs with a prefix, and every proof with the prefix is valid.
//
// leanSpec: crypto_mode.py, AggregationProver
type mockedProofs struct{}

const mockedPrefix = "\x00MOCKED-AGGREGATION-PROOF\x00"

func (mockedProofs) Name() string { return "mocked" }

func (mockedProofs) MaxSignatures() int { return math.MaxInt32 }

// Aggregate does not hash the signatures, because a validator has only one signature of a
// message.
func (mockedProofs) Aggregate(children []proof.Child, signatures []proof.Signature, message [32]byte, slot uint64) ([]uint64, []byte, error) {
	var union, signers []uint64
	for _, s := range signatures {
		signers = append(signers, s.Validator)
	}
	union = append(union, signers...)
	for _, c := range children {
		union = append(union, c.Validators...)
	}
	slices.Sort(union)
	return slices.Compact(union), fingerprint(signers, message, slot, childBytes(children)), nil
}

func (mockedProofs) Merge(parts []proof.Child) ([]byte, error) {
	return fingerprint(childBytes(parts)), nil
}

func childBytes(children []proof.Child) (out []string) {
	for _, c := range children {
		out = append(out, fmt.Sprintf("%v %x", c.Validators, c.Proof))
	}
	return out
}

func fingerprint(parts ...any) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v", parts))
	return append([]byte(mockedPrefix), sum[:]...)
}

var errNotMocked = errors.New("not a mocked proof")

func (mockedProofs) VerifySingle(_ proof.Component, p []byte) error { return verifyMocked(p) }

func (mockedProofs) VerifyMulti(_ []proof.Component, p []byte) error { return verifyMocked(p) }

func verifyMocked(p []byte) error {
	if !bytes.HasPrefix(p, []byte(mockedPrefix)) {
		return fmt.Errorf("%w: %w", proof.ErrInvalid, errNotMocked)
	}
	return nil
}

func (mockedProofs) Split([]proof.Component, int, []byte) ([]byte, error) {
	return nil, errors.New("a mocked proof cannot be split")
}
