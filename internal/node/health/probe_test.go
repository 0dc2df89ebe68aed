package health

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProbes(t *testing.T) {
	var chain, network error
	h := new(Monitor)
	h.AddLive(Check{"chain", func() error { return chain }})
	h.AddReady(Check{"network", func() error { return network }})
	stuck, deaf := errors.New("loop has not run\nfor 13s"), errors.New("not listening")
	synced := Sync{Synced: true, HeadSlot: 9, ClockSlot: 9}
	stale := Sync{Reason: "stale_head", HeadSlot: 3, ClockSlot: 40, Peers: 2}

	for _, test := range []struct {
		name, method, path string
		chain, network     error
		in                 Sync
		status             int
		body               string
	}{
		{"live", "GET", "/livez", nil, deaf, stale, 200, "ok"},
		{"ready", "GET", "/readyz", nil, nil, synced, 200, "ok"},
		{"live, in words", "GET", "/livez?verbose", nil, deaf, stale, 200, "[+]ping ok\n[+]chain ok\nlivez check passed\n"},
		{"ready, in words", "GET", "/readyz?verbose=1", nil, nil, synced, 200,
			"[+]ping ok\n[+]chain ok\n[+]network ok\n[+]synced ok\nreadyz check passed\n"},
		{"stuck", "GET", "/livez", stuck, nil, synced, 503, "[+]ping ok\n[-]chain failed: loop has not run for 13s\nlivez check failed\n"},
		{"stuck is not ready", "GET", "/readyz", stuck, nil, synced, 503,
			"[+]ping ok\n[-]chain failed: loop has not run for 13s\n[+]network ok\n[+]synced ok\nreadyz check failed\n"},
		{"all is wrong", "GET", "/readyz", stuck, deaf, stale, 503,
			"[+]ping ok\n[-]chain failed: loop has not run for 13s\n[-]network failed: not listening\n" +
				"[-]synced failed: stale_head: head slot 3, clock slot 40, 2 peers, 0 of them agree that there is nothing newer\nreadyz check failed\n"},
		{"what fails is left out", "GET", "/livez?exclude=chain", stuck, nil, synced, 200, "ok"},
		{"left out, in words", "GET", "/livez?verbose&exclude=chain&exclude=nothing", stuck, nil, synced, 200,
			"[+]ping ok\n[+]chain excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"nothing\"\nlivez check passed\n"},
		{"two left out", "GET", "/readyz?exclude=network&exclude=synced", nil, deaf, stale, 200, "ok"},
		{"one of two left out", "GET", "/readyz?exclude=network", nil, deaf, stale, 503, "[+]ping ok\n[+]chain ok\n[+]network excluded: ok\n" +
			"[-]synced failed: stale_head: head slot 3, clock slot 40, 2 peers, 0 of them agree that there is nothing newer\nreadyz check failed\n"},
		{"HEAD of live", "HEAD", "/livez", nil, nil, synced, 200, ""},
		{"HEAD of stuck", "HEAD", "/livez", stuck, nil, synced, 503, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			chain, network = test.chain, test.network
			h.Sync = func() Sync { return test.in }
			handler := h.Livez()
			if strings.HasPrefix(test.path, "/readyz") {
				handler = h.Readyz()
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("%d\n%s\nwant %d\n%s", w.Code, w.Body, test.status, test.body)
			}
		})
	}
	chain = stuck
	if err := h.Live(); err == nil || err.Error() != "chain: loop has not run\nfor 13s" {
		t.Errorf("Live: %v, want the check and what it says", err)
	}
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPulse(12*time.Second, nil)
		alive := func(after time.Duration, want bool) {
			t.Helper()
			time.Sleep(after)
			if err := p.Check(); (err == nil) != want {
				t.Errorf("after %s: %v, want alive: %v", after, err, want)
			}
		}
		alive(12*time.Second, true)
		alive(time.Second, false) // a loop that never began
		p.Beat()
		alive(12*time.Second, true)
		alive(time.Second, false)
		if got, want := p.Check().Error(), "event loop has not run for 13s (limit 12s)"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		p.Rest()
		alive(time.Hour, true)
		p.Beat()
		alive(13*time.Second, false)
		var none *Pulse
		none.Beat()
		none.Rest()
	})
}

func BenchmarkBeat(b *testing.B) {
	p := NewPulse(time.Second, nil)
	b.ReportAllocs()
	for b.Loop() {
		p.Beat()
	}
}
