package conformance

import (
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// storeSnapshot is the observable content of a store. Lists are in ascending order, by root
// if the elements have one.
//
// leanSpec: test_types/store_snapshot.py
type storeSnapshot struct {
	Time                             lstar.Interval
	HeadRoot, SafeTargetRoot         lstar.Root
	LatestJustified, LatestFinalized lstar.Checkpoint
	BlockRoots                       []lstar.Root
	BlockWeights                     []blockWeight
	AttestationSignatures            []signatureEntry
	NewAggregatedPayloads            []aggregateEntry
	KnownAggregatedPayloads          []aggregateEntry
}

type blockWeight struct {
	Root   lstar.Root
	Weight int
}

type signatureEntry struct {
	DataRoot         lstar.Root
	ValidatorIndices []lstar.ValidatorIndex
}

type aggregateEntry struct {
	DataRoot        lstar.Root
	ParticipantSets [][]int // one for each proof
}

func snapshotOf(store *lstar.Store) storeSnapshot {
	s := storeSnapshot{
		Time:                    store.Time(),
		HeadRoot:                store.Head().Root,
		SafeTargetRoot:          store.SafeTarget().Root,
		LatestJustified:         store.LatestJustified(),
		LatestFinalized:         store.LatestFinalized(),
		BlockRoots:              store.BlockRoots(),
		NewAggregatedPayloads:   aggregateEntries(store.LatestNewAggregatedPayloads()),
		KnownAggregatedPayloads: aggregateEntries(store.LatestKnownAggregatedPayloads()),
	}
	for _, b := range store.Snapshot().Blocks() {
		if b.Block.Slot > s.LatestFinalized.Slot {
			s.BlockWeights = append(s.BlockWeights, blockWeight{b.Root, b.Weight})
		}
	}
	slices.SortFunc(s.BlockWeights, func(a, b blockWeight) int { return compareRoots(a.Root, b.Root) })
	for _, e := range store.AttestationSignatures() {
		s.AttestationSignatures = append(s.AttestationSignatures, signatureEntry{e.Data.Root(), e.Validators})
	}
	slices.SortFunc(s.AttestationSignatures, func(a, b signatureEntry) int { return compareRoots(a.DataRoot, b.DataRoot) })
	return s
}

func aggregateEntries(pool []lstar.AggregateEntry) []aggregateEntry {
	var entries []aggregateEntry
	for _, e := range pool {
		entry := aggregateEntry{DataRoot: e.Data.Root()}
		for _, p := range e.Proofs {
			entry.ParticipantSets = append(entry.ParticipantSets, slices.Collect(p.Participants.All))
		}
		slices.SortFunc(entry.ParticipantSets, slices.Compare)
		entries = append(entries, entry)
	}
	slices.SortFunc(entries, func(a, b aggregateEntry) int { return compareRoots(a.DataRoot, b.DataRoot) })
	return entries
}

// check compares the store with the snapshot.
func (s *storeSnapshot) check(t *testing.T, store *lstar.Store) {
	t.Helper()
	got := snapshotOf(store)
	checkEqual(t, "time", got.Time, s.Time)
	checkEqual(t, "head", got.HeadRoot, s.HeadRoot)
	checkEqual(t, "safe target", got.SafeTargetRoot, s.SafeTargetRoot)
	checkEqual(t, "latest justified", got.LatestJustified, s.LatestJustified)
	checkEqual(t, "latest finalized", got.LatestFinalized, s.LatestFinalized)
	checkEqual(t, "block roots", got.BlockRoots, s.BlockRoots)
	checkEqual(t, "block weights", got.BlockWeights, s.BlockWeights)
	checkEqual(t, "attestation signatures", got.AttestationSignatures, s.AttestationSignatures)
	checkEqual(t, "new aggregated payloads", got.NewAggregatedPayloads, s.NewAggregatedPayloads)
	checkEqual(t, "known aggregated payloads", got.KnownAggregatedPayloads, s.KnownAggregatedPayloads)
}

// known returns the entry of a vote in the known pool, or nil.
func (s *storeSnapshot) known(dataRoot lstar.Root) *aggregateEntry {
	for i := range s.KnownAggregatedPayloads {
		if e := &s.KnownAggregatedPayloads[i]; e.DataRoot == dataRoot {
			return e
		}
	}
	return nil
}
