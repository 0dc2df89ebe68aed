package p2p

import (
	"bufio"
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// Limits of requests from peers. The response to a request above them is SERVER_ERROR. A response waits
// until the limits of blocks and bytes allow its next block, and ends early if that would take too long.
//
// Bytes are those on the wire. One peer can fetch 3600 blocks of 100 KB in less than a minute. The
// total is below the bandwidth of common servers.
const (
	maxServing           = 64 // requests at a time
	maxServingPerPeer    = 8
	requestsPerSecond    = 20
	requestBurst         = 64
	blocksPerSecond      = 1024
	blockBurst           = 4 * MaxRequestBlocks
	totalBlocksPerSecond = 4096
	totalBlockBurst      = 8 * MaxRequestBlocks
	bytesPerSecond       = 8 << 20
	byteBurst            = 32 << 20
	totalBytesPerSecond  = 32 << 20
	totalByteBurst       = 128 << 20

	// requestTimeout bounds the time from the first byte of a request to the last byte of the response.
	//
	// leanSpec: node/networking/config.py, RESP_TIMEOUT
	requestTimeout = 10 * time.Second

	// servingShare is the part of requestTimeout in which blocks are sent. They arrive in the rest,
	// so that the peer reads a short but complete response.
	servingShare = 0.5
)

const statusSize = 80

// statusEndDelay is the time between a status response and the end of its stream.
//
// leanSpec's node ends the stream of its request a second time once it has read the response. If
// both sides have ended the stream by then, its QUIC library creates the stream again, and the
// second end causes a FINAL_SIZE_ERROR, which closes the connection. Responses with blocks end
// without a delay: leanSpec's node reads those to their end, so that a delay would cause the error.
//
// leanSpec: node/networking/client/reqresp_client.py, _do_status_request
const statusEndDelay = 50 * time.Millisecond

// refusal is a response with an error code.
type refusal struct {
	code wire.ResponseCode
	text string
}

var busy = &refusal{wire.ServerError, "Too many requests"}

// answer responds to a request. It calls send with each encoded part of the response.
type answer func(ctx context.Context, c *connectedPeer, request []byte, send func([]byte) error) (*refusal, error)

// handleRequests registers the handlers of the requests of peers.
//
// leanSpec: node/networking/reqresp/handler.py, ReqRespServer
func (n *Network) handleRequests() {
	for id, p := range map[protocol.ID]struct {
		limit  int
		answer answer
	}{
		wire.StatusProtocol:        {statusSize, n.answerStatus},
		wire.BlocksByRootProtocol:  {wire.MaxRootsSize, n.answerBlocksByRoot},
		wire.BlocksByRangeProtocol: {wire.BlocksByRangeSize, n.answerBlocksByRange},
	} {
		n.host.SetStreamHandler(id, func(s network.Stream) {
			// Close waits until the stream has been served.
			served := make(chan struct{})
			n.spawn(func(ctx context.Context) {
				defer close(served)
				n.serve(ctx, s, id, p.limit, p.answer)
			})
			select {
			case <-served:
			case <-n.ctx.Done():
				s.Reset()
			}
		})
	}
}

func (n *Network) serve(outer context.Context, s network.Stream, id protocol.ID, limit int, answer answer) {
	ctx, cancel := context.WithTimeout(outer, n.timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		s.Reset()
		return
	}
	c := n.peers.get(s.Conn().RemotePeer())
	if c == nil {
		s.Reset()
		return
	}
	started := n.now()
	refused, err := n.respond(ctx, c, s, limit, answer)
	n.requested(outer, id, events.DirectionInbound, requestResult(ctx, refused, err), n.now().Sub(started))
	if err == nil && refused != nil {
		text := refused.text[:min(len(refused.text), wire.MaxErrorSize)]
		_, err = s.Write(wire.AppendResponse(nil, refused.code, []byte(text)))
	}
	if err != nil {
		s.Reset()
		return
	}
	if id == wire.StatusProtocol {
		select {
		case <-time.After(statusEndDelay):
		case <-ctx.Done():
		}
	}
	s.Close()
}

// respond reads a request and sends the parts of its response. The error is that of the stream.
func (n *Network) respond(ctx context.Context, c *connectedPeer, s network.Stream, limit int, answer answer) (*refusal, error) {
	if !c.requests.Allow() || !tryAcquire(c.serving) {
		return busy, nil
	}
	defer release(c.serving)
	if !tryAcquire(n.serving) {
		return busy, nil
	}
	defer release(n.serving)

	request, err := wire.ReadRequest(bufio.NewReader(s), limit)
	if errors.Is(err, wire.ErrInvalid) {
		n.fault(c.id, "malformed request", err)
		return &refusal{wire.InvalidRequest, "Malformed request"}, nil
	}
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded || isTimeout(err) {
			n.fault(c.id, "incomplete request", err)
		}
		return nil, err
	}
	return answer(ctx, c, request, func(part []byte) error {
		_, err := s.Write(part)
		return err
	})
}

func (n *Network) answerStatus(_ context.Context, c *connectedPeer, request []byte, send func([]byte) error) (*refusal, error) {
	var theirs Status
	if err := ssz.Unmarshal(request, &theirs); err != nil {
		n.fault(c.id, "malformed request", err)
		return &refusal{wire.InvalidRequest, "Invalid Status message"}, nil
	}
	ours := n.cfg.Handler.Status()
	if err := send(wire.AppendResponse(nil, wire.Success, ssz.Marshal(&ours))); err != nil {
		return nil, err
	}
	// The status is sent even if takeStatus ends the connection, so that the peer can determine why.
	_ = n.takeStatus(c, theirs)
	return nil, nil
}

// answerBlocksByRoot sends the requested blocks that the node has, in the order of the request,
// each once.
//
// leanSpec: node/networking/reqresp/handler.py, handle_blocks_by_root
func (n *Network) answerBlocksByRoot(ctx context.Context, c *connectedPeer, request []byte, send func([]byte) error) (*refusal, error) {
	roots, err := wire.DecodeRoots[lstar.Root](request)
	if err != nil {
		n.fault(c.id, "malformed request", err)
		return &refusal{wire.InvalidRequest, "Invalid BlocksByRootRequest message"}, nil
	}
	return n.sendBlocks(ctx, c, slices.Values(distinct(roots)), send)
}

// answerBlocksByRange sends the blocks of the canonical chain in a range.
//
// leanSpec: node/networking/reqresp/handler.py, handle_blocks_by_range
func (n *Network) answerBlocksByRange(ctx context.Context, c *connectedPeer, request []byte, send func([]byte) error) (*refusal, error) {
	start, count, err := wire.DecodeRange(request)
	if err != nil {
		n.fault(c.id, "malformed request", err)
		return &refusal{wire.InvalidRequest, "Invalid BlocksByRangeRequest message"}, nil
	}
	if count == 0 || count > MaxRequestBlocks {
		n.fault(c.id, "range request with an invalid count", nil)
		return &refusal{wire.InvalidRequest, "Invalid count"}, nil
	}
	current := uint64(n.cfg.Handler.CurrentSlot())
	if current >= MinSlotsForBlockRequests && start < current-MinSlotsForBlockRequests {
		return &refusal{wire.ResourceUnavailable, "Requested slot predates history window"}, nil
	}
	return n.sendBlocks(ctx, c, func(yield func(lstar.Root) bool) {
		for i := range count {
			if start+i < start {
				return // above the largest slot
			}
			root, ok := n.cfg.Handler.CanonicalRoot(lstar.Slot(start + i))
			if ok && !yield(root) {
				return
			}
		}
	}, send)
}

// sendBlocks sends the blocks that the handler has. If it reaches the limits, it ends the response
// early, which is valid for both kinds of requests, and the peer requests the rest. If it has not sent a
// block, it refuses the request, because an empty response means that the node does not have the blocks.
func (n *Network) sendBlocks(ctx context.Context, c *connectedPeer, roots iter.Seq[lstar.Root], send func([]byte) error) (*refusal, error) {
	until := time.Now().Add(time.Duration(servingShare * float64(n.timeout)))
	sent := 0
	for root := range roots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := n.encodedBlock(root)
		if part == nil {
			continue
		}
		switch ok, err := n.spend(ctx, c, len(part), until); {
		case err != nil:
			return nil, err
		case !ok && sent == 0:
			return busy, nil
		case !ok:
			return nil, nil
		}
		if err := send(part); err != nil {
			return nil, err
		}
		sent++
	}
	return nil, nil
}

// spend waits until the limits of the peer and of all peers together allow a block of a number of
// bytes. If that would be after until, it returns false and leaves the limits unchanged.
func (n *Network) spend(ctx context.Context, c *connectedPeer, bytes int, until time.Time) (bool, error) {
	now := time.Now()
	if now.After(until) {
		return false, nil
	}
	var wait time.Duration
	var reserved []*rate.Reservation
	for _, l := range [...]struct {
		limiter *rate.Limiter
		tokens  int
	}{{c.blocks, 1}, {c.bytes, bytes}, {n.blocks, 1}, {n.bytes, bytes}} {
		r := l.limiter.ReserveN(now, l.tokens)
		reserved = append(reserved, r)
		wait = max(wait, r.DelayFrom(now))
	}
	if wait > until.Sub(now) {
		for _, r := range reserved {
			r.CancelAt(now)
		}
		return false, nil
	}
	if wait == 0 {
		return true, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// encodedBlock returns a block as an encoded part of a response, or nil if the handler does not have it.
func (n *Network) encodedBlock(root lstar.Root) []byte {
	if part := n.encoded.get(root); part != nil {
		return part
	}
	b := n.cfg.Handler.BlockByRoot(root)
	if b == nil {
		return nil
	}
	part := wire.AppendResponse(nil, wire.Success, ssz.Marshal(b))
	n.encoded.add(root, part)
	return part
}

// tryAcquire takes a place and returns true, or returns false if all places are taken.
func tryAcquire(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

func release(places chan struct{}) { <-places }
