package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"golang.org/x/time/rate"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire/wiretest"
)

func TestRequests(t *testing.T) {
	server := startNode(t)
	chain := server.handler.addChain(1, 2, 4, 5, 9)
	server.handler.set(func(h *fakeHandler) { h.status.Finalized.Slot = 2; h.current = 10 })
	client := startNode(t, dialing(server))
	waitConnected(t, client, server)
	id := server.PeerID()

	status, err := client.Status(t.Context(), id)
	if err != nil || status != server.handler.Status() {
		t.Errorf("Status = %+v, %v; want %+v", status, err, server.handler.Status())
	}
	unknown := lstar.Root{1}
	for name, test := range map[string]struct {
		ask  func() ([]*lstar.SignedBlock, error)
		want []lstar.Slot
	}{
		"by root": {func() ([]*lstar.SignedBlock, error) {
			return client.BlocksByRoot(t.Context(), id, []lstar.Root{chain[3].Block.Root(), unknown, chain[0].Block.Root()})
		}, []lstar.Slot{5, 1}},
		"by root, twice the same": {func() ([]*lstar.SignedBlock, error) {
			return client.BlocksByRoot(t.Context(), id, []lstar.Root{chain[3].Block.Root(), chain[3].Block.Root()})
		}, []lstar.Slot{5}},
		"by root, unknown": {func() ([]*lstar.SignedBlock, error) {
			return client.BlocksByRoot(t.Context(), id, []lstar.Root{unknown})
		}, nil},
		"by root, none": {func() ([]*lstar.SignedBlock, error) { return client.BlocksByRoot(t.Context(), id, nil) }, nil},
		"by range":      {func() ([]*lstar.SignedBlock, error) { return client.BlocksByRange(t.Context(), id, 2, 4) }, []lstar.Slot{2, 4, 5}},
		"by range, all": {func() ([]*lstar.SignedBlock, error) {
			return client.BlocksByRange(t.Context(), id, 0, MaxRequestBlocks)
		}, []lstar.Slot{1, 2, 4, 5, 9}},
		"by range, empty": {func() ([]*lstar.SignedBlock, error) { return client.BlocksByRange(t.Context(), id, 6, 3) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			blocks, err := test.ask()
			if err != nil {
				t.Fatal(err)
			}
			if got := slotsOf(blocks); !slices.Equal(got, test.want) {
				t.Errorf("blocks of slots %v, want %v", got, test.want)
			}
		})
	}

	t.Run("range below the window", func(t *testing.T) {
		server.handler.set(func(h *fakeHandler) { h.current = MinSlotsForBlockRequests + 2 })
		var refused *ResponseError
		if _, err := client.BlocksByRange(t.Context(), id, 1, 2); !errors.As(err, &refused) || refused.Code != wire.ResourceUnavailable {
			t.Errorf("error is %v, want %s", err, wire.ResourceUnavailable)
		}
		if blocks, err := client.BlocksByRange(t.Context(), id, 2, 2); err != nil || len(blocks) != 1 {
			t.Errorf("at the edge of the window: %d blocks and error %v, want one block", len(blocks), err)
		}
	})
	t.Run("not connected", func(t *testing.T) {
		if _, err := client.Status(t.Context(), newNodeKey(t).PeerID()); !errors.Is(err, ErrNotConnected) {
			t.Errorf("error is %v, want %v", err, ErrNotConnected)
		}
	})
	t.Run("too much", func(t *testing.T) {
		if _, err := client.BlocksByRoot(t.Context(), id, make([]lstar.Root, MaxRequestBlocks+1)); err == nil {
			t.Error("a request for 1025 blocks was sent")
		}
		for _, count := range []uint64{0, MaxRequestBlocks + 1} {
			if _, err := client.BlocksByRange(t.Context(), id, 0, count); err == nil {
				t.Errorf("a request for %d slots was sent", count)
			}
		}
	})
	for _, n := range []*testNode{client, server} {
		if strings.Contains(n.log.String(), "peer at fault") {
			t.Errorf("got a fault:\n%s", n.log)
		}
	}
}

func slotsOf(blocks []*lstar.SignedBlock) (slots []lstar.Slot) {
	for _, b := range blocks {
		slots = append(slots, b.Block.Slot)
	}
	return slots
}

// rawPeer returns a libp2p host for a test to use directly.
func rawPeer(t testing.TB, target *testNode) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.Identity(newNodeKey(t).PrivKey()), libp2p.NoListenAddrs, libp2p.Transport(quic.NewTransport),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if target != nil {
		info := peer.AddrInfo{ID: target.PeerID(), Addrs: target.host.Addrs()}
		if err := h.Connect(t.Context(), info); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// ask sends raw bytes and returns the raw response.
func ask(t testing.TB, h host.Host, target *testNode, id protocol.ID, request []byte, closeWrite bool) ([]byte, error) {
	t.Helper()
	s, err := h.NewStream(t.Context(), target.PeerID(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	s.SetDeadline(time.Now().Add(patience))
	// The server may respond before everything is written.
	_, _ = s.Write(request)
	if closeWrite {
		_ = s.CloseWrite()
	}
	return io.ReadAll(s)
}

// bomb returns a request that decompresses to more than it declares.
func bomb() []byte {
	b := binary.AppendUvarint(nil, statusSize)
	return append(b, wiretest.Frames(make([]byte, 1<<20))...)
}

func TestBadRequests(t *testing.T) {
	status := ssz.Marshal(new(Status))
	for name, test := range map[string]struct {
		protocol  protocol.ID
		request   []byte
		stayOpen  bool // the request does not end the stream
		code      wire.ResponseCode
		faultless bool
	}{
		"status, malformed":      {wire.StatusProtocol, wire.AppendRequest(nil, status[1:]), false, wire.InvalidRequest, false},
		"status, too long":       {wire.StatusProtocol, wire.AppendRequest(nil, append(status, 0)), false, wire.InvalidRequest, false},
		"status, empty":          {wire.StatusProtocol, nil, false, wire.InvalidRequest, false},
		"status, empty payload":  {wire.StatusProtocol, wire.AppendRequest(nil, nil), false, wire.InvalidRequest, false},
		"status, truncated":      {wire.StatusProtocol, wire.AppendRequest(nil, status)[:20], false, wire.InvalidRequest, false},
		"status, no end needed":  {wire.StatusProtocol, wire.AppendRequest(nil, status), true, wire.Success, true},
		"status, snappy bomb":    {wire.StatusProtocol, bomb(), true, wire.InvalidRequest, false},
		"status, declares much":  {wire.StatusProtocol, binary.AppendUvarint(nil, MaxPayloadSize+1), true, wire.InvalidRequest, false},
		"status, endless varint": {wire.StatusProtocol, bytes.Repeat([]byte{0x80}, 11), true, wire.InvalidRequest, false},
		"status, no snappy":      {wire.StatusProtocol, append([]byte{80}, status...), true, wire.InvalidRequest, false},
		"status, raw block": {wire.StatusProtocol, append([]byte{80}, wire.CompressBlock(status)...), false,
			wire.InvalidRequest, false},
		"roots, 1025": {wire.BlocksByRootProtocol, wire.AppendRequest(nil, wire.EncodeRoots(make([]lstar.Root, 1025))), false,
			wire.InvalidRequest, false},
		"roots, odd length":   {wire.BlocksByRootProtocol, wire.AppendRequest(nil, []byte{4, 0, 0, 0, 1}), false, wire.InvalidRequest, false},
		"roots, wrong offset": {wire.BlocksByRootProtocol, wire.AppendRequest(nil, []byte{8, 0, 0, 0}), false, wire.InvalidRequest, false},
		"roots, no container": {wire.BlocksByRootProtocol, wire.AppendRequest(nil, make([]byte, 32)), false, wire.InvalidRequest, false},
		"range, count 0":      {wire.BlocksByRangeProtocol, wire.AppendRequest(nil, wire.EncodeRange(1, 0)), false, wire.InvalidRequest, false},
		"range, count 1025":   {wire.BlocksByRangeProtocol, wire.AppendRequest(nil, wire.EncodeRange(1, 1025)), false, wire.InvalidRequest, false},
		"range, short":        {wire.BlocksByRangeProtocol, wire.AppendRequest(nil, make([]byte, 15)), false, wire.InvalidRequest, false},
		"range, below the window": {wire.BlocksByRangeProtocol, wire.AppendRequest(nil, wire.EncodeRange(0, 1)), false,
			wire.ResourceUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := startNode(t)
			server.handler.set(func(h *fakeHandler) { h.current = MinSlotsForBlockRequests + 1 })
			answer, err := ask(t, rawPeer(t, server), server, test.protocol, test.request, !test.stayOpen)
			if err != nil {
				t.Fatalf("reading the response: %v", err)
			}
			parts, err := wiretest.Responses(answer)
			if err != nil || len(parts) != 1 || parts[0].Code != test.code {
				t.Errorf("response is %+v (error %v), want one part with %s", parts, err, test.code)
			}
			if faulty := strings.Contains(server.log.String(), "peer at fault"); faulty == test.faultless {
				t.Errorf("the peer is at fault: %v, want %v", faulty, !test.faultless)
			}
		})
	}
}

// TestEmptyResponses checks that valid requests for blocks that the node does not have get an empty
// response.
func TestEmptyResponses(t *testing.T) {
	server := startNode(t)
	for name, test := range map[string]struct {
		protocol protocol.ID
		payload  []byte
	}{
		"no roots":             {wire.BlocksByRootProtocol, wire.EncodeRoots[lstar.Root](nil)},
		"unknown roots":        {wire.BlocksByRootProtocol, wire.EncodeRoots(make([]lstar.Root, 1024))},
		"range of the far end": {wire.BlocksByRangeProtocol, wire.EncodeRange(1<<64-2, 1024)},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := ask(t, rawPeer(t, server), server, test.protocol, wire.AppendRequest(nil, test.payload), true)
			if err != nil || len(answer) != 0 {
				t.Errorf("response is %x (error %v), want an empty one", answer, err)
			}
		})
	}
}

// responses requests blocks and returns the parts of the response, which must be complete.
func responses(t *testing.T, h host.Host, target *testNode, id protocol.ID, payload []byte) []wiretest.Response {
	t.Helper()
	answer, err := ask(t, h, target, id, wire.AppendRequest(nil, payload), true)
	if err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	parts, err := wiretest.Responses(answer)
	if err != nil {
		t.Fatalf("the response of %d bytes is incomplete: %v", len(answer), err)
	}
	return parts
}

// TestDuplicateRoots checks that a block that is requested many times is sent once.
func TestDuplicateRoots(t *testing.T) {
	server := startNode(t)
	chain := server.handler.addChain(1, 2)
	roots := slices.Repeat([]lstar.Root{chain[0].Block.Root(), chain[1].Block.Root()}, MaxRequestBlocks/2)
	parts := responses(t, rawPeer(t, server), server, wire.BlocksByRootProtocol, wire.EncodeRoots(roots))
	if len(parts) != 2 {
		t.Errorf("%d roots of 2 blocks: %d parts, want 2", len(roots), len(parts))
	}
	server.handler.set(func(h *fakeHandler) {
		if h.asked != 2 {
			t.Errorf("the handler returned %d blocks, want 2", h.asked)
		}
	})
}

// signed adds proofs of a number of random bytes, which do not compress, to blocks.
func signed(chain []*lstar.SignedBlock, size int) []*lstar.SignedBlock {
	random := rand.NewChaCha8([32]byte{})
	for _, b := range chain {
		b.Proof.Proof = make([]byte, size)
		_, _ = random.Read(b.Proof.Proof)
	}
	return chain
}

// TestBytesAreLimited checks that a response ends at the limit of bytes of a peer or of all peers
// and is valid, and that the next request is refused.
func TestBytesAreLimited(t *testing.T) {
	for name, limit := range map[string]func(n *testNode, c *connectedPeer) **rate.Limiter{
		"of one peer": func(_ *testNode, c *connectedPeer) **rate.Limiter { return &c.bytes },
		"of all":      func(n *testNode, _ *connectedPeer) **rate.Limiter { return &n.bytes },
	} {
		for _, id := range []protocol.ID{wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol} {
			t.Run(name+" "+string(id), func(t *testing.T) {
				server := startNode(t)
				chain := signed(server.handler.addChain(1, 2, 3, 4, 5), 1000)
				size := len(server.encodedBlock(chain[0].Block.Root()))
				h := rawPeer(t, server)
				eventually(t, "the connection", func() bool { return server.peers.get(h.ID()) != nil })
				*limit(server, server.peers.get(h.ID())) = rate.NewLimiter(1, 2*size+size/2)
				request := wire.EncodeRange(1, 5)
				if id == wire.BlocksByRootProtocol {
					var roots []lstar.Root
					for _, b := range chain {
						roots = append(roots, b.Block.Root())
					}
					request = wire.EncodeRoots(roots)
				}
				parts := responses(t, h, server, id, request)
				if len(parts) != 2 || parts[0].Code != wire.Success || parts[1].Code != wire.Success {
					t.Fatalf("response is %+v, want 2 blocks", parts)
				}
				if !bytes.Equal(parts[1].Payload, ssz.Marshal(chain[1])) {
					t.Errorf("second block is %x, want that of slot 2", parts[1].Payload)
				}
				parts = responses(t, h, server, id, request)
				if len(parts) != 1 || parts[0].Code != wire.ServerError {
					t.Errorf("the response above the limit is %+v, want %s", parts, wire.ServerError)
				}
			})
		}
	}
}

// TestResponseEndsInTime checks that a response whose blocks wait for the limits ends before the
// timeout of the request.
func TestResponseEndsInTime(t *testing.T) {
	server := startNode(t)
	server.timeout = time.Second
	chain := signed(server.handler.addChain(1, 2, 3, 4, 5), 1000)
	size := len(server.encodedBlock(chain[0].Block.Root()))
	h := rawPeer(t, server)
	eventually(t, "the connection", func() bool { return server.peers.get(h.ID()) != nil })
	// The second block waits for 0.3 s, the third would wait for 0.6 s.
	server.peers.get(h.ID()).bytes = rate.NewLimiter(rate.Limit(size)/0.3, size+size/10)
	if parts := responses(t, h, server, wire.BlocksByRangeProtocol, wire.EncodeRange(1, 5)); len(parts) != 2 {
		t.Errorf("%d blocks within half a second, want 2", len(parts))
	}
}

// TestLargestBlock checks that the limits allow the largest block.
func TestLargestBlock(t *testing.T) {
	largest := snappy.MaxEncodedLen(MaxPayloadSize)
	for name, burst := range map[string]int{"a peer": byteBurst, "all peers": totalByteBurst, "the cache": maxEncodedBytes} {
		if burst < largest {
			t.Errorf("%s: %d bytes at a time, want at least the %d of the largest block", name, burst, largest)
		}
	}
}

func TestBlockCache(t *testing.T) {
	c := newBlockCache()
	const size = 1 << 20
	for i := range 3 * maxEncodedBytes / size {
		c.add(lstar.Root{byte(i)}, make([]byte, size))
		c.add(lstar.Root{byte(i)}, make([]byte, size))
		c.get(lstar.Root{0})
	}
	if c.bytes > maxEncodedBytes || c.bytes < maxEncodedBytes-size || c.parts.Len() != c.bytes/size {
		t.Errorf("%d blocks with %d bytes are cached, want %d bytes", c.parts.Len(), c.bytes, maxEncodedBytes)
	}
	if c.get(lstar.Root{0}) == nil {
		t.Error("the block that is requested all the time is not cached")
	}
	if c.get(lstar.Root{1}) != nil {
		t.Error("the least recently used block is cached")
	}
}

func TestBadRequestsAreBanned(t *testing.T) {
	server := startNode(t)
	h := rawPeer(t, server)
	for range maxFaults {
		if _, err := ask(t, h, server, wire.StatusProtocol, []byte{0}, true); err != nil {
			break // the last one may be cut off
		}
	}
	if got := receive(t, "the disconnection of the peer", server.handler.disconnected); got != h.ID() {
		t.Errorf("%s was disconnected, want %s", got, h.ID())
	}
	if !server.scores.banned(h.ID()) {
		t.Error("the peer is not banned")
	}
}

// TestSlowRequest checks that a request that arrives too slowly ends.
func TestSlowRequest(t *testing.T) {
	server := startNode(t)
	server.timeout = 50 * time.Millisecond
	if _, err := ask(t, rawPeer(t, server), server, wire.StatusProtocol, []byte{80}, false); err == nil {
		t.Error("an incomplete request got a response")
	}
	eventually(t, "the fault", func() bool { return strings.Contains(server.log.String(), "incomplete request") })
}

// TestTooManyRequests checks that one peer cannot use all places.
func TestTooManyRequests(t *testing.T) {
	server := startNode(t)
	h := rawPeer(t, server)
	for range maxServingPerPeer {
		s, err := h.NewStream(t.Context(), server.PeerID(), wire.StatusProtocol)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if _, err := s.Write([]byte{80}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all places to be taken", func() bool { return len(server.serving) == maxServingPerPeer })
	request := wire.AppendRequest(nil, ssz.Marshal(new(Status)))
	answer, err := ask(t, h, server, wire.StatusProtocol, request, true)
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := wiretest.Responses(answer); err != nil || len(parts) != 1 || parts[0].Code != wire.ServerError {
		t.Errorf("the response is %+v, %v, want %s", parts, err, wire.ServerError)
	}
	answer, err = ask(t, rawPeer(t, server), server, wire.StatusProtocol, request, true)
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := wiretest.Responses(answer); err != nil || len(parts) != 1 || parts[0].Code != wire.Success {
		t.Errorf("the response to another peer is %+v, %v, want %s", parts, err, wire.Success)
	}
}

// answering connects a raw peer that sends the same response to each request of a protocol, and
// returns it with a client.
func answering(t *testing.T, id protocol.ID, answer func(network.Stream)) (*testNode, peer.ID) {
	t.Helper()
	client := startNode(t)
	h := rawPeer(t, nil)
	h.SetStreamHandler(id, answer)
	info := peer.AddrInfo{ID: client.PeerID(), Addrs: client.host.Addrs()}
	if err := h.Connect(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return len(client.Peers()) == 1 })
	return client, h.ID()
}

func saying(answer []byte) func(network.Stream) {
	return func(s network.Stream) {
		io.Copy(io.Discard, s)
		s.Write(answer)
		s.Close()
	}
}

func TestBadResponses(t *testing.T) {
	chain := newFakeHandler().addChain(3, 4, 5, 6)
	parts := func(blocks ...*lstar.SignedBlock) (b []byte) {
		for _, block := range blocks {
			b = wire.AppendResponse(b, wire.Success, ssz.Marshal(block))
		}
		return b
	}
	a, b, c, d := chain[0], chain[1], chain[2], chain[3]
	byRoot := func(n *testNode, id peer.ID) ([]*lstar.SignedBlock, error) {
		return n.BlocksByRoot(t.Context(), id, []lstar.Root{a.Block.Root(), b.Block.Root(), c.Block.Root()})
	}
	byRange := func(n *testNode, id peer.ID) ([]*lstar.SignedBlock, error) {
		return n.BlocksByRange(t.Context(), id, 3, 3)
	}
	failed := func(code wire.ResponseCode) []byte { return wire.AppendResponse(nil, code, []byte("no")) }
	const root, rang = wire.BlocksByRootProtocol, wire.BlocksByRangeProtocol

	for name, test := range map[string]struct {
		protocol protocol.ID
		answer   []byte
		want     []lstar.Slot // the valid blocks
		err      error        // nil, ErrBadResponse, or a ResponseError with the right code
	}{
		"root, any order":           {root, parts(c, a), []lstar.Slot{5, 3}, nil},
		"root, one unavailable":     {root, slices.Concat(failed(wire.ResourceUnavailable), parts(b)), []lstar.Slot{4}, nil},
		"root, unsolicited":         {root, parts(a, d), []lstar.Slot{3}, ErrBadResponse},
		"root, duplicate":           {root, parts(a, a), []lstar.Slot{3}, ErrBadResponse},
		"root, too many":            {root, parts(a, b, c, d), []lstar.Slot{3, 4, 5}, ErrBadResponse},
		"root, truncated":           {root, parts(a, b)[:len(parts(a, b))-1], []lstar.Slot{3}, ErrBadResponse},
		"root, no SSZ":              {root, wire.AppendResponse(nil, wire.Success, []byte("x")), nil, ErrBadResponse},
		"root, no code":             {root, []byte{0}, nil, ErrBadResponse},
		"root, declares too much":   {root, binary.AppendUvarint([]byte{0}, MaxPayloadSize+1), nil, ErrBadResponse},
		"root, bomb":                {root, append([]byte{0}, bomb()...), nil, ErrBadResponse},
		"root, invalid request":     {root, failed(wire.InvalidRequest), nil, &ResponseError{wire.InvalidRequest, "no"}},
		"root, server error":        {root, slices.Concat(parts(a), failed(wire.ServerError)), []lstar.Slot{3}, &ResponseError{wire.ServerError, "no"}},
		"root, reserved code":       {root, failed(77), nil, &ResponseError{wire.ServerError, "no"}},
		"root, impossible code":     {root, failed(200), nil, &ResponseError{wire.InvalidRequest, "no"}},
		"root, long error":          {root, wire.AppendResponse(nil, wire.ServerError, make([]byte, 257)), nil, ErrBadResponse},
		"range, with gaps":          {rang, parts(a, b), []lstar.Slot{3, 4}, nil},
		"range, none":               {rang, nil, nil, nil},
		"range, outside":            {rang, parts(a, b, d), []lstar.Slot{3, 4}, ErrBadResponse},
		"range, descending":         {rang, parts(b, a), []lstar.Slot{4}, ErrBadResponse},
		"range, duplicate":          {rang, parts(a, a), []lstar.Slot{3}, ErrBadResponse},
		"range, no child":           {rang, parts(a, c), []lstar.Slot{3}, ErrBadResponse},
		"range, too many":           {rang, parts(a, b, c, c), []lstar.Slot{3, 4, 5}, ErrBadResponse},
		"range, garbage at the end": {rang, append(parts(a), 9), []lstar.Slot{3}, ErrBadResponse},
		"range, unavailable":        {rang, failed(wire.ResourceUnavailable), nil, &ResponseError{wire.ResourceUnavailable, "no"}},
	} {
		t.Run(name, func(t *testing.T) {
			client, id := answering(t, test.protocol, saying(test.answer))
			fetch := byRoot
			if test.protocol == rang {
				fetch = byRange
			}
			blocks, err := fetch(client, id)
			if got := slotsOf(blocks); !slices.Equal(got, test.want) {
				t.Errorf("blocks of slots %v, want %v", got, test.want)
			}
			var got, want *ResponseError
			switch {
			case errors.As(test.err, &want):
				if !errors.As(err, &got) || *got != *want {
					t.Errorf("error is %v, want %v", err, want)
				}
			case !errors.Is(err, test.err):
				t.Errorf("error is %v, want %v", err, test.err)
			}
			if faulty := strings.Contains(client.log.String(), "peer at fault"); faulty != (test.err == ErrBadResponse) {
				t.Errorf("the peer is at fault: %v, want %v", faulty, !faulty)
			}
		})
	}
}

func TestBadStatusResponses(t *testing.T) {
	status := ssz.Marshal(new(Status))
	good := wire.AppendResponse(nil, wire.Success, status)
	for name, answer := range map[string][]byte{
		"none": nil, "two": slices.Concat(good, good), "short": wire.AppendResponse(nil, wire.Success, status[1:]),
	} {
		t.Run(name, func(t *testing.T) {
			client, id := answering(t, wire.StatusProtocol, saying(answer))
			if _, err := client.Status(t.Context(), id); !errors.Is(err, ErrBadResponse) {
				t.Errorf("error is %v, want %v", err, ErrBadResponse)
			}
			if len(client.handler.statuses) != 0 {
				t.Error("the handler received a status")
			}
		})
	}
}

// TestUnsupportedProtocol checks that a peer without a protocol gets one request of it, has no
// fault, and gets requests of other protocols.
func TestUnsupportedProtocol(t *testing.T) {
	client, id := answering(t, wire.BlocksByRootProtocol, saying(nil))
	for range 3 {
		if _, err := client.BlocksByRange(t.Context(), id, 1, 1); !errors.Is(err, ErrUnsupported) {
			t.Errorf("error is %v, want %v", err, ErrUnsupported)
		}
	}
	if _, err := client.BlocksByRoot(t.Context(), id, []lstar.Root{{1}}); err != nil {
		t.Errorf("another protocol: %v", err)
	}
	if strings.Contains(client.log.String(), "peer at fault") {
		t.Errorf("the peer is at fault:\n%s", client.log)
	}
	c := client.peers.get(id)
	if !c.lacks(wire.BlocksByRangeProtocol, time.Now()) || c.lacks(wire.BlocksByRangeProtocol, time.Now().Add(unsupportedTTL)) {
		t.Errorf("want the peer to lack the protocol for %v", unsupportedTTL)
	}
}

// TestRequestsInFlight checks that a third request to a peer waits for one of two.
func TestRequestsInFlight(t *testing.T) {
	arrived, proceed := make(chan struct{}, 10), make(chan struct{})
	client, id := answering(t, wire.BlocksByRootProtocol, func(s network.Stream) {
		arrived <- struct{}{}
		<-proceed
		s.Close()
	})
	done := make(chan error)
	for range maxInFlight {
		go func() {
			_, err := client.BlocksByRoot(context.Background(), id, []lstar.Root{{1}})
			done <- err
		}()
		receive(t, "a request", arrived)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.BlocksByRoot(ctx, id, []lstar.Root{{1}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third request ends with %v, want it to wait", err)
	}
	if len(arrived) != 0 {
		t.Error("a third request was sent")
	}
	close(proceed)
	for range maxInFlight {
		if err := receive(t, "the end of a request", done); err != nil {
			t.Errorf("request: %v", err)
		}
	}
}

// TestNoResponse checks that a missing response is a fault of the peer, unless the caller ended the
// request.
func TestNoResponse(t *testing.T) {
	proceed := make(chan struct{})
	t.Cleanup(func() { close(proceed) })
	client, id := answering(t, wire.BlocksByRootProtocol, func(s network.Stream) {
		<-proceed
		s.Reset()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.BlocksByRoot(ctx, id, []lstar.Root{{1}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want %v", err, context.DeadlineExceeded)
	}
	if strings.Contains(client.log.String(), "peer at fault") {
		t.Error("got a fault of the peer for a request that the caller ended")
	}
	client.timeout = 20 * time.Millisecond
	if _, err := client.BlocksByRoot(t.Context(), id, []lstar.Root{{1}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want %v", err, context.DeadlineExceeded)
	}
	if !strings.Contains(client.log.String(), "no response in time") {
		t.Error("got no fault for a missing response, want one")
	}
}

// TestResetIsNoFault checks that a connection that fails is not a fault.
func TestResetIsNoFault(t *testing.T) {
	client, id := answering(t, wire.BlocksByRootProtocol, func(s network.Stream) { s.Reset() })
	for range 2 * maxFaults {
		if _, err := client.BlocksByRoot(t.Context(), id, []lstar.Root{{1}}); err == nil {
			t.Error("a request that was reset succeeded")
		}
	}
	if strings.Contains(client.log.String(), "peer at fault") {
		t.Error("the peer is at fault")
	}
}

func TestScores(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := newScores(func() time.Time { return now })
	const id = peer.ID("peer")
	for i := range maxFaults {
		if s.banned(id) {
			t.Fatalf("banned after %d faults, want %d", i, maxFaults)
		}
		faults, banned := s.fault(id, 1)
		if want := float64(i + 1); faults != want || banned != (i == maxFaults-1) {
			t.Errorf("fault %d: %v faults, banned %v; want %v and only the last to ban", i, faults, banned, want)
		}
	}
	if !s.banned(id) || s.banned("other") {
		t.Error("want the peer to be banned, and only that one")
	}
	now = now.Add(banTime)
	if s.banned(id) {
		t.Errorf("still banned after %v", banTime)
	}
	// Two faults a minute decay as fast as they are added.
	for range 100 {
		now = now.Add(faultHalfLife / 2)
		if _, banned := s.fault(id, 1); banned {
			t.Fatal("two faults a minute lead to a ban")
		}
	}
	for i := range 2 * maxKnownFaulty {
		s.fault(peer.ID(binary.BigEndian.AppendUint64(nil, uint64(i))), 1)
	}
	if got := s.peers.Len(); got != maxKnownFaulty {
		t.Errorf("the faults of %d peers are stored, want %d", got, maxKnownFaulty)
	}
}

func BenchmarkBlocksByRange(b *testing.B) {
	server := startNode(b)
	var slots []lstar.Slot
	for slot := range lstar.Slot(64) {
		slots = append(slots, slot)
	}
	signed(server.handler.addChain(slots...), 256<<10)
	client := startNode(b, dialing(server))
	waitConnected(b, client, server)
	c := server.peers.get(client.PeerID())
	for _, l := range []*rate.Limiter{c.requests, c.blocks, c.bytes, server.blocks, server.bytes} {
		l.SetLimit(1e12)
		l.SetBurst(1e12)
	}
	b.ReportAllocs()
	for b.Loop() {
		blocks, err := client.BlocksByRange(b.Context(), server.PeerID(), 0, 64)
		if err != nil || len(blocks) != 64 {
			b.Fatal(fmt.Sprint(len(blocks), " blocks, error ", err))
		}
	}
	b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "blocks/s")
}

// BenchmarkServeBlocks measures the preparation of a response of 64 blocks.
func BenchmarkServeBlocks(b *testing.B) {
	server := startNode(b)
	var slots []lstar.Slot
	for slot := range lstar.Slot(64) {
		slots = append(slots, slot)
	}
	signed(server.handler.addChain(slots...), 256<<10)
	unlimited := rate.NewLimiter(rate.Inf, 0)
	c := &connectedPeer{blocks: unlimited, bytes: unlimited}
	server.blocks, server.bytes = unlimited, unlimited
	request := wire.EncodeRange(0, 64)
	b.SetBytes(64 * 256 << 10)
	b.ReportAllocs()
	for b.Loop() {
		refused, err := server.answerBlocksByRange(b.Context(), c, request, func([]byte) error { return nil })
		if refused != nil || err != nil {
			b.Fatalf("refusal %v, error %v", refused, err)
		}
	}
}
