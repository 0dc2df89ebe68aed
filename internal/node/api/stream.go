package api

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Bounds of the event stream.
const (
	maxSubscribers = 128
	// streamQueue bounds the events that wait to be encoded, subscriberQueue those that wait for one subscriber. All
	// subscribers share the encoded events, and of each topic at most subscriberQueue of them wait.
	streamQueue     = 4096
	subscriberQueue = 1024
	// keepAlive is the interval of comments that keep an idle connection open.
	keepAlive = 15 * time.Second
	// streamWriteTime is the time that a subscriber has to make room for an event. A subscriber that needs longer is
	// disconnected.
	streamWriteTime = 30 * time.Second
)

// Stream is a consumer of events that passes them to HTTP clients as server-sent events, in the format of ethlambda.
//
// Consume only queues an event, and does nothing if it has no subscriber. The goroutine of Run encodes the event, once, and
// adds it to the queue of each subscriber. If a queue is full, the oldest event is dropped and counted. The goroutine of
// the HTTP request writes. So slow subscribers slow down neither the node nor each other.
type Stream struct {
	queue       chan events.Event
	stopped     chan struct{}
	mu          sync.Mutex // held to change subscribers
	subscribers atomic.Pointer[subscribers]
}

// subscribers is immutable.
type subscribers struct {
	all    []*subscriber
	topics topics // of any of them
}

// subscriber is one connection.
type subscriber struct {
	topics  topics
	queue   chan []byte // only the goroutine of Run adds to it
	dropped atomic.Uint64
}

// NewStream returns a stream. Events reach subscribers while Run runs.
func NewStream() *Stream {
	s := &Stream{queue: make(chan events.Event, streamQueue), stopped: make(chan struct{})}
	s.subscribers.Store(new(subscribers))
	return s
}

// Consume is an [events.Consumer]. It does not block.
func (s *Stream) Consume(e events.Event) {
	subscribers := s.subscribers.Load()
	if subscribers.topics == 0 { // the common case
		return
	}
	of := topicsOf(e) & subscribers.topics
	if of == 0 {
		return
	}
	select {
	case s.queue <- e:
	default:
		for _, sub := range subscribers.all {
			sub.dropped.Add(uint64(bits.OnesCount16(uint16(sub.topics & of))))
		}
	}
}

// Run passes events to subscribers until ctx ends, and then ends all connections.
func (s *Stream) Run(ctx context.Context) error {
	defer close(s.stopped)
	for {
		select {
		case e := <-s.queue:
			s.distribute(e)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Stream) distribute(e events.Event) {
	subscribers := s.subscribers.Load()
	of := topicsOf(e) & subscribers.topics
	for i, name := range topicNames {
		topic := topics(1) << i
		if of&topic == 0 {
			continue
		}
		data, err := json.Marshal(payload(topic, e))
		if err != nil { // impossible for the payloads
			continue
		}
		frame := slices.Concat([]byte("event: "+name+"\ndata: "), data, []byte("\n\n"))
		for _, sub := range subscribers.all {
			if sub.topics&topic != 0 {
				sub.add(frame)
			}
		}
	}
}

// add queues an encoded event. If the queue is full, it drops the oldest one.
func (sub *subscriber) add(frame []byte) {
	for {
		select {
		case sub.queue <- frame:
			return
		default:
		}
		select {
		case <-sub.queue:
			sub.dropped.Add(1)
		default:
		}
	}
}

// subscribe returns a new subscriber, or nil if there are too many.
func (s *Stream) subscribe(topics topics) *subscriber {
	sub := &subscriber{topics: topics, queue: make(chan []byte, subscriberQueue)}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.subscribers.Load().all
	if len(all) >= maxSubscribers {
		return nil
	}
	s.set(append(slices.Clone(all), sub))
	return sub
}

func (s *Stream) unsubscribe(sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(slices.DeleteFunc(slices.Clone(s.subscribers.Load().all), func(other *subscriber) bool { return other == sub }))
}

func (s *Stream) set(all []*subscriber) {
	next := &subscribers{all: all}
	for _, sub := range all {
		next.topics |= sub.topics
	}
	s.subscribers.Store(next)
}

// ServeHTTP serves /lean/v0/events until the client disconnects or the node stops.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topics, err := parseTopics(r.URL.Query())
	if err != nil {
		failJSON(w, http.StatusBadRequest, err.Error())
		return
	}
	sub := s.subscribe(topics)
	if sub == nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(keepAlive.Seconds())))
		failJSON(w, http.StatusServiceUnavailable, fmt.Sprintf("too many subscribers: the limit is %d", maxSubscribers))
		return
	}
	defer s.unsubscribe(sub)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // for nginx, which otherwise delays events
	if r.Method == http.MethodHead {
		return
	}
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Time{}) // that of the server would end the request
	// A test's recorder does not support deadlines.
	extend := func() { _ = connection.SetWriteDeadline(time.Now().Add(streamWriteTime)) }
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	for {
		extend()
		if connection.Flush() != nil {
			return
		}
		var next []byte
		select {
		case next = <-sub.queue:
		case <-idle.C:
			next = []byte(": keep-alive\n\n")
		case <-r.Context().Done():
			return
		case <-s.stopped:
			return
		}
		if n := sub.dropped.Swap(0); n > 0 {
			next = append(fmt.Appendf(nil, ": error - dropped %d messages\n\n", n), next...)
		}
		for more := true; more; {
			extend()
			if _, err := w.Write(next); err != nil {
				return
			}
			select { // before the flush, which costs a system call
			case next = <-sub.queue:
			default:
				more = false
			}
		}
	}
}

// parseTopics returns the topics of a query: a list with commas, a repeated parameter, or both.
func parseTopics(query url.Values) (all topics, err error) {
	value := strings.Join(query["topics"], ",")
	want := "a list of " + strings.Join(topicNames[:], ", ")
	if value == "" {
		return 0, badParameter("topics", value, want)
	}
	for name := range strings.SplitSeq(value, ",") {
		i := slices.Index(topicNames[:], name)
		if i < 0 {
			return 0, badParameter("topics", name, want)
		}
		all |= 1 << i
	}
	return all, nil
}
