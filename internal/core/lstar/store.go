package lstar

import (
	"errors"
	"fmt"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// retainedSlots is how many slots of blocks and states a store keeps behind the
// finalized one: the range that peers may still ask for, and far more than a
// reorganisation to a chain that finalized less could need.
const retainedSlots = 3600

// Crypto is how a store checks and makes signatures and proofs.
type Crypto struct {
	Signatures *xmss.Scheme
	Proofs     proof.Scheme
}

// Rules are the rules newer than the pinned commit of leanSpec with which the
// vectors of that commit disagree. All other newer rules always apply.
type Rules struct {
	// HeadDescendsFromFinalized refuses votes whose head is neither the finalized
	// block nor a descendant: they have no weight (leanSpec PR 1179).
	HeadDescendsFromFinalized bool
	// LargerRootCounts decides between two votes of a validator for one slot by
	// the roots of their data, instead of by which came first (leanSpec PR 1181).
	LargerRootCounts bool
	// MaximalProofsOnly keeps no aggregate whose validators another one names as
	// well. leanSpec keeps them all; with signature lists, anybody can make a new
	// valid aggregate of any subset of the signatures that went over gossip.
	MaximalProofsOnly bool
	// UsefulVotesFirst leaves out of a proposal, if it has no room for all attestations,
	// those that add no voter, and puts those that justify a target first. leanSpec
	// includes the attestations with the lowest targets. Votes of a minority stay
	// eligible because they justify nothing, so after a partition eight of them can fill
	// every block and end finality for good.
	UsefulVotesFirst bool
}

var (
	// NetworkRules are those that the networks live by.
	NetworkRules = Rules{HeadDescendsFromFinalized: true, LargerRootCounts: true, MaximalProofsOnly: true, UsefulVotesFirst: true}
	// PinnedRules are those of the pinned commit, for its vectors.
	PinnedRules = Rules{}
)

// Store is a node's view of the chain. It must be used by one goroutine at a time. An
// input that it rejects does not change it.
//
// Work that needs no order, such as the check of signatures, is not done by the store.
// The Prepare methods of a [Snapshot] look up what the work needs and return a task.
// Any goroutine can work on the task. The Import and Add methods of the store take the
// result. The On methods do all three steps at once.
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
	latestFinalized Checkpoint // as the head's chain sees it: a reorganisation can lower it

	tree        forkTree
	highestSlot Slot // of all blocks ever added

	signatures *pool[*rawVotes] // attestation_signatures
	pending    *pool[*payload]  // latest_new_aggregated_payloads
	known      *pool[*payload]  // latest_known_aggregated_payloads

	// latest are the votes of known, without those whose head is at or before
	// votesCutoff.
	latest       votes
	latestShared bool // a snapshot reads it: to be copied before it changes
	votesCutoff  Slot
	recountVotes bool // known changed in a way that latest could not follow

	journal  journal
	snapshot *Snapshot // the latest, or nil
}

// NewStore returns a store that trusts the anchor. The error is a *Rejection:
// ANCHOR_STATE_ROOT_MISMATCH.
//
// leanSpec: fork_choice.py, create_store
func NewStore(crypto Crypto, rules Rules, state *State, anchor *Block) (*Store, error) {
	if root := state.Root(); anchor.StateRoot != root {
		return nil, reject(AnchorStateRootMismatch, "block says %s, the state's root is %s", anchor.StateRoot, root)
	}
	return newStore(crypto, rules, state, anchor.Root(), anchor), nil
}

// NewStoreFromState returns a store that trusts the state, which must be the one
// right after a block. The store knows that block by its header alone: its body is
// empty in Block and in snapshots, and only its root, there and in checkpoints, is
// that of the whole block.
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
		signatures:      newPool[*rawVotes](),
		pending:         newPool[*payload](),
		known:           newPool[*payload](),
		votesCutoff:     anchor.Slot,
	}
	s.tree.add(root, anchor, state)
	s.journal.view = s.view()
	return s
}

// Time returns the clock of the store.
func (s *Store) Time() Interval { return s.time }

// Config returns the chain's configuration.
func (s *Store) Config() GenesisConfig { return s.config }

// Head returns the block that fork choice selects.
func (s *Store) Head() Checkpoint { return s.checkpoint(s.head) }

// SafeTarget returns the block that two thirds of the validators voted for.
func (s *Store) SafeTarget() Checkpoint { return s.checkpoint(s.safeTarget) }

// LatestJustified returns the highest justified checkpoint.
func (s *Store) LatestJustified() Checkpoint { return s.latestJustified }

// LatestFinalized returns the finalized checkpoint of the head's chain.
func (s *Store) LatestFinalized() Checkpoint { return s.latestFinalized }

func (s *Store) checkpoint(root Root) Checkpoint {
	return Checkpoint{root, s.tree.get(root).block.Slot}
}

// HeadState returns the state after the head.
func (s *Store) HeadState() *State { return s.tree.get(s.head).state }

// Block returns a known block, or nil.
func (s *Store) Block(root Root) *Block {
	if n := s.tree.get(root); n != nil {
		return n.block
	}
	return nil
}

// State returns the state after a known block, or nil.
func (s *Store) State(root Root) *State {
	if n := s.tree.get(root); n != nil {
		return n.state
	}
	return nil
}

// ReorgDepth returns the number of blocks on the chain of one block that are not
// on the chain of another.
//
// leanSpec: node/sync/service.py, process_block
func (s *Store) ReorgDepth(old, head Root) (depth int) {
	a, knownA := s.tree.find(old)
	b, knownB := s.tree.find(head)
	if !knownA || !knownB {
		return 0
	}
	for a != b && a != noParent && b != noParent {
		if s.tree.nodes[a].block.Slot > s.tree.nodes[b].block.Slot || s.tree.nodes[b].parent == noParent {
			a, depth = s.tree.nodes[a].parent, depth+1
		} else {
			b = s.tree.nodes[b].parent
		}
	}
	return depth
}

// ImportBlock adds a block whose signatures are verified and whose transition is
// computed, and updates the head. The error is [ErrKnown] or a *[Rejection] with
// UNKNOWN_PARENT_BLOCK if the store has changed since the block was prepared.
//
// leanSpec: fork_choice.py, on_block
func (s *Store) ImportBlock(t *BlockTask) error {
	if t.post == nil {
		return fmt.Errorf("block %s has no post-state: Transition was not called or failed", t.root)
	}
	if s.tree.get(t.root) != nil {
		return ErrKnown
	}
	if s.tree.get(t.block.Block.ParentRoot) == nil { // pruned since PrepareBlock
		return unknownParent(&t.block.Block, t.root)
	}
	block := t.block.Block // a copy: the tree must not keep the proof alive
	finalized := s.latestFinalized.Slot
	s.tree.add(t.root, &block, t.post)
	s.journal.blocks, s.journal.roots = append(s.journal.blocks, t.block), append(s.journal.roots, t.root)
	s.highestSlot = max(s.highestSlot, block.Slot)
	s.latestJustified = s.latestJustified.advanceTo(t.post.LatestJustified)
	// The block's votes get a place in the pool, but no weight: that comes with
	// their proofs, by gossip or out of the block's proof.
	data := make([]AttestationData, len(block.Body.Attestations))
	for i := range data {
		data[i] = block.Body.Attestations[i].Data
	}
	s.known.addInFront(data, newPayload)
	s.updateHead()
	if s.latestFinalized.Slot > finalized {
		s.pruneStaleAttestationData()
		s.pruneTree()
	}
	return nil
}

// OnBlock prepares, verifies and imports a block. A known block changes nothing. The
// error is a *[Rejection].
//
// leanSpec: fork_choice.py, on_block
func (s *Store) OnBlock(b *SignedBlock) error {
	t, err := s.Snapshot().PrepareBlock(b, b.Block.Root())
	if errors.Is(err, ErrKnown) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.VerifySignatures(); err != nil {
		return err
	}
	if err := t.Transition(nil); err != nil {
		return err
	}
	return s.ImportBlock(t)
}

// covers reports whether the proofs together name all of the validators.
func covers(proofs []*SingleMessageAggregate, bits *AggregationBits) bool {
	for v := range bits.All {
		named := false
		for _, p := range proofs {
			named = named || p.Participants.Get(v)
		}
		if !named {
			return false
		}
	}
	return true
}

// AddAttestation adds a verified vote to the signatures that await aggregation.
func (s *Store) AddAttestation(t *AttestationTask) {
	raw := s.signatures.getOrAdd(t.vote.Data, newRawVotes)
	raw.signatures[t.vote.ValidatorIndex] = t.vote.Signature
}

// OnGossipAttestation prepares and verifies a vote. Only an aggregator keeps the
// signature. The error is a *[Rejection].
//
// leanSpec: fork_choice.py, on_gossip_attestation
func (s *Store) OnGossipAttestation(a *SignedAttestation, isAggregator bool) error {
	t, err := s.Snapshot().PrepareAttestation(a)
	if err != nil {
		return err
	}
	if err := t.VerifySignature(); err != nil {
		return err
	}
	if isAggregator {
		s.AddAttestation(t)
	}
	return nil
}

// ErrNothingNew reports an aggregate that names no validator whom the aggregates in the
// store do not name.
var ErrNothingNew = errors.New("aggregate has nothing new")

// CheckNew returns [ErrNothingNew] for an aggregate that the store would not keep, so
// that it need not be verified.
func (s *Store) CheckNew(t *AggregateTask) error {
	if s.rules.MaximalProofsOnly && covers(s.proofsOf(t.vote.Data), &t.vote.Proof.Participants) {
		return ErrNothingNew
	}
	return nil
}

// AddAggregate adds a verified aggregate to those that count from the next acceptance
// on. The error is [ErrNothingNew].
func (s *Store) AddAggregate(t *AggregateTask) error {
	if err := s.CheckNew(t); err != nil {
		return err
	}
	s.addPending(t.vote)
	return nil
}

// addPending adds an aggregate to the pending ones. Under [Rules].MaximalProofsOnly it
// replaces those that it contains, and is left out if one of them contains it.
func (s *Store) addPending(a *SignedAggregatedAttestation) {
	p := s.pending.getOrAdd(a.Data, newPayload)
	if s.rules.MaximalProofsOnly {
		for i := range p.proofs {
			if covers(p.proofs[i:i+1], &a.Proof.Participants) {
				return
			}
		}
		p.proofs = slices.DeleteFunc(p.proofs, func(old *SingleMessageAggregate) bool {
			return covers([]*SingleMessageAggregate{&a.Proof}, &old.Participants)
		})
	}
	p.add(&a.Proof)
}

// proofsOf returns the aggregates of a vote, pending and known.
func (s *Store) proofsOf(data AttestationData) (proofs []*SingleMessageAggregate) {
	for _, pool := range []*pool[*payload]{s.pending, s.known} {
		if p := pool.get(data); p != nil {
			proofs = append(proofs, p.proofs...)
		}
	}
	return proofs
}

// OnGossipAggregatedAttestation prepares, verifies and adds an aggregate. The error is a
// *[Rejection].
//
// leanSpec: fork_choice.py, on_gossip_aggregated_attestation
func (s *Store) OnGossipAggregatedAttestation(a *SignedAggregatedAttestation) error {
	t, err := s.Snapshot().PrepareAggregate(a)
	if err != nil {
		return err
	}
	if s.CheckNew(t) != nil {
		return nil
	}
	if err := t.VerifyProof(); err != nil {
		return err
	}
	return s.AddAggregate(t)
}

// AcceptNewAttestations lets the pending aggregates count, and updates the head.
//
// leanSpec: fork_choice.py, accept_new_attestations
func (s *Store) AcceptNewAttestations() {
	for p := range s.pending.all {
		known := s.known.getOrAdd(p.data, newPayload)
		for _, agg := range p.proofs {
			if known.add(agg) {
				s.countVotes(known, agg)
				s.journal.votes = append(s.journal.votes, known)
			}
		}
	}
	s.pending = newPool[*payload]()
	s.updateHead()
	s.shedProofs()
}

// proofSlots is how long a proof is of use for a block or a larger proof, in
// slots. Its vote counts for longer.
const proofSlots = 32

// shedProofs reduces what is known of old votes to who cast them: while nothing
// is finalized for long, their proofs would fill the memory.
func (s *Store) shedProofs() {
	justified := s.HeadState().LatestJustified.Slot
	now := s.time.Slot()
	for p := range s.known.all {
		if p.shed() || p.data.Slot+proofSlots >= now && p.data.Source.Slot >= justified {
			continue
		}
		p.proofs = []*SingleMessageAggregate{{Participants: p.voters()}}
	}
}

// countVotes brings latest up to date with a new proof of the known pool.
func (s *Store) countVotes(p *payload, agg *SingleMessageAggregate) {
	if !s.rules.LargerRootCounts {
		s.recountVotes = true // the order of the pool decides, and the proof may not be its last
		return
	}
	s.countVote(p, agg)
}

func (s *Store) countVote(p *payload, agg *SingleMessageAggregate) {
	if p.data.Head.Slot > s.votesCutoff {
		if s.latestShared {
			s.latest, s.latestShared = slices.Clone(s.latest), false
		}
		s.latest.count(&p.data, p.root, &agg.Participants, s.rules)
	}
}

// latestVotes returns the latest votes that still carry weight: those whose head
// is after the finalized slot.
//
// leanSpec: fork_choice.py, _extract_attestations_from_aggregated_payloads
func (s *Store) latestVotes() votes {
	if s.recountVotes || s.votesCutoff != s.latestFinalized.Slot {
		s.recountVotes, s.votesCutoff = false, s.latestFinalized.Slot
		s.latest, s.latestShared = nil, false
		for p := range s.known.all {
			for _, agg := range p.proofs {
				s.countVote(p, agg)
			}
		}
	}
	return s.latest
}

// UpdateHead recomputes the head, and with it the finalized checkpoint.
//
// leanSpec: fork_choice.py, update_head
func (s *Store) UpdateHead() { s.updateHead() }

func (s *Store) updateHead() {
	from, _ := s.tree.find(s.latestJustified.Root)
	head := s.tree.heaviest(from, s.tree.weigh(s.latestVotes()), 0)
	s.head = s.tree.nodes[head].root

	// Finality is what the head's state says, as long as the block is known: a
	// store that was anchored later keeps its anchor.
	finalized := s.tree.nodes[head].state.LatestFinalized.Slot
	if at := s.tree.ancestorAt(head, finalized); at != noParent && s.tree.nodes[at].block.Slot == finalized {
		s.latestFinalized = Checkpoint{s.tree.nodes[at].root, finalized}
	}
}

// UpdateSafeTarget finds the deepest block that two thirds of the validators
// voted for in the pending aggregates.
//
// leanSpec: fork_choice.py, update_safe_target
func (s *Store) UpdateSafeTarget() {
	validators := s.HeadState().Validators.Len()
	var pending votes
	for p := range s.pending.all {
		if p.data.Head.Slot > s.latestFinalized.Slot {
			for _, agg := range p.proofs {
				pending.count(&p.data, p.root, &agg.Participants, s.rules)
			}
		}
	}
	from, _ := s.tree.find(s.latestJustified.Root)
	s.safeTarget = s.tree.nodes[s.tree.heaviest(from, s.tree.weigh(pending), (2*validators+2)/3)].root
}

// pruneStaleAttestationData drops votes whose head is not after the finalized
// block on its chain: they can no longer move the head.
//
// leanSpec: fork_choice.py, prune_stale_attestation_data
func (s *Store) pruneStaleAttestationData() {
	alive := func(data *AttestationData) bool {
		return data.Head.Slot > s.latestFinalized.Slot && s.tree.isAncestor(s.latestFinalized, data.Head)
	}
	s.signatures.keep(alive)
	s.pending.keep(alive)
	for p := range s.known.all {
		if !alive(&p.data) {
			s.journal.dropped = append(s.journal.dropped, p.root)
		}
	}
	s.known.keep(alive)
	s.recountVotes = true
}

// pruneTree drops blocks far behind finality, from time to time.
func (s *Store) pruneTree() {
	if s.latestFinalized.Slot <= retainedSlots {
		return
	}
	keep := s.latestFinalized.Slot - retainedSlots
	if s.tree.lowest()+retainedSlots/10 < keep {
		s.tree = s.tree.without(keep)
		if s.tree.get(s.safeTarget) == nil { // no tick for a long time, as while syncing
			s.safeTarget = s.latestFinalized.Root
		}
	}
}

// VerifyCheckpointState checks a state that came from elsewhere, before a store
// is built on it.
//
// leanSpec: node/sync/checkpoint_sync.py, verify_checkpoint_state
func VerifyCheckpointState(s *State) error {
	if n := s.Validators.Len(); n == 0 || n > ValidatorRegistryLimit {
		return fmt.Errorf("the state has %d validators: want 1 to %d", n, ValidatorRegistryLimit)
	}
	return nil
}

// EncodeBlock returns the block as a signed block with an empty proof, which is
// what peers that sync from a checkpoint are served: they trust the state's root.
//
// leanSpec: node/node.py, signed_block_for_root
func EncodeBlock(b *Block) []byte { return ssz.Marshal(&SignedBlock{Block: *b}) }
