package p2p

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

const (
	// maxInFlight is the number of requests that one peer gets at a time.
	maxInFlight = 2
	// unsupportedTTL is how long a peer that does not support a protocol gets no further requests for it.
	unsupportedTTL = 5 * time.Minute
)

var (
	// ErrUnsupported is the error of a request to a peer that does not support its protocol.
	ErrUnsupported = errors.New("peer does not support the protocol")
	// ErrBadResponse is the error of a response that violates the protocol. It has been counted as
	// a fault of the peer.
	ErrBadResponse = errors.New("bad response")
	// ErrNoResponse is the error of a request without a response in time. It has been counted as a
	// fault of the peer.
	ErrNoResponse = errors.New("no response in time")

	errBanned = errors.New("peer is banned")
)

// ResponseError is a response with an error code.
type ResponseError struct {
	Code wire.ResponseCode
	Text string // from the peer
}

// Error implements error.
func (e *ResponseError) Error() string { return fmt.Sprintf("peer responded %s: %q", e.Code, e.Text) }

// request sends a request and passes each part of the response to receive, until the response ends
// or an error occurs. Errors of receive about the response must wrap ErrBadResponse.
//
// leanSpec: node/networking/client/reqresp_client.py, ReqRespClient
func (n *Network) request(ctx context.Context, id peer.ID, protocolID protocol.ID, limit int, payload []byte,
	receive func(code wire.ResponseCode, payload []byte) error,
) error {
	c := n.peers.get(id)
	if c == nil {
		return ErrNotConnected
	}
	if c.lacks(string(protocolID), n.now()) {
		return ErrUnsupported
	}
	select {
	case c.inFlight <- struct{}{}:
		defer release(c.inFlight)
	case <-c.gone:
		return ErrNotConnected
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return ErrNotConnected
	}
	own, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	started := n.now()
	err := n.exchange(own, id, protocolID, limit, payload, receive)
	n.requested(ctx, protocolID, events.DirectionOutbound, requestResult(own, nil, err), n.now().Sub(started))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, multistream.ErrNotSupported[protocol.ID]{}):
		c.setLacks(string(protocolID), n.now().Add(unsupportedTTL))
		return ErrUnsupported
	case errors.Is(err, wire.ErrInvalid) || errors.Is(err, ErrBadResponse):
		n.fault(id, "bad response", err)
		if !errors.Is(err, ErrBadResponse) {
			err = fmt.Errorf("%w: %w", ErrBadResponse, err)
		}
		return err
	case ctx.Err() != nil:
		return ctx.Err() // the caller has ended the request
	case own.Err() != nil && !c.isGone():
		n.fault(id, "no response in time", nil)
		return fmt.Errorf("%w (%v): %w", ErrNoResponse, n.timeout, context.DeadlineExceeded)
	default:
		return err
	}
}

// requestResult returns the result, as events name it, of a request from this node or from a peer.
func requestResult(ctx context.Context, refused *refusal, err error) string {
	var answer *ResponseError
	switch {
	case err == nil && refused == nil:
		return events.ResultSuccess
	case refused != nil || errors.As(err, &answer) || errors.Is(err, multistream.ErrNotSupported[protocol.ID]{}):
		return events.ResultRefused
	case ctx.Err() == context.DeadlineExceeded || isTimeout(err):
		return events.ResultTimeout
	}
	return events.ResultError
}

// requested reports the end of a request, unless this node has ended it early.
func (n *Network) requested(ctx context.Context, id protocol.ID, direction, result string, took time.Duration) {
	if ctx.Err() == context.Canceled || n.ctx.Err() != nil {
		return
	}
	name := map[protocol.ID]string{
		wire.StatusProtocol:        events.RequestStatus,
		wire.BlocksByRootProtocol:  events.RequestBlocksByRoot,
		wire.BlocksByRangeProtocol: events.RequestBlocksByRange,
	}[id]
	n.bus.Report(events.RequestEnded{Protocol: name, Direction: direction, Result: result, Duration: took})
}

// exchange sends a request and reads the response for request.
func (n *Network) exchange(ctx context.Context, id peer.ID, protocolID protocol.ID, limit int, payload []byte,
	receive func(code wire.ResponseCode, payload []byte) error,
) error {
	s, err := n.host.NewStream(network.WithNoDial(ctx, "requests are sent to connected peers only"), id, protocolID)
	if err != nil {
		return err
	}
	defer s.Reset() // does nothing to a stream that was read to its end
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	if _, err := s.Write(wire.AppendRequest(nil, payload)); err != nil {
		return err
	}
	// Ignore the error: the peer may have responded and closed the stream already.
	_ = s.CloseWrite()
	r := bufio.NewReader(s)
	for {
		code, payload, err := wire.ReadResponse(r, limit)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := receive(code, payload); err != nil {
			return err
		}
	}
}

// Status implements Requester. It also returns the error of Handler.OnStatus, which ends the connection.
func (n *Network) Status(ctx context.Context, from peer.ID) (Status, error) {
	var theirs Status
	parts := 0
	ours := n.cfg.Handler.Status()
	err := n.request(ctx, from, wire.StatusProtocol, statusSize, ssz.Marshal(&ours),
		func(code wire.ResponseCode, payload []byte) error {
			if parts++; parts > 1 {
				return fmt.Errorf("%w: more than one status", ErrBadResponse)
			}
			if code != wire.Success {
				return &ResponseError{code, string(payload)}
			}
			if err := ssz.Unmarshal(payload, &theirs); err != nil {
				return fmt.Errorf("%w: status: %w", ErrBadResponse, err)
			}
			return nil
		})
	if err != nil {
		return Status{}, err
	}
	if parts == 0 {
		n.fault(from, "bad response", nil)
		return Status{}, fmt.Errorf("%w: no status", ErrBadResponse)
	}
	c := n.peers.get(from)
	if c == nil {
		return Status{}, ErrNotConnected
	}
	return theirs, n.takeStatus(c, theirs)
}

// takeStatus passes a status to the handler, and ends the connection if the handler returns an error.
func (n *Network) takeStatus(c *connectedPeer, s Status) error {
	err := ErrNotConnected
	c.announce(n.cfg.Handler, func() {
		c.setStatus(s)
		if err = n.cfg.Handler.OnStatus(c.id, s); err != nil {
			n.Disconnect(c.id, err.Error())
		}
	})
	return err
}

// BlocksByRoot implements Requester.
func (n *Network) BlocksByRoot(ctx context.Context, from peer.ID, roots []lstar.Root) ([]*lstar.SignedBlock, error) {
	if len(roots) == 0 {
		return nil, nil
	}
	if len(roots) > MaxRequestBlocks {
		return nil, fmt.Errorf("request for %d blocks, want at most %d", len(roots), MaxRequestBlocks)
	}
	missing := distinct(roots)
	var blocks []*lstar.SignedBlock
	parts, most := 0, len(missing)
	err := n.request(ctx, from, wire.BlocksByRootProtocol, MaxPayloadSize, wire.EncodeRoots(missing),
		func(code wire.ResponseCode, payload []byte) error {
			if parts++; parts > most {
				return fmt.Errorf("%w: more parts than requested blocks", ErrBadResponse)
			}
			if code == wire.ResourceUnavailable {
				return nil // the peer does not have this one
			}
			block, err := decodeBlock(code, payload)
			if err != nil {
				return err
			}
			i := slices.Index(missing, block.Block.Root())
			if i < 0 {
				return fmt.Errorf("%w: block that was not requested, or a duplicate", ErrBadResponse)
			}
			missing = slices.Delete(missing, i, i+1)
			blocks = append(blocks, block)
			return nil
		})
	return blocks, err
}

// BlocksByRange implements Requester.
func (n *Network) BlocksByRange(ctx context.Context, from peer.ID, start lstar.Slot, count uint64) ([]*lstar.SignedBlock, error) {
	if count == 0 || count > MaxRequestBlocks || uint64(start) > math.MaxUint64-count {
		return nil, fmt.Errorf("request for %d slots from %d: want 1 to %d", count, start, MaxRequestBlocks)
	}
	var blocks []*lstar.SignedBlock
	var parent lstar.Root
	parts := uint64(0)
	err := n.request(ctx, from, wire.BlocksByRangeProtocol, MaxPayloadSize, wire.EncodeRange(uint64(start), count),
		func(code wire.ResponseCode, payload []byte) error {
			if parts++; parts > count {
				return fmt.Errorf("%w: more parts than requested slots", ErrBadResponse)
			}
			if code == wire.ResourceUnavailable && len(blocks) > 0 {
				return nil // leanSpec allows this for single slots
			}
			signed, err := decodeBlock(code, payload)
			if err != nil {
				return err
			}
			block := &signed.Block
			switch {
			case block.Slot < start || uint64(block.Slot-start) >= count:
				return fmt.Errorf("%w: block of slot %d is not in the range", ErrBadResponse, block.Slot)
			case len(blocks) > 0 && block.Slot <= blocks[len(blocks)-1].Block.Slot:
				return fmt.Errorf("%w: slot %d does not ascend", ErrBadResponse, block.Slot)
			case len(blocks) > 0 && block.ParentRoot != parent:
				return fmt.Errorf("%w: block of slot %d is not a child of the block before it", ErrBadResponse, block.Slot)
			}
			parent = block.Root()
			blocks = append(blocks, signed)
			return nil
		})
	return blocks, err
}

// distinct returns each of the roots once, in the same order.
func distinct(roots []lstar.Root) []lstar.Root {
	seen := make(map[lstar.Root]bool, len(roots))
	return slices.DeleteFunc(slices.Clone(roots), func(root lstar.Root) bool {
		defer func() { seen[root] = true }()
		return seen[root]
	})
}

// decodeBlock decodes a part of a response with a block.
func decodeBlock(code wire.ResponseCode, payload []byte) (*lstar.SignedBlock, error) {
	if code != wire.Success {
		return nil, &ResponseError{code, string(payload)}
	}
	block, err := lstar.DecodeSignedBlock(payload)
	if err == nil {
		err = lstar.CheckBody(&block.Block.Body) // bounds the memory of a block that waits
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadResponse, err)
	}
	return block, nil
}

// isTimeout reports whether an operation exceeded its deadline.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}
