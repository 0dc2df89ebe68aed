package chain

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/bounded"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Verifier checks XMSS signatures on all processors, and bounds the number of blocks and votes that
// are verified at a time. It remembers valid signatures, because a vote arrives alone, in an
// aggregate and in a block. It is safe for concurrent use.
type Verifier struct {
	scheme  *xmss.Scheme
	running chan struct{} // holds an element for each block and vote that is being verified

	mu   sync.Mutex
	seen *bounded.Set[[32]byte] // digests of valid signatures
}

// maxSeen is the number of valid signatures that a Verifier remembers: those of four slots with the
// largest registry.
const maxSeen = 4 * lstar.ValidatorRegistryLimit

// NewVerifier returns a verifier for a signature scheme.
func NewVerifier(scheme *xmss.Scheme) *Verifier {
	return &Verifier{
		scheme:  scheme,
		running: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		seen:    bounded.NewSet[[32]byte](maxSeen),
	}
}

// run calls verify once one more block or vote may be verified, and returns its duration and error.
// If ctx ends before, it returns the error of ctx.
func (v *Verifier) run(ctx context.Context, verify func() error) (time.Duration, error) {
	select {
	case v.running <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-v.running }()
	started := time.Now()
	err := verify()
	return time.Since(started), err
}

// attestation checks the signature of one vote. The error is a *lstar.Rejection.
func (v *Verifier) attestation(task *lstar.AttestationTask) error {
	if item, ok := task.Verification(); ok && v.Verify([]xmss.Verification{item}) {
		return nil
	}
	return task.Reject()
}

// Verify reports whether all signatures are valid. It is a proof.VerifyFunc.
func (v *Verifier) Verify(items []xmss.Verification) bool {
	type unseen struct {
		digest [32]byte
		item   xmss.Verification
	}
	unchecked := make([]unseen, 0, len(items))
	for _, item := range items {
		if d := digest(&item); !v.known(d) {
			unchecked = append(unchecked, unseen{d, item})
		}
	}
	if len(unchecked) == 0 {
		return true
	}

	workers := min(runtime.GOMAXPROCS(0), len(unchecked))
	var (
		failed atomic.Bool
		wg     sync.WaitGroup
	)
	for w := range workers {
		part := unchecked[w*len(unchecked)/workers : (w+1)*len(unchecked)/workers]
		check := func() {
			// Small batches, so that all workers stop soon after an invalid signature.
			const batch = 16
			var items [batch]xmss.Verification
			var ok [batch]bool
			for len(part) > 0 && !failed.Load() {
				n := min(batch, len(part))
				for i := range n {
					items[i] = part[i].item
				}
				v.scheme.VerifyBatch(items[:n], ok[:n])
				for _, valid := range ok[:n] {
					if !valid {
						failed.Store(true)
						return
					}
				}
				part = part[n:]
			}
		}
		if w == workers-1 {
			check()
		} else {
			wg.Go(check)
		}
	}
	wg.Wait()
	if failed.Load() {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range unchecked {
		v.seen.Add(unchecked[i].digest)
	}
	return true
}

func (v *Verifier) known(d [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen.Has(d)
}

// digest hashes a signature with its key, slot and message.
func digest(item *xmss.Verification) (d [32]byte) {
	h := sha256.New()
	key := item.PublicKey.Bytes()
	h.Write(key[:])
	var slot [8]byte
	binary.LittleEndian.PutUint64(slot[:], item.Slot)
	h.Write(slot[:])
	h.Write(item.Message[:])
	h.Write(item.Signature.Bytes())
	h.Sum(d[:0])
	return d
}
