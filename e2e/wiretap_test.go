package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// wiretap is a peer that receives all gossip of a network, records the blocks, and checks every signature of the validators
// of one node.
type wiretap struct {
	*peerHost
	signatures *signatureChecker
	own        map[uint64]bool // the validators of the node
	sent       chan struct{}   // receives a value when the node has sent a block or a vote

	mu      sync.Mutex
	blocks  map[lstar.Root]seenBlock
	counts  map[wire.TopicKind]int
	invalid []string
}

// seenBlock is a block that the wiretap has received.
type seenBlock struct {
	slot   lstar.Slot
	parent lstar.Root
	own    bool // proposed by the node
}

// newWiretap returns a wiretap for the validators of node, which listens for connections of nodes.
func newWiretap(t *testing.T, n *devnet.Network, node *devnet.Node) *wiretap {
	t.Helper()
	genesis, err := config.LoadGenesis(filepath.Join(n.Dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.LoadValidatorKeys(n.Dir, node.Name, genesis, n.Scheme)
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{
		peerHost:   newPeer(t, node, libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1")),
		signatures: newSignatureChecker(n.Scheme),
		own:        make(map[uint64]bool),
		blocks:     make(map[lstar.Root]seenBlock),
		counts:     make(map[wire.TopicKind]int),
		sent:       make(chan struct{}, 1),
	}
	for _, k := range keys {
		w.own[k.Index] = true
		w.signatures.watch(k.Index, k.Attestation.PublicKey(), k.Proposal.PublicKey())
	}
	params := pubsub.DefaultGossipSubParams()
	params.HeartbeatInterval = 100 * time.Millisecond // join the mesh of a restarted node quickly
	ps := w.newGossip(t, pubsub.WithGossipSubParams(params))
	for _, kind := range []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation} {
		// Pubsub does not forward ignored messages, so the wiretap does not relay between nodes.
		err := ps.RegisterTopicValidator(topic(kind).String(), func(_ context.Context, _ peer.ID, m *pubsub.Message) pubsub.ValidationResult {
			if err := w.handle(kind, m.Data); err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.invalid = append(w.invalid, err.Error())
			}
			return pubsub.ValidationIgnore
		}, pubsub.WithValidatorInline(true))
		if err != nil {
			t.Fatal(err)
		}
		joined, err := ps.Join(topic(kind).String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := joined.Subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// address returns the multiaddr of the wiretap.
func (w *wiretap) address() string { return fmt.Sprintf("%s/p2p/%s", w.Addrs()[0], w.ID()) }

// handle decodes a message and records it.
func (w *wiretap) handle(kind wire.TopicKind, raw []byte) error {
	data, err := wire.DecompressBlock(raw, wire.MaxPayloadSize)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	switch kind {
	case wire.TopicBlock:
		b, err := lstar.DecodeSignedBlock(data)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		w.notify(b.Block.ProposerIndex)
		w.block(b)
	case wire.TopicAttestation:
		a, err := lstar.DecodeSignedAttestation(data, w.signatures.scheme)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		w.notify(a.ValidatorIndex)
		w.signatures.attestation(a)
	default:
		a := new(lstar.SignedAggregatedAttestation)
		if err := ssz.Unmarshal(data, a); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		w.signatures.aggregate(a)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind]++
	return nil
}

// notify signals a message if a validator of the node has signed it.
func (w *wiretap) notify(by lstar.ValidatorIndex) {
	if w.own[uint64(by)] {
		signal(w.sent)
	}
}

// signal sends a value to a channel unless its buffer is full.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// block checks the signatures of a block and records it.
func (w *wiretap) block(b *lstar.SignedBlock) (root lstar.Root) {
	w.signatures.block(b)
	root = b.Block.Root()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocks[root] = seenBlock{b.Block.Slot, b.Block.ParentRoot, w.own[uint64(b.Block.ProposerIndex)]}
	return root
}

// ownBlocks returns the roots of the blocks that the node has proposed so far.
func (w *wiretap) ownBlocks() (roots []lstar.Root) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for root, b := range w.blocks {
		if b.own {
			roots = append(roots, root)
		}
	}
	return roots
}

// fetch requests blocks from the node that a peer is connected to, records them, and returns the roots of those that the node
// does not have.
func (w *wiretap) fetch(ctx context.Context, from *peerHost, roots []lstar.Root) (missing []lstar.Root, err error) {
	for chunk := range slices.Chunk(roots, 64) {
		parts, err := from.request(ctx, wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(chunk)))
		if err != nil {
			return nil, err
		}
		got := make(map[lstar.Root]bool)
		for _, part := range parts {
			if part.Code != wire.Success {
				return nil, fmt.Errorf("%s: %s", part.Code, part.Payload)
			}
			b, err := lstar.DecodeSignedBlock(part.Payload)
			if err != nil {
				return nil, err
			}
			got[w.block(b)] = true
		}
		for _, root := range chunk {
			if !got[root] {
				missing = append(missing, root)
			}
		}
	}
	return missing, nil
}

// await waits until the node has connected to the wiretap.
func (w *wiretap) await(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !w.connected() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the node has not connected to its bootnode")
		}
	}
	return nil
}
