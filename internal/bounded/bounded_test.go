package bounded

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSet checks after every Add that the set contains the latest keys, and no key that was not added.
func TestSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 20).Draw(t, "size")
		s := NewSet[int](size)
		var latest []int // distinct keys, the latest last
		for _, key := range rapid.SliceOfN(rapid.IntRange(0, 60), 0, 200).Draw(t, "keys") {
			s.Add(key)
			latest = append(slices.DeleteFunc(latest, func(k int) bool { return k == key }), key)
			contained := 0
			for k := range 61 {
				age := len(latest) - slices.Index(latest, k) // 1 for the latest key
				added := slices.Contains(latest, k)
				if has := s.Has(k); has {
					contained++
					if !added {
						t.Fatalf("Has(%d) = true, want false for a key that was not added", k)
					}
				} else if added && age <= size {
					t.Fatalf("Has(%d) = false, want true for one of the latest %d keys", k, size)
				}
			}
			if contained > 2*size {
				t.Fatalf("the set contains %d keys, want at most %d", contained, 2*size)
			}
		}
	})
}

type value struct{ key, owner, cost int }

// evict returns the values that must leave a queue by definition: the oldest value of the owner
// that takes up the most space, until the rest fits.
func evict(values []value, limit, adding int) (rest, evicted []value) {
	for {
		total, used := 0, make(map[int]int)
		for _, v := range values {
			total += v.cost
			used[v.owner] += v.cost
		}
		if total <= limit {
			return values, evicted
		}
		largest := adding
		for _, v := range values {
			if used[v.owner] > used[largest] {
				largest = v.owner
			}
		}
		i := slices.IndexFunc(values, func(v value) bool { return v.owner == largest })
		evicted = append(evicted, values[i])
		values = slices.Delete(values, i, i+1)
	}
}

// TestQueue compares a queue with its definition.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxItems := rapid.IntRange(1, 8).Draw(t, "maxItems")
		maxBytes := maxItems * rapid.IntRange(1, 10).Draw(t, "share")
		q := NewQueue[int, int, value](maxItems, maxBytes)
		var values []value
		for key := range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(values) > 0 && rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				i := rapid.IntRange(0, len(values)-1).Draw(t, "which")
				q.Remove(values[i].key)
				q.Remove(values[i].key) // does nothing
				values = slices.Delete(values, i, i+1)
			}
			owner, size := rapid.IntRange(0, 3).Draw(t, "owner"), rapid.IntRange(0, maxBytes+3).Draw(t, "size")
			v := value{key, owner, max(size, maxBytes/maxItems)}
			got := q.Add(key, v, owner, size)
			var want []value
			values, want = evict(append(values, v), maxBytes, owner)
			if !slices.Equal(got, want) {
				t.Fatalf("Add(%v) evicted %v, want %v", v, got, want)
			}
			if q.Len() != len(values) || q.Len() > maxItems {
				t.Fatalf("Len() = %d, want %d, at most %d", q.Len(), len(values), maxItems)
			}
			for k := range key + 1 {
				want := slices.ContainsFunc(values, func(v value) bool { return v.key == k })
				if got := q.Has(k); got != want {
					t.Fatalf("Has(%d) = %v, want %v", k, got, want)
				}
			}
		}
		for _, v := range values {
			q.Remove(v.key)
		}
		if q.Len() != 0 || q.used != 0 || len(q.items) != 0 || len(q.owners) != 0 {
			t.Fatalf("an empty queue has %d values of cost %d and %d owners, want 0", q.Len(), q.used, len(q.owners))
		}
	})
}

// TestFlood checks that a peer that floods the queue only evicts its own values.
func TestFlood(t *testing.T) {
	q := NewQueue[int, string, int](10, 1000)
	for key := range 4 {
		if out := q.Add(key, key, "honest", 1); len(out) > 0 {
			t.Errorf("value %d evicted %v, want nothing while there is room", key, out)
		}
	}
	for key := 100; key < 200; key++ {
		for _, out := range q.Add(key, key, "flood", 1) {
			if out < 100 {
				t.Errorf("the flood evicted value %d of another peer", out)
			}
		}
	}
	if got, want := q.Add(200, 200, "flood", 500), []int{194, 195, 196, 197, 198}; !slices.Equal(got, want) {
		t.Errorf("a large value evicted %v, want %v", got, want)
	}
	if out := q.Add(201, 201, "huge", 5000); q.Has(201) || !q.Has(0) {
		t.Errorf("a value that does not fit evicted %v, want itself and no value of the honest peer", out)
	}
}
