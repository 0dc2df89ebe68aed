package lstar

import (
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// retainedSlots is the number of slots behind the finalized one for which a store keeps
// blocks and states. Peers may request blocks of this range, and it is far more than a
// reorganization to a chain with an older finalized block needs.
const retainedSlots = 3600

// Crypto holds the signature scheme and the proof scheme of a store.
type Crypto struct {
	Signatures *xmss.Scheme
	Proofs     proof.Scheme
}

// Rules selects the rules that differ from those of the pinned leanSpec commit and that
// some of its vectors contradict. All other rules that are newer than the commit always
// apply.
type Rules struct {
	// HeadDescendsFromFinalized rejects a vote whose head is neither the finalized
	// block nor a descendant of it (leanSpec PR 1179).
	HeadDescendsFromFinalized bool
	// LargerRootCounts makes the vote with the larger data root count if a validator
	// cast two votes for one slot. Otherwise the first one counts (leanSpec PR 1181).
	LargerRootCounts bool
	// MaximalProofsOnly drops an aggregate if another one has all of its validators.
	// leanSpec keeps them all. With signature lists, anyone can make a valid aggregate
	// of any subset of the signatures that were gossiped.
	MaximalProofsOnly bool
	// UsefulVotesFirst changes the choice of attestations for a block that has no room
	// for all of them: those that add no voter are left out, and those that justify a
	// target come first. leanSpec takes the lowest targets. After a partition, votes of
	// a minority, which never justify anything, can then fill every block and end
	// finality permanently.
	UsefulVotesFirst bool
}

var (
	// NetworkRules are the rules that nodes apply.
	NetworkRules = Rules{HeadDescendsFromFinalized: true, LargerRootCounts: true, MaximalProofsOnly: true, UsefulVotesFirst: true}
	// PinnedRules are the rules of the pinned commit, for its vectors.
	PinnedRules = Rules{}
)

// Store is a node's view of the chain. Its methods must not be called concurrently. An
// input that it rejects does not change it.
//
// The store does no work that needs no order, such as checking signatures. The Prepare
// methods of a [Snapshot] look up the inputs of the work and return a task. Any
// goroutine can do the task, and the Import and Add methods of the store take the
// result. The On methods do all three steps.
//
// leanSpec: containers/store.py, fork_choice.py
type Store struct {
	crypto Crypto
	rules  Rules
	config GenesisConfig

	time            Interval
	head            Root
	safeTarget      Root
	latestJustified Checkpoint
	latestFinalized Checkpoint // of the head's chain: a reorganization can lower it

	tree        forkTree
	highestSlot Slot // of all blocks ever added

	signatures *pool[*voteSignatures] // attestation_signatures
	pending    *pool[*payload]        // latest_new_aggregated_payloads
	known      *pool[*payload]        // latest_known_aggregated_payloads

	// latest holds the latest votes in known whose head is after votesCutoff.
	latest       votes
	latestShared bool // a snapshot reads latest, so copy it before a change
	votesCutoff  Slot
	recountVotes bool // latest must be computed from known again

	journal  journal
	snapshot *Snapshot // the latest, or nil
}

// NewStore returns a store that starts from a trusted block and the state after it. It
// returns a [*Rejection] with ANCHOR_STATE_ROOT_MISMATCH if they do not match.
//
// leanSpec: fork_choice.py, create_store
func NewStore(crypto Crypto, rules Rules, state *State, anchor *Block) (*Store, error) {
	if root := state.Root(); anchor.StateRoot != root {
		return nil, reject(AnchorStateRootMismatch, "state root of the block = %s, want %s", anchor.StateRoot, root)
	}
	return newStore(crypto, rules, state, anchor.Root(), anchor), nil
}

// NewStoreFromState returns a store that starts from a trusted state, which must be the
// state right after a block. Only the header of that block is known: the store and its
// snapshots return the block with an empty body, under the root of the whole block.
func NewStoreFromState(crypto Crypto, rules Rules, state *State) *Store {
	at, header := state.LatestBlock()
	return newStore(crypto, rules, state, at.Root, header)
}

func newStore(crypto Crypto, rules Rules, state *State, root Root, anchor *Block) *Store {
	checkpoint := Checkpoint{root, anchor.Slot}
	s := &Store{
		crypto:          crypto,
		rules:           rules,
		config:          state.Config,
		time:            anchor.Slot.Interval(),
		head:            root,
		safeTarget:      root,
		latestJustified: checkpoint,
		latestFinalized: checkpoint,
		highestSlot:     anchor.Slot,
		signatures:      newPool[*voteSignatures](),
		pending:         newPool[*payload](),
		known:           newPool[*payload](),
		votesCutoff:     anchor.Slot,
	}
	s.tree.add(root, anchor, state)
	s.journal.view = s.view()
	return s
}

// VerifyCheckpointState checks a state from another node before a store is built on it:
// it must have 1 to [ValidatorRegistryLimit] validators.
//
// leanSpec: node/sync/checkpoint_sync.py, verify_checkpoint_state
func VerifyCheckpointState(s *State) error {
	if n := s.Validators.Len(); n == 0 || n > ValidatorRegistryLimit {
		return fmt.Errorf("the state has %d validators: want 1 to %d", n, ValidatorRegistryLimit)
	}
	return nil
}

// Time returns the clock of the store.
func (s *Store) Time() Interval { return s.time }

// Config returns the configuration of the chain.
func (s *Store) Config() GenesisConfig { return s.config }

// Head returns the block that fork choice selects.
func (s *Store) Head() Checkpoint { return s.checkpoint(s.head) }

// SafeTarget returns the deepest block with the votes of two thirds of the validators,
// as of the last update.
func (s *Store) SafeTarget() Checkpoint { return s.checkpoint(s.safeTarget) }

// LatestJustified returns the justified checkpoint with the highest slot.
func (s *Store) LatestJustified() Checkpoint { return s.latestJustified }

// LatestFinalized returns the finalized checkpoint of the head's chain.
func (s *Store) LatestFinalized() Checkpoint { return s.latestFinalized }

func (s *Store) checkpoint(root Root) Checkpoint {
	return Checkpoint{root, s.tree.get(root).block.Slot}
}

// HeadState returns the state after the head.
func (s *Store) HeadState() *State { return s.tree.get(s.head).state }

// Block returns the block with a root, or nil if it is unknown.
func (s *Store) Block(root Root) *Block { return s.tree.block(root) }

// State returns the state after the block with a root, or nil if it is unknown.
func (s *Store) State(root Root) *State { return s.tree.state(root) }
