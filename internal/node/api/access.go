package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Access decides which requests may use the admin routes. The zero value allows programs on this machine.
type Access struct {
	// Open allows all requests.
	Open bool
	// Token allows the requests that have it as their bearer token, and no others.
	Token string
	// Advice is the reason in a 403: it says how an operator gets access.
	Advice string
}

// isAdmin reports whether a path belongs to the admin routes, which change the node or show its memory.
func isAdmin(path string) bool {
	return strings.HasPrefix(path, "/lean/v0/admin/") || strings.HasPrefix(path, "/debug/")
}

// allows reports whether a request may use the admin routes.
func (a Access) allows(r *http.Request) bool {
	switch {
	case a.Open:
		return true
	case a.Token != "":
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		// Hashes have the same length, so the time of the comparison depends neither on the token
		// nor on its length.
		got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(a.Token))
		return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
	default:
		return fromThisMachine(r)
	}
}

// forwarded are the headers that a proxy adds.
var forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"}

// fromThisMachine reports whether a program on this machine sent the request for itself. A request
// that a proxy forwards does not count, and neither does one that a page of another site makes a
// browser send: such a page either has another origin, or uses a name of its own that it resolves
// to a loopback address.
func fromThisMachine(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil { // without a port
		host = strings.Trim(r.Host, "[]")
	}
	sender, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && sender.Addr().Unmap().IsLoopback() &&
		(strings.EqualFold(host, "localhost") || isLoopback(host)) &&
		!slices.ContainsFunc(forwarded, func(name string) bool { return len(r.Header[name]) > 0 }) &&
		new(http.CrossOriginProtection).Check(r) == nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// allowOrigin lets pages of the configured origins read the response, and answers the request by which a
// browser asks for this beforehand. It returns true if it has answered. The origin "*" stands for all.
func (c Config) allowOrigin(w http.ResponseWriter, r *http.Request) (answered bool) {
	origin := r.Header.Get("Origin")
	if len(c.CORSOrigins) == 0 || origin == "" {
		return false
	}
	w.Header().Add("Vary", "Origin")
	if !slices.Contains(c.CORSOrigins, origin) && !slices.Contains(c.CORSOrigins, "*") {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD")
	w.Header().Set("Access-Control-Allow-Headers", "*")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
