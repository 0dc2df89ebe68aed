package logging

import (
	"net/url"
	"strings"
)

const redacted = "REDACTED"

// RedactURL returns a URL as it may be shown: without its user, its password, its
// query and its fragment. Every URL that an operator configures goes through it
// before it gets into a log or an error. A text that has such parts and is not a URL
// with a host is redacted as a whole, because the secret can be anywhere in it.
func RedactURL(raw string) string {
	if !strings.ContainsAny(raw, "@?#") { // it has no part that can be secret
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
	if signs > 0 { // a password that is not escaped, read as a host or a path
		return redacted
	}
	if u.RawQuery != "" {
		u.RawQuery = redacted
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}
