package devnet

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestReadable(t *testing.T) {
	for line, want := range map[string]string{
		`{"time":"2026-01-02T03:04:05.678Z","level":"error","msg":"import failed","component":"chain","slot":3,"error":"no parent: x"}`: `03:04:05.678 error chain: import failed error="no parent: x" slot=3`,
		`{"msg":"bare"}`:            "bare",
		`{"level":"info"}`:          `{"level":"info"}`,
		`[1]`:                       "[1]",
		"goroutine 1 [running]:":    "goroutine 1 [running]:",
		"\tmain.go:1 +0x1 \x1b[31m": " main.go:1 +0x1  [31m",
		strings.Repeat("x", 300):    strings.Repeat("x", lineWidth-1) + "…",
	} {
		if got := readable(line); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	var many []string
	for range 30 {
		many = append(many, "frame")
	}
	stack := append([]string{"one", "two", "three", "panic: oh", ""}, many...)
	got := excerpt([]byte(strings.Join(stack, "\n")))
	if len(got) != logEndLines || !reflect.DeepEqual(got[:4], []string{"two", "three", "panic: oh", "frame"}) {
		t.Errorf("excerpt of a panic = %q, want %d lines from two before it", got, logEndLines)
	}
	got = excerpt([]byte(strings.Join(append(many, "last"), "\n") + "\n"))
	if len(got) != logEndLines || got[logEndLines-1] != "last" {
		t.Errorf("excerpt = %q, want the last %d lines", got, logEndLines)
	}
	if got := excerpt(nil); len(got) != 0 {
		t.Errorf("excerpt of an empty log = %q, want nothing", got)
	}
}

func TestLogEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	long := strings.Repeat("before\n", logEndBytes/4)
	if err := os.WriteFile(path, []byte("first run\n"+long+"end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := logEnd(path, 10); got[len(got)-1] != "end" {
		t.Errorf("logEnd = %q, want \"end\" as the last line", got)
	}
	if got := logEnd(path, int64(10+len(long))); !reflect.DeepEqual(got, []string{"end"}) {
		t.Errorf("logEnd = %q, want only the lines after the offset", got)
	}
	if got := logEnd(path+"x", 0); len(got) != 1 || !strings.Contains(got[0], "no such file") {
		t.Errorf("logEnd without a log = %q, want that there is no such file", got)
	}
}

func TestLogErrors(t *testing.T) {
	node := &Node{Dir: t.TempDir()}
	if count, _, err := node.LogErrors(); count != 0 || err != nil {
		t.Errorf("LogErrors without a log = %d, %v, want 0", count, err)
	}
	log := `{"level":"info","msg":"fine"}` + "\n" + `{"level":"error","msg":"bad"}` + "\n\nfatal error: x\n" + `{"level":"error","msg":"half`
	if err := os.WriteFile(node.LogPath(), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	count, first, err := node.LogErrors()
	if want := []string{"error bad", "fatal error: x"}; count != 2 || !reflect.DeepEqual(first, want) || err != nil {
		t.Errorf("LogErrors = %d, %q, %v, want 2, %q", count, first, err, want)
	}
}

// FuzzExcerpt checks that an excerpt of any log is short and printable.
func FuzzExcerpt(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05.678Z","level":"error","msg":"x","slot":3}` + "\npanic: y\n"))
	f.Add([]byte("\xff\x1b[2J\r\n{\"msg\":null}"))
	f.Fuzz(func(t *testing.T, log []byte) {
		lines := excerpt(log)
		if len(lines) > logEndLines {
			t.Fatalf("excerpt of %d lines, want at most %d", len(lines), logEndLines)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > lineWidth {
				t.Fatalf("line of %d characters, want at most %d", utf8.RuneCountInString(line), lineWidth)
			}
			for _, r := range line {
				if !unicode.IsPrint(r) {
					t.Fatalf("line = %q with %U, want printable characters", line, r)
				}
			}
		}
	})
}
