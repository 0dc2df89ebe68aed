package xmss

import (
	"context"
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func newTestSigner(t *testing.T, o KeyGenOptions) *Signer {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	s := NewSigner(testKey(t, o), &ledger{})
	t.Cleanup(s.Close)
	return s
}

// ledger is a Ledger in memory. If err is set, Reserve returns it.
type ledger struct {
	err error

	mu       sync.Mutex
	reserved map[uint64][32]byte
}

var errReserved = errors.New("another message is reserved")

func (l *ledger) Reserve(slot uint64, message [32]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if before, ok := l.reserved[slot]; ok && before != message {
		return errReserved
	}
	if l.reserved == nil {
		l.reserved = make(map[uint64][32]byte)
	}
	l.reserved[slot] = message
	return nil
}

func TestSignerReserves(t *testing.T) {
	l := &ledger{}
	s := NewSigner(testKey(t, KeyGenOptions{ActivationSlot: 3, NumActiveSlots: 5, Short: true}), l)
	defer s.Close()

	checkSignerSigns(t, s, 4)
	if got, want := l.reserved[4], message(4); got != want {
		t.Errorf("reserved message = %x, want %x", got, want)
	}
	checkSignerSigns(t, s, 4) // the same message again
	if sig, err := s.Sign(t.Context(), 4, message(5)); sig != nil || !errors.Is(err, errReserved) {
		t.Errorf("second message: signature = %v, error = %v, want nil and %v", sig, err, errReserved)
	}
	for _, slot := range []uint64{0, 2, 8, 1 << 40} {
		if _, err := s.Sign(t.Context(), slot, message(slot)); !errors.Is(err, ErrOutsideWindow) {
			t.Errorf("Sign(%d): error = %v, want %v", slot, err, ErrOutsideWindow)
		}
		if _, ok := l.reserved[slot]; ok {
			t.Errorf("slot %d outside of the window is reserved", slot)
		}
	}

	l.err = errors.New("disk is full")
	if sig, err := s.Sign(t.Context(), 6, message(6)); sig != nil || !errors.Is(err, l.err) {
		t.Errorf("failing ledger: signature = %v, error = %v, want nil and %v", sig, err, l.err)
	}
}

func TestNewSignerWithoutLedger(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewSigner with a nil ledger returned, want a panic")
		}
	}()
	NewSigner(testKey(t, KeyGenOptions{NumActiveSlots: 1, Short: true}), nil)
}

// checkSignerSigns checks that the signer signs a slot.
func checkSignerSigns(t *testing.T, s *Signer, slot uint64) {
	t.Helper()
	pk := s.PublicKey()
	sig, err := s.Sign(t.Context(), slot, message(slot))
	if err != nil {
		t.Fatalf("Sign(%d): %v", slot, err)
	}
	if !Test.Verify(&pk, slot, message(slot), sig) {
		t.Fatalf("signature for slot %d is not valid", slot)
	}
}

// waitPrepared waits until no preparation is running and returns the error of the last one.
func (s *Signer) waitPrepared(ctx context.Context) error {
	for {
		s.mu.Lock()
		running, failed := s.running, s.failed
		s.mu.Unlock()
		if running == nil {
			return failed
		}
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func checkSignerPrepared(t *testing.T, s *Signer, wantStart, wantEnd uint64) {
	t.Helper()
	if err := s.waitPrepared(t.Context()); err != nil {
		t.Fatal(err)
	}
	if start, end := s.PreparedInterval(); start != wantStart || end != wantEnd {
		t.Fatalf("prepared from %d to %d, want %d to %d", start, end, wantStart, wantEnd)
	}
}

func TestSignerPreparesAhead(t *testing.T) {
	s := newTestSigner(t, KeyGenOptions{NumActiveSlots: 80})
	checkSignerSigns(t, s, 0)
	checkSignerSigns(t, s, 15)
	checkSignerPrepared(t, s, 0, 32) // still in the first half

	checkSignerSigns(t, s, 16)
	checkSignerPrepared(t, s, 0, 48)
	checkSignerSigns(t, s, 3) // the first half is still prepared

	checkSignerSigns(t, s, 32)
	checkSignerPrepared(t, s, 16, 64)
	if _, err := s.Sign(t.Context(), 15, message(15)); !errors.Is(err, ErrNotPrepared) {
		t.Errorf("Sign(15) after the window moved: error = %v, want %v", err, ErrNotPrepared)
	}

	checkSignerSigns(t, s, 48)
	checkSignerPrepared(t, s, 32, 80)
	checkSignerSigns(t, s, 79)
	checkSignerPrepared(t, s, 48, 80)
	if _, err := s.Sign(t.Context(), 80, message(80)); !errors.Is(err, ErrOutsideWindow) {
		t.Errorf("Sign(80): error = %v, want %v", err, ErrOutsideWindow)
	}
}

func TestSignerThroughLifetime(t *testing.T) {
	for _, o := range []KeyGenOptions{
		{NumActiveSlots: 256},
		{ActivationSlot: 41, NumActiveSlots: 100, Short: true},
		{ActivationSlot: 250, NumActiveSlots: 6, Short: true},
	} {
		s := newTestSigner(t, o)
		for slot := range o.NumActiveSlots {
			checkSignerSigns(t, s, o.ActivationSlot+slot)
		}
	}
}

func TestSignerSkipsAhead(t *testing.T) {
	tests := []struct {
		name               string
		slot               uint64
		wantStart, wantEnd uint64 // after the slot
	}{
		{"to the next tree", 40, 16, 64},
		{"over some trees", 100, 96, 128},
		{"to the last tree", 255, 224, 256},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestSigner(t, KeyGenOptions{NumActiveSlots: 256})
			checkSignerSigns(t, s, tt.slot)
			checkSignerPrepared(t, s, tt.wantStart, tt.wantEnd)
		})
	}
}

func TestSignerConcurrently(t *testing.T) {
	s := newTestSigner(t, KeyGenOptions{NumActiveSlots: 256})
	pk := s.PublicKey()
	for slot := uint64(0); slot < 256; slot += 8 {
		var wg sync.WaitGroup
		for slot := slot; slot%8 < 7; slot++ {
			wg.Go(func() {
				sig, err := s.Sign(t.Context(), slot, message(slot))
				if err != nil {
					t.Errorf("Sign(%d): %v", slot, err)
				} else if !Test.Verify(&pk, slot, message(slot), sig) {
					t.Errorf("signature for slot %d is not valid", slot)
				}
			})
		}
		wg.Wait()
	}
}

func TestSignerReportsForeignTree(t *testing.T) {
	key := testKey(t, KeyGenOptions{NumActiveSlots: 64})
	key.topTree.layers[0].nodes[2][0] ^= 1
	s := NewSigner(key, &ledger{})
	defer s.Close()
	checkSignerSigns(t, s, 16)
	if err := s.waitPrepared(t.Context()); !errors.Is(err, ErrCorruptKey) {
		t.Errorf("waitPrepared: error = %v, want %v", err, ErrCorruptKey)
	}
	checkSignerSigns(t, s, 31) // the current window can still sign
	if _, err := s.Sign(t.Context(), 32, message(32)); !errors.Is(err, ErrCorruptKey) {
		t.Errorf("Sign(32): error = %v, want %v", err, ErrCorruptKey)
	}
}

func TestSignerContextEndsTheWait(t *testing.T) {
	s := newTestSigner(t, KeyGenOptions{NumActiveSlots: 256})
	s.mu.Lock()
	s.running = make(chan struct{}) // never closed
	s.mu.Unlock()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sign(ctx, 200, message(200)); !errors.Is(err, context.Canceled) {
		t.Errorf("Sign with a canceled context: error = %v, want %v", err, context.Canceled)
	}
}

func TestSignerClose(t *testing.T) {
	s := newTestSigner(t, KeyGenOptions{NumActiveSlots: 64})
	checkSignerSigns(t, s, 16) // starts a preparation
	s.Close()
	s.Close()
	if _, err := s.Sign(t.Context(), 17, message(17)); !errors.Is(err, ErrSignerClosed) {
		t.Errorf("Sign after Close: error = %v, want %v", err, ErrSignerClosed)
	}
}
