package syncer

import (
	"context"
	"errors"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
)

// cause is the cause of an error. Only causeBadCopy, causeBadMessage and causeBadResponse are
// faults of the peer that sent the message.
type cause int

const (
	// causeNone: there is no error, or the message brings nothing new.
	causeNone cause = iota
	// causeOurs: this node stops, is too slow or has failed. The error says nothing about the
	// message or its sender.
	causeOurs
	// causeEarly: the message refers to a block that this node does not have, or to a time or a
	// chain that this node has not reached.
	causeEarly
	// causeBadCopy: this copy is invalid, because of its signatures. Another copy of the same block
	// can be valid.
	causeBadCopy
	// causeBadMessage: no copy of the message can be valid.
	causeBadMessage
	// causeUnanswered: the peer cannot or does not serve the request. Correct peers do that, too.
	causeUnanswered
	// causeBadResponse: the peer violated the protocol of requests. Package p2p has counted the fault.
	causeBadResponse
)

// causeOf returns the cause of an error of an import, a vote or a request. If an error joins
// several and one of them is causeOurs, so is the whole.
func causeOf(err error) cause {
	var rejection *lstar.Rejection
	var response *p2p.ResponseError
	switch {
	case err == nil:
		return causeNone
	case errors.Is(err, p2p.ErrNoResponse): // wraps the error of a context
		return causeBadResponse
	case errors.Is(err, chain.ErrStopped), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return causeOurs
	case errors.Is(err, lstar.ErrKnown), errors.Is(err, lstar.ErrNothingNew):
		return causeNone
	case errors.Is(err, p2p.ErrBadResponse):
		return causeBadResponse
	case errors.Is(err, p2p.ErrUnsupported), errors.Is(err, p2p.ErrNotConnected), errors.As(err, &response):
		return causeUnanswered
	case errors.As(err, &rejection):
		return causeOfRejection(rejection.Reason)
	}
	return causeOurs
}

func causeOfRejection(reason lstar.RejectionReason) cause {
	switch reason {
	case lstar.UnknownParentBlock, lstar.UnknownSourceBlock, lstar.UnknownTargetBlock, lstar.UnknownHeadBlock,
		lstar.BlockTooFarInFuture, lstar.AttestationTooFarInFuture,
		lstar.HeadNotDescendantOfFinalized: // depends on what this node has finalized
		return causeEarly
	case lstar.InvalidBlockProof, lstar.InvalidSignature: // the root does not cover them
		return causeBadCopy
	}
	return causeBadMessage
}

// invalid reports whether a block or a vote is a fault of the peer that sent it.
func (c cause) invalid() bool { return c == causeBadCopy || c == causeBadMessage }
