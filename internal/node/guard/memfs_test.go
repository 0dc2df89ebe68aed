package guard

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

var errPowerCut = errors.New("power cut")

// memFS is a file system in memory that simulates failures and power cuts. A power cut may lose any
// sector of a file that is not synced, or half of it, and any new or renamed entry of a folder that
// is not synced.
type memFS struct {
	mu      sync.Mutex
	live    map[string]*memNode // what a program reads
	durable map[string]*memNode // what survives a power cut
	dirs    map[string]bool
	ops     int
	// fail, if set, returns the error of the n-th operation that changes something.
	fail func(n int, op, name string) error
}

type memNode struct{ live, durable []byte }

type memFile struct {
	fs   *memFS
	node *memNode
	name string
}

func newMemFS(dirs ...string) *memFS {
	m := &memFS{live: map[string]*memNode{}, durable: map[string]*memNode{}, dirs: map[string]bool{"/": true}}
	for _, d := range dirs {
		m.dirs[d] = true
	}
	return m
}

// before counts an operation and returns its error. The caller holds the lock.
func (m *memFS) before(op, name string) error {
	m.ops++
	if m.fail != nil {
		return m.fail(m.ops, op, name)
	}
	return nil
}

func (m *memFS) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.live[name]
	if flag != os.O_RDONLY {
		op := "open"
		if flag&os.O_CREATE != 0 {
			op = "create"
		}
		if err := m.before(op, name); err != nil {
			return nil, err
		}
	}
	if flag&os.O_CREATE != 0 && node == nil {
		if !m.dirs[filepath.Dir(name)] {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		node = &memNode{}
		m.live[name] = node
	}
	if node == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if flag&os.O_TRUNC != 0 {
		node.live = nil
	}
	return &memFile{m, node, name}, nil
}

func (m *memFS) Mkdir(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.dirs[name]:
		return fs.ErrExist
	case !m.dirs[filepath.Dir(name)]:
		return fs.ErrNotExist
	}
	if err := m.before("mkdir", name); err != nil {
		return err
	}
	m.dirs[name] = true // also after a power cut: a lost folder would not lose synced files
	return nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("rename", to); err != nil {
		return err
	}
	if m.live[from] == nil {
		return fs.ErrNotExist
	}
	m.live[to] = m.live[from]
	delete(m.live, from)
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("syncdir", dir); err != nil {
		return err
	}
	for _, name := range m.names() {
		if filepath.Dir(name) == dir {
			if m.durable[name] = m.live[name]; m.live[name] == nil {
				delete(m.durable, name)
			}
		}
	}
	return nil
}

// names lists all files, including those whose removal is not durable.
func (m *memFS) names() []string {
	var names []string
	for name := range m.live {
		names = append(names, name)
	}
	for name := range m.durable {
		if m.live[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.before("write", f.name); err != nil {
		// A failed write may have written some of the data.
		f.node.put(p[:len(p)/2], off)
		return len(p) / 2, err
	}
	f.node.put(p, off)
	return len(p), nil
}

func (n *memNode) put(p []byte, off int64) {
	data := make([]byte, max(len(n.live), int(off)+len(p)))
	copy(data, n.live)
	copy(data[off:], p)
	n.live = data
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.before("sync", f.name); err != nil {
		return err
	}
	f.node.durable = f.node.live
	return nil
}

func (f *memFile) Close() error { return nil }

// crash returns the file system after a power cut.
func (m *memFS) crash(rng *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	after.dirs = m.dirs
	left := map[*memNode]*memNode{}
	for _, name := range m.names() {
		node := m.durable[name]
		if rng.IntN(2) == 0 {
			node = m.live[name]
		}
		if node == nil {
			continue
		}
		if left[node] == nil {
			data := node.torn(rng)
			left[node] = &memNode{data, data}
		}
		after.live[name], after.durable[name] = left[node], left[node]
	}
	return after
}

// torn returns durable content with a random part of the later writes.
func (n *memNode) torn(rng *rand.Rand) []byte {
	const sector = 512
	size := len(n.durable)
	if rng.IntN(2) == 0 {
		size = len(n.live)
	}
	data := make([]byte, size)
	copy(data, n.durable)
	for from := 0; from < min(size, len(n.live)); from += sector {
		to := min(from+sector, size, len(n.live))
		switch rng.IntN(3) {
		case 0: // lost
		case 1:
			copy(data[from:to], n.live[from:to])
		case 2: // half of the sector, though disks should write sectors whole
			cut := from + rng.IntN(to-from)
			copy(data[from:cut], n.live[from:cut])
		}
	}
	return data
}

// files returns the content of all files whose names contain part.
func (m *memFS) files(part string) map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string][]byte{}
	for name, node := range m.live {
		if strings.Contains(name, part) {
			found[name] = node.live
		}
	}
	return found
}

// set writes files durably, and removes those whose content is nil.
func (m *memFS) set(files map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, data := range files {
		if data == nil {
			delete(m.live, name)
			delete(m.durable, name)
			continue
		}
		node := &memNode{data, data}
		m.live[name], m.durable[name] = node, node
	}
}
