package xmss

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/leanEthereum/leanspec-node/internal/core/koalabear"
)

var (
	// ErrOutsideWindow reports a slot for which the key has no one-time key.
	ErrOutsideWindow = errors.New("xmss: slot outside the activation window of the key")

	// ErrNotPrepared reports a slot of the activation window whose bottom tree is not in
	// the prepared window.
	ErrNotPrepared = errors.New("xmss: slot outside the prepared window of the key")

	// ErrNoEncoding reports that no attempt gave a valid codeword of the message. Its
	// probability is negligible.
	ErrNoEncoding = errors.New("xmss: no valid encoding of the message")

	// ErrCorruptKey reports a secret key whose parts do not match. Its signatures would be
	// invalid.
	ErrCorruptKey = errors.New("xmss: corrupt secret key")
)

// SecretKey is the secret part of a key pair. It is immutable and safe for concurrent use.
// Use a [Signer] to sign, so that no slot is used for two messages.
//
// Printing or logging a SecretKey does not reveal the secret: every format verb prints the
// public key. Only [SecretKey.Bytes] returns the secret.
//
// leanSpec: spec/crypto/xmss/containers.py, SecretKey
type SecretKey struct {
	scheme    *Scheme
	prfKey    *[prfKeyLength]byte // the secret; package fmt prints a pointer in a field as an address
	parameter publicParameter

	activationSlot uint64
	numActiveSlots uint64

	topTree         subTree
	leftIndex       uint64 // index of the left bottom tree
	leftBottomTree  subTree
	rightBottomTree subTree // at leftIndex + 1
}

// String returns a text with the public key.
func (sk SecretKey) String() string {
	if sk.topTree.empty() {
		return "xmss.SecretKey(empty)"
	}
	return fmt.Sprintf("xmss.SecretKey(public key %s)", sk.PublicKey())
}

// GoString implements [fmt.GoStringer] like String.
func (sk SecretKey) GoString() string { return sk.String() }

// Format implements [fmt.Formatter]. It writes the result of String for every verb, because
// some verbs would print the fields of the key.
func (sk SecretKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, sk.String()) }

// Scheme returns the scheme of the key.
func (sk *SecretKey) Scheme() *Scheme { return sk.scheme }

// PublicKey returns the public key.
func (sk *SecretKey) PublicKey() PublicKey {
	return PublicKey{root: *sk.topTree.root(), parameter: sk.parameter}
}

// ActivationInterval returns the slots for which the key has one-time keys, from start up to
// but not including end.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.get_activation_interval
func (sk *SecretKey) ActivationInterval() (start, end uint64) {
	return sk.activationSlot, sk.activationSlot + sk.numActiveSlots
}

// PreparedInterval returns the slots that the key can sign, from start up to but not
// including end. They are the slots of the activation window in the key's two bottom
// trees.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.get_prepared_interval
func (sk *SecretKey) PreparedInterval() (start, end uint64) {
	start, _ = sk.slotsOfTree(sk.leftIndex)
	_, end = sk.slotsOfTree(sk.leftIndex + 1)
	return start, end
}

// slotsOfTree returns the slots of the activation window in the bottom tree at index. If
// there are none, start is not less than end.
func (sk *SecretKey) slotsOfTree(index uint64) (start, end uint64) {
	width := sk.scheme.LeavesPerBottomTree()
	first, last := sk.ActivationInterval()
	return min(max(first, index*width), last), max(min(last, (index+1)*width), first)
}

// treesOfWindow returns the indices of the first and the last bottom tree with
// slots of the activation window.
func (sk *SecretKey) treesOfWindow() (first, last uint64) {
	start, end := sk.ActivationInterval()
	width := sk.scheme.LeavesPerBottomTree()
	return start / width, (end - 1) / width
}

// AdvancePreparation returns a key whose prepared window is one bottom tree further, or the
// same key if there are no further slots. It computes the new tree on all processors. It
// returns an error if ctx ends, and one that wraps [ErrCorruptKey] if the root of the new
// tree is not a leaf of the top tree.
//
// leanSpec: spec/crypto/xmss/interface.py, GeneralizedXmssScheme.advance_preparation
func (sk *SecretKey) AdvancePreparation(ctx context.Context) (*SecretKey, error) {
	if _, last := sk.treesOfWindow(); sk.leftIndex+1 >= last {
		return sk, nil
	}
	return sk.moveTo(ctx, sk.leftIndex+1, 0)
}

// moveTo returns a key with the bottom trees at leftIndex and leftIndex+1. It computes those
// that sk does not have.
func (sk *SecretKey) moveTo(ctx context.Context, leftIndex uint64, workers int) (*SecretKey, error) {
	get := func(index uint64) (subTree, error) {
		switch index {
		case sk.leftIndex:
			return sk.leftBottomTree, nil
		case sk.leftIndex + 1:
			return sk.rightBottomTree, nil
		}
		t, err := sk.bottomTree(ctx, workers, index, func(int) {})
		if err != nil {
			return t, err
		}
		if err := sk.checkRoot(index, &t); err != nil {
			return t, fmt.Errorf("%w: %w", ErrCorruptKey, err)
		}
		return t, nil
	}
	moved := *sk
	moved.leftIndex = leftIndex
	var err error
	if moved.leftBottomTree, err = get(leftIndex); err != nil {
		return nil, err
	}
	if moved.rightBottomTree, err = get(leftIndex + 1); err != nil {
		return nil, err
	}
	return &moved, nil
}

// checkRoot compares the root of a bottom tree with the leaf of the top tree.
func (sk *SecretKey) checkRoot(index uint64, t *subTree) error {
	if t.empty() {
		return nil
	}
	if leaf := sk.topTree.node(0, index); leaf == nil || *leaf != *t.root() {
		return fmt.Errorf("root of bottom tree %d is not leaf %d of the top tree", index, index)
	}
	return nil
}

const secretKeyFixedSize = prfKeyLength + parameterSize + 8 + 8 + bytesPerOffset + 8 + 2*bytesPerOffset

// Bytes returns the SSZ encoding of the key, as leanSpec defines it. It contains the secret.
func (sk *SecretKey) Bytes() []byte {
	leftOffset := secretKeyFixedSize + sk.topTree.size()
	rightOffset := leftOffset + sk.leftBottomTree.size()

	b := make([]byte, 0, rightOffset+sk.rightBottomTree.size())
	b = append(b, sk.prfKey[:]...)
	b = koalabear.AppendVector(b, sk.parameter[:])
	b = binary.LittleEndian.AppendUint64(b, sk.activationSlot)
	b = binary.LittleEndian.AppendUint64(b, sk.numActiveSlots)
	b = appendOffset(b, secretKeyFixedSize)
	b = binary.LittleEndian.AppendUint64(b, sk.leftIndex)
	b = appendOffset(b, leftOffset)
	b = appendOffset(b, rightOffset)

	height := sk.scheme.logLifetime
	b = sk.topTree.appendSSZ(b, height, height/2)
	b = sk.leftBottomTree.appendSSZ(b, height, 0)
	return sk.rightBottomTree.appendSSZ(b, height, 0)
}

// ParseSecretKey decodes a secret key of this scheme that this package or leanSpec made.
// Errors wrap [ErrInvalid] or [ErrCorruptKey].
//
// It checks that the two windows are consistent, that every tree has the layers and nodes
// that signing needs, that every hash of the top tree is correct, and that in each bottom
// tree the paths of the first and the last slot lead from the secret seed to the root.
func (s *Scheme) ParseSecretKey(b []byte) (*SecretKey, error) {
	if len(b) < secretKeyFixedSize {
		return nil, fmt.Errorf("xmss: %w: secret key of %d bytes, want at least %d", ErrInvalid, len(b), secretKeyFixedSize)
	}
	sk := &SecretKey{scheme: s, prfKey: new([prfKeyLength]byte)}
	d := decoder{rest: b[:secretKeyFixedSize]}
	copy(sk.prfKey[:], d.take(prfKeyLength))
	d.vector(sk.parameter[:])
	sk.activationSlot = d.uint64()
	sk.numActiveSlots = d.uint64()
	d.offset(secretKeyFixedSize)
	sk.leftIndex = d.uint64()
	left, right, end := uint64(d.uint32()), uint64(d.uint32()), uint64(len(b))
	if left < secretKeyFixedSize || right < left || end < right {
		d.fail("offsets %d and %d of the bottom trees, want ascending ones from %d to %d", left, right, secretKeyFixedSize, end)
	}
	if err := d.finish("secret key"); err != nil {
		return nil, err
	}
	if err := sk.checkWindows(); err != nil {
		return nil, err
	}

	var err error
	if sk.topTree, err = s.parseSubTree(b[secretKeyFixedSize:left], s.halfHeight()); err != nil {
		return nil, fmt.Errorf("top tree: %w", err)
	}
	if sk.leftBottomTree, err = s.parseSubTree(b[left:right], 0); err != nil {
		return nil, fmt.Errorf("left bottom tree: %w", err)
	}
	if sk.rightBottomTree, err = s.parseSubTree(b[right:], 0); err != nil {
		return nil, fmt.Errorf("right bottom tree: %w", err)
	}
	if err := sk.checkTopTree(); err != nil {
		return nil, fmt.Errorf("%w: top tree: %w", ErrCorruptKey, err)
	}
	if err := sk.checkBottomTree(sk.leftIndex, &sk.leftBottomTree); err != nil {
		return nil, fmt.Errorf("%w: left bottom tree: %w", ErrCorruptKey, err)
	}
	if err := sk.checkBottomTree(sk.leftIndex+1, &sk.rightBottomTree); err != nil {
		return nil, fmt.Errorf("%w: right bottom tree: %w", ErrCorruptKey, err)
	}
	return sk, nil
}

func (sk *SecretKey) checkWindows() error {
	if err := sk.scheme.checkActivation(sk.activationSlot, sk.numActiveSlots); err != nil {
		return fmt.Errorf("%w: %w", ErrCorruptKey, err)
	}
	if trees := sk.scheme.LeavesPerBottomTree(); sk.leftIndex >= trees-1 {
		return fmt.Errorf("%w: left bottom tree at index %d, want at most %d", ErrCorruptKey, sk.leftIndex, trees-2)
	}
	if start, end := sk.PreparedInterval(); start >= end {
		return fmt.Errorf("%w: bottom trees %d and %d have no slot of the activation window", ErrCorruptKey, sk.leftIndex, sk.leftIndex+1)
	}
	return nil
}

// checkActivation checks that a window of slots is not empty and inside of the lifetime.
func (s *Scheme) checkActivation(slot, count uint64) error {
	if count == 0 {
		return errors.New("activation window is empty")
	}
	if slot >= s.Lifetime() || count > s.Lifetime()-slot {
		return fmt.Errorf("activation window of %d slots from %d exceeds the lifetime of %d slots", count, slot, s.Lifetime())
	}
	return nil
}

// checkShape checks that the layers consist of whole pairs of siblings, that each layer has
// all parents of the one below, and that the first layer has the leaves from first to last
// and no leaves outside of the W that begin at room.
func (sk *SecretKey) checkShape(t *subTree, room, first, last uint64) error {
	if t.empty() {
		return errors.New("no layers")
	}
	leaves := &t.layers[0]
	start, n := leaves.start, uint64(len(leaves.nodes))
	if start%2 != 0 || n%2 != 0 || start < room || start > first || n <= last-start ||
		start+n > room+sk.scheme.LeavesPerBottomTree() {
		return fmt.Errorf("%d leaves from %d, want pairs that include %d to %d", n, start, first, last)
	}
	for i, l := range t.layers[1:] {
		parents, count := start/2, n/2
		start, n = parents&^1, (parents+count+1)&^1-parents&^1
		if i+2 == len(t.layers) && len(l.nodes) == 1 { // the root may have no pad
			start, n = parents, 1
		}
		if l.start != start || uint64(len(l.nodes)) != n {
			return fmt.Errorf("layer %d has %d nodes from %d, want %d from %d", i+1, len(l.nodes), l.start, n, start)
		}
	}
	return nil
}

func (sk *SecretKey) checkTopTree() error {
	first, last := sk.treesOfWindow()
	if err := sk.checkShape(&sk.topTree, 0, first, last); err != nil {
		return err
	}
	half := sk.scheme.halfHeight()
	for i := range half {
		l := &sk.topTree.layers[i]
		for j := 0; j < len(l.nodes); j += 2 {
			if err := sk.checkParent(&sk.topTree, half, i, l.start+uint64(j)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (sk *SecretKey) checkBottomTree(index uint64, t *subTree) error {
	start, end := sk.slotsOfTree(index)
	if start >= end && t.empty() {
		return nil
	}
	if start >= end {
		return errors.New("layers without a slot of the activation window")
	}
	width := sk.scheme.LeavesPerBottomTree()
	if err := sk.checkShape(t, index*width, start, end-1); err != nil {
		return err
	}
	if root := t.layers[len(t.layers)-1]; len(root.nodes) != 1 {
		return fmt.Errorf("last layer has %d nodes, want 1", len(root.nodes))
	}
	secrets := newPRF(sk.prfKey)
	for _, slot := range []uint64{start, end - 1} {
		if *t.node(0, slot) != sk.leaf(secrets, slot) {
			return fmt.Errorf("leaf of slot %d does not match the seed", slot)
		}
		for i := range sk.scheme.halfHeight() {
			if err := sk.checkParent(t, 0, i, slot>>i); err != nil {
				return err
			}
		}
	}
	return sk.checkRoot(index, t)
}

// checkParent checks that the parent of a node of layer i is the hash of the node and its
// sibling.
func (sk *SecretKey) checkParent(t *subTree, lowest, i int, index uint64) error {
	left, right, parent := t.node(i, index&^1), t.node(i, index|1), t.node(i+1, index/2)
	if *parent != hashNodes(&sk.parameter, lowest+i+1, index/2, left, right) {
		return fmt.Errorf("node %d of level %d is not the hash of its children", index/2, lowest+i+1)
	}
	return nil
}
