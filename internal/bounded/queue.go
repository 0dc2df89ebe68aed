package bounded

import (
	"container/list"
	"sync/atomic"
)

// Queue holds values of several owners, such as the peers that sent them, up to a number of values and
// of bytes in total. When it is full, the owner that takes up the most space loses its oldest value,
// so an owner that floods the queue evicts only its own values. Only Len is safe for concurrent use.
type Queue[K, O comparable, V any] struct {
	limit, minCost, used int    // bytes
	added                uint64 // number of calls of Add
	length               atomic.Int64

	items  map[K]*list.Element // of *item[K, O, V]
	owners map[O]*owner
}

type item[K, O comparable, V any] struct {
	key    K
	value  V
	owner  O
	cost   int
	number uint64 // in the order of Add
}

type owner struct {
	used  int
	queue *list.List // oldest first
}

// NewQueue returns an empty queue for at most maxItems values that take up at most maxBytes. Every
// value costs at least maxBytes/maxItems, so one limit implies the other.
func NewQueue[K, O comparable, V any](maxItems, maxBytes int) *Queue[K, O, V] {
	minCost := maxBytes / maxItems
	return &Queue[K, O, V]{
		limit: minCost * maxItems, minCost: minCost,
		items: make(map[K]*list.Element), owners: make(map[O]*owner),
	}
}

// Len returns the number of values.
func (q *Queue[K, O, V]) Len() int { return int(q.length.Load()) }

// Has reports whether the queue holds a value with a key.
func (q *Queue[K, O, V]) Has(key K) bool { return q.items[key] != nil }

// Add adds a value of size bytes, whose key must not be in the queue. It returns the values that it
// evicted, which may include the new one. If owners take up the same space, the owner of the new
// value loses its oldest value first, then the owner of the oldest value. So the same calls evict
// the same values.
func (q *Queue[K, O, V]) Add(key K, value V, of O, size int) (evicted []V) {
	cost := max(size, q.minCost)
	o := q.owners[of]
	if o == nil {
		o = &owner{queue: list.New()}
		q.owners[of] = o
	}
	q.length.Add(1)
	q.added++
	q.items[key] = o.queue.PushBack(&item[K, O, V]{key, value, of, cost, q.added})
	o.used += cost
	q.used += cost
	oldest := func(o *owner) *item[K, O, V] { return o.queue.Front().Value.(*item[K, O, V]) }
	for q.used > q.limit {
		largest := o
		for _, other := range q.owners {
			if other.used > largest.used || other.used == largest.used && largest != o && oldest(other).number < oldest(largest).number {
				largest = other
			}
		}
		it := oldest(largest)
		q.Remove(it.key)
		evicted = append(evicted, it.value)
	}
	return evicted
}

// Remove removes the value with a key, if there is one.
func (q *Queue[K, O, V]) Remove(key K) {
	e := q.items[key]
	if e == nil {
		return
	}
	delete(q.items, key)
	q.length.Add(-1)
	it := e.Value.(*item[K, O, V])
	o := q.owners[it.owner]
	o.queue.Remove(e)
	o.used -= it.cost
	q.used -= it.cost
	if o.queue.Len() == 0 {
		delete(q.owners, it.owner)
	}
}
