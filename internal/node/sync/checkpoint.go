package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/spec/lstar"
)

// leanSpec: node/sync/checkpoint_sync.py
const (
	checkpointTimeout   = 60 * time.Second // of one request
	finalizedStatePath  = "/lean/v0/states/finalized"
	finalizedBlockPath  = "/lean/v0/blocks/finalized"
	maxCheckpointBlock  = 10 << 20
	maxCheckpointState  = 160 << 20 // the largest state: its votes are 128 MiB, its history 8 MiB
	checkpointAttempts  = 3
	maxCheckpointReason = 200 // characters of a server's words
)

// errMismatch is a block and a state that do not belong together.
var errMismatch = errors.New("its finalized block and state do not belong together, also not when asked again")

// FetchCheckpoint downloads a node's finalized state and the block that belongs
// to it. It trusts the node, but not to be of our network: the genesis time and,
// unless validators is nil, the registry must be those of the local genesis. The
// error is one line and names the URL.
//
// leanSpec: node/anchor.py, Anchor.from_checkpoint
func FetchCheckpoint(ctx context.Context, source string, genesisTime uint64, validators *lstar.Validators) (*lstar.State, *lstar.SignedBlock, error) {
	base := strings.TrimRight(source, "/")
	var err error
	for range checkpointAttempts {
		var state *lstar.State
		var block *lstar.SignedBlock
		state, block, err = fetchPair(ctx, base, genesisTime, validators)
		if err == nil {
			return state, block, nil
		}
		if !errors.Is(err, errMismatch) { // else it finalized a block between the two requests
			break
		}
	}
	return nil, nil, fmt.Errorf("checkpoint sync from %s: %w", source, err)
}

func fetchPair(ctx context.Context, base string, genesisTime uint64, validators *lstar.Validators) (*lstar.State, *lstar.SignedBlock, error) {
	// The block comes first: it is small, and a node that has none is no source.
	raw, err := fetch(ctx, base+finalizedBlockPath, maxCheckpointBlock)
	if err != nil {
		return nil, nil, err
	}
	block, err := lstar.DecodeSignedBlock(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not a block: %w", finalizedBlockPath, err)
	}
	if raw, err = fetch(ctx, base+finalizedStatePath, maxCheckpointState); err != nil {
		return nil, nil, err
	}
	state, err := lstar.DecodeState(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not a state: %w", finalizedStatePath, err)
	}
	if err := lstar.VerifyCheckpointState(state); err != nil {
		return nil, nil, err
	}
	if state.Config.GenesisTime != genesisTime {
		return nil, nil, fmt.Errorf("it is of another network: its genesis time is %d, ours is %d", state.Config.GenesisTime, genesisTime)
	}
	if validators != nil && state.Validators.HashTreeRoot() != validators.HashTreeRoot() {
		return nil, nil, fmt.Errorf("it is of another network: its %d validators are not the %d of our genesis",
			state.Validators.Len(), validators.Len())
	}
	if block.Block.StateRoot != state.Root() || block.Block.Slot != state.LatestBlockHeader.Slot {
		return nil, nil, errMismatch
	}
	return state, block, nil
}

// fetch downloads at most limit bytes.
func fetch(ctx context.Context, address string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, checkpointTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Accept", "application/octet-stream")
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		words, _ := io.ReadAll(io.LimitReader(resp.Body, maxCheckpointReason))
		return nil, fmt.Errorf("%s: status %s: %.200q", req.URL.Path, resp.Status, words)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Path, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", req.URL.Path, limit)
	}
	return body, nil
}

// withoutURL returns the error without the URL, which the caller adds.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
