package storage

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

var (
	crypto     = lstar.Crypto{Signatures: xmss.Test, Proofs: prooftest.Trusting{Max: 1 << 20}}
	thisChain  = Identity{GenesisRoot: "0x01", Network: "devnet", Scheme: "test"}
	otherChain = Identity{GenesisRoot: "0x02", Network: "devnet", Scheme: "prod"}
	discard    = slog.New(slog.DiscardHandler)
)

func registry(n int) *lstar.Validators {
	list := make([]lstar.Validator, n)
	for i := range list {
		binary.LittleEndian.PutUint32(list[i].AttestationPublicKey[:], uint32(i))
		binary.LittleEndian.PutUint32(list[i].ProposalPublicKey[4:], uint32(i))
	}
	return lstar.NewValidators(list)
}

func open(t testing.TB, fs vfs.FS, dir string) *DB {
	t.Helper()
	return openWith(t, dir, Options{FS: fs, Log: discard})
}

// shortRetention returns options with which a short test prunes states and blocks.
func shortRetention(fs vfs.FS) Options {
	return Options{FS: fs, Log: discard, fullStateSlots: 2, retainedSlots: 3}
}

func openWith(t testing.TB, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(dir, thisChain, o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// start opens a database and initializes it with genesis.
func start(t testing.TB, fs vfs.FS, dir string, validators int) (*DB, *lstar.Store) {
	t.Helper()
	return startWith(t, dir, Options{FS: fs, Log: discard}, validators)
}

func startWith(t testing.TB, dir string, o Options, validators int) (*DB, *lstar.Store) {
	t.Helper()
	db := openWith(t, dir, o)
	state := lstar.GenesisState(1000, registry(validators))
	genesis := lstar.GenesisBlock(state)
	store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, genesis)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Init(state, &lstar.SignedBlock{Block: *genesis}); err != nil {
		t.Fatal(err)
	}
	return db, store
}

func restore(t testing.TB, db *DB) *lstar.Store {
	t.Helper()
	store, err := db.Restore(crypto, lstar.NetworkRules)
	if err != nil {
		t.Fatal(err)
	}
	if store == nil {
		t.Fatal("Restore = nil, want a store")
	}
	return store
}

// save writes the changes of the store, if any.
func save(db *DB, s *lstar.Store) error {
	if c := s.TakeChanges(); c != nil {
		return db.Save(c)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// firstN returns the bits of the first n validators.
func firstN(t testing.TB, n int) lstar.AggregationBits {
	t.Helper()
	indices := make([]lstar.ValidatorIndex, n)
	for i := range indices {
		indices[i] = lstar.ValidatorIndex(i)
	}
	bits, err := lstar.BitsFromIndices(indices)
	must(t, err)
	return bits
}

// buildOn returns a block for a slot with the given parent.
func buildOn(t testing.TB, s *lstar.Store, parent lstar.Root, slot lstar.Slot) *lstar.SignedBlock {
	t.Helper()
	state := s.State(parent)
	proposer, err := lstar.ProposerForSlot(slot, state.Validators.Len())
	must(t, err)
	b := &lstar.SignedBlock{
		Block: lstar.Block{Slot: slot, ProposerIndex: proposer, ParentRoot: parent},
		Proof: lstar.MultiMessageAggregate{Proof: binary.LittleEndian.AppendUint64(nil, uint64(slot))},
	}
	advanced, err := state.ProcessSlots(slot)
	must(t, err)
	post, err := advanced.ProcessBlock(&b.Block)
	must(t, err)
	b.Block.StateRoot = post.Root()
	return b
}

// runSlot imports a block on the head and an aggregate of votes, as a node does in a slot. It calls
// keep after each of them.
func runSlot(t testing.TB, s *lstar.Store, slot lstar.Slot, voters int, keep func() error) {
	t.Helper()
	proposer, _ := lstar.ProposerForSlot(slot, s.HeadState().Validators.Len())
	s.SkipTo(slot.Interval())
	p, err := s.ProduceBlock(slot, proposer, nil)
	must(t, err)
	must(t, s.OnBlock(&lstar.SignedBlock{Block: *p.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte{byte(slot), 1}}}))
	must(t, keep())
	vote(t, s, slot, firstN(t, voters))
	must(t, keep())
}

// vote adds an aggregate of votes for the head, and runs the store to the interval in which they count.
func vote(t testing.TB, s *lstar.Store, slot lstar.Slot, voters lstar.AggregationBits) {
	t.Helper()
	_, err := s.OnTick(slot.Interval()+1, false, false)
	must(t, err)
	data, err := s.AttestationData(slot)
	var rejection *lstar.Rejection
	if errors.As(err, &rejection) && rejection.Reason == lstar.SourceAfterTarget {
		return // validators do not vote in such a slot
	}
	must(t, err)
	must(t, s.OnGossipAggregatedAttestation(&lstar.SignedAggregatedAttestation{
		Data: data, Proof: lstar.SingleMessageAggregate{Participants: voters, Proof: []byte{byte(slot)}},
	}))
	_, err = s.OnTick(slot.Interval()+4, false, false)
	must(t, err)
}

// sameStore compares the snapshots of two stores.
func sameStore(t testing.TB, got, want *lstar.Store) {
	t.Helper()
	g, w := got.Snapshot(), want.Snapshot()
	for _, c := range []struct {
		name      string
		got, want lstar.Checkpoint
	}{
		{"head", g.Head, w.Head}, {"safe target", g.SafeTarget, w.SafeTarget},
		{"justified", g.LatestJustified, w.LatestJustified}, {"finalized", g.LatestFinalized, w.LatestFinalized},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s, want %s", c.name, c.got, c.want)
		}
	}
	if g.HighestSlot != w.HighestSlot {
		t.Errorf("highest slot = %d, want %d", g.HighestSlot, w.HighestSlot)
	}
	gotBlocks, wantBlocks := weights(g), weights(w)
	if len(gotBlocks) != len(wantBlocks) {
		t.Errorf("blocks after finality = %d, want %d", len(gotBlocks), len(wantBlocks))
	}
	for root, weight := range wantBlocks {
		if gotBlocks[root] != weight {
			t.Errorf("weight of block %s = %d, want %d", root, gotBlocks[root], weight)
		}
		if g.State(root).Root() != w.State(root).Root() {
			t.Errorf("state after block %s = %s, want %s", root, g.State(root).Root(), w.State(root).Root())
		}
	}
}

// weights returns the weights of the blocks that fork choice can still choose: the finalized block
// and its descendants.
func weights(s *lstar.Snapshot) map[lstar.Root]int {
	byRoot := make(map[lstar.Root]int)
	for _, b := range s.Blocks() {
		if _, ok := byRoot[b.Block.ParentRoot]; ok || b.Root == s.LatestFinalized.Root {
			byRoot[b.Root] = b.Weight
		}
	}
	return byRoot
}
