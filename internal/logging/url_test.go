package logging

import (
	"strings"
	"testing"
)

func TestRedactURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://192.0.2.1:5052":                          "http://192.0.2.1:5052",
		"https://node.example/a/b":                       "https://node.example/a/b",
		"http://user:secret@node.example:5052":           "http://REDACTED@node.example:5052",
		"http://secret@node.example/path":                "http://REDACTED@node.example/path",
		"http://node.example?key=secret&key=secret&a=":   "http://node.example?REDACTED",
		"http://node.example?secret":                     "http://node.example?REDACTED",
		"http://node.example?%zz=secret":                 "http://node.example?REDACTED",
		"http://user:secret@node.example?key=secret#end": "http://REDACTED@node.example?REDACTED",
		"http://node.example#secret":                     "http://node.example",
		// A password that is not escaped: the apparent host is part of it.
		"http://user:sec?ret@node.example": "REDACTED",
		"http://user:123?secret@node":      "REDACTED",
		"http://user:sec#ret@node.example": "REDACTED",
		"http://user:sec/ret@node.example": "REDACTED",
		"user:secret@node.example:5052":    "REDACTED",
		"//user:sec ret@node.example":      "REDACTED",
		"http://[?secret":                  "REDACTED",
		"node.example:5052":                "node.example:5052",
		"http://[":                         "http://[",
		"":                                 "",
	} {
		if got := RedactURL(raw); got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

func FuzzRedactURL(f *testing.F) {
	f.Add("http", "user", "node.example:5052", "key")
	f.Fuzz(func(t *testing.T, scheme, user, host, key string) {
		const secret = "5ecre7"
		if strings.Contains(scheme+user+host+key, secret) {
			return // it may be shown
		}
		for _, raw := range []string{
			scheme + "://" + user + ":" + secret + "@" + host, scheme + "://" + host + "?" + key + "=" + secret,
		} {
			if got := RedactURL(raw); strings.Contains(got, secret) {
				t.Errorf("%q: got %q, which contains the secret", raw, got)
			}
		}
	})
}
