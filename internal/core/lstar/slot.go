package lstar

import (
	"encoding/hex"
	"math"
)

// Slot is a number of slots since genesis.
type Slot uint64

// Interval is a number of intervals since genesis.
type Interval uint64

// ValidatorIndex is a position in the validator registry.
type ValidatorIndex uint64

// Root is the hash tree root of a block, a state or an attestation data.
type Root [32]byte

// String returns the root in hex, with the prefix 0x.
func (r Root) String() string { return "0x" + hex.EncodeToString(r[:]) }

// IsZero reports whether the root is the zero hash, which means that there is no block.
func (r Root) IsZero() bool { return r == Root{} }

// Interval returns the first interval of the slot.
//
// leanSpec: containers/interval.py, Interval.from_slot
func (s Slot) Interval() Interval { return Interval(s) * IntervalsPerSlot }

// Slot returns the slot of the interval.
func (i Interval) Slot() Slot { return Slot(i / IntervalsPerSlot) }

// InSlot returns the position of the interval in its slot, from 0 to 4.
func (i Interval) InSlot() Interval { return i % IntervalsPerSlot }

// justifiedIndexAfter returns the position of the slot in the justified slots of a
// state, which begin after the finalized slot. It returns false for a slot that is not
// after the finalized one; such a slot is justified.
//
// leanSpec: slot.py, Slot.justified_index_after
func (s Slot) justifiedIndexAfter(finalized Slot) (index uint64, tracked bool) {
	if s <= finalized {
		return 0, false
	}
	return uint64(s-finalized) - 1, true
}

// IsJustifiableAfter reports whether 3SF-mini allows the slot as a target. Its distance
// from the finalized slot must be at most 5, a square n² or a pronic number n(n+1). It
// returns false for a slot before the finalized one.
//
// leanSpec: slot.py, Slot.is_justifiable_after
func (s Slot) IsJustifiableAfter(finalized Slot) bool {
	if s < finalized {
		return false
	}
	delta := uint64(s - finalized)
	if delta <= immediateJustificationWindow {
		return true
	}
	n := isqrt(delta)
	return n*n == delta || n*(n+1) == delta
}

// isqrt returns the largest n with n² <= x.
func isqrt(x uint64) uint64 {
	n := min(uint64(math.Sqrt(float64(x))), math.MaxUint32)
	for n*n > x { // the rounding error is at most one, in either direction
		n--
	}
	for n < math.MaxUint32 && (n+1)*(n+1) <= x {
		n++
	}
	return n
}

// ProposerForSlot returns the validator that may propose a block at the slot. It returns
// a [*Rejection] with EMPTY_VALIDATOR_REGISTRY if there are no validators.
//
// leanSpec: containers/identifiers.py, ValidatorIndex.proposer_for_slot
func ProposerForSlot(slot Slot, validators int) (ValidatorIndex, error) {
	if validators == 0 {
		return 0, reject(EmptyValidatorRegistry, "no validator can propose at slot %d", slot)
	}
	return ValidatorIndex(uint64(slot) % uint64(validators)), nil
}

// checkProposer returns a [*Rejection] with WRONG_PROPOSER unless the validator may propose
// at the slot, or with EMPTY_VALIDATOR_REGISTRY.
func checkProposer(slot Slot, proposer ValidatorIndex, validators int) error {
	want, err := ProposerForSlot(slot, validators)
	if err == nil && proposer != want {
		err = reject(WrongProposer, "proposer %d at slot %d, want %d", proposer, slot, want)
	}
	return err
}

// SubnetID returns the attestation subnet of the validator in a network with a number of
// committees, which must not be 0.
//
// leanSpec: containers/identifiers.py, ValidatorIndex.compute_subnet_id
func (v ValidatorIndex) SubnetID(committees uint64) uint64 { return uint64(v) % committees }
