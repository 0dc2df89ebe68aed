package syncer

import (
	"container/list"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// fairStore holds what peers sent and cannot be used yet, up to a number of items
// and of bytes. When it is full, the peer that takes the most room loses its
// oldest item: who floods it drives out his own.
type fairStore[K comparable, V any] struct {
	limit, minCost, used int
	count                atomic.Int64 // of the items, for those who only look

	items  map[K]*list.Element // of fairItem[K, V]
	owners map[peer.ID]*owner
}

type fairItem[K comparable, V any] struct {
	key   K
	value V
	owner peer.ID
	cost  int
}

type owner struct {
	used  int
	queue *list.List // oldest first
}

// newFairStore returns a store for at most maxItems, which take at most maxBytes
// together. Both limits are one: an item costs at least its share of the bytes.
func newFairStore[K comparable, V any](maxItems, maxBytes int) *fairStore[K, V] {
	minCost := maxBytes / maxItems
	return &fairStore[K, V]{
		limit: minCost * maxItems, minCost: minCost,
		items: make(map[K]*list.Element), owners: make(map[peer.ID]*owner),
	}
}

func (f *fairStore[K, V]) len() int { return int(f.count.Load()) }

func (f *fairStore[K, V]) has(key K) bool { return f.items[key] != nil }

// add adds an item of a peer, whose key must be new, and returns what had to
// leave for it, which may be the item itself.
func (f *fairStore[K, V]) add(key K, value V, from peer.ID, size int) (evicted []V) {
	cost := max(size, f.minCost)
	o := f.owners[from]
	if o == nil {
		o = &owner{queue: list.New()}
		f.owners[from] = o
	}
	f.count.Add(1)
	f.items[key] = o.queue.PushBack(fairItem[K, V]{key, value, from, cost})
	o.used += cost
	f.used += cost
	for f.used > f.limit {
		largest := o
		for _, other := range f.owners {
			if other.used > largest.used {
				largest = other
			}
		}
		item := largest.queue.Front().Value.(fairItem[K, V])
		f.remove(item.key)
		evicted = append(evicted, item.value)
	}
	return evicted
}

// remove removes an item, if it is there.
func (f *fairStore[K, V]) remove(key K) {
	e := f.items[key]
	if e == nil {
		return
	}
	delete(f.items, key)
	f.count.Add(-1)
	item := e.Value.(fairItem[K, V])
	o := f.owners[item.owner]
	o.queue.Remove(e)
	o.used -= item.cost
	f.used -= item.cost
	if o.queue.Len() == 0 {
		delete(f.owners, item.owner)
	}
}

// recent remembers at least the last max keys, and at most twice as many.
type recent[K comparable] struct {
	max        int
	young, old map[K]struct{}
}

func newRecent[K comparable](max int) *recent[K] {
	return &recent[K]{max: max, young: make(map[K]struct{})}
}

func (r *recent[K]) has(key K) bool {
	_, young := r.young[key]
	_, old := r.old[key]
	return young || old
}

func (r *recent[K]) add(key K) {
	if len(r.young) >= r.max {
		r.old, r.young = r.young, make(map[K]struct{})
	}
	r.young[key] = struct{}{}
}
