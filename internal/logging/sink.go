package logging

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sinkBytes and sinkLines bound what waits in a Sink. As much again may be in the hands of its writer.
	sinkBytes = 1 << 20
	sinkLines = 8192
)

// Sink is an io.Writer that never blocks and never fails, in front of one that may do both: standard error and
// standard output are pipes or terminals whose readers can stall or go away. Writes are queued, and a goroutine
// that lives as long as there are some passes them on in order, each as one Write. Writes that find the queue
// full, and those that fail, are dropped and counted.
type Sink struct {
	w       io.Writer
	dropped atomic.Uint64

	mu       sync.Mutex
	queue    batch
	spare    batch // memory for the queue, while nothing is being written
	writing  bool  // the goroutine is running
	flushed  []chan struct{}
	onDrop   func(dropped uint64)
	reported uint64 // of dropped, by onDrop

	// Of the goroutine that writes:
	failed bool // the latest write failed
	torn   bool // the latest bytes written are a part of a line
}

// batch is a list of writes.
type batch struct {
	buf  []byte
	ends []int // of each write in buf
}

// NewSink returns a Sink in front of w, which must not be written to by others at the same time.
func NewSink(w io.Writer) *Sink { return &Sink{w: w} }

// Write queues p, or drops it where the queue is full. A write of any size fits into an empty queue.
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

// Flush waits until everything queued is written, for at most the timeout, and reports whether it is.
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

// setOnDrop sets the function that reports dropped writes once writing works again. It may write to the sink.
func (s *Sink) setOnDrop(f func(dropped uint64)) {
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
			onDrop(report) // The queue has just been emptied, so there is room for the report.
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

// write passes on one write, and begins a new line after one that was cut off, as by a full disk.
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
