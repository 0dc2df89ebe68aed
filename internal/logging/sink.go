package logging

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sinkBytes and sinkLines limit the queue of a Sink. The goroutine that writes may hold the
	// same amount.
	sinkBytes = 1 << 20
	sinkLines = 8192
)

// Sink is an io.Writer that never blocks and never fails, in front of a writer that may do both,
// such as a pipe whose reader stalls or exits. It queues writes. A goroutine, which exists while
// the queue is not empty, passes them on in order, each as one Write. Writes that do not fit into
// the queue or fail are dropped and counted. A Sink is safe for concurrent use.
type Sink struct {
	w       io.Writer
	dropped atomic.Uint64

	mu       sync.Mutex
	queue    batch
	spare    batch // memory for the next queue, while the goroutine does not run
	writing  bool  // the goroutine runs
	flushed  []chan struct{}
	onDrop   func(dropped uint64)
	reported uint64 // dropped writes that onDrop has received

	// Only the goroutine that writes uses these.
	failed bool // the latest write failed
	torn   bool // the latest write wrote only a part of a line
}

// batch is a list of writes in one buffer.
type batch struct {
	buf  []byte
	ends []int // end of each write in buf
}

// NewSink returns a Sink in front of w. Only the Sink may write to w.
func NewSink(w io.Writer) *Sink { return &Sink{w: w} }

// Write queues p, or drops it if the queue is full. A write of any size fits into an empty queue.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	q := &s.queue
	if n := len(q.ends); n > 0 && (n >= sinkLines || len(q.buf)+len(p) > sinkBytes) {
		s.mu.Unlock()
		s.dropped.Add(1)
		return len(p), nil
	}
	q.buf = append(q.buf, p...)
	q.ends = append(q.ends, len(q.buf))
	start := !s.writing
	s.writing = true
	s.mu.Unlock()
	if start {
		go s.drain()
	}
	return len(p), nil
}

// Dropped returns the number of writes that were dropped.
func (s *Sink) Dropped() uint64 { return s.dropped.Load() }

// Flush waits for at most timeout until the queue is written, and reports whether it is.
func (s *Sink) Flush(timeout time.Duration) bool {
	s.mu.Lock()
	if !s.writing {
		s.mu.Unlock()
		return true
	}
	done := make(chan struct{})
	s.flushed = append(s.flushed, done)
	s.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// OnDrop sets a function that gets the number of dropped writes once writing works again. f may
// write to the Sink.
func (s *Sink) OnDrop(f func(dropped uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDrop = f
}

// drain writes until the queue is empty.
func (s *Sink) drain() {
	s.mu.Lock()
	b := s.spare
	s.spare = batch{}
	for {
		b, s.queue = s.queue, batch{b.buf[:0], b.ends[:0]}
		var report uint64
		if !s.failed {
			report = s.dropped.Load() - s.reported
			s.reported += report
		}
		if len(b.ends) == 0 && report == 0 {
			break
		}
		onDrop := s.onDrop
		s.mu.Unlock()
		if report > 0 && onDrop != nil {
			onDrop(report) // the queue is empty now, so a write of onDrop fits
		}
		start := 0
		for _, end := range b.ends {
			s.write(b.buf[start:end])
			start = end
		}
		s.mu.Lock()
	}
	s.spare = b
	s.writing = false
	for _, done := range s.flushed {
		close(done)
	}
	s.flushed = nil
	s.mu.Unlock()
}

// write writes p. After a write that was cut off, such as by a full disk, it first ends the line.
func (s *Sink) write(p []byte) {
	if s.torn {
		if _, err := s.w.Write([]byte{'\n'}); err != nil {
			s.failed = true
			s.dropped.Add(1)
			return
		}
		s.torn = false
	}
	n, err := s.w.Write(p)
	s.failed = err != nil
	if err != nil {
		s.torn = n > 0
		s.dropped.Add(1)
	}
}
