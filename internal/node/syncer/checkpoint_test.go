package syncer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof/prooftest"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/node/clock/clocktest"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
)

// checkpoint has what a server has, and a client that asks it.
type checkpoint struct {
	CheckpointSource
	state                *lstar.State
	block                *lstar.SignedBlock
	older                *lstar.Block
	stateBytes           []byte
	blockBytes, oldBlock []byte
	log                  *bytes.Buffer
}

func newCheckpoint(t *testing.T) *checkpoint {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 9, true)
	finalized := c.store.LatestFinalized()
	p := &checkpoint{state: c.store.State(finalized.Root), block: c.byRoot[finalized.Root], log: new(bytes.Buffer)}
	p.older = c.store.Block(p.block.Block.ParentRoot)
	p.stateBytes, p.blockBytes, p.oldBlock = p.state.Encode(), ssz.Marshal(p.block), lstar.EncodeBlock(p.older)
	p.CheckpointSource = CheckpointSource{
		GenesisTime: genesisTime, Validators: validators, Time: clocktest.New(time.Unix(genesisTime, 0)),
		Log: slog.New(slog.NewTextHandler(p.log, nil)),
	}
	return p
}

// serve starts a server with two handlers, and sets the URL of the source.
func (c *checkpoint) serve(t *testing.T, block, state http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.Handle(finalizedBlockPath, block)
	mux.Handle(finalizedStatePath, state)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.URL = server.URL
}

func bytesOf(t *testing.T, bytes []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); got != "application/octet-stream" {
			t.Errorf("Accept: %q, want application/octet-stream", got)
		}
		_, _ = w.Write(bytes)
	}
}

// passTime advances the clock to each timer of the client, until the end of the test. It returns
// the pauses.
func (c *checkpoint) passTime(t *testing.T) func() []time.Duration {
	fake := c.Time.(*clocktest.Fake)
	var pauses []time.Duration
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-fake.Waiting():
				pauses = append(pauses, fake.Left())
				fake.Advance(fake.Left())
			case <-stop:
				return
			}
		}
	}()
	end := func() []time.Duration {
		select {
		case <-stop:
		default:
			close(stop)
		}
		<-done
		return pauses
	}
	t.Cleanup(func() { end() })
	return end
}

func TestFetchCheckpoint(t *testing.T) {
	c := newCheckpoint(t)
	validators := c.Validators
	empty := lstar.GenesisState(genesisTime, lstar.NewValidators(nil))
	later, err := c.state.ProcessSlots(c.state.Slot + 1)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(bytes []byte) http.HandlerFunc { return bytesOf(t, bytes) }
	for name, tt := range map[string]struct {
		block, state http.HandlerFunc
		genesis      uint64
		validators   *lstar.Validators
		whole        bool   // whether the block is returned
		want         string // part of the error, or empty
	}{
		"ours":                   {serve(c.blockBytes), serve(c.stateBytes), genesisTime, validators, true, ""},
		"an empty proof":         {serve(lstar.EncodeBlock(&c.block.Block)), serve(c.stateBytes), genesisTime, validators, true, ""},
		"no registry to compare": {serve(c.blockBytes), serve(c.stateBytes), genesisTime, nil, true, ""},
		"only a state":           {http.NotFound, serve(c.stateBytes), genesisTime, validators, false, ""},
		"a torn block":           {serve(c.blockBytes[1:]), serve(c.stateBytes), genesisTime, validators, false, ""},
		"a block too large":      {serve(make([]byte, maxCheckpointBlock+1)), serve(c.stateBytes), genesisTime, validators, false, ""},
		"no pair":                {serve(c.oldBlock), serve(c.stateBytes), genesisTime, validators, false, ""},
		"another genesis time":   {serve(c.blockBytes), serve(c.stateBytes), genesisTime + 1, validators, false, "genesis time is 1000000, ours is 1000001"},
		"another registry":       {serve(c.blockBytes), serve(c.stateBytes), genesisTime, registry(5), false, "its 4 validators are not the 5 of our genesis"},
		"no state":               {serve(c.blockBytes), http.NotFound, genesisTime, validators, false, "/lean/v0/states/finalized: status 404 Not Found"},
		"no API":                 {http.NotFound, http.NotFound, genesisTime, validators, false, "want the base URL of a node's API"},
		"a torn state":           {serve(c.blockBytes), serve(c.stateBytes[:100]), genesisTime, validators, false, "is not a state"},
		"a state between blocks": {serve(c.blockBytes), serve(later.Encode()), genesisTime, validators, false, "not the state right after a block"},
		"no validators":          {serve(c.blockBytes), serve(empty.Encode()), genesisTime, validators, false, "0 validators"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.serve(t, tt.block, tt.state)
			c.GenesisTime, c.Validators = tt.genesis, tt.validators
			state, block, err := FetchCheckpoint(t.Context(), c.CheckpointSource) // a second attempt would wait for the clock
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), c.URL) ||
					strings.Contains(err.Error(), "\n") || errors.Is(err, ErrUnavailable) {
					t.Errorf("error %v, want one line with the URL and %q, which is permanent", err, tt.want)
				}
				return
			}
			if err != nil || state.Root() != c.state.Root() {
				t.Fatalf("error %v, want the finalized state", err)
			}
			if tt.whole != (block != nil) || block != nil && block.Block.Root() != c.block.Block.Root() {
				t.Errorf("block %v, want the finalized one: %v", block, tt.whole)
			}
		})
	}

	t.Run("finalizes meanwhile", func(t *testing.T) {
		requests := 0
		c.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests == 1 {
				_, _ = w.Write(c.oldBlock)
				return
			}
			_, _ = w.Write(c.blockBytes)
		}, serve(c.stateBytes))
		if _, block, err := FetchCheckpoint(t.Context(), c.CheckpointSource); err != nil || block == nil {
			t.Errorf("block %v, error %v, want the second attempt to succeed", block, err)
		}
	})
	t.Run("genesis", func(t *testing.T) {
		genesis := lstar.GenesisState(genesisTime, validators)
		c.serve(t, http.NotFound, serve(genesis.Encode()))
		_, block, err := FetchCheckpoint(t.Context(), c.CheckpointSource)
		if err != nil || block == nil || block.Block.Root() != lstar.GenesisBlock(genesis).Root() {
			t.Errorf("block %v, error %v, want that of genesis", block, err)
		}
	})
	t.Run("a stop", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c.serve(t, http.NotFound, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		if _, _, err := FetchCheckpoint(ctx, c.CheckpointSource); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("a stop during a pause", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c.serve(t, http.NotFound, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		go func() {
			<-c.Time.(*clocktest.Fake).Waiting()
			cancel()
		}()
		if _, _, err := FetchCheckpoint(ctx, c.CheckpointSource); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
}

// TestCheckpointRetries checks which errors cause another attempt, after which pauses, and that the
// log has each failed attempt.
func TestCheckpointRetries(t *testing.T) {
	status := func(code int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	reset := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	torn := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(make([]byte, 10))
		panic(http.ErrAbortHandler)
	}
	backoff := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}
	for name, tt := range map[string]struct {
		failure  func(w http.ResponseWriter)
		failures int
		attempts int
		succeeds bool
	}{
		"once 503":            {status(503), 1, 2, true},
		"429, late":           {status(429), 4, 5, true},
		"reset":               {reset, 2, 3, true},
		"cut off":             {torn, 2, 3, true},
		"always 500":          {status(500), 100, 5, false},
		"always reset":        {reset, 100, 5, false},
		"404 once":            {status(404), 1, 1, false},
		"401 once":            {status(401), 1, 1, false},
		"no state, with 200":  {func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) }, 1, 1, false},
		"redirects in circle": {func(w http.ResponseWriter) { w.Header().Set("Location", finalizedStatePath); w.WriteHeader(302) }, 1000, 5, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheckpoint(t)
			var requests atomic.Int64 // on several connections
			c.serve(t, http.NotFound, func(w http.ResponseWriter, _ *http.Request) {
				if requests.Add(1) <= int64(tt.failures) {
					tt.failure(w)
					return
				}
				_, _ = w.Write(c.stateBytes)
			})
			pauses := c.passTime(t)
			_, _, err := FetchCheckpoint(t.Context(), c.CheckpointSource)
			if tt.succeeds != (err == nil) {
				t.Errorf("error %v, want success: %v", err, tt.succeeds)
			}
			if got, want := errors.Is(err, ErrUnavailable), !tt.succeeds && tt.attempts > 1; got != want {
				t.Errorf("error %v wraps %v: %v, want %v", err, ErrUnavailable, got, want)
			}
			if got := pauses(); !slices.Equal(got, backoff[:tt.attempts-1]) {
				t.Errorf("pauses %v, want %v", got, backoff[:tt.attempts-1])
			}
			failed := tt.attempts
			if tt.succeeds || tt.attempts == 1 {
				failed--
			}
			if got := strings.Count(c.log.String(), "checkpoint sync attempt failed"); got != failed {
				t.Errorf("%d failed attempts are logged, want %d:\n%s", got, failed, c.log)
			}
		})
	}
	t.Run("nothing there", func(t *testing.T) {
		c := newCheckpoint(t)
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		c.URL = server.URL
		pauses := c.passTime(t)
		if _, _, err := FetchCheckpoint(t.Context(), c.CheckpointSource); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("error %v, want %v because the connection is refused", err, ErrUnavailable)
		}
		if got := pauses(); !slices.Equal(got, backoff) {
			t.Errorf("pauses %v, want %v", got, backoff)
		}
	})
}

func TestCheckpointURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://192.0.2.1:5052":                                       "http://192.0.2.1:5052",
		"http://192.0.2.1:5052/":                                      "http://192.0.2.1:5052",
		"http://192.0.2.1:5052/lean/v0/states/finalized":              "http://192.0.2.1:5052",
		"http://192.0.2.1:5052/lean/v0/states/finalized/":             "http://192.0.2.1:5052",
		"https://node.example/devnet/lean/v0/states/finalized":        "https://node.example/devnet",
		"https://user:pw@node.example/lean/v0/states/finalized?k=v#f": "https://user:pw@node.example?k=v",
		"ftp://node.example":                                          "", "node.example:5052": "", "http://": "", "http://[": "", "http://a:b": "", "": "",
	} {
		u, err := ParseCheckpointURL(raw)
		switch {
		case want == "" && (err == nil || len(raw) > len("http://") && strings.Contains(err.Error(), raw)):
			t.Errorf("%q: URL %v, error %v, want an error without it", raw, u, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: URL %v, error %v, want %s", raw, u, err, want)
		}
	}
}

// TestCheckpointSecrets checks that neither errors nor the log show a password or a query, also not
// where the server repeats them, and that the server gets them.
func TestCheckpointSecrets(t *testing.T) {
	for name, answer := range map[string]func(c *checkpoint) http.HandlerFunc{
		"a server that works": func(c *checkpoint) http.HandlerFunc { return bytesOf(t, c.stateBytes) },
		"not found":           func(*checkpoint) http.HandlerFunc { return http.NotFound },
		"a parrot": func(*checkpoint) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write([]byte(r.URL.String() + r.Header.Get("Authorization") + "pa55word"))
			}
		},
		"a redirect to nowhere": func(*checkpoint) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://user:pa55word@127.0.0.1:1/?key=t0ken", http.StatusFound)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheckpoint(t)
			state := answer(c)
			c.serve(t, http.NotFound, func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "us3r" || password != "pa55word" || r.FormValue("key") != "t0ken" {
					t.Errorf("the server gets user %q, password %q and key %q, want those of the URL", user, password, r.FormValue("key"))
				}
				state(w, r)
			})
			c.URL = strings.Replace(c.URL, "http://", "http://us3r:pa55word@", 1) + "/?key=t0ken"
			c.passTime(t)
			_, _, err := FetchCheckpoint(t.Context(), c.CheckpointSource)
			shown := c.log.String()
			if err != nil {
				shown += err.Error()
			}
			for _, secret := range []string{"us3r", "pa55word", "t0ken", "dXMzcj"} {
				if strings.Contains(shown, secret) {
					t.Errorf("output contains %q:\n%s", secret, shown)
				}
			}
			if !strings.Contains(shown, "REDACTED@127.0.0.1") {
				t.Errorf("output does not contain the server:\n%s", shown)
			}
		})
	}
}

// TestFetchAnchor starts from a state without its block, continues with the chain, and fetches the
// block from peers.
func TestFetchAnchor(t *testing.T) {
	validators := registry(4)
	c := newSource(t, validators).grow(1, 9, true)
	finalized := c.store.LatestFinalized()
	whole := c.byRoot[finalized.Root]
	store := lstar.NewStoreFromState(testCrypto, lstar.NetworkRules, c.store.State(finalized.Root))
	if store.Head() != finalized {
		t.Fatalf("the store starts at %s, want %s", store.Head(), finalized)
	}
	blocks := storage.NewMemory(finalized, nil)
	f := newWorldOn(t, store, blocks, 9)
	if f.kept(finalized.Root) != nil {
		t.Error("the node serves a block without its body")
	}
	asked := make(map[peer.ID]int)
	but := func(id peer.ID, anchor ...*lstar.SignedBlock) {
		p := &fakePeer{chain: c}
		p.byRoot = func(roots []lstar.Root) ([]*lstar.SignedBlock, error) {
			if roots[0] == finalized.Root {
				asked[id]++
				return anchor, nil
			}
			return p.roots(roots), nil
		}
		f.connect(id, p)
	}
	but("a")
	but("b", &lstar.SignedBlock{Block: whole.Block, Proof: lstar.MultiMessageAggregate{Proof: []byte(prooftest.Forged)}})
	f.within(20, "the head", hasHead(c))
	f.steps(10 * int(lstar.IntervalsPerSlot))
	if _, missing := blocks.MissingAnchor(); !missing {
		t.Error("the node accepted a block with an invalid proof")
	}
	if asked["a"] < 2 || asked["b"] < 2 {
		t.Errorf("requests for the block: %v, want each peer to be asked again", asked)
	}
	f.connect("c", &fakePeer{chain: c})
	f.within(20, "the block", func(*lstar.Snapshot) bool { return f.kept(finalized.Root) != nil })
	if got := f.kept(finalized.Root); !bytes.Equal(ssz.Marshal(got), ssz.Marshal(whole)) {
		t.Errorf("block %v, want that of the peer", got)
	}
	f.wantNoPenalty("a", "b", "c")
}
