package chain

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// BenchmarkImportBlock imports blocks without votes, the cheapest blocks, of the production scheme into
// a chain in memory, without consumers of events, with them, and with 100 subscribers to the API's event
// stream as well. The blocks follow each other without a pause. The events must cost at most 1%. The
// subscribers run on the same processors, so their ratio is higher.
func BenchmarkImportBlock(b *testing.B) {
	const blocks = 64
	keys := make([]*xmss.SecretKey, 2)
	list := make([]lstar.Validator, len(keys))
	for i := range keys {
		var err error
		keys[i], err = xmss.Prod.GenerateKey(b.Context(), xmss.KeyGenOptions{NumActiveSlots: blocks + 1, Short: true})
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range list { // without votes, validators need no keys of their own for attestations
		list[i].AttestationPublicKey = keys[1-i].PublicKey().Bytes()
		list[i].ProposalPublicKey = keys[i].PublicKey().Bytes()
	}
	state := lstar.GenesisState(genesis, lstar.NewValidators(list))
	newStore := func() (*lstar.Store, *Verifier) {
		verifier := NewVerifier(xmss.Prod)
		crypto := lstar.Crypto{Signatures: xmss.Prod, Proofs: proof.NewSigList(xmss.Prod, verifier.Verify)}
		store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
		if err != nil {
			b.Fatal(err)
		}
		return store, verifier
	}
	maker, _ := newStore()
	made := make([]*lstar.SignedBlock, blocks)
	for i := range made {
		slot := lstar.Slot(i + 1)
		proposer := lstar.ValidatorIndex(slot % 2)
		p, err := maker.ProduceBlock(slot, proposer, nil)
		if err != nil {
			b.Fatal(err)
		}
		signature, err := keys[proposer].SignUnguarded(uint64(slot), p.Root)
		if err != nil {
			b.Fatal(err)
		}
		crypto := lstar.Crypto{Signatures: xmss.Prod, Proofs: proof.NewSigList(xmss.Prod, xmssVerify)}
		proofs, err := crypto.AggregatePayloads(p)
		if err != nil {
			b.Fatal(err)
		}
		merged, err := crypto.MergeBlockProof(p.Block, proofs, p.Validators, signature)
		if err != nil {
			b.Fatal(err)
		}
		made[i] = &lstar.SignedBlock{Block: *p.Block, Proof: merged}
		if err := maker.OnBlock(made[i]); err != nil {
			b.Fatal(err)
		}
	}

	log := slog.New(slog.DiscardHandler)
	run := func(bus *events.Bus) time.Duration {
		store, verifier := newStore()
		end := time.Unix(genesis, 0).Add(blocks * 4 * time.Second)
		c := New(Config{
			Store: store, Storage: storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *lstar.GenesisBlock(state)}), Verifier: verifier, Log: log, Bus: bus,
			Clock:     clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis}, Time: clocktest.New(end)},
			OnSlotEnd: func(events.SlotSummary) {},
		})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		for {
			snap, newer := c.Watch()
			if snap.Time.Slot() >= blocks {
				break
			}
			<-newer
		}
		var took time.Duration
		for _, block := range made {
			started := time.Now()
			if err := c.ImportBlock(ctx, block, Origin{Gossip: true, Peer: "peer"}); err != nil {
				b.Fatal(err)
			}
			took += time.Since(started)
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		return took
	}
	live, _ := logging.New(logging.Options{Format: logging.FormatJSON, Writer: io.Discard})
	bus := events.NewBus(metrics.New(metrics.Info{}).Fold, logging.Events(live))
	subscribed := func() time.Duration {
		stream := api.NewStream()
		ctx, cancel := context.WithCancel(b.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { _ = stream.Run(ctx) })
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/lean/v0/events?topics=head,block,justified_checkpoint", nil)
		var arrived sync.WaitGroup
		arrived.Add(100)
		for range 100 {
			running.Go(func() { stream.ServeHTTP(&discard{arrived: arrived.Done}, request) })
		}
		arrived.Wait()
		return run(events.NewBus(metrics.New(metrics.Info{}).Fold, logging.Events(live), stream.Consume))
	}
	// In turns, so that other load on the machine affects all.
	var with, without, shown []time.Duration
	for b.Loop() {
		with = append(with, run(bus))
		without = append(without, run(nil))
		shown = append(shown, subscribed())
	}
	reported, bare := slices.Min(with), slices.Min(without) // the fastest runs, which other load affects least
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(reported.Nanoseconds())/blocks, "ns/block")
	b.ReportMetric(float64(bare.Nanoseconds())/blocks, "ns/block-unobserved")
	b.ReportMetric(float64(reported)/float64(bare), "ratio")
	b.ReportMetric(float64(slices.Min(shown))/float64(bare), "ratio-100-subscribers")
}

// discard is the connection of a subscriber that reads everything at once.
type discard struct {
	header  http.Header
	arrived func() // called by the first flush
}

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = make(http.Header)
	}
	return d.header
}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush() {
	if d.arrived != nil {
		d.arrived()
		d.arrived = nil
	}
}

// xmssVerify is a proof.VerifyFunc that remembers nothing.
func xmssVerify(items []xmss.Verification) bool { return NewVerifier(xmss.Prod).Verify(items) }

// BenchmarkVotes decodes the votes of 4,096 validators for one slot and adds them to the chain of
// an aggregator, as many at a time as gossip does. Every 0.5 ms it sends an empty request to the
// owner and measures the time until the answer, which is the delay that a block would have.
func BenchmarkVotes(b *testing.B) {
	for _, scheme := range []*xmss.Scheme{xmss.Test, xmss.Prod} {
		b.Run(scheme.String(), func(b *testing.B) { benchmarkVotes(b, scheme) })
	}
}

func benchmarkVotes(b *testing.B, scheme *xmss.Scheme) {
	const slot, senders = 1, 64
	keys := make([]*xmss.SecretKey, lstar.ValidatorRegistryLimit)
	list := make([]lstar.Validator, len(keys))
	var making sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		making.Go(func() {
			for i := worker; i < len(keys); i += runtime.GOMAXPROCS(0) {
				var err error
				if keys[i], err = scheme.GenerateKey(b.Context(), xmss.KeyGenOptions{ActivationSlot: slot, NumActiveSlots: 1, Short: true, Workers: 1}); err != nil {
					b.Error(err)
					return
				}
				list[i].AttestationPublicKey = keys[i].PublicKey().Bytes()
			}
		})
	}
	making.Wait()
	state := lstar.GenesisState(genesis, lstar.NewValidators(list))
	head := lstar.Checkpoint{Root: lstar.GenesisBlock(state).Root()}
	data := lstar.AttestationData{Slot: slot, Head: head, Target: head, Source: head}
	encoded := make([][]byte, len(keys))
	for worker := range runtime.GOMAXPROCS(0) {
		making.Go(func() {
			for i := worker; i < len(keys); i += runtime.GOMAXPROCS(0) {
				signature, err := keys[i].SignUnguarded(slot, data.Root())
				if err != nil {
					b.Error(err)
					return
				}
				encoded[i] = (&lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(i), Data: data, Signature: signature}).Encode()
			}
		})
	}
	making.Wait()
	if b.Failed() {
		b.FailNow()
	}

	log := slog.New(slog.DiscardHandler)
	var took []time.Duration
	var turns []time.Duration
	for b.Loop() {
		verifier := NewVerifier(scheme)
		crypto := lstar.Crypto{Signatures: scheme, Proofs: proof.NewSigList(scheme, verifier.Verify)}
		store, err := lstar.NewStore(crypto, lstar.NetworkRules, state, lstar.GenesisBlock(state))
		if err != nil {
			b.Fatal(err)
		}
		c := New(Config{
			Store: store, Storage: storage.NewMemory(store.Head(), &lstar.SignedBlock{Block: *lstar.GenesisBlock(state)}), Verifier: verifier, Log: log, IsAggregator: true,
			Clock:     clock.Clock{SlotClock: clock.SlotClock{GenesisTime: genesis}, Time: clocktest.New(time.Unix(genesis+4, 0).Add(time.Second))},
			OnSlotEnd: func(events.SlotSummary) {},
		})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		for snap, newer := c.Watch(); snap.Time.Slot() < slot; snap, newer = c.Watch() {
			<-newer
		}
		var sending, asking sync.WaitGroup
		over := make(chan struct{})
		asking.Go(func() {
			every := time.NewTicker(500 * time.Microsecond)
			defer every.Stop()
			for {
				select {
				case <-over:
					return
				case <-every.C:
				}
				started := time.Now()
				_ = c.do(ctx, func(*lstar.Store) {})
				turns = append(turns, time.Since(started))
			}
		})
		started := time.Now()
		for sender := range senders {
			sending.Go(func() {
				for i := sender; i < len(encoded); i += senders {
					vote, err := lstar.DecodeSignedAttestation(encoded[i], scheme)
					if err == nil {
						err = c.AddAttestation(ctx, vote, Origin{Gossip: true, Peer: "peer"})
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		sending.Wait()
		took = append(took, time.Since(started))
		close(over)
		asking.Wait()
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	slices.Sort(turns)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(keys))/took[len(took)/2].Seconds(), "votes/s")
	b.ReportMetric(float64(turns[len(turns)/2].Microseconds()), "us/turn-p50")
	b.ReportMetric(float64(turns[len(turns)*99/100].Microseconds()), "us/turn-p99")
}
