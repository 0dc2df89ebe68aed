package syncer

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// BenchmarkGossipVotes sends the votes of 4,096 validators for one slot through the handler, as many
// at a time as gossip judges: the time from the arrival of the first until the verdict on the last.
func BenchmarkGossipVotes(b *testing.B) {
	const slot, senders = 1, 64
	keys := make([]*xmss.SecretKey, lstar.ValidatorRegistryLimit)
	list := make([]lstar.Validator, len(keys))
	each := func(f func(i int)) {
		var workers sync.WaitGroup
		for w := range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for i := w; i < len(keys); i += runtime.GOMAXPROCS(0) {
					f(i)
				}
			})
		}
		workers.Wait()
	}
	each(func(i int) {
		var err error
		if keys[i], err = xmss.Test.GenerateKey(b.Context(), xmss.KeyGenOptions{ActivationSlot: slot, NumActiveSlots: 1, Short: true, Workers: 1}); err != nil {
			b.Error(err)
			return
		}
		list[i].AttestationPublicKey = keys[i].PublicKey().Bytes()
	})
	validators := lstar.NewValidators(list)
	genesis := lstar.Checkpoint{Root: lstar.GenesisBlock(lstar.GenesisState(genesisTime, validators)).Root()}
	data := lstar.AttestationData{Slot: slot, Head: genesis, Target: genesis, Source: genesis}
	votes := make([]*lstar.SignedAttestation, len(keys))
	each(func(i int) {
		signature, err := keys[i].SignUnguarded(slot, data.Root())
		if err != nil {
			b.Error(err)
		}
		votes[i] = &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(i), Data: data, Signature: signature}
	})
	var took time.Duration
	for b.Loop() {
		f := newFixture(b, validators, slot)
		started := time.Now()
		var sending sync.WaitGroup
		for s := range senders {
			sending.Go(func() {
				for i := s; i < len(votes); i += senders {
					if v := f.OnAttestation(b.Context(), "a", votes[i]); v != p2p.Accept {
						b.Errorf("verdict %v, want accept", v)
					}
				}
			})
		}
		sending.Wait()
		took += time.Since(started)
		f.stop()
	}
	b.ReportMetric(float64(len(votes)*b.N)/took.Seconds(), "votes/s")
}
