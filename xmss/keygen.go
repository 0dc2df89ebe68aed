package xmss

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

// KeyGenOptions are the options of [Scheme.GenerateKey].
type KeyGenOptions struct {
	// ActivationSlot is the first slot of the key, and NumActiveSlots the number of its
	// slots, which must not be 0.
	ActivationSlot, NumActiveSlots uint64

	// Short limits the key to exactly these slots. Otherwise they are widened to whole
	// bottom trees, at least two.
	Short bool

	// Workers is the number of goroutines. 0 means one for each processor.
	Workers int

	// Progress, if not nil, is called with the number of leaves that are computed, and
	// with their total. Calls do not overlap.
	Progress func(doneLeaves, totalLeaves uint64)

	// Rand is the source of the secret seed; nil means crypto/rand.
	Rand io.Reader
}

// GenerateKey generates a key pair. Its cost is proportional to the number of slots. It
// returns an error if the slots exceed the lifetime of the scheme, if the random source
// fails, or if ctx ends.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.key_gen
func (s *Scheme) GenerateKey(ctx context.Context, o KeyGenOptions) (*SecretKey, error) {
	source := o.Rand
	if source == nil {
		source = rand.Reader
	}
	var seed [prfKeyLength]byte
	if _, err := io.ReadFull(source, seed[:]); err != nil {
		return nil, fmt.Errorf("xmss: read randomness: %w", err)
	}
	var parameter publicParameter
	for i := range parameter {
		for {
			var b [4]byte
			if _, err := io.ReadFull(source, b[:]); err != nil {
				return nil, fmt.Errorf("xmss: read randomness: %w", err)
			}
			if v := binary.LittleEndian.Uint32(b[:]) >> 1; v < koalabear.P {
				parameter[i] = koalabear.Element(v)
				break
			}
		}
	}
	return s.deriveKey(ctx, seed, parameter, o)
}

// deriveKey generates a key pair from a seed and a parameter. The same seed, parameter and
// options give the same key. The elements of parameter must be less than p.
func (s *Scheme) deriveKey(ctx context.Context, prfKey [32]byte, parameter publicParameter, o KeyGenOptions) (*SecretKey, error) {
	sk := &SecretKey{
		scheme:         s,
		prfKey:         &prfKey,
		parameter:      parameter,
		activationSlot: o.ActivationSlot,
		numActiveSlots: o.NumActiveSlots,
	}
	if err := s.checkActivation(o.ActivationSlot, o.NumActiveSlots); err != nil {
		return nil, fmt.Errorf("xmss: %w", err)
	}
	if !o.Short {
		sk.alignActivation()
	}

	first, last := sk.treesOfWindow()
	sk.leftIndex = min(first, s.LeavesPerBottomTree()-2)

	progress := progressFunc(o.Progress, sk.numActiveSlots)
	roots := make([]hashDigest, 0, last-first+1)
	for index := first; index <= last; index++ {
		t, err := sk.bottomTree(ctx, o.Workers, index, progress)
		if err != nil {
			return nil, err
		}
		roots = append(roots, *t.root())
		switch index {
		case sk.leftIndex:
			sk.leftBottomTree = t
		case sk.leftIndex + 1:
			sk.rightBottomTree = t
		}
	}
	var err error
	sk.topTree, err = sk.grow(ctx, o.Workers, s.halfHeight(), first, roots)
	if err != nil {
		return nil, err
	}
	return sk, nil
}

// alignActivation widens the activation window to whole bottom trees, at least two.
//
// leanSpec: spec/crypto/xmss/interface.py, _expand_activation_time
func (sk *SecretKey) alignActivation() {
	width := sk.scheme.LeavesPerBottomTree()
	first, last := sk.treesOfWindow()
	trees := max(last-first+1, 2)
	first = min(first, width-trees) // width is also the number of bottom trees
	sk.activationSlot, sk.numActiveSlots = first*width, trees*width
}

// progressFunc returns a function that adds up leaves and calls report with the sum.
func progressFunc(report func(done, total uint64), total uint64) func(leaves int) {
	if report == nil {
		return func(int) {}
	}
	var mu sync.Mutex
	var done uint64
	return func(leaves int) {
		mu.Lock()
		defer mu.Unlock()
		done += uint64(leaves)
		report(done, total)
	}
}
