// Package health checks whether the node is live and ready, and serves /livez, /readyz and /health.
// The syncer decides whether the node is synced.
package health

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Sync describes whether the node is synced, as the syncer decides.
type Sync struct {
	Synced bool
	Reason string // why the node is not synced
	// HeadSlot is the slot of the head, ClockSlot that of the wall clock.
	HeadSlot, ClockSlot uint64
	// Peers is the number of peers with a known status, Agree the number of those that confirm that
	// nothing is newer than the head.
	Peers, Agree int
}

// Monitor reports whether the node is live, ready and synced. Its methods are safe for concurrent
// use, except for AddLive and AddReady, which must be called before all others.
type Monitor struct {
	// Sync is called at each request, so the state changes even if the node hangs. It must be set
	// before the first request.
	Sync        func() Sync
	live, ready []Check
}

// A Check is a condition of /livez or /readyz. Run returns nil if the condition holds, and an error
// with numbers if it does not. Run must not block.
type Check struct {
	Name string
	Run  func() error
}

// AddLive adds a check to /livez and /readyz.
func (m *Monitor) AddLive(c Check) { m.live = append(m.live, c) }

// AddReady adds a check to /readyz.
func (m *Monitor) AddReady(c Check) { m.ready = append(m.ready, c) }

// Live returns the error of the first failing check of AddLive, or nil.
func (m *Monitor) Live() error {
	for _, c := range m.live {
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// syncedCheck returns an error if the node is not synced.
func (m *Monitor) syncedCheck() error {
	if s := m.Sync(); !s.Synced {
		return fmt.Errorf("%s: head slot %d, clock slot %d, %d peers, %d of them agree that there is nothing newer",
			s.Reason, s.HeadSlot, s.ClockSlot, s.Peers, s.Agree)
	}
	return nil
}

// ServeHTTP serves /health: {"status":"ok","slot":12345,"synced":true} and status code 200 if the
// node is synced, otherwise the status "syncing" and 503. The slot is that of the head.
func (m *Monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := m.Sync()
	answer := struct {
		Status string `json:"status"`
		Slot   uint64 `json:"slot"`
		Synced bool   `json:"synced"`
	}{Status: "ok", Slot: s.HeadSlot, Synced: s.Synced}
	code := http.StatusOK
	if !s.Synced {
		answer.Status = "syncing"
		code = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(answer) // cannot fail: a struct of plain fields
	write(w, r, code, "application/json", body)
}
