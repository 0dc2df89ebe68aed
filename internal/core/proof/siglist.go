package proof

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	singleMagic = "LSL1"
	multiMagic  = "LML1"
	magicSize   = 4
	countSize   = 4
	// sizeLimit is the size of the proof field of the containers.
	sizeLimit = 512 << 10
	// maxComponents is the largest number of components of a block that can be
	// valid: 8 attestations and the proposer.
	maxComponents = 9
)

// SigList is the scheme whose proofs are the lists of the signatures themselves.
// It is sound and needs no prover.
//
//	single: "LSL1", count (4 bytes, little-endian), signatures
//	multi:  "LML1", number of components (4), each: count (4), signatures
//
// Signatures stand in ascending order of their validators. There is one encoding
// of every list: counts equal the participants, and nothing follows the last
// signature.
type SigList struct {
	scheme *xmss.Scheme
	verify VerifyFunc
}

// NewSigList returns the scheme for signatures of the given XMSS scheme. A nil
// verify checks one signature after the other.
func NewSigList(scheme *xmss.Scheme, verify VerifyFunc) *SigList {
	if verify == nil {
		verify = func(items []xmss.Verification) bool {
			ok := make([]bool, len(items))
			scheme.VerifyBatch(items, ok)
			return !slices.Contains(ok, false)
		}
	}
	return &SigList{scheme, verify}
}

// Name returns "siglist".
func (s *SigList) Name() string { return "siglist" }

// MaxSignatures returns how many signatures fit into 512 KiB: 206 of the
// production scheme.
func (s *SigList) MaxSignatures() int {
	return (sizeLimit - magicSize - countSize - maxComponents*countSize) / s.scheme.SignatureSize()
}

// Aggregate takes the union of all lists, one signature a validator.
func (s *SigList) Aggregate(children []Child, signatures []Signature, _ [32]byte, _ uint64) ([]uint64, []byte, error) {
	byValidator := make(map[uint64][]byte, len(signatures))
	for _, c := range children {
		list, err := s.readSingle(len(c.Validators), c.Proof)
		if err != nil {
			return nil, nil, err
		}
		for i, v := range c.Validators {
			byValidator[v] = s.at(list, i)
		}
	}
	for _, sig := range signatures {
		byValidator[sig.Validator] = sig.Signature.Bytes()
	}
	if n := len(byValidator); n == 0 || n > s.MaxSignatures() {
		return nil, nil, fmt.Errorf("aggregate of %d signatures: want 1 to %d", n, s.MaxSignatures())
	}
	validators := make([]uint64, 0, len(byValidator))
	for v := range byValidator {
		validators = append(validators, v)
	}
	slices.Sort(validators)
	out := make([]byte, 0, magicSize+countSize+len(validators)*s.scheme.SignatureSize())
	out = append(out, singleMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(validators)))
	for _, v := range validators {
		out = append(out, byValidator[v]...)
	}
	return validators, out, nil
}

// VerifySingle checks every signature of the list.
func (s *SigList) VerifySingle(signers Component, proof []byte) error {
	list, err := s.readSingle(len(signers.Keys), proof)
	if err != nil {
		return err
	}
	items, err := s.verifications(nil, signers, list)
	if err != nil {
		return err
	}
	return s.check(items)
}

// Merge strings the lists together.
func (s *SigList) Merge(parts []Child) ([]byte, error) {
	out := binary.LittleEndian.AppendUint32([]byte(multiMagic), uint32(len(parts)))
	for i, part := range parts {
		list, err := s.readSingle(len(part.Keys), part.Proof)
		if err != nil {
			return nil, fmt.Errorf("component %d: %w", i, err)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(len(part.Keys)))
		out = append(out, list...)
	}
	if len(parts) == 0 || len(out) > sizeLimit {
		return nil, fmt.Errorf("merged proof of %d components has %d bytes: want at least one and at most %d bytes",
			len(parts), len(out), sizeLimit)
	}
	return out, nil
}

// VerifyMulti checks every signature of every component.
func (s *SigList) VerifyMulti(components []Component, proof []byte) error {
	lists, err := s.readMulti(components, proof)
	if err != nil {
		return err
	}
	var items []xmss.Verification
	for i, c := range components {
		if items, err = s.verifications(items, c, lists[i]); err != nil {
			return fmt.Errorf("component %d: %w", i, err)
		}
	}
	return s.check(items)
}

// Split takes a list out.
func (s *SigList) Split(components []Component, i int, proof []byte) ([]byte, error) {
	lists, err := s.readMulti(components, proof)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32([]byte(singleMagic), uint32(len(components[i].Keys)))
	return append(out, lists[i]...), nil
}

// at returns signature i of a list.
func (s *SigList) at(list []byte, i int) []byte {
	n := s.scheme.SignatureSize()
	return list[i*n : (i+1)*n]
}

// readSingle returns the signatures of a single-message proof, which must be n.
func (s *SigList) readSingle(n int, proof []byte) ([]byte, error) {
	if len(proof) < magicSize || string(proof[:magicSize]) != singleMagic {
		return nil, fmt.Errorf("%w: does not start with %q", ErrInvalid, singleMagic)
	}
	list, rest, err := s.readList(n, proof[magicSize:])
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last signature", ErrInvalid, len(rest))
	}
	return list, nil
}

// readMulti returns the signatures of every component of a multi-message proof.
func (s *SigList) readMulti(components []Component, proof []byte) ([][]byte, error) {
	if len(proof) < magicSize+countSize || string(proof[:magicSize]) != multiMagic {
		return nil, fmt.Errorf("%w: does not start with %q and a count", ErrInvalid, multiMagic)
	}
	if n := binary.LittleEndian.Uint32(proof[magicSize:]); uint64(n) != uint64(len(components)) {
		return nil, fmt.Errorf("%w: %d components, want %d", ErrInvalid, n, len(components))
	}
	rest := proof[magicSize+countSize:]
	lists := make([][]byte, len(components))
	for i := range components {
		var err error
		if lists[i], rest, err = s.readList(len(components[i].Keys), rest); err != nil {
			return nil, fmt.Errorf("component %d: %w", i, err)
		}
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last signature", ErrInvalid, len(rest))
	}
	return lists, nil
}

// readList returns the signatures of a counted list, which must be n, and what
// follows it.
func (s *SigList) readList(n int, in []byte) (list, rest []byte, err error) {
	if len(in) < countSize {
		return nil, nil, fmt.Errorf("%w: ends before a count", ErrInvalid)
	}
	count := binary.LittleEndian.Uint32(in)
	if n > math.MaxUint32 || count != uint32(n) {
		return nil, nil, fmt.Errorf("%w: %d signatures, want %d", ErrInvalid, count, n)
	}
	size := n * s.scheme.SignatureSize()
	if len(in)-countSize < size {
		return nil, nil, fmt.Errorf("%w: %d bytes of signatures, want %d", ErrInvalid, len(in)-countSize, size)
	}
	return in[countSize : countSize+size], in[countSize+size:], nil
}

// verifications appends the checks of one component.
func (s *SigList) verifications(items []xmss.Verification, c Component, list []byte) ([]xmss.Verification, error) {
	for i, key := range c.Keys {
		if key == nil {
			return nil, fmt.Errorf("%w: signer %d has no valid public key", ErrInvalid, i)
		}
		sig, err := s.scheme.ParseSignature(s.at(list, i))
		if err != nil {
			return nil, fmt.Errorf("%w: signature %d: %w", ErrInvalid, i, err)
		}
		items = append(items, xmss.Verification{PublicKey: key, Slot: c.Slot, Message: c.Message, Signature: sig})
	}
	return items, nil
}

func (s *SigList) check(items []xmss.Verification) error {
	if !s.verify(items) {
		return fmt.Errorf("%w: a signature does not verify", ErrInvalid)
	}
	return nil
}
