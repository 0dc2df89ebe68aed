package lstar

import "errors"

// Tick advances the clock by one interval and does the work of that interval: it accepts
// pending votes at interval 4, and at interval 0 if hasProposal is set; it aggregates at
// interval 2 if isAggregator is set; it updates the safe target at interval 3. It returns
// the aggregates for publication and the error of [Store.Aggregate].
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

// OnTick advances the clock to an interval, one [Store.Tick] at a time. hasProposal
// applies to the last of them.
//
// leanSpec: timeline.py, on_tick
func (s *Store) OnTick(to Interval, hasProposal, isAggregator bool) (made []*SignedAggregatedAttestation, err error) {
	for s.time < to {
		m, e := s.Tick(hasProposal && s.time+1 == to, isAggregator)
		made, err = append(made, m...), errors.Join(err, e)
	}
	return made, err
}

// SkipTo advances the clock without the work of the skipped intervals. A node that is far
// behind skips to one slot before the current interval and ticks from there, as leanSpec
// does. SkipTo does nothing if the clock is already past the interval.
//
// leanSpec: node/chain/service.py, _tick_to
func (s *Store) SkipTo(to Interval) { s.time = max(s.time, to) }
