package p2p

import (
	"slices"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// peerConn is a connection with the methods that peers uses.
type peerConn struct {
	network.Conn
	id peer.ID
}

func (c peerConn) RemotePeer() peer.ID { return c.id }
func (c peerConn) RemoteMultiaddr() ma.Multiaddr {
	return ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1")
}
func (c peerConn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Direction: network.DirOutbound}}
}

// callLog is a Handler that records the calls about connections.
type callLog struct {
	*fakeHandler
	calls []string
}

func (h *callLog) OnConnect(_ peer.ID, dialed bool) {
	h.calls = append(h.calls, map[bool]string{true: "dialed", false: "accepted"}[dialed])
}
func (h *callLog) OnDisconnect(peer.ID) { h.calls = append(h.calls, "gone") }

// TestHandlerOrder checks that a peer is kept that connects again before OnDisconnect has returned
// for its earlier connection.
func TestHandlerOrder(t *testing.T) {
	p := &peers{now: time.Now, byID: make(map[peer.ID]*connectedPeer), leaving: make(map[peer.ID]chan struct{})}
	h := &callLog{fakeHandler: newFakeHandler()}
	conn := peerConn{id: "a"}
	first, _ := p.add(conn)
	first.announce(h, nil)
	first.announce(h, func() { h.calls = append(h.calls, "status") })
	p.remove("a")
	first.announce(h, func() { h.calls = append(h.calls, "status of a peer that is gone") })

	second, _ := p.add(conn)
	met := make(chan struct{})
	go func() {
		defer close(met)
		second.announce(h, nil)
	}()
	select {
	case <-met:
		t.Error("OnConnect was called before OnDisconnect of the connection before")
	case <-time.After(10 * time.Millisecond): // waiting is not an event
	}
	first.finish(h)
	p.forget(first)
	<-met
	third, _ := p.add(conn) // another connection of the same peer
	p.remove("a")
	p.remove("a")
	third.finish(h)
	p.forget(third)
	if want := []string{"dialed", "status", "gone", "dialed", "gone"}; !slices.Equal(h.calls, want) {
		t.Errorf("calls = %q, want %q", h.calls, want)
	}
	if len(p.byID)+len(p.leaving) != 0 {
		t.Errorf("%d peers and %d that leave are kept, want 0", len(p.byID), len(p.leaving))
	}
}
