package lstar

import (
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Validators is the validator registry. It is immutable, and shared by all
// states of a chain: the lstar fork has neither deposits nor exits.
//
// leanSpec: containers/validator.py, Validators
type Validators struct {
	list []Validator
	root Root

	parse sync.Once
	keys  []validatorKeys
}

// validatorKeys are the decoded keys of a validator, nil where the bytes in the
// registry are not a public key.
type validatorKeys struct{ attestation, proposal *xmss.PublicKey }

// NewValidators returns a registry of the given validators, whose indices are
// set to their positions. It keeps the list.
func NewValidators(list []Validator) *Validators {
	for i := range list {
		list[i].Index = ValidatorIndex(i)
	}
	return &Validators{list: list, root: ssz.ListRoot(list, ValidatorRegistryLimit)}
}

// Len returns the number of validators.
func (v *Validators) Len() int { return len(v.list) }

// At returns the validator at a position, which must be in the registry.
func (v *Validators) At(i ValidatorIndex) *Validator { return &v.list[i] }

// has reports whether the index is in the registry.
func (v *Validators) has(i ValidatorIndex) bool { return uint64(i) < uint64(len(v.list)) }

// HashTreeRoot returns the Merkle root of the registry.
func (v *Validators) HashTreeRoot() Root { return v.root }

// AttestationKey returns the key that the validator signs votes with, or nil
// where the registry holds no valid key for it. The index must be in the registry.
func (v *Validators) AttestationKey(i ValidatorIndex) *xmss.PublicKey {
	return v.parsed()[i].attestation
}

// ProposalKey returns the key that the validator signs blocks with, or nil where
// the registry holds no valid key for it. The index must be in the registry.
func (v *Validators) ProposalKey(i ValidatorIndex) *xmss.PublicKey {
	return v.parsed()[i].proposal
}

func (v *Validators) parsed() []validatorKeys {
	v.parse.Do(func() {
		v.keys = make([]validatorKeys, len(v.list))
		for i := range v.list {
			if k, err := xmss.ParsePublicKey(v.list[i].AttestationPublicKey[:]); err == nil {
				v.keys[i].attestation = &k
			}
			if k, err := xmss.ParsePublicKey(v.list[i].ProposalPublicKey[:]); err == nil {
				v.keys[i].proposal = &k
			}
		}
	})
	return v.keys
}

// attestationKeys returns the keys of the participants, in ascending order of
// their indices. The error is a *Rejection with the given reason where one is
// not in the registry, and EMPTY_AGGREGATION_BITS where there is none.
func (v *Validators) attestationKeys(bits *AggregationBits, outside RejectionReason) ([]*xmss.PublicKey, error) {
	keys := make([]*xmss.PublicKey, 0, bits.Count())
	for i := range bits.All {
		if !v.has(ValidatorIndex(i)) {
			return nil, reject(outside, "validator %d is not in the registry of %d", i, v.Len())
		}
		keys = append(keys, v.AttestationKey(ValidatorIndex(i)))
	}
	if len(keys) == 0 {
		return nil, errEmptyBits()
	}
	return keys, nil
}

// DecodeValidators decodes exactly the bytes of b. A validator whose index is
// not its position makes the registry invalid. The error wraps ssz.ErrInvalid.
func DecodeValidators(b []byte) (*Validators, error) {
	list, err := ssz.DecodeList[Validator](b, ValidatorRegistryLimit)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Index != ValidatorIndex(i) {
			return nil, &indexMismatchError{i, list[i].Index}
		}
	}
	return &Validators{list: list, root: ssz.ListRoot(list, ValidatorRegistryLimit)}, nil
}

// validatorsField describes the registry as a field of the state.
type validatorsField struct{ v **Validators }

func (f validatorsField) SizeSSZ() (int, bool) {
	if *f.v == nil {
		return 0, false
	}
	return len((*f.v).list) * (2*xmss.PublicKeySize + 8), false
}

func (f validatorsField) AppendSSZ(b []byte) []byte {
	return ssz.AppendList(b, (*f.v).list)
}

func (f validatorsField) DecodeSSZ(b []byte) (err error) {
	*f.v, err = DecodeValidators(b)
	return err
}

func (f validatorsField) HashTreeRoot() [32]byte { return (*f.v).root }
