package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// pipes is a listener whose connections have no buffer and follow the fake clock of synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// get sends a request and returns the response after its header has arrived.
func (p *pipes) get(t *testing.T, path string) *http.Response {
	t.Helper()
	client, server := net.Pipe()
	p.conns <- server
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{response.Body, client}
	return response
}

// serveStream runs a stream behind a server of the node in a bubble of synctest. stop ends both and waits for them.
func serveStream(t *testing.T) (s *Stream, p *pipes, stop func()) {
	s, p = NewStream(), newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() {
		if err := Serve(ctx, p, New(Config{Stream: s, Metrics: http.NotFoundHandler()}).API, slog.Default()); err != nil {
			t.Error(err)
		}
	})
	return s, p, func() { cancel(); running.Wait() }
}

// frame reads an event or a comment of a stream, without the empty line at its end.
func frame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("read %q: %v", lines, err)
		}
		if line == "\n" {
			return strings.Join(lines, "")
		}
		lines = append(lines, line)
	}
}

func checkpointAt(slot lstar.Slot) lstar.Checkpoint {
	return lstar.Checkpoint{Root: lstar.Root{byte(slot)}, Slot: slot}
}

var streamData = lstar.AttestationData{Slot: 9, Head: checkpointAt(8), Target: checkpointAt(6), Source: checkpointAt(3)}

// streamCases has an event for each payload, with the frames that subscribers to all topics receive.
func streamCases(t *testing.T) []struct {
	event  events.Event
	frames []string
} {
	root := func(b byte) string { return lstar.Root{b}.String() }
	cp := func(b byte) string { return fmt.Sprintf(`{"slot":%d,"root":"%s"}`, b, root(b)) }
	data := `{"slot":9,"head":` + cp(8) + `,"target":` + cp(6) + `,"source":` + cp(3) + `}`
	bits, err := lstar.BitsFromIndices([]lstar.ValidatorIndex{0, 3, 9})
	if err != nil {
		t.Fatal(err)
	}
	aggregate := "event: aggregate\ndata: " + `{"participants":[0,3,9],"data":` + data + "}\n"
	head := func(slot byte) string {
		return fmt.Sprintf("event: head\ndata: {\"slot\":%d,\"block\":\"%s\",\"state\":\"%s\"}\n", slot, root(slot), root(100))
	}
	id := peer.ID("someone")
	return []struct {
		event  events.Event
		frames []string
	}{
		{events.Tick{}, nil},
		{events.HeadChanged{Old: checkpointAt(4), New: checkpointAt(5), NewStateRoot: lstar.Root{100}}, []string{head(5)}},
		{events.HeadChanged{Old: checkpointAt(6), New: checkpointAt(7), OldStateRoot: lstar.Root{99}, NewStateRoot: lstar.Root{100}, ReorgDepth: 2}, []string{
			head(7), "event: chain_reorg\ndata: " + `{"slot":7,"depth":2,"old_head_block":"` + root(6) + `","new_head_block":"` + root(7) +
				`","old_head_state":"` + root(99) + `","new_head_state":"` + root(100) + "\"}\n"}},
		{events.BlockImported{Slot: 2, Root: lstar.Root{2}}, []string{"event: block\ndata: {\"slot\":2,\"block\":\"" + root(2) + "\"}\n"}},
		{events.BlockGossiped{Slot: 3, Root: lstar.Root{3}}, []string{"event: block_gossip\ndata: {\"slot\":3,\"block\":\"" + root(3) + "\"}\n"}},
		{events.AttestationAccepted{Slot: 9, Validator: 4, Data: streamData}, []string{"event: attestation\ndata: {\"validator_id\":4,\"data\":" + data + "}\n"}},
		{events.AggregateAccepted{Slot: 9, Data: streamData, Bits: bits}, []string{aggregate}},
		{events.AggregateProduced{Slot: 9, Data: streamData, Bits: bits}, []string{aggregate}},
		{events.Justified{Checkpoint: checkpointAt(4), StateRoot: lstar.Root{100}},
			[]string{"event: justified_checkpoint\ndata: {\"slot\":4,\"block\":\"" + root(4) + "\",\"state\":\"" + root(100) + "\"}\n"}},
		{events.Finalized{Checkpoint: checkpointAt(4), StateRoot: lstar.Root{100}},
			[]string{"event: finalized_checkpoint\ndata: {\"slot\":4,\"block\":\"" + root(4) + "\",\"state\":\"" + root(100) + "\"}\n"}},
		{events.BlockRejected{Slot: 3, Root: lstar.Root{3}, Reason: "WRONG_PROPOSER", Peer: id, Err: errors.New("validator 2\n\nevent: head")},
			[]string{"event: rejected\ndata: " + `{"kind":"block","slot":3,"block":"` + root(3) + `","reason":"WRONG_PROPOSER","peer":"` + id.String() +
				`","error":"validator 2\n\nevent: head"}` + "\n"}},
		{events.BlockRejected{Slot: 3, Reason: "TOO_MANY_ATTESTATION_DATA"},
			[]string{"event: rejected\ndata: {\"kind\":\"block\",\"slot\":3,\"reason\":\"TOO_MANY_ATTESTATION_DATA\"}\n"}},
		{events.AttestationRejected{Slot: 3, Reason: "VALIDATOR_NOT_IN_STATE"},
			[]string{"event: rejected\ndata: {\"kind\":\"attestation\",\"slot\":3,\"validator_id\":0,\"reason\":\"VALIDATOR_NOT_IN_STATE\"}\n"}},
		{events.AggregateRejected{Slot: 3, Reason: "INVALID_SIGNATURE"},
			[]string{"event: rejected\ndata: {\"kind\":\"aggregate\",\"slot\":3,\"reason\":\"INVALID_SIGNATURE\"}\n"}},
		{events.SyncState{Distance: 12, Reason: "known_gap"}, []string{"event: sync\ndata: {\"is_syncing\":true,\"sync_distance\":12,\"reason\":\"known_gap\"}\n"}},
		{events.SyncState{Synced: true}, []string{"event: sync\ndata: {\"is_syncing\":false,\"sync_distance\":0}\n"}},
	}
}

// TestStream checks the frame of every event for subscribers to all topics and to some, and that the connections end as
// soon as the node stops.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, stop := serveStream(t)
		all := p.get(t, "/lean/v0/events?topics="+strings.Join(topicNames[:], ","))
		some := p.get(t, "/lean/v0/events?topics=sync&topics=chain_reorg,head")
		defer all.Body.Close()
		defer some.Body.Close()
		if got := all.Header.Get("Content-Type"); all.StatusCode != 200 || got != "text/event-stream" {
			t.Errorf("status %d, content type %q, want 200 and text/event-stream", all.StatusCode, got)
		}
		bus := events.NewBus(s.Consume)
		readers := map[bool]*bufio.Reader{true: bufio.NewReader(all.Body), false: bufio.NewReader(some.Body)}
		seen := map[string]bool{}
		for _, test := range streamCases(t) {
			bus.Report(test.event)
			for _, want := range test.frames {
				name := strings.TrimPrefix(strings.Split(want, "\n")[0], "event: ")
				seen[name] = true
				if got := frame(t, readers[true]); got != want {
					t.Errorf("%T:\n got %q\nwant %q", test.event, got, want)
				}
				if name == "sync" || name == "chain_reorg" || name == "head" {
					if got := frame(t, readers[false]); got != want {
						t.Errorf("%T, some topics:\n got %q\nwant %q", test.event, got, want)
					}
				}
			}
		}
		for _, name := range topicNames {
			if !seen[name] {
				t.Errorf("no event of topic %s in streamCases", name)
			}
		}
		started := time.Now()
		var reading sync.WaitGroup
		for _, r := range readers {
			reading.Go(func() {
				if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
					t.Errorf("the end of the stream is %q, %v, want io.EOF", rest, err)
				}
			})
		}
		stop()
		reading.Wait()
		if took := time.Since(started); took > 100*time.Millisecond { // http.Server polls for idle connections
			t.Errorf("the server stopped after %v, want at once", took)
		}
		if n := len(s.subscribers.Load().all); n != 0 {
			t.Errorf("%d subscribers after the end, want 0", n)
		}
	})
}

// TestIdleStream checks that a connection without events outlives the timeouts of the server, with a comment every 15 s.
func TestIdleStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, stop := serveStream(t)
		response := p.get(t, "/lean/v0/events?topics=head")
		defer response.Body.Close()
		r := bufio.NewReader(response.Body)
		started := time.Now()
		for i := range 40 {
			if got := frame(t, r); got != ": keep-alive\n" {
				t.Fatalf("frame %d is %q, want a comment", i, got)
			}
		}
		if got, want := time.Since(started), 10*time.Minute; got != want {
			t.Errorf("40 comments in %v, want %v", got, want)
		}
		s.Consume(events.HeadChanged{New: checkpointAt(5)})
		if got := frame(t, r); !strings.HasPrefix(got, "event: head\n") {
			t.Errorf("after 10 minutes: %q, want a head", got)
		}
		stop()
	})
}

// TestSlowSubscriber checks that a subscriber that does not read loses the oldest events and receives their number, that others
// lose none, and that it is disconnected after 30 s.
func TestSlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, stop := serveStream(t)
		slow, stuck, fast := p.get(t, "/lean/v0/events?topics=block"), p.get(t, "/lean/v0/events?topics=block"), p.get(t, "/lean/v0/events?topics=block")
		for _, r := range []*http.Response{slow, stuck, fast} {
			defer r.Body.Close()
		}
		const sent = 3000
		r := bufio.NewReader(fast.Body)
		for slot := range lstar.Slot(sent) {
			s.Consume(events.BlockImported{Slot: slot})
			if got, want := frame(t, r), fmt.Sprintf("\"slot\":%d,", slot); !strings.Contains(got, want) {
				t.Fatalf("fast subscriber: %q, want %s", got, want)
			}
		}
		received, dropped, next := 0, 0, 0
		for r = bufio.NewReader(slow.Body); received+dropped < sent; {
			got := frame(t, r)
			var n, slot int
			if _, err := fmt.Sscanf(got, ": error - dropped %d messages", &n); err == nil {
				dropped += n
				next += n
			} else if _, err := fmt.Sscanf(got, "event: block\ndata: {\"slot\":%d,", &slot); err != nil || slot != next {
				t.Fatalf("slow subscriber: %q, want slot %d", got, next)
			} else {
				received++
				next++
			}
		}
		if dropped == 0 || received < subscriberQueue {
			t.Errorf("slow subscriber: %d events dropped, %d received, want some and at least %d", dropped, received, subscriberQueue)
		}
		time.Sleep(streamWriteTime)
		synctest.Wait()
		if n := len(s.subscribers.Load().all); n != 2 {
			t.Errorf("%d subscribers, want 2: one does not read", n)
		}
		stop()
	})
}

// TestBusyStream checks that events that the stream cannot encode in time are counted for the subscribers of their topics.
func TestBusyStream(t *testing.T) {
	s := NewStream() // which does not run
	heads, blocks := s.subscribe(topicHead|topicReorg), s.subscribe(topicBlock)
	const more = 7
	for range streamQueue + more {
		s.Consume(events.HeadChanged{ReorgDepth: 1})
	}
	if got := heads.dropped.Load(); got != 2*more {
		t.Errorf("%d messages dropped, want %d", got, 2*more)
	}
	if got := blocks.dropped.Load(); got != 0 {
		t.Errorf("%d messages of other topics dropped, want 0", got)
	}
}

// TestManySubscribers checks the limit, and that a place becomes free when a subscriber leaves.
func TestManySubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, stop := serveStream(t)
		var responses []*http.Response
		for range maxSubscribers {
			responses = append(responses, p.get(t, "/lean/v0/events?topics=head,block"))
		}
		refused := p.get(t, "/lean/v0/events?topics=head")
		body, err := io.ReadAll(io.LimitReader(refused.Body, refused.ContentLength))
		if want := `{"error":"too many subscribers: the limit is 128"}`; refused.StatusCode != 503 || refused.Header.Get("Retry-After") != "15" || string(body) != want {
			t.Errorf("subscriber %d gets %d %s %v, want 503 %s", maxSubscribers+1, refused.StatusCode, body, err, want)
		}
		refused.Body.Close()
		responses[0].Body.Close()
		synctest.Wait()
		responses[0] = p.get(t, "/lean/v0/events?topics=head,block")
		s.Consume(events.HeadChanged{New: checkpointAt(5)})
		s.Consume(events.BlockImported{Slot: 5})
		for i, r := range responses {
			if r.StatusCode != 200 {
				t.Fatalf("subscriber %d: status %d, want 200", i, r.StatusCode)
			}
			in := bufio.NewReader(r.Body)
			for _, want := range []string{"event: head\n", "event: block\n"} {
				if got := frame(t, in); !strings.HasPrefix(got, want) {
					t.Errorf("subscriber %d: %q, want %q", i, got, want)
				}
			}
			r.Body.Close()
		}
		stop()
	})
}

// TestConcurrentSubscribers runs under the race detector: subscribers come and go while events are reported.
func TestConcurrentSubscribers(t *testing.T) {
	s := NewStream()
	ctx, cancel := context.WithCancel(t.Context())
	var running, clients sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				for _, test := range streamCases(t) {
					s.Consume(test.event)
				}
			}
		})
	}
	for range 20 {
		clients.Go(func() {
			for range 10 {
				ctx, leave := context.WithCancel(ctx)
				w := &countingWriter{ResponseRecorder: httptest.NewRecorder(), after: 10, call: leave}
				s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/lean/v0/events?topics=head,attestation,sync", nil))
				leave()
			}
		})
	}
	clients.Wait()
	cancel()
	running.Wait()
	if n := len(s.subscribers.Load().all); n != 0 {
		t.Errorf("%d subscribers after all have left, want 0", n)
	}
}

// countingWriter calls a function after a number of writes.
type countingWriter struct {
	*httptest.ResponseRecorder
	after int
	call  func()
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.after--; w.after == 0 {
		w.call()
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// TestTopics checks the errors of the parameter.
func TestTopics(t *testing.T) {
	const want = ", want a list of head, block, block_gossip, attestation, aggregate, justified_checkpoint, finalized_checkpoint, chain_reorg, rejected, sync"
	for query, reason := range map[string]string{
		"":                        `topics: got \"\"`,
		"?topics=":                `topics: got \"\"`,
		"?topic=head":             `topics: got \"\"`,
		"?topics=head,":           `topics: got \"\"`,
		"?topics=head,foo":        `topics: got \"foo\"`,
		"?topics=Head":            `topics: got \"Head\"`,
		"?topics=head&topics=bar": `topics: got \"bar\"`,
		"?topics=head%20":         `topics: got \"head \"`,
	} {
		w := httptest.NewRecorder()
		NewStream().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lean/v0/events"+query, nil))
		if body := `{"error":"` + reason + want + `"}`; w.Code != http.StatusBadRequest || w.Body.String() != body {
			t.Errorf("%q: %d %s\nwant 400 %s", query, w.Code, w.Body, body)
		}
	}
	w := httptest.NewRecorder()
	NewStream().ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/lean/v0/events?topics=head", nil))
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %q, want 200 and no body", w.Code, w.Body)
	}
}

func FuzzParameters(f *testing.F) {
	f.Add("topics=head,block", "head")
	f.Add("topics=head&topics=sync", "0x"+strings.Repeat("ab", 32))
	f.Add("topics=%zz;", "0x"+strings.Repeat("zz", 32))
	f.Add("", "18446744073709551616")
	state := lstar.GenesisState(7, lstar.NewValidators(make([]lstar.Validator, 3)))
	store, err := lstar.NewStore(lstar.Crypto{}, lstar.NetworkRules, state, lstar.GenesisBlock(state))
	if err != nil {
		f.Fatal(err)
	}
	snapshot := store.Snapshot()
	f.Fuzz(func(t *testing.T, query, id string) {
		values, _ := url.ParseQuery(query)
		if got, err := parseTopics(values); (got == 0) != (err != nil) || got >= 1<<len(topicNames) {
			t.Errorf("topics of %q: %b, %v", query, got, err)
		}
		root, err := findRoot(snapshot, id)
		switch {
		case err != nil && (!root.IsZero() || len(err.Error()) > 600):
			t.Errorf("root of %q: %s and an error of %d bytes", id, root, len(err.Error()))
		case err == nil && strings.HasPrefix(id, "0x") && !strings.EqualFold(root.String(), id):
			t.Errorf("root of %q: %s", id, root)
		}
	})
}

// TestConsumeWithoutSubscriber checks that an event for which there is no subscriber costs no allocation.
func TestConsumeWithoutSubscriber(t *testing.T) {
	s := NewStream()
	for _, subscribed := range []bool{false, true} {
		if subscribed {
			s.subscribe(topicHead)
		}
		for _, event := range []events.Event{events.AttestationAccepted{Data: streamData}, events.BlockImported{}, events.Tick{}} {
			if n := testing.AllocsPerRun(100, func() { s.Consume(event) }); n != 0 {
				t.Errorf("%T with a subscriber to head %v: %v allocations, want 0", event, subscribed, n)
			}
		}
	}
	if len(s.queue) != 0 {
		t.Errorf("%d events are queued, want 0", len(s.queue))
	}
}

// BenchmarkConsume measures what an event costs the goroutine that reports it.
func BenchmarkConsume(b *testing.B) {
	for _, subscribers := range []int{0, 1, 100} {
		b.Run(fmt.Sprint(subscribers), func(b *testing.B) {
			s := NewStream()
			var draining sync.WaitGroup
			draining.Go(func() { // in place of Run, which is slower than the loop
				for range s.queue {
				}
			})
			for range subscribers {
				s.subscribe(topicBlock)
			}
			var event events.Event = events.BlockImported{Slot: 3}
			for b.Loop() {
				s.Consume(event)
			}
			close(s.queue)
			draining.Wait()
		})
	}
}
