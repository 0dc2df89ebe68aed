package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// stateTransitionFixture is a state and a chain of blocks on it. The last block may be
// invalid.
//
// leanSpec: test_fixtures/state_transition.py
type stateTransitionFixture struct {
	envelope
	Pre           state
	Blocks        []lstar.Block
	Post          *stateExpectation
	PostStateRoot *lstar.Root
}

func (f *stateTransitionFixture) run(t *testing.T, _ *environment) {
	if (f.PostStateRoot == nil) == (f.RejectionReason == nil) {
		t.Fatal("the vector has a post-state root and a rejection, or neither")
	}
	current := f.Pre.decode(t)
	for i := range f.Blocks {
		next, err := f.apply(current, i)
		if err != nil {
			if i < len(f.Blocks)-1 {
				t.Fatalf("block %d at slot %d: %v", i, f.Blocks[i].Slot, err)
			}
			checkRejection(t, err, f.RejectionReason)
			return
		}
		current = next
	}
	if f.RejectionReason != nil {
		checkRejection(t, unbuilt(current, *f.RejectionReason), f.RejectionReason)
		return
	}
	checkEqual(t, "post-state root", current.Root(), *f.PostStateRoot)
	if f.Post != nil {
		f.Post.check(t, current, f.Blocks)
	}
}

// apply returns the state after block i.
//
// Some vectors apply blocks without slot processing, and have no field for that. Such a
// block is at or before the state's slot, or the vector expects BLOCK_SLOT_MISMATCH.
func (f *stateTransitionFixture) apply(pre *lstar.State, i int) (*lstar.State, error) {
	block := &f.Blocks[i]
	last := i == len(f.Blocks)-1
	if block.Slot <= pre.Slot || last && f.RejectionReason != nil && *f.RejectionReason == lstar.BlockSlotMismatch {
		return pre.ProcessBlock(block)
	}
	return pre.StateTransition(block)
}

// unbuilt returns the error that prevented leanSpec from building a block. The vector does
// not contain such a block.
func unbuilt(s *lstar.State, reason lstar.RejectionReason) (err error) {
	switch reason {
	case lstar.BlockSlotNotInFuture: // for the highest slot that is not in the future
		_, err = s.ProcessSlots(s.Slot)
	case lstar.EmptyValidatorRegistry:
		_, err = lstar.ProposerForSlot(s.Slot+1, s.Validators.Len())
	}
	return err
}

// stateExpectation holds the expected values of some fields of a post-state.
//
// leanSpec: test_types/state_expectation.py
type stateExpectation struct {
	Slot                           *lstar.Slot
	LatestJustifiedSlot            *lstar.Slot
	LatestJustifiedRoot            *lstar.Root
	LatestJustifiedRootLabel       *string
	LatestFinalizedSlot            *lstar.Slot
	LatestFinalizedRoot            *lstar.Root
	LatestFinalizedRootLabel       *string
	ValidatorCount                 *int
	Validators                     *[]lstar.Validator
	ConfigGenesisTime              *uint64
	LatestBlockHeaderSlot          *lstar.Slot
	LatestBlockHeaderProposerIndex *lstar.ValidatorIndex
	LatestBlockHeaderParentRoot    *lstar.Root
	LatestBlockHeaderStateRoot     *lstar.Root
	LatestBlockHeaderBodyRoot      *lstar.Root
	HistoricalBlockHashesCount     *int
	HistoricalBlockHashes          *[]lstar.Root
	JustifiedSlots                 *ssz.Bitlist
	JustificationsRoots            *[]lstar.Root
	JustificationsRootsLabels      *[]string
	JustificationsRootsCount       *int
	JustificationsValidators       *ssz.Bitlist
	JustificationsValidatorsCount  *int
}

func (e *stateExpectation) check(t *testing.T, s *lstar.State, blocks []lstar.Block) {
	header := &s.LatestBlockHeader
	votes := s.JustificationVotes()
	history := make([]lstar.Root, s.HistoryLen())
	for i := range history {
		history[i] = s.HistoricalBlockHash(lstar.Slot(i))
	}
	validators := make([]lstar.Validator, s.Validators.Len())
	for i := range validators {
		validators[i] = *s.Validators.At(lstar.ValidatorIndex(i))
	}
	justifiedSlots := s.JustifiedSlots()

	checkSet(t, "slot", s.Slot, e.Slot)
	checkSet(t, "latest justified slot", s.LatestJustified.Slot, e.LatestJustifiedSlot)
	checkSet(t, "latest justified root", s.LatestJustified.Root, e.LatestJustifiedRoot)
	checkSet(t, "latest finalized slot", s.LatestFinalized.Slot, e.LatestFinalizedSlot)
	checkSet(t, "latest finalized root", s.LatestFinalized.Root, e.LatestFinalizedRoot)
	checkSet(t, "number of validators", len(validators), e.ValidatorCount)
	checkSet(t, "validators", validators, e.Validators)
	checkSet(t, "genesis time", s.Config.GenesisTime, e.ConfigGenesisTime)
	checkSet(t, "header slot", header.Slot, e.LatestBlockHeaderSlot)
	checkSet(t, "header proposer index", header.ProposerIndex, e.LatestBlockHeaderProposerIndex)
	checkSet(t, "header parent root", header.ParentRoot, e.LatestBlockHeaderParentRoot)
	checkSet(t, "header state root", header.StateRoot, e.LatestBlockHeaderStateRoot)
	checkSet(t, "header body root", header.BodyRoot, e.LatestBlockHeaderBodyRoot)
	checkSet(t, "length of history", len(history), e.HistoricalBlockHashesCount)
	checkSet(t, "history", history, e.HistoricalBlockHashes)
	checkSet(t, "justifications roots", s.JustificationRoots(), e.JustificationsRoots)
	checkSet(t, "number of justifications roots", len(s.JustificationRoots()), e.JustificationsRootsCount)
	checkSet(t, "number of justifications votes", votes.Len(), e.JustificationsValidatorsCount)
	checkBits(t, "justified slots", &justifiedSlots, e.JustifiedSlots)
	checkBits(t, "justifications votes", &votes, e.JustificationsValidators)

	if e.LatestJustifiedRootLabel != nil {
		checkEqual(t, "latest justified root", s.LatestJustified.Root, labeled(t, blocks, *e.LatestJustifiedRootLabel))
	}
	if e.LatestFinalizedRootLabel != nil {
		checkEqual(t, "latest finalized root", s.LatestFinalized.Root, labeled(t, blocks, *e.LatestFinalizedRootLabel))
	}
	if e.JustificationsRootsLabels != nil {
		var want []lstar.Root
		for _, label := range *e.JustificationsRootsLabels {
			want = append(want, labeled(t, blocks, label))
		}
		slices.SortFunc(want, compareRoots)
		checkEqual(t, "justifications roots", s.JustificationRoots(), want)
	}
}

// labeled returns the root of the block with a label. State transition vectors do not
// contain the labels of their blocks. All labels name the slot, such as block_7.
func labeled(t *testing.T, blocks []lstar.Block, label string) lstar.Root {
	t.Helper()
	var slot lstar.Slot
	if _, err := fmt.Sscanf(label, "block_%d", &slot); err == nil {
		for i := range blocks {
			if blocks[i].Slot == slot {
				return blocks[i].Root()
			}
		}
	}
	t.Fatalf("no block has the label %s", label)
	return lstar.Root{}
}

// checkSet compares a value with the expected one, if the vector has one.
func checkSet[T any](t *testing.T, name string, got T, want *T) {
	t.Helper()
	if want != nil {
		checkEqual(t, name, got, *want)
	}
}

func checkBits(t *testing.T, name string, got, want *ssz.Bitlist) {
	t.Helper()
	if want != nil && !got.Equal(want) {
		t.Errorf("%s = %s, want %s", name, bitString(got), bitString(want))
	}
}

func bitString(b *ssz.Bitlist) string {
	s := []byte(strings.Repeat("0", b.Len()))
	for i := range b.All {
		s[i] = '1'
	}
	return string(s)
}

func compareRoots(a, b lstar.Root) int { return slices.Compare(a[:], b[:]) }
