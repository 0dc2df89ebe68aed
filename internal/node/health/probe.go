package health

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ping always succeeds: it shows that the server responds.
var ping = Check{"ping", func() error { return nil }}

// Livez serves /livez, which fails if an event loop is stuck.
func (m *Monitor) Livez() http.Handler {
	return probe("livez", func() []Check { return slices.Concat([]Check{ping}, m.live) })
}

// Readyz serves /readyz, which fails unless the node is live, connected and synced.
func (m *Monitor) Readyz() http.Handler {
	return probe("readyz", func() []Check {
		return slices.Concat([]Check{ping}, m.live, m.ready, []Check{{"synced", m.syncedCheck}})
	})
}

// probe responds in the format of kube-apiserver: 200 and "ok", or with ?verbose a line for each
// check. ?exclude=name, which may be repeated, leaves a check out. If a check fails, the response
// has the lines and status 503, as that of /health. kube-apiserver sends 500.
func probe(name string, checks func() []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		exclude := make(map[string]bool)
		for _, e := range query["exclude"] {
			exclude[e] = true
		}
		var body strings.Builder
		failed := false
		for _, c := range checks() {
			if exclude[c.Name] {
				delete(exclude, c.Name)
				fmt.Fprintf(&body, "[+]%s excluded: ok\n", c.Name)
			} else if err := c.Run(); err != nil {
				failed = true
				fmt.Fprintf(&body, "[-]%s failed: %s\n", c.Name, strings.Join(strings.Fields(err.Error()), " "))
			} else {
				fmt.Fprintf(&body, "[+]%s ok\n", c.Name)
			}
		}
		if len(exclude) > 0 {
			fmt.Fprintf(&body, "warn: some health checks cannot be excluded: no matches for %s\n", quotedNames(exclude))
		}
		text, code := "ok", http.StatusOK
		switch {
		case failed:
			text, code = body.String()+name+" check failed\n", http.StatusServiceUnavailable
		case query.Has("verbose"):
			text = body.String() + name + " check passed\n"
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		write(w, r, code, "text/plain; charset=utf-8", []byte(text))
	})
}

// write sends a response that must not be cached.
func write(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// quotedNames returns the names in a set, sorted, quoted and separated by commas.
func quotedNames(set map[string]bool) string {
	var names []string
	for name := range set {
		names = append(names, strconv.Quote(name))
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
