package logging

import (
	"log/slog"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

const (
	// maxFinalityLag is the number of slots by which finality may be behind the clock before it counts as stalled; 3
	// to 5 are normal.
	maxFinalityLag = 20
	// maxAggregateGap is the number of slots without an aggregate before aggregation counts as stalled; one aggregate
	// a slot is normal.
	maxAggregateGap = 8
	// maxSummaryGap is the number of slots between two summaries beyond which the node was paused, or its clock was
	// set, and saw nothing of the chain in between.
	maxSummaryGap = 4
)

// stall decides, once a slot, whether finality or aggregation has stalled.
//
// Everything counts from the first slot that the node sees after its start or after a pause, because it has not seen
// the slots before. While the node is not synced, finality counts as stalled only if it has not advanced for
// maxFinalityLag slots, because a sync that progresses advances it, and missing aggregates do not count, because those
// for unknown blocks are not accepted.
type stall struct {
	mu         sync.Mutex
	aggregates bool // since the latest summary

	begun                 bool
	first, latest         lstar.Slot // slots that were summarized without a pause
	finalized             lstar.Slot // slot, of the latest summary
	finalizedAt           lstar.Slot // slot in which finalized was last seen to advance, first or later
	aggregatedAt          lstar.Slot // latest slot that had an aggregate, or need not have had one
	finality, aggregation bool       // stalled, and reported
}

// stalls are what has changed with a slot.
type stalls struct {
	lag, gap                               lstar.Slot // slots without finality, and without an aggregate
	finalityStalled, finalityResumed       bool
	aggregationStalled, aggregationResumed bool
}

// finalityLag returns the number of slots between the finalized checkpoint and the slot.
func finalityLag(e events.SlotSummary) lstar.Slot { return e.Slot - min(e.Finalized.Slot, e.Slot) }

// aggregate notes that an aggregate was received or made.
func (s *stall) aggregate() {
	s.mu.Lock()
	s.aggregates = true
	s.mu.Unlock()
}

// slot looks at a slot at its end.
func (s *stall) slot(e events.SlotSummary) (changes stalls) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun || e.Slot < s.latest || e.Slot-s.latest > maxSummaryGap {
		s.begun, s.first, s.finalizedAt, s.aggregatedAt = true, e.Slot, e.Slot, e.Slot
	}
	if e.Finalized.Slot > s.finalized {
		s.finalizedAt = e.Slot
	}
	if s.aggregates || !e.Synced {
		s.aggregatedAt = e.Slot
	}
	s.latest, s.finalized = e.Slot, e.Finalized.Slot
	changes.lag, changes.gap = finalityLag(e), e.Slot-s.aggregatedAt

	switch {
	case changes.lag <= maxFinalityLag:
		changes.finalityResumed = s.finality
		s.finality = false
	case !s.finality && e.Slot-s.first > maxFinalityLag && (e.Synced || e.Slot-s.finalizedAt > maxFinalityLag):
		changes.finalityStalled = true
		s.finality = true
	}
	switch {
	case s.aggregates:
		changes.aggregationResumed = s.aggregation
		s.aggregation = false
	case !s.aggregation && changes.gap >= maxAggregateGap:
		changes.aggregationStalled = true
		s.aggregation = true
	}
	s.aggregates = false
	return changes
}

// stalled logs what has changed with a slot.
func (l *eventLog) stalled(e events.SlotSummary) {
	s := l.stall.slot(e)
	finality := func(level slog.Level, msg string, advice slog.Attr) {
		write(l.chain, level, msg, Slot(e.Slot), slotField("finalized_slot", e.Finalized.Slot), slotField("finality_lag", s.lag), advice)
	}
	if s.finalityStalled {
		finality(slog.LevelWarn, "finality stalled", Advice("Finality needs aggregated votes of two thirds of all validators for one chain. Check that enough nodes "+
			"run and are connected, that one of them aggregates, and that their heads agree: docs/runbooks/LeanNotFinalizing.md."))
	}
	if s.finalityResumed {
		finality(slog.LevelInfo, "finality resumed", slog.Attr{})
	}
	if s.aggregationStalled {
		write(l.chain, slog.LevelWarn, "no aggregates received", Slot(e.Slot), slotField("slots", s.gap),
			Advice("Without aggregated votes nothing is finalized. Check that a node of the network is an aggregator, is synced and is connected: "+
				"docs/runbooks/LeanNoAggregates.md."))
	}
	if s.aggregationResumed {
		write(l.chain, slog.LevelInfo, "aggregates received again", Slot(e.Slot))
	}
}
