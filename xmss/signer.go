package xmss

import (
	"context"
	"errors"
	"sync"
)

// ErrSignerClosed reports the use of a closed Signer.
var ErrSignerClosed = errors.New("xmss: signer is closed")

// Signer signs with a key whose prepared window follows the slots. Once a slot of
// the second half of the window is signed, it builds the next bottom tree in the
// background, on one processor, long before a slot needs it. It is safe for
// concurrent use.
//
// Slots should ascend: those before the prepared window are out of reach.
type Signer struct {
	ctx    context.Context // of the background work
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	key     *SecretKey
	next    *SecretKey   // key with its window further ahead, or nil
	running *preparation // that will set next, or nil
	failed  error        // of the last preparation
}

type preparation struct {
	done chan struct{} // closed at the end
}

// NewSigner returns a signer. Close it to end its background work.
func NewSigner(key *SecretKey) *Signer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Signer{ctx: ctx, cancel: cancel, key: key}
}

// Close ends the background work and waits for it. Afterwards Sign fails.
func (s *Signer) Close() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.wg.Wait()
}

// PublicKey returns the public key.
func (s *Signer) PublicKey() PublicKey { return s.SecretKey().PublicKey() }

// SecretKey returns the key as it is now.
func (s *Signer) SecretKey() *SecretKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// PreparedInterval returns the slots that can be signed without delay, from start
// up to but not including end.
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

// WaitPrepared waits until no preparation is under way and returns the error of
// the last one.
func (s *Signer) WaitPrepared(ctx context.Context) error {
	for {
		s.mu.Lock()
		p, failed := s.running, s.failed
		s.mu.Unlock()
		if p == nil {
			return failed
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// Sign signs a message for a slot like [SecretKey.Sign]. If the slot lies beyond
// the prepared window it builds the trees it needs, on all processors, which takes
// long; the context ends the wait, but not the work.
func (s *Signer) Sign(ctx context.Context, slot uint64, message [32]byte) (*Signature, error) {
	for {
		key, p, err := s.keyFor(slot)
		if err != nil {
			return nil, err
		}
		if p == nil {
			return key.Sign(slot, message)
		}
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// keyFor returns the key to sign the slot with, or a preparation to wait for
// before another try.
func (s *Signer) keyFor(slot uint64) (*SecretKey, *preparation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, nil, ErrSignerClosed
	}
	_, activationEnd := s.key.ActivationInterval()
	if slot >= activationEnd {
		return s.key, nil, nil // its Sign reports the error
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
			// Of the two trees at hand, keep the right one if the slot is in the
			// tree after it.
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

// prepare starts to build the key with its left bottom tree at leftIndex. The
// caller holds the lock.
func (s *Signer) prepare(leftIndex uint64, workers int) {
	key, p := s.key, &preparation{done: make(chan struct{})}
	s.running = p
	s.wg.Go(func() {
		next, err := key.moveTo(s.ctx, leftIndex, workers)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.next, s.failed, s.running = next, err, nil
		close(p.done)
	})
}

func (p *preparation) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
