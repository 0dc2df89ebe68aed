package proof

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	singleMagic = "LSL1"
	multiMagic  = "LML1"
	magicSize   = 4
	countSize   = 4
	// sizeLimit is the limit of the proof field of the containers in bytes.
	sizeLimit = 512 << 10
	// maxComponents is the maximum number of components of a valid block: 8 attestations
	// and the proposer.
	maxComponents = 9
)

// SigList is a scheme whose proofs are lists of signatures. It is sound and needs no
// prover. Numbers are of 4 bytes, little-endian:
//
//	single-message: "LSL1", number of signatures, signatures
//	multi-message:  "LML1", number of components, for each component:
//	                number of signatures, signatures
//
// Signatures are in ascending order of their validators. A list has exactly one encoding:
// the numbers must match the component, and no bytes may follow the last signature.
type SigList struct {
	scheme *xmss.Scheme
	verify VerifyFunc
}

// NewSigList returns the scheme for signatures of an XMSS scheme. verify checks the
// signatures; nil means one after the other.
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

// MaxSignatures returns the number of signatures that fit into 512 KiB, which is 206 for
// the production scheme.
func (s *SigList) MaxSignatures() int {
	return (sizeLimit - magicSize - countSize - maxComponents*countSize) / s.scheme.SignatureSize()
}

// Aggregate returns the union of all lists, with one signature for each validator. It
// checks the layout of the children, and does not verify signatures.
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
		return nil, nil, fmt.Errorf("aggregate of %d signatures, want 1 to %d", n, s.MaxSignatures())
	}
	validators := slices.Sorted(maps.Keys(byValidator))
	out := make([]byte, 0, magicSize+countSize+len(validators)*s.scheme.SignatureSize())
	out = append(out, singleMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(validators)))
	for _, v := range validators {
		out = append(out, byValidator[v]...)
	}
	return validators, out, nil
}

// VerifySingle verifies every signature of the list.
func (s *SigList) VerifySingle(c Component, proof []byte) error {
	list, err := s.readSingle(len(c.Keys), proof)
	if err != nil {
		return err
	}
	items, err := s.verifications(nil, c, list)
	if err != nil {
		return err
	}
	return s.check(items)
}

// Merge concatenates the lists.
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
		return nil, fmt.Errorf("merged proof of %d components and %d bytes, want at least 1 component and at most %d bytes",
			len(parts), len(out), sizeLimit)
	}
	return out, nil
}

// VerifyMulti verifies every signature of every component.
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

// Split returns the list of a component.
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

// readSingle returns the n signatures of a single-message proof.
func (s *SigList) readSingle(n int, proof []byte) ([]byte, error) {
	if len(proof) < magicSize || string(proof[:magicSize]) != singleMagic {
		return nil, fmt.Errorf("%w: does not begin with %q", ErrInvalid, singleMagic)
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
		return nil, fmt.Errorf("%w: does not begin with %q and a number", ErrInvalid, multiMagic)
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

// readList returns the n signatures of a list, and the bytes after it.
func (s *SigList) readList(n int, in []byte) (list, rest []byte, err error) {
	if len(in) < countSize {
		return nil, nil, fmt.Errorf("%w: ends before the number of signatures", ErrInvalid)
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

// verifications appends the checks of a component to items.
func (s *SigList) verifications(items []xmss.Verification, c Component, list []byte) ([]xmss.Verification, error) {
	for i, key := range c.Keys {
		if key == nil {
			return nil, fmt.Errorf("%w: the registry has no valid public key of signer %d", ErrInvalid, i)
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
		return fmt.Errorf("%w: a signature is not valid", ErrInvalid)
	}
	return nil
}
