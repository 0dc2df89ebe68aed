package logging

import (
	"net/url"
	"strings"
)

const redacted = "REDACTED"

// RedactURL returns a URL without its user, password, query and fragment. Call it for every
// configured URL in a log line or an error. It redacts a text with such parts that is not a URL
// with a host completely, because the secret can be anywhere in it.
func RedactURL(raw string) string {
	if !strings.ContainsAny(raw, "@?#") { // no part can be secret
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return redacted
	}
	signs := strings.Count(raw, "@")
	if u.User != nil {
		u.User = url.User(redacted)
		signs--
	}
	if signs > 0 { // a password that is not escaped was parsed as a host or a path
		return redacted
	}
	if u.RawQuery != "" {
		u.RawQuery = redacted
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}
