package p2p

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/leanspectest"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// TestLeanSpecPeer checks that a peer that handles streams as leanSpec's node does responds to
// requests and forwards gossip, whichever side dials.
func TestLeanSpecPeer(t *testing.T) {
	p := leanspectest.New(t, wire.Topic{Kind: wire.TopicBlock, Network: DefaultNetworkName})
	dialed := startNode(t)
	if err := p.Dial(t.Context(), dialed.addr()); err != nil {
		t.Fatal(err)
	}
	dialer := startNode(t, func(cfg *Config, _ *testNode) { cfg.Bootnodes = []string{p.Addr()} })
	nodes := []*testNode{dialed, dialer}
	for _, n := range nodes {
		eventually(t, "the peer in the mesh", func() bool {
			n.tracer.mu.Lock()
			defer n.tracer.mu.Unlock()
			return n.tracer.mesh[p.ID()] == 1
		})
		if _, err := n.Status(t.Context(), p.ID()); err != nil {
			t.Errorf("Status: %v, want a response", err)
		}
	}
	for i, n := range nodes {
		slot := lstar.Slot(i + 1)
		if err := n.PublishBlock(t.Context(), block(slot)); err != nil {
			t.Fatal(err)
		}
		if got, want := receive(t, "the block that the peer forwards", nodes[1-i].handler.gossiped), fmt.Sprint("block ", slot); got != want {
			t.Errorf("gossip = %q, want %q", got, want)
		}
	}
	// Identify is refused on each connection, and sometimes a push of identify as well.
	if refused, stuck, lost := p.Counts(); refused < 2 || stuck != 0 || lost != 0 {
		t.Errorf("the peer refused %d protocols, stopped accepting streams on %d connections and lost %d; want at least 2, 0 and 0", refused, stuck, lost)
	}
}

// ends connects a peer that refuses every protocol, or does not respond at all. It returns a
// channel that receives how each stream ends.
func ends(t *testing.T, target *testNode, silent bool) (host.Host, <-chan error) {
	t.Helper()
	h := rawPeer(t, nil)
	ends := make(chan error, 100)
	h.Network().SetStreamHandler(func(s network.Stream) {
		defer s.Close()
		if silent {
			_, err := io.Copy(io.Discard, s)
			ends <- err
			return
		}
		_, _, err := multistream.NewMultistreamMuxer[protocol.ID]().Negotiate(s)
		ends <- err
	})
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: target.PeerID(), Addrs: target.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	return h, ends
}

// TestRefusedStreams checks that streams whose negotiation fails end without a reset: those of
// identify, gossip and requests.
func TestRefusedStreams(t *testing.T) {
	for name, silent := range map[string]bool{"refused": false, "no answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := startNode(t)
			node.timeout = 100 * time.Millisecond
			h, ends := ends(t, node, silent)
			for _, ask := range []func() error{
				func() error { _, err := node.Status(t.Context(), h.ID()); return err },
				func() error { _, err := node.BlocksByRange(t.Context(), h.ID(), 0, 1); return err },
			} {
				if err := ask(); err == nil {
					t.Error("a request without a response: got no error, want one")
				}
			}
			streams := 4 // identify, gossip and two requests
			if silent {
				streams = 3 // gossip gives up later
			}
			for range streams {
				if err := receive(t, "the end of a stream", ends); err != nil && err != io.EOF {
					t.Errorf("a stream ended with %v, want io.EOF", err)
				}
			}
		})
	}
}

// TestResetWhileAnswering checks that the stream of a peer that continues to send is reset.
func TestResetWhileAnswering(t *testing.T) {
	node := startNode(t)
	h := rawPeer(t, node)
	failed := make(chan error, 1)
	h.SetStreamHandler(wire.StatusProtocol, func(s network.Stream) {
		defer s.Close()
		for {
			if _, err := s.Write(wire.AppendResponse(nil, wire.Success, make([]byte, statusSize))); err != nil {
				failed <- err
				return
			}
		}
	})
	if _, err := node.Status(t.Context(), h.ID()); !errors.Is(err, ErrBadResponse) {
		t.Errorf("an endless response: error %v, want %v", err, ErrBadResponse)
	}
	if err := receive(t, "the end of the response", failed); !errors.Is(err, network.ErrReset) {
		t.Errorf("writing on: error %v, want %v", err, network.ErrReset)
	}
}

// stuckStream is a stream whose peer does not respond.
type stuckStream struct {
	network.MuxedStream
	deadline     time.Time
	ended, reset atomic.Bool
}

func (s *stuckStream) Read([]byte) (int, error) {
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}

func (s *stuckStream) SetDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *stuckStream) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *stuckStream) CloseWrite() error { s.ended.Store(true); return nil }

func (s *stuckStream) ResetWithError(network.StreamErrorCode) error { s.reset.Store(true); return nil }

// TestResetHasADeadline checks that a stream is reset if the peer does not end it within drainTime.
func TestResetHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := new(stuckStream)
		s := &ownStream{MuxedStream: stuck}
		for range 2 { // the second one changes nothing
			if err := s.Reset(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Read(make([]byte, 1)); err != network.ErrReset {
			t.Errorf("reading: error %v, want %v", err, network.ErrReset)
		}
		if _, err := s.Write(make([]byte, 1)); err != network.ErrReset {
			t.Errorf("writing: error %v, want %v", err, network.ErrReset)
		}
		time.Sleep(drainTime - time.Second)
		synctest.Wait()
		if !stuck.ended.Load() || stuck.reset.Load() {
			t.Errorf("just before the deadline: ended %v, reset %v; want true, false", stuck.ended.Load(), stuck.reset.Load())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !stuck.reset.Load() {
			t.Error("after the deadline: the stream is open, want it reset")
		}
	})
}

// TestEndOfResponses checks that a status response ends after statusEndDelay, which leanSpec's node
// needs, and a response with blocks without a delay.
func TestEndOfResponses(t *testing.T) {
	server := startNode(t)
	h := rawPeer(t, server)
	took := func(id protocol.ID, request []byte) time.Duration {
		t.Helper()
		asked := time.Now()
		if _, err := ask(t, h, server, id, wire.AppendRequest(nil, request), true); err != nil {
			t.Fatal(err)
		}
		return time.Since(asked)
	}
	if got := took(wire.StatusProtocol, make([]byte, statusSize)); got < statusEndDelay {
		t.Errorf("the status response ended after %v, want at least %v", got, statusEndDelay)
	}
	fastest := time.Hour
	for range 10 { // the machine may be busy
		fastest = min(fastest, took(wire.BlocksByRangeProtocol, wire.EncodeRange(0, 1)))
	}
	if fastest >= statusEndDelay {
		t.Errorf("the fastest of ten responses without blocks ended after %v, want less than %v", fastest, statusEndDelay)
	}
}
