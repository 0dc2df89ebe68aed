package conformance

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// storeChecks holds the expected values of some properties of a store after a step.
//
// leanSpec: test_types/store_checks.py
type storeChecks struct {
	Time                             *lstar.Interval
	HeadSlot                         *lstar.Slot
	HeadRoot                         *lstar.Root
	HeadRootLabel                    *string
	FilledBlockRootLabel             *string // of the step's own block
	LatestJustifiedSlot              *lstar.Slot
	LatestJustifiedRoot              *lstar.Root
	LatestJustifiedRootLabel         *string
	LatestFinalizedSlot              *lstar.Slot
	LatestFinalizedRoot              *lstar.Root
	LatestFinalizedRootLabel         *string
	SafeTarget                       *lstar.Root
	SafeTargetSlot                   *lstar.Slot
	SafeTargetRootLabel              *string
	AttestationTargetSlot            *lstar.Slot
	AttestationTargetRootLabel       *string
	AttestationChecks                *[]attestationCheck
	AttestationSignatureTargetSlots  *[]lstar.Slot
	LatestNewAggregatedTargetSlots   *[]lstar.Slot
	LatestKnownAggregatedTargetSlots *[]lstar.Slot
	NewPoolProofParticipants         *map[lstar.Slot][]int // by target slot
	BlockAttestationCount            *int
	BlockAttestations                *[]aggregatedAttestationCheck
	LexicographicHeadAmong           *[]string
	ReorgDepth                       *int
	LabelsInStore                    *[]string
}

// attestationCheck holds expected values for the latest vote of a validator in a pool.
type attestationCheck struct {
	Validator       lstar.ValidatorIndex
	Location        string // new, known or signatures
	AttestationSlot *lstar.Slot
	HeadSlot        *lstar.Slot
	SourceSlot      *lstar.Slot
	SourceRootLabel *string
	TargetSlot      *lstar.Slot
}

// aggregatedAttestationCheck holds expected values for an attestation of the step's block.
type aggregatedAttestationCheck struct {
	Participants    []int
	AttestationSlot *lstar.Slot
	TargetSlot      *lstar.Slot
}

// poolVote is an entry of a pool.
type poolVote struct {
	data       lstar.AttestationData
	validators []int // of all proofs
}

func (e *storeChecks) check(t *testing.T, c *chain, block *lstar.Block, oldHead lstar.Root) {
	t.Helper()
	s := c.store
	checkSet(t, "time", s.Time(), e.Time)
	checkSet(t, "head slot", s.Head().Slot, e.HeadSlot)
	checkSet(t, "head root", s.Head().Root, e.HeadRoot)
	checkSet(t, "latest justified slot", s.LatestJustified().Slot, e.LatestJustifiedSlot)
	checkSet(t, "latest justified root", s.LatestJustified().Root, e.LatestJustifiedRoot)
	checkSet(t, "latest finalized slot", s.LatestFinalized().Slot, e.LatestFinalizedSlot)
	checkSet(t, "latest finalized root", s.LatestFinalized().Root, e.LatestFinalizedRoot)
	checkSet(t, "safe target", s.SafeTarget().Root, e.SafeTarget)
	checkSet(t, "safe target slot", s.SafeTarget().Slot, e.SafeTargetSlot)

	target := s.AttestationTarget()
	checkSet(t, "attestation target slot", target.Slot, e.AttestationTargetSlot)
	if b := s.Block(target.Root); b == nil || b.Slot != target.Slot {
		t.Errorf("attestation target = %v, want a block of the store", target)
	}

	c.checkLabel(t, "head root", s.Head().Root, e.HeadRootLabel)
	c.checkLabel(t, "latest justified root", s.LatestJustified().Root, e.LatestJustifiedRootLabel)
	c.checkLabel(t, "latest finalized root", s.LatestFinalized().Root, e.LatestFinalizedRootLabel)
	c.checkLabel(t, "safe target root", s.SafeTarget().Root, e.SafeTargetRootLabel)
	c.checkLabel(t, "attestation target root", target.Root, e.AttestationTargetRootLabel)

	checkTargetSlots(t, c, "signatures", e.AttestationSignatureTargetSlots)
	checkTargetSlots(t, c, "new", e.LatestNewAggregatedTargetSlots)
	checkTargetSlots(t, c, "known", e.LatestKnownAggregatedTargetSlots)
	for _, a := range valueOr(e.AttestationChecks, nil) {
		a.check(t, c)
	}
	if e.NewPoolProofParticipants != nil {
		e.checkParticipants(t, c.pool(t, "new"))
	}
	if e.FilledBlockRootLabel != nil || e.BlockAttestationCount != nil || e.BlockAttestations != nil {
		e.checkBlock(t, c, block)
	}
	if e.LexicographicHeadAmong != nil {
		e.checkTie(t, c)
	}
	if e.ReorgDepth != nil {
		abandoned := c.ancestors(oldHead)
		for root := range c.ancestors(s.Head().Root) {
			delete(abandoned, root)
		}
		checkEqual(t, "reorg depth", len(abandoned), *e.ReorgDepth)
	}
	for _, label := range valueOr(e.LabelsInStore, nil) {
		if s.Block(c.labeled(t, label)) == nil {
			t.Errorf("block %s is not in the store", label)
		}
	}
}

// labeled returns the root of the block with a label.
func (c *chain) labeled(t *testing.T, label string) lstar.Root {
	t.Helper()
	root, ok := c.labels[label]
	if !ok {
		t.Fatalf("no block has the label %s", label)
	}
	return root
}

func (c *chain) checkLabel(t *testing.T, name string, got lstar.Root, label *string) {
	t.Helper()
	if label != nil {
		checkEqual(t, fmt.Sprintf("%s (%s)", name, *label), got, c.labeled(t, *label))
	}
}

// pool returns the votes of a pool in the order of their arrival.
func (c *chain) pool(t *testing.T, location string) []poolVote {
	t.Helper()
	var votes []poolVote
	fromAggregates := func(entries []lstar.AggregateEntry) {
		for _, e := range entries {
			vote := poolVote{data: e.Data}
			for _, p := range e.Proofs {
				vote.validators = slices.AppendSeq(vote.validators, p.Participants.All)
			}
			votes = append(votes, vote)
		}
	}
	switch location {
	case "new":
		fromAggregates(c.store.LatestNewAggregatedPayloads())
	case "known":
		fromAggregates(c.store.LatestKnownAggregatedPayloads())
	case "signatures":
		for _, e := range c.store.AttestationSignatures() {
			vote := poolVote{data: e.Data}
			for _, v := range e.Validators {
				vote.validators = append(vote.validators, int(v))
			}
			votes = append(votes, vote)
		}
	default:
		t.Fatalf("unknown pool %q", location)
	}
	return votes
}

func checkTargetSlots(t *testing.T, c *chain, location string, want *[]lstar.Slot) {
	t.Helper()
	if want == nil {
		return
	}
	slots := make(map[lstar.Slot]bool)
	for _, vote := range c.pool(t, location) {
		slots[vote.data.Target.Slot] = true
	}
	checkEqual(t, "target slots in pool "+location, slices.Sorted(maps.Keys(slots)), slices.Sorted(slices.Values(*want)))
}

func (a *attestationCheck) check(t *testing.T, c *chain) {
	t.Helper()
	var latest *lstar.AttestationData
	for _, vote := range c.pool(t, a.Location) {
		if slices.Contains(vote.validators, int(a.Validator)) && (latest == nil || latest.Slot < vote.data.Slot) {
			latest = &vote.data
		}
	}
	name := fmt.Sprintf("vote of validator %d in pool %s: ", a.Validator, a.Location)
	if latest == nil {
		t.Errorf("%smissing", name)
		return
	}
	checkSet(t, name+"slot", latest.Slot, a.AttestationSlot)
	checkSet(t, name+"head slot", latest.Head.Slot, a.HeadSlot)
	checkSet(t, name+"source slot", latest.Source.Slot, a.SourceSlot)
	checkSet(t, name+"target slot", latest.Target.Slot, a.TargetSlot)
	c.checkLabel(t, name+"source root", latest.Source.Root, a.SourceRootLabel)
}

func (e *storeChecks) checkParticipants(t *testing.T, pool []poolVote) {
	t.Helper()
	for slot, want := range *e.NewPoolProofParticipants {
		var got []int
		for _, vote := range pool {
			if vote.data.Target.Slot == slot {
				got = append(got, vote.validators...)
			}
		}
		checkEqual(t, fmt.Sprintf("participants in pool new for target slot %d", slot), sortedSet(got), sortedSet(want))
	}
}

func sortedSet(v []int) []int { return slices.Compact(slices.Sorted(slices.Values(v))) }

func (e *storeChecks) checkBlock(t *testing.T, c *chain, block *lstar.Block) {
	t.Helper()
	if block == nil {
		t.Fatal("the vector has checks of a block in a step without a block")
	}
	c.checkLabel(t, "root of the block", block.Root(), e.FilledBlockRootLabel)
	attestations := block.Body.Attestations
	checkSet(t, "number of attestations in the block", len(attestations), e.BlockAttestationCount)
	for _, want := range valueOr(e.BlockAttestations, nil) {
		i := slices.IndexFunc(attestations, func(a lstar.AggregatedAttestation) bool {
			return slices.Equal(slices.Collect(a.AggregationBits.All), sortedSet(want.Participants))
		})
		if i < 0 {
			t.Errorf("the block has no attestation of validators %v", want.Participants)
			continue
		}
		checkSet(t, "slot of an attestation in the block", attestations[i].Data.Slot, want.AttestationSlot)
		checkSet(t, "target slot of an attestation in the block", attestations[i].Data.Target.Slot, want.TargetSlot)
	}
}

// checkTie checks that blocks have the same weight, and that the one with the largest root
// is the head.
func (e *storeChecks) checkTie(t *testing.T, c *chain) {
	t.Helper()
	weights := make(map[lstar.Root]int)
	for _, b := range c.store.Snapshot().Blocks() {
		weights[b.Root] = b.Weight
	}
	var roots []lstar.Root
	for _, label := range *e.LexicographicHeadAmong {
		roots = append(roots, c.labeled(t, label))
	}
	if len(roots) < 2 {
		t.Fatalf("a tie of %d blocks, want at least 2", len(roots))
	}
	for _, root := range roots {
		if _, there := weights[root]; !there {
			t.Errorf("block %s of a tie is not in the tree", root)
		}
		checkEqual(t, fmt.Sprintf("weight of %s, compared with %s", root, roots[0]), weights[root], weights[roots[0]])
	}
	checkEqual(t, "head of tied forks", c.store.Head().Root, slices.MaxFunc(roots, compareRoots))
}

// ancestors returns the roots of a block and its ancestors.
func (c *chain) ancestors(root lstar.Root) map[lstar.Root]bool {
	seen := make(map[lstar.Root]bool)
	for b := c.store.Block(root); b != nil; b = c.store.Block(root) {
		seen[root] = true
		root = b.ParentRoot
	}
	return seen
}
