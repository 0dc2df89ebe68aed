package architecture

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	serversOfHTTP = regexp.MustCompile(`http\.Server\{|http\.(Serve|ListenAndServe)(TLS)?\(|net/http/pprof`)
	urlInLog      = regexp.MustCompile(`"url", *`)
)

// TestHTTP holds that every HTTP server is api.Serve's, which has the limits
// and timeouts, and that no URL is logged that was not redacted.
func TestHTTP(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	servers, urls := 0, 0
	for file := range strings.FieldsSeq(string(out)) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		if serversOfHTTP.Match(source) {
			if servers++; name != "api/server.go" {
				t.Errorf("%s serves HTTP, want that it calls api.Serve", file)
			}
		}
		for _, at := range urlInLog.FindAllIndex(source, -1) {
			if urls++; !strings.HasPrefix(string(source[at[1]:]), "logging.RedactURL(") {
				t.Errorf("%s logs a URL as it is, want logging.RedactURL", file)
			}
		}
	}
	if servers == 0 || urls == 0 {
		t.Errorf("%d servers and %d logged URLs were found, want some: has what this test looks for another form?", servers, urls)
	}
}
