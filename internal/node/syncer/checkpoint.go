package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
)

// leanSpec: node/sync/checkpoint_sync.py
const (
	checkpointTimeout   = 60 * time.Second // of one request, including the whole response
	finalizedStatePath  = "/lean/v0/states/finalized"
	finalizedBlockPath  = "/lean/v0/blocks/finalized"
	maxCheckpointBlock  = 10 << 20
	maxCheckpointState  = 160 << 20 // the largest state: its votes are 128 MiB, its history 8 MiB
	maxCheckpointReason = 200       // characters of a server's error

	// The state is requested up to checkpointAttempts times, with pauses of 2, 4, 8 and 16 seconds.
	checkpointAttempts = 5
	checkpointPause    = 2 * time.Second
	// checkpointPairs is the number of times that state and block are requested, because the server
	// may finalize another block between the two requests.
	checkpointPairs = 3
)

// ErrUnavailable is wrapped by the error for a checkpoint server that served none of several requests.
var ErrUnavailable = errors.New("the server is not available")

// CheckpointSource is the node whose finalized state this node starts from.
type CheckpointSource struct {
	// URL is a URL that ParseCheckpointURL accepts. It may contain secrets.
	URL string
	// GenesisTime and Validators are those of the local genesis. Validators may be nil.
	GenesisTime uint64
	Validators  *lstar.Validators
	Time        clock.Time
	Log         *slog.Logger
}

// ParseCheckpointURL returns the base URL of a node's API. It accepts the base URL and the URL of
// the finalized state, which other clients require. The error does not contain the URL.
func ParseCheckpointURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("want the base URL of a node's API, such as http://192.0.2.1:5052")
	}
	u.Path = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), finalizedStatePath), "/")
	u.RawPath, u.Fragment, u.RawFragment = "", "", ""
	return u, nil
}

// FetchCheckpoint downloads the finalized state of a node and the block of that state. It trusts
// the node, but checks that the genesis time and the registry are those of the local genesis.
//
// The block is nil if the node does not serve it, and its proof may be missing or wrong. The error is one
// line, contains the URL without its secrets, and wraps ErrUnavailable if a later attempt may succeed.
//
// leanSpec: node/anchor.py, Anchor.from_checkpoint
func FetchCheckpoint(ctx context.Context, source CheckpointSource) (*lstar.State, *lstar.SignedBlock, error) {
	fail := func(err error) (*lstar.State, *lstar.SignedBlock, error) {
		return nil, nil, fmt.Errorf("checkpoint sync from %s: %w", logging.RedactURL(source.URL), err)
	}
	base, err := ParseCheckpointURL(source.URL)
	if err != nil {
		return fail(err)
	}
	c := &checkpointClient{source, base}
	var state *lstar.State
	for range checkpointPairs {
		if state, err = c.stateWithRetries(ctx); err != nil {
			return fail(err)
		}
		at, _ := state.LatestBlock()
		if at.Slot == 0 {
			return state, &lstar.SignedBlock{Block: *lstar.GenesisBlock(state)}, nil
		}
		var block *lstar.SignedBlock
		if block, err = c.block(ctx, at.Root); err == nil {
			return state, block, nil
		}
		if !errors.Is(err, errMismatch) { // else the server finalized a block between the two requests
			break
		}
	}
	if ctx.Err() != nil {
		return fail(ctx.Err())
	}
	c.Log.Info("the checkpoint's server does not serve the block of its finalized state", logging.Slot(state.Slot),
		"url", logging.RedactURL(source.URL), logging.Err(err))
	return state, nil, nil
}

type checkpointClient struct {
	CheckpointSource
	base *url.URL
}

// temporary is an error after which another attempt may succeed.
type temporary struct{ error }

func (e temporary) Unwrap() error { return e.error }

// errMismatch is the error for a finalized block that is not the block of the finalized state.
var errMismatch = errors.New("the finalized block is not that of the finalized state, even after repeated requests")

// stateWithRetries downloads and checks the state, and tries again after a temporary error.
func (c *checkpointClient) stateWithRetries(ctx context.Context) (*lstar.State, error) {
	pause := checkpointPause
	for attempt := 1; ; attempt++ {
		state, err := c.state(ctx)
		switch {
		case err == nil:
			return state, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.As(err, new(temporary)):
			return nil, err
		case attempt == checkpointAttempts:
			c.Log.Warn("checkpoint sync attempt failed", "attempt", attempt, "attempts", checkpointAttempts,
				"url", logging.RedactURL(c.URL), logging.Err(err), checkpointAdvice)
			return nil, fmt.Errorf("%w, after %d attempts: %w", ErrUnavailable, checkpointAttempts, err)
		}
		c.Log.Warn("checkpoint sync attempt failed", "attempt", attempt, "attempts", checkpointAttempts, "next_attempt_in", pause.String(),
			"url", logging.RedactURL(c.URL), logging.Err(err), checkpointAdvice)
		if err := c.Time.Until(ctx, c.Time.Now().Add(pause)); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

var checkpointAdvice = logging.Advice("Check that the node at this URL runs and can be reached from here, or set another checkpoint sync URL.")

func (c *checkpointClient) state(ctx context.Context) (*lstar.State, error) {
	raw, err := c.get(ctx, finalizedStatePath, maxCheckpointState)
	if err != nil {
		return nil, err
	}
	state, err := lstar.DecodeState(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is not a state: %w", finalizedStatePath, err)
	}
	if err := lstar.VerifyCheckpointState(state); err != nil {
		return nil, err
	}
	if state.Config.GenesisTime != c.GenesisTime {
		return nil, fmt.Errorf("it is of another network: its genesis time is %d, ours is %d", state.Config.GenesisTime, c.GenesisTime)
	}
	if c.Validators != nil && state.Validators.HashTreeRoot() != c.Validators.HashTreeRoot() {
		return nil, fmt.Errorf("it is of another network: its %d validators are not the %d of our genesis",
			state.Validators.Len(), c.Validators.Len())
	}
	if header := &state.LatestBlockHeader; header.Slot != state.Slot || !header.StateRoot.IsZero() {
		return nil, fmt.Errorf("%s is not the state right after a block: its slot is %d, that of its block %d", finalizedStatePath, state.Slot, header.Slot)
	}
	return state, nil
}

// block downloads the finalized block and checks its root.
func (c *checkpointClient) block(ctx context.Context, root lstar.Root) (*lstar.SignedBlock, error) {
	raw, err := c.get(ctx, finalizedBlockPath, maxCheckpointBlock)
	if err != nil {
		return nil, err
	}
	block, err := lstar.DecodeSignedBlock(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is not a block: %w", finalizedBlockPath, err)
	}
	if block.Block.Root() != root {
		return nil, errMismatch
	}
	return block, nil
}

// get downloads at most limit bytes. The error does not contain the URL.
func (c *checkpointClient) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, checkpointTimeout)
	defer cancel()
	u := *c.base
	u.Path += path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Accept", "application/octet-stream")
	client := http.Client{Transport: &http.Transport{Proxy: proxy, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, temporary{withoutURL(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, c.badStatus(path, resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, temporary{fmt.Errorf("%s: %w", path, withoutURL(err))}
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return body, nil
}

func (c *checkpointClient) badStatus(path string, resp *http.Response) error {
	err := fmt.Errorf("%s: status %d %s", path, resp.StatusCode, http.StatusText(resp.StatusCode))
	if c.base.User == nil && c.base.RawQuery == "" { // otherwise the response may repeat secrets
		words, _ := io.ReadAll(io.LimitReader(resp.Body, maxCheckpointReason))
		err = fmt.Errorf("%w: %q", err, words)
	}
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return temporary{err}
	case resp.StatusCode == http.StatusNotFound && path == finalizedStatePath: // a base URL must have it
		return fmt.Errorf("%w; want the base URL of a node's API, such as http://192.0.2.1:5052", err)
	}
	return err
}

// proxy returns the proxy that the environment sets. Its error does not contain the value of the
// variable, unlike that of net/http.
func proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy that the environment names is not a URL")
	}
	return u, nil
}

// withoutURL returns the error without the URL, which the caller adds.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
