package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Bounds on large responses.
const (
	// maxLarge is the number of responses that one route writes at a time. Further requests wait for largeWait, and are
	// then refused with 503.
	maxLarge  = 16
	largeWait = 5 * time.Second

	// A client has readTime to read a response, and another second for each slowestRead bytes, but at most longestRead.
	// This bounds the time for which slow clients block others.
	readTime    = 10 * time.Second
	slowestRead = 256 << 10
	longestRead = 2 * time.Minute
)

// limited returns a handler of large responses that serves a bounded number of requests at a time.
func limited(handle http.HandlerFunc) http.HandlerFunc {
	places := make(chan struct{}, maxLarge)
	return func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(largeWait)
		defer timer.Stop()
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			handle(w, r)
		case <-timer.C:
			w.Header().Set("Retry-After", strconv.Itoa(int(largeWait.Seconds())))
			fail(w, http.StatusServiceUnavailable, "Too many requests for large responses")
		case <-r.Context().Done():
		}
	}
}

// limitTime sets the time that the client has to read a response of size bytes.
func limitTime(w http.ResponseWriter, size int) {
	limit := min(readTime+time.Duration(size/slowestRead)*time.Second, longestRead)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit)) // a test's recorder does not support deadlines
}

// encoding caches the bytes of one block or state, so that all clients share them. States are small while finality
// advances. Large ones change rarely, so few exist at a time.
type encoding struct {
	mu    sync.Mutex
	root  lstar.Root
	bytes []byte
}

// of returns the bytes of the block or state with a root. If they are not cached, it calls encode, for one caller at a
// time. A nil result is not cached.
func (e *encoding) of(root lstar.Root, encode func() []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bytes == nil || e.root != root {
		e.root, e.bytes = root, encode()
	}
	return e.bytes
}
