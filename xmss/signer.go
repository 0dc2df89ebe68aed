package xmss

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// ErrSignerClosed reports the use of a closed Signer.
var ErrSignerClosed = errors.New("xmss: signer is closed")

// Ledger records the use of the one-time keys of one key pair.
type Ledger interface {
	// Reserve reserves a slot for a message. It must return an error if another message
	// was reserved for the slot before, and it must not return nil before the
	// reservation survives a crash and a power cut. It may return nil again for the same
	// slot and message. If it returns an error, the Signer does not sign.
	//
	// Reserve must be safe for concurrent use.
	Reserve(slot uint64, message [32]byte) error
}

// Signer signs with one key. It reserves every slot in a [Ledger] before it signs. It also
// moves the prepared window ahead: when it signs a slot in the second half of the window, it
// begins to compute the next bottom tree in the background, on one processor. A Signer is
// safe for concurrent use.
//
// Slots should ascend, because a Signer cannot sign a slot before the prepared window.
type Signer struct {
	ledger Ledger
	ctx    context.Context // of the background work
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	key     *SecretKey
	next    *SecretKey    // key with its window further ahead, or nil
	running chan struct{} // nil without a preparation of next; closed when it ends
	failed  error         // of the last preparation
}

// signing limits the number of signatures that are computed at the same time to the number
// of processors. So with many keys, the first signatures are ready early.
var signing = make(chan struct{}, runtime.GOMAXPROCS(0))

// NewSigner returns a signer for a key. It panics if ledger is nil. The caller must call
// [Signer.Close] to end the background work.
func NewSigner(key *SecretKey, ledger Ledger) *Signer {
	if ledger == nil {
		panic("xmss: NewSigner needs a ledger")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Signer{ledger: ledger, ctx: ctx, cancel: cancel, key: key}
}

// Close ends the background work and waits for it. Afterwards Sign returns
// [ErrSignerClosed].
func (s *Signer) Close() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.wg.Wait()
}

// PublicKey returns the public key.
func (s *Signer) PublicKey() PublicKey { return s.secretKey().PublicKey() }

// ActivationInterval returns the slots for which the key has one-time keys, from start up to
// but not including end.
func (s *Signer) ActivationInterval() (start, end uint64) {
	return s.secretKey().ActivationInterval()
}

// secretKey returns the key with its current window.
func (s *Signer) secretKey() *SecretKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// PreparedInterval returns the slots that can be signed without delay, from start up
// to but not including end.
func (s *Signer) PreparedInterval() (start, end uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start, end = s.key.PreparedInterval()
	if s.next != nil {
		if nextStart, nextEnd := s.next.PreparedInterval(); nextStart <= end {
			end = nextEnd
		}
	}
	return start, end
}

// Sign reserves the slot for the message in the ledger and signs the message. The same slot
// and message always give the same signature. Errors wrap [ErrOutsideWindow],
// [ErrNotPrepared], [ErrSignerClosed] or the error of the ledger. Sign does not reserve a
// slot that the key cannot sign.
//
// If the slot is after the prepared window, Sign first computes the trees that it needs, on
// all processors, which can take seconds. If ctx ends, Sign returns its error, and the
// computation continues. The slot may then be reserved.
func (s *Signer) Sign(ctx context.Context, slot uint64, message [32]byte) (*Signature, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		key, running, err := s.keyFor(slot)
		if err != nil {
			return nil, err
		}
		if running == nil {
			return s.sign(ctx, key, slot, message)
		}
		select {
		case <-running:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Signer) sign(ctx context.Context, key *SecretKey, slot uint64, message [32]byte) (*Signature, error) {
	if err := key.checkSlot(slot); err != nil {
		return nil, err
	}
	if err := s.ledger.Reserve(slot, message); err != nil {
		return nil, err
	}
	select {
	case signing <- struct{}{}:
		defer func() { <-signing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return key.SignUnguarded(slot, message)
}

// keyFor returns the key that can sign the slot, or a channel that is closed when the caller
// can try again.
func (s *Signer) keyFor(slot uint64) (*SecretKey, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, nil, ErrSignerClosed
	}
	_, activationEnd := s.key.ActivationInterval()
	if slot >= activationEnd {
		return s.key, nil, nil // checkSlot returns the error
	}

	beyond := func(k *SecretKey) bool {
		_, end := k.PreparedInterval()
		return slot >= end
	}
	if beyond(s.key) && s.next != nil {
		s.key, s.next = s.next, nil
	}
	_, last := s.key.treesOfWindow()
	index := slot / s.key.scheme.LeavesPerBottomTree()
	if beyond(s.key) {
		if s.running == nil {
			if s.failed != nil {
				return nil, nil, s.failed
			}
			// If the slot is in the tree after the right one, the right one becomes the left.
			left := min(index, last-1)
			if index == s.key.leftIndex+2 {
				left = index - 1
			}
			s.prepare(left, 0)
		}
		return nil, s.running, nil
	}
	if index > s.key.leftIndex && s.key.leftIndex+1 < last && s.next == nil && s.running == nil && s.failed == nil {
		s.prepare(s.key.leftIndex+1, 1)
	}
	return s.key, nil, nil
}

// prepare begins to compute the key whose left bottom tree is at leftIndex. The caller must
// hold the lock.
func (s *Signer) prepare(leftIndex uint64, workers int) {
	key, running := s.key, make(chan struct{})
	s.running = running
	s.wg.Go(func() {
		next, err := key.moveTo(s.ctx, leftIndex, workers)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.next, s.failed, s.running = next, err, nil
		close(running)
	})
}
