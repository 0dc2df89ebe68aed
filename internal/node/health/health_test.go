package health

import (
	"net/http/httptest"
	"testing"
)

func TestHealthHandler(t *testing.T) {
	synced := Sync{Synced: true, HeadSlot: 12345, ClockSlot: 12346}
	syncing := Sync{Reason: "known_gap", HeadSlot: 77, ClockSlot: 12346}
	tests := []struct {
		name, method string
		sync         Sync
		status       int
		body         string
	}{
		{"synced", "GET", synced, 200, `{"status":"ok","slot":12345,"synced":true}`},
		{"syncing", "GET", syncing, 503, `{"status":"syncing","slot":77,"synced":false}`},
		{"before the node runs", "GET", Sync{}, 503, `{"status":"syncing","slot":0,"synced":false}`},
		{"HEAD synced", "HEAD", synced, 200, ""},
		{"HEAD syncing", "HEAD", syncing, 503, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := Monitor{Sync: func() Sync { return test.sync }}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(test.method, "/health", nil))
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			if w.Body.String() != test.body {
				t.Errorf("body %q, want %q", w.Body, test.body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %q, want application/json", got)
			}
		})
	}
}
