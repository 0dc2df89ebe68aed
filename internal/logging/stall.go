package logging

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

const (
	maxFinalityLag  = 20 // finality counts as stalled if it is more slots behind the clock; 3 to 5 are normal
	maxAggregateGap = 8  // aggregation counts as stalled after so many slots without an aggregate; one per slot is normal
	maxSummaryGap   = 4  // if more slots lie between two summaries, the node was paused or its clock was set
)

// stall is the state from which stalled decides whether finality or aggregation has stalled.
//
// It counts from the first slot that the node sees after its start or after a pause. While the node
// is not synced, finality counts as stalled only if it has not advanced for maxFinalityLag slots,
// because a sync that progresses advances it, and missing aggregates do not count, because
// aggregates for unknown blocks are not accepted.
type stall struct {
	aggregates atomic.Bool // an aggregate was received or made since the latest summary

	mu                    sync.Mutex
	begun                 bool
	first, latest         lstar.Slot // slots that were summarized since the start or pause
	finalized             lstar.Slot // slot of the latest summary
	finalizedAt           lstar.Slot // slot in which finalized last advanced, or first
	aggregatedAt          lstar.Slot // latest slot that had an aggregate or did not need one
	finality, aggregation bool       // reported as stalled
}

// finalityLag returns the number of slots between the finalized checkpoint and the slot.
func finalityLag(e events.SlotSummary) lstar.Slot { return e.Slot - min(e.Finalized.Slot, e.Slot) }

// stalled checks a slot at its end, and logs the start and the end of a stall.
func (l *eventLog) stalled(e events.SlotSummary) {
	s := &l.stall
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun || e.Slot < s.latest || e.Slot-s.latest > maxSummaryGap {
		s.begun, s.first, s.finalizedAt, s.aggregatedAt = true, e.Slot, e.Slot, e.Slot
	}
	if e.Finalized.Slot > s.finalized {
		s.finalizedAt = e.Slot
	}
	aggregates := s.aggregates.Swap(false)
	if aggregates || !e.Synced {
		s.aggregatedAt = e.Slot
	}
	s.latest, s.finalized = e.Slot, e.Finalized.Slot
	lag, gap := finalityLag(e), e.Slot-s.aggregatedAt

	finality := func(level slog.Level, msg string, advice slog.Attr) {
		write(l.chain, level, msg, Slot(e.Slot), slotField("finalized_slot", e.Finalized.Slot), slotField("finality_lag", lag), advice)
	}
	switch {
	case s.finality && lag <= maxFinalityLag:
		s.finality = false
		finality(slog.LevelInfo, "finality resumed", slog.Attr{})
	case !s.finality && lag > maxFinalityLag && e.Slot-s.first > maxFinalityLag && (e.Synced || e.Slot-s.finalizedAt > maxFinalityLag):
		s.finality = true
		finality(slog.LevelWarn, "finality stalled", Advice("Finality needs aggregated votes of two thirds of all validators for one chain. "+
			"Check that enough nodes run and are connected, that one of them aggregates, and that their heads agree: docs/runbooks/LeanNotFinalizing.md."))
	}
	switch {
	case s.aggregation && aggregates:
		s.aggregation = false
		write(l.chain, slog.LevelInfo, "aggregates received again", Slot(e.Slot))
	case !s.aggregation && gap >= maxAggregateGap:
		s.aggregation = true
		write(l.chain, slog.LevelWarn, "no aggregates received", Slot(e.Slot), slotField("slots", gap),
			Advice("Without aggregated votes nothing is finalized. Check that a node of the network is an aggregator, is synced and is connected: "+
				"docs/runbooks/LeanNoAggregates.md."))
	}
}
