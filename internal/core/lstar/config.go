// Package lstar is the lstar fork of the Lean consensus protocol: constants,
// containers, the state transition, fork choice, block production and validator
// duties, as leanSpec defines them under spec/forks/lstar.
//
// It is a pure state machine. A State is an immutable value; a Store changes
// only through its methods, one call at a time, and the same calls always give
// the same store. There is no clock, no socket, no goroutine and no logger in
// here: time comes in as ticks, and what goes out is what the methods return.
//
// What the specification rejects comes back as a *Rejection that carries the
// specification's reason, so that vectors, logs, metrics and peer scores all
// speak of the same thing.
package lstar

// Protocol constants. leanSpec: spec/forks/lstar/config.py
const (
	// IntervalsPerSlot is the number of fork-choice intervals of a slot.
	IntervalsPerSlot = 5
	// GossipDisparityIntervals is how far, in intervals, a vote's slot may lie
	// ahead of the store's clock.
	GossipDisparityIntervals = 1
	// SecondsPerSlot is the length of a slot.
	SecondsPerSlot = 4
	// MillisecondsPerSlot is the length of a slot.
	MillisecondsPerSlot = SecondsPerSlot * 1000
	// MillisecondsPerInterval is the length of an interval.
	MillisecondsPerInterval = MillisecondsPerSlot / IntervalsPerSlot
	// JustificationLookbackSlots is how many blocks a vote's target may lie
	// behind the head on the way to the safe target.
	JustificationLookbackSlots = 3
	// HistoricalRootsLimit is the number of slots that a state can remember,
	// about 12 days.
	HistoricalRootsLimit = 1 << 18
	// ValidatorRegistryLimit is the largest number of validators.
	ValidatorRegistryLimit = 1 << 12
	// MaxAttestationsData is the largest number of distinct attestation data in
	// a block.
	MaxAttestationsData = 8
	// AttestationCommitteeCount is the number of attestation subnets unless the
	// network's configuration sets another.
	AttestationCommitteeCount = 1

	// immediateJustificationWindow is the number of slots after a finalized one
	// that are always justifiable. leanSpec: spec/forks/lstar/slot.py
	immediateJustificationWindow = 5
	// proofLimit is the largest size of an aggregation proof in bytes.
	proofLimit = 512 << 10
)
