// Package bounded has collections of bounded size, for data that peers can produce without limit.
package bounded

// Set is a set that drops old keys. It contains at least the latest size keys that were added, and
// at most twice as many. It is not safe for concurrent use.
type Set[K comparable] struct {
	size       int
	young, old map[K]struct{}
}

// NewSet returns an empty set that contains at least the latest size keys.
func NewSet[K comparable](size int) *Set[K] {
	return &Set[K]{size: size, young: make(map[K]struct{})}
}

// Has reports whether the set contains a key.
func (s *Set[K]) Has(key K) bool {
	_, young := s.young[key]
	_, old := s.old[key]
	return young || old
}

// Add adds a key. If the set contains the key already, it becomes the latest one.
func (s *Set[K]) Add(key K) {
	if len(s.young) >= s.size {
		s.old, s.young = s.young, make(map[K]struct{})
	}
	s.young[key] = struct{}{}
}
