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
	httpServer = regexp.MustCompile(`http\.Server\{|http\.(Serve|ListenAndServe)(TLS)?\(|http\.DefaultServeMux`)
	urlInLog   = regexp.MustCompile(`"url", *`)
)

// TestHTTP checks that only api.Serve, which sets limits and timeouts, makes HTTP servers, and that the node redacts all URLs that
// it logs.
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
		if httpServer.Match(source) {
			if servers++; name != "api/server.go" && name != "api/routes.go" {
				t.Errorf("%s makes an HTTP server or serves the default routes, want a call of api.Serve", file)
			}
		}
		for _, at := range urlInLog.FindAllIndex(source, -1) {
			if urls++; !strings.HasPrefix(string(source[at[1]:]), "logging.RedactURL(") {
				t.Errorf("%s logs a URL, want logging.RedactURL", file)
			}
		}
	}
	if servers == 0 || urls == 0 {
		t.Errorf("%d servers and %d logged URLs found, want more than 0; check the patterns of this test", servers, urls)
	}
}
