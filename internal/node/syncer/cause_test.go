package syncer

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

// rejectionReasons returns the reasons that package lstar declares.
func rejectionReasons(t *testing.T) (reasons []lstar.RejectionReason) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../core/lstar/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						reasons = append(reasons, lstar.RejectionReason(s))
					}
				}
			}
		}
		return true
	})
	if len(reasons) < 30 {
		t.Fatalf("%d rejection reasons found, want all of errors.go", len(reasons))
	}
	return reasons
}

func TestCauseOf(t *testing.T) {
	rejected := func(r lstar.RejectionReason) error { return &lstar.Rejection{Reason: r} }
	tests := map[string]struct {
		err  error
		want cause
	}{
		"no error":                      {nil, causeNone},
		"known":                         {lstar.ErrKnown, causeNone},
		"nothing new":                   {lstar.ErrNothingNew, causeNone},
		"the chain stopped":             {chain.ErrStopped, causeOurs},
		"the chain stopped, wrapped":    {fmt.Errorf("import: %w", chain.ErrStopped), causeOurs},
		"stopped while it was rejected": {errors.Join(chain.ErrStopped, rejected(lstar.InvalidBlockProof)), causeOurs},
		"canceled":                      {context.Canceled, causeOurs},
		"our deadline":                  {context.DeadlineExceeded, causeOurs},
		"canceled while it was checked": {errors.Join(context.Canceled, rejected(lstar.StateRootMismatch)), causeOurs},
		"the disk":                      {errors.New("write chain/000012.sst: no space left on device"), causeOurs},
		"bad response":                  {fmt.Errorf("%w: block that was not asked for", p2p.ErrBadResponse), causeBadResponse},
		"no response":                   {fmt.Errorf("%w: %w", p2p.ErrNoResponse, context.DeadlineExceeded), causeBadResponse},
		"unsupported":                   {p2p.ErrUnsupported, causeUnanswered},
		"not connected":                 {p2p.ErrNotConnected, causeUnanswered},
		"refused":                       {&p2p.ResponseError{Code: wire.ServerError}, causeUnanswered},
		"the connection broke":          {errors.New("stream reset"), causeOurs},
	}
	early := map[lstar.RejectionReason]bool{
		lstar.UnknownParentBlock: true, lstar.UnknownSourceBlock: true, lstar.UnknownTargetBlock: true, lstar.UnknownHeadBlock: true,
		lstar.BlockTooFarInFuture: true, lstar.AttestationTooFarInFuture: true, lstar.HeadNotDescendantOfFinalized: true,
	}
	for _, reason := range rejectionReasons(t) {
		want := causeBadMessage
		switch {
		case early[reason]:
			want = causeEarly
		case reason == lstar.InvalidBlockProof || reason == lstar.InvalidSignature:
			want = causeBadCopy
		}
		tests[string(reason)] = struct {
			err  error
			want cause
		}{fmt.Errorf("wrapped: %w", rejected(reason)), want}
	}
	for name, tt := range tests {
		if got := causeOf(tt.err); got != tt.want {
			t.Errorf("%s: causeOf(%v) = %d, want %d", name, tt.err, got, tt.want)
		}
		wantFault := tt.want == causeBadCopy || tt.want == causeBadMessage
		if got := causeOf(tt.err).invalid(); got != wantFault {
			t.Errorf("%s: invalid = %v, want %v", name, got, wantFault)
		}
	}
}
