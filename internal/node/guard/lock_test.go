//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// holdVariable makes the test binary a process that holds a key.
const holdVariable = "LEANSPEC_TEST_HOLD_KEY"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVariable); path != "" {
		g, err := Open(Options{Keys: []KeyFile{{Path: path}}, Log: slog.New(slog.DiscardHandler), Now: beforeGenesis})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if err := g.Key(PublicKey{}).Reserve(5, [32]byte{1}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or the test is gone
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestLock: while a process has the keys no other gets them; when it is killed,
// the next one knows what it has signed.
func TestLock(t *testing.T) {
	o := onDisk(t, 1)
	o.DataDir = ""
	holder := exec.Command(os.Args[0], "-test.run=^$")
	holder.Env = append(os.Environ(), holdVariable+"="+o.Keys[0].Path)
	holder.Stderr = os.Stderr
	if _, err := holder.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q", line)
	}

	// Neither the key by another name nor reading it changes anything.
	link := o.Keys[0].Path + ".link"
	if err := os.Link(o.Keys[0].Path, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{o.Keys[0].Path, link} {
		if _, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Options{Keys: []KeyFile{{Path: path}}, Log: o.Log, Now: beforeGenesis})
		var failure *config.Error
		if !errors.As(err, &failure) || failure.File != path || !strings.Contains(failure.Problem, "in use by another process") {
			t.Errorf("%v, want that the key is in use", err)
		}
		if pid := fmt.Sprintf("(pid %d)", holder.Process.Pid); runtime.GOOS == "linux" && !strings.Contains(err.Error(), pid) {
			t.Errorf("%v: does not name %s", err, pid)
		}
	}

	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	g, err := Open(o)
	if err != nil {
		t.Fatalf("the holder is dead, and still: %v", err)
	}
	defer g.Close()
	mustRefuse(t, g.Key(PublicKey{}), 5, 2)
	mustReserve(t, g.Key(PublicKey{}), 5, 1)
}

// TestLockDataDir: copies of keys with one data folder are one node too many.
func TestLockDataDir(t *testing.T) {
	o, other := onDisk(t, 1), onDisk(t, 1)
	other.DataDir = o.DataDir
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), o.DataDir) {
		t.Errorf("%v, want that the data folder is in use", err)
	}
	g.Close()
	if g, err = Open(other); err != nil {
		t.Fatal(err)
	}
	g.Close()
}

// TestNoLocks: a file system without locks is warned of, and works.
func TestNoLocks(t *testing.T) {
	o := onDisk(t, 1)
	var lines strings.Builder
	o.Log = slog.New(slog.NewTextHandler(&lines, nil))
	o.lock = func(string, bool) (io.Closer, error) { return nil, errNoLocks }
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if !strings.Contains(lines.String(), "cannot be locked") {
		t.Errorf("the log says %q, want a warning", lines.String())
	}
}
