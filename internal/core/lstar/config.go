package lstar

// Protocol constants. leanSpec: spec/forks/lstar/config.py
const (
	// IntervalsPerSlot is the number of fork-choice intervals of a slot.
	IntervalsPerSlot = 5
	// GossipDisparityIntervals is the number of intervals by which the slot of a vote
	// may be ahead of the store's clock.
	GossipDisparityIntervals = 1

	SecondsPerSlot          = 4
	MillisecondsPerSlot     = SecondsPerSlot * 1000
	MillisecondsPerInterval = MillisecondsPerSlot / IntervalsPerSlot

	// JustificationLookbackSlots is the number of blocks by which the target of a vote
	// may be behind the head because of the safe target.
	JustificationLookbackSlots = 3
	// HistoricalRootsLimit is the number of slots in the history of a state, about 12
	// days. No block can have a later slot.
	HistoricalRootsLimit = 1 << 18
	// ValidatorRegistryLimit is the maximum number of validators.
	ValidatorRegistryLimit = 1 << 12
	// MaxAttestationsData is the maximum number of distinct attestation data in a block.
	MaxAttestationsData = 8
	// AttestationCommitteeCount is the default number of attestation subnets.
	AttestationCommitteeCount = 1

	// immediateJustificationWindow is the number of slots after the finalized one that
	// are always justifiable. leanSpec: spec/forks/lstar/slot.py
	immediateJustificationWindow = 5
	// proofLimit is the maximum size of an aggregation proof in bytes.
	proofLimit = 512 << 10
)
