package api

import (
	"container/list"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Bounds on large responses.
const (
	// maxLarge is the number of responses that one route writes at a time. Further requests wait
	// for at most largeWait, and are then refused with 503.
	maxLarge  = 16
	largeWait = 5 * time.Second

	// A client has readTime to read a response, and another second for each slowestRead bytes, but
	// at most longestRead. This bounds the time for which slow clients block others.
	readTime    = 10 * time.Second
	slowestRead = 256 << 10
	longestRead = 2 * time.Minute
)

// maxConns is the number of open connections of a port.
const maxConns = 512

// connections bounds the open connections of a server. If there are too many, it closes the one
// that has waited for a request for the longest time, so connections without requests do not keep
// new clients out. If none waits, it closes the new one.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]*list.Element // the element in waiting, or nil while there is a request
	waiting list.List                  // of net.Conn, the oldest first
}

// track is the ConnState function of the server.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(conn)
	switch state {
	case http.StateNew, http.StateIdle:
		if len(c.open) >= maxConns {
			front := c.waiting.Front()
			if front == nil {
				_ = conn.Close()
				return
			}
			oldest := front.Value.(net.Conn)
			_ = oldest.Close()
			c.forget(oldest)
		}
		c.open[conn] = c.waiting.PushBack(conn)
	case http.StateActive:
		c.open[conn] = nil
	}
}

// forget removes a connection.
func (c *connections) forget(conn net.Conn) {
	if waiting := c.open[conn]; waiting != nil {
		c.waiting.Remove(waiting)
	}
	delete(c.open, conn)
}

// limited returns a handler that serves at most maxLarge requests at a time.
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

// encoding caches the bytes of one block or state, which all clients share. States are small while
// finality advances. Large ones change rarely, so few exist at a time.
type encoding struct {
	mu    sync.Mutex
	root  lstar.Root
	bytes []byte
}

// of returns the bytes of the block or state with a root. If they are not cached, it calls encode,
// once at a time. It does not cache nil.
func (e *encoding) of(root lstar.Root, encode func() []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bytes == nil || e.root != root {
		e.root, e.bytes = root, encode()
	}
	return e.bytes
}
