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

// holdVariable names a key file. If it is set, the test binary locks that key, signs slot 5 with it
// and waits.
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
		_, _ = io.Copy(io.Discard, os.Stdin) // until the process is killed or the test ends
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestLock checks that one process at a time can open a key, and that after it is killed the next
// one has its record.
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
		t.Fatalf("output of the other process = %q, want %q", line, "held\n")
	}

	// A link to the key is locked too, and reading the key does not end the lock.
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
			t.Errorf("Open(%s) = %v, want that it is in use", path, err)
		}
		if pid := fmt.Sprintf("(pid %d)", holder.Process.Pid); runtime.GOOS == "linux" && !strings.Contains(err.Error(), pid) {
			t.Errorf("Open = %v, want an error that names %s", err, pid)
		}
	}

	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	g, err := Open(o)
	if err != nil {
		t.Fatalf("Open after the other process was killed = %v, want no error", err)
	}
	defer g.Close()
	mustRefuse(t, g.Key(PublicKey{}), 5, 2)
	mustReserve(t, g.Key(PublicKey{}), 5, 1)
}

// TestLockDataDir checks that two guards cannot use one data folder.
func TestLockDataDir(t *testing.T) {
	o, other := onDisk(t, 1), onDisk(t, 1)
	other.DataDir = o.DataDir
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), o.DataDir) {
		t.Errorf("Open = %v, want that %s is in use", err, o.DataDir)
	}
	g.Close()
	if g, err = Open(other); err != nil {
		t.Fatal(err)
	}
	g.Close()
}

// TestNoLocks checks that Open logs a warning if the file system has no locks.
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
		t.Errorf("log = %q, want a warning", lines.String())
	}
}

func TestFindHolder(t *testing.T) {
	const line = "1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF\n"
	for name, tt := range map[string]struct {
		locks string
		want  int
	}{
		"found":                    {"1: POSIX  ADVISORY  WRITE 9 fe:01:5678 0 EOF\n" + line, 1234},
		"another inode":            {"1: FLOCK  ADVISORY  WRITE 1234 fe:01:15678 0 EOF\n", 0},
		"another device too":       {line + "2: FLOCK  ADVISORY  WRITE 77 fe:02:5678 0 EOF\n", 0},
		"of another pid namespace": {"1: FLOCK  ADVISORY  WRITE 0 fe:01:5678 0 EOF\n", 0},
		"a waiting process":        {line + "1: -> FLOCK  ADVISORY  WRITE 99 fe:01:5678 0 EOF\n", 1234},
		"not a lock":               {"1: FLOCK\n\nx", 0},
	} {
		if got := findHolder(tt.locks, "5678"); got != tt.want {
			t.Errorf("%s: findHolder = %d, want %d", name, got, tt.want)
		}
	}
}
