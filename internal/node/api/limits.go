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
	// maxLarge is the number of responses that one route writes at a time. Further
	// requests wait for largeWait, and are refused with 503 then.
	maxLarge  = 16
	largeWait = 5 * time.Second

	// A client has readTime, and a second more for each slowestRead bytes, to read a
	// response, but at most longestRead. So slow clients do not keep others out for
	// long.
	readTime    = 10 * time.Second
	slowestRead = 256 << 10
	longestRead = 2 * time.Minute
)

// limited bounds the number of requests that a handler of large responses serves at
// a time.
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

// limitTime sets the time that the client has to read a response.
func limitTime(w http.ResponseWriter, size int) {
	limit := min(readTime+time.Duration(size/slowestRead)*time.Second, longestRead)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit)) // only connections can do it
}

// encoding keeps the bytes of one block or state, so that all clients share them.
// While finality moves states are small, and while they are large it does not, so
// few are in use at a time.
type encoding struct {
	mu    sync.Mutex
	root  lstar.Root
	bytes []byte
}

// of returns the bytes that belong to a root. One caller at a time encodes. A nil
// encoding is not kept.
func (e *encoding) of(root lstar.Root, encode func() []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bytes == nil || e.root != root {
		e.root, e.bytes = root, encode()
	}
	return e.bytes
}
