package lstar

import (
	"fmt"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Validators is the validator registry. It is immutable, and all states of a chain share
// it, because the lstar fork has neither deposits nor exits.
//
// leanSpec: containers/validator.py, Validators
type Validators struct {
	list []Validator
	root Root

	parse sync.Once
	keys  []validatorKeys
}

// validatorKeys holds the decoded keys of a validator. A key is nil if its bytes in the
// registry are not a valid public key.
type validatorKeys struct{ attestation, proposal *xmss.PublicKey }

// NewValidators returns a registry of the given validators. It sets the index of each
// validator to its position, and retains the list.
func NewValidators(list []Validator) *Validators {
	for i := range list {
		list[i].Index = ValidatorIndex(i)
	}
	return &Validators{list: list, root: ssz.ListRoot(list, ValidatorRegistryLimit)}
}

// Len returns the number of validators.
func (v *Validators) Len() int { return len(v.list) }

// At returns the validator with an index, which must be in the registry.
func (v *Validators) At(i ValidatorIndex) *Validator { return &v.list[i] }

// has reports whether the index is in the registry.
func (v *Validators) has(i ValidatorIndex) bool { return uint64(i) < uint64(len(v.list)) }

// HashTreeRoot returns the hash tree root of the registry.
func (v *Validators) HashTreeRoot() Root { return v.root }

// AttestationKey returns the key for the validator's votes, or nil if the registry has no
// valid one. The index must be in the registry.
func (v *Validators) AttestationKey(i ValidatorIndex) *xmss.PublicKey {
	return v.parsed()[i].attestation
}

// ProposalKey returns the key for the validator's blocks, or nil if the registry has no
// valid one. The index must be in the registry.
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

// attestationKeys returns the keys of the participants in ascending order of their
// indices. It returns a [*Rejection] with the given reason if a participant is not in the
// registry, and with EMPTY_AGGREGATION_BITS if there are no participants.
func (v *Validators) attestationKeys(bits *AggregationBits, outside RejectionReason) ([]*xmss.PublicKey, error) {
	keys := make([]*xmss.PublicKey, 0, bits.Count())
	for i := range bits.All {
		if !v.has(ValidatorIndex(i)) {
			return nil, reject(outside, "validator %d, the registry has %d validators", i, v.Len())
		}
		keys = append(keys, v.AttestationKey(ValidatorIndex(i)))
	}
	if len(keys) == 0 {
		return nil, errEmptyBits()
	}
	return keys, nil
}

// DecodeValidators decodes the SSZ encoding of a registry. The index of each validator
// must be its position. Errors wrap [ssz.ErrInvalid].
func DecodeValidators(b []byte) (*Validators, error) {
	list, err := ssz.DecodeList[Validator](b, ValidatorRegistryLimit)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Index != ValidatorIndex(i) {
			return nil, fmt.Errorf("%w: validator at position %d has index %d", ssz.ErrInvalid, i, list[i].Index)
		}
	}
	return NewValidators(list), nil
}

// validatorsField is the registry as a field of the state.
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
