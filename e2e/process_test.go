// Package e2e tests the program as its users run it: with real processes, files and ports.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test.
var binary string

// parallel is the number of tests that run at the same time unless -parallel is set. A network of the test scheme mostly waits
// for its slots, and uses a tenth of a processor or less.
const parallel = 6

func TestMain(m *testing.M) {
	flag.Parse()
	// If SIGHUP is ignored, as under nohup, the nodes inherit this. If it is caught, they do not.
	ossignal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", strconv.Itoa(parallel))
	}
	dir, err := os.MkdirTemp("", "leanspec-node-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "leanspec-node")
	build := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-o", binary, "../cmd/leanspec-node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// command returns a command that runs the program without the LEANSPEC_ variables of the environment.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LEANSPEC_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// mustRun runs a command that must succeed, and returns its stdout.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := command(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("leanspec-node %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// process is a running node that logs JSON.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait, once exited is closed

	mu    sync.Mutex
	lines []line
	bad   []string      // lines that are not a JSON object
	more  chan struct{} // closed and replaced with each line
}

// line is a line of the log.
type line map[string]any

// number returns the value of a field. The test fails if it is not a number.
func (l line) number(t *testing.T, key string) uint64 {
	t.Helper()
	f, ok := l[key].(float64)
	if !ok {
		t.Fatalf("line %v: %s = %v, want a number", l, key, l[key])
	}
	return uint64(f)
}

// text returns the value of a field. The test fails if it is not a string.
func (l line) text(t *testing.T, key string) string {
	t.Helper()
	s, ok := l[key].(string)
	if !ok {
		t.Fatalf("line %v: %s = %v, want a string", l, key, l[key])
	}
	return s
}

// start starts a node, which is killed when the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, command(context.Background(), args...))
}

// startCommand starts a node with the given command.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{}), more: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.read(stderr)
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, l := range p.lines[max(0, len(p.lines)-30):] {
				b, _ := json.Marshal(l)
				t.Logf("log: %s", b)
			}
		}
	})
	return p
}

func (p *process) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		p.mu.Lock()
		l := make(line)
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			p.bad = append(p.bad, s.Text())
		} else {
			p.lines = append(p.lines, l)
		}
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// await waits for a line for which ok returns true, and returns the first one.
func (p *process) await(t *testing.T, what string, timeout time.Duration, ok func(line) bool) line {
	t.Helper()
	deadline := time.After(timeout)
	for seen := 0; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if ok(lines[seen]) {
				return lines[seen]
			}
		}
		select {
		case <-more:
		case <-p.exited:
			t.Fatalf("the node exited before %s: %v", what, p.err)
		case <-deadline:
			t.Fatalf("no %s within %s", what, timeout)
		}
	}
}

// message returns a function that accepts lines with this message about this slot or a later one.
func message(msg string, slot uint64) func(line) bool {
	return func(l line) bool {
		at, ok := l["slot"].(float64)
		return l["msg"] == msg && ok && uint64(at) >= slot
	}
}

// stop sends a signal to the node, which must exit with code 0 within 5 s.
func (p *process) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		t.Fatalf("the node still runs 5 s after %s", signal)
	}
	if p.err != nil {
		t.Fatalf("exit after %s: %v, want code 0", signal, p.err)
	}
}

// exitCode returns the exit code of a command that has failed with err, or -1 if it was not run or was killed.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// unavailable skips a test, because this machine does not have what the test needs. In CI on Linux it fails the test.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" && runtime.GOOS == "linux" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

// makeNetwork makes the files of a network of one node, and returns their folder and the flags of the node.
func makeNetwork(t *testing.T, flags ...string) (dir string, node []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "net")
	mustRun(t, append([]string{"genesis", "--nodes", "1", "--out", dir}, flags...)...)
	return dir, []string{"--genesis", filepath.Join(dir, "config.yaml"), "--validator-keys", dir, "--node-id", "lean_spec_0"}
}
