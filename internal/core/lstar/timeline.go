package lstar

import "errors"

// Tick advances the clock of the store by one interval and does what belongs to
// it: votes are accepted at interval 0 if this node proposes and at interval 4 in
// any case, aggregated at interval 2, and counted for the safe target at interval
// 3. It returns the aggregates to publish; the error is Aggregate's.
//
// leanSpec: timeline.py, tick_interval
func (s *Store) Tick(hasProposal, isAggregator bool) (made []*SignedAggregatedAttestation, err error) {
	s.time++
	switch s.time.InSlot() {
	case 0:
		if hasProposal {
			s.AcceptNewAttestations()
		}
	case 2:
		if isAggregator {
			made, err = s.Aggregate()
		}
	case 3:
		s.UpdateSafeTarget()
	case 4:
		s.AcceptNewAttestations()
	}
	return made, err
}

// OnTick advances the clock to an interval, one by one. A proposal belongs to the
// last of them.
//
// leanSpec: timeline.py, on_tick
func (s *Store) OnTick(to Interval, hasProposal, isAggregator bool) (made []*SignedAggregatedAttestation, err error) {
	for s.time < to {
		m, e := s.Tick(hasProposal && s.time+1 == to, isAggregator)
		made, err = append(made, m...), errors.Join(err, e)
	}
	return made, err
}

// SkipTo moves the clock forward without doing what belongs to the intervals in
// between, for a node that fell behind: one whole slot before the target is what
// leanSpec still ticks through. It never moves the clock back.
//
// leanSpec: node/chain/service.py, _tick_to
func (s *Store) SkipTo(to Interval) { s.time = max(s.time, to) }
