// Package e2e runs the program as its users do: real processes, real files, real
// ports.
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test.
var binary string

// parallel is the number of tests that run at a time unless -parallel says otherwise. Networks mostly wait for their slots:
// one of the test scheme takes a tenth of a processor or less.
const parallel = 6

func TestMain(m *testing.M) {
	flag.Parse()
	// A signal that is caught here has its default effect on the nodes, also where the
	// tests were started with it ignored, as by nohup.
	ossignal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(parallel))
	}
	dir, err := os.MkdirTemp("", "leanspec-node-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "leanspec-node")
	build := exec.Command("go", "build", "-o", binary, "../cmd/leanspec-node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// command is the program with arguments, and without settings of the environment.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LEANSPEC_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// runs carries out a command that is to succeed, and returns what it prints.
func runs(t *testing.T, args ...string) string {
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
	bad   []string // lines that are no JSON object
	more  chan struct{}
}

// line is a line of the log.
type line map[string]any

// number returns a field that is a number. The test fails if the line has none.
func (l line) number(t *testing.T, key string) uint64 {
	t.Helper()
	f, ok := l[key].(float64)
	if !ok {
		t.Fatalf("line %v: %s = %v, want a number", l, key, l[key])
	}
	return uint64(f)
}

// text returns a field that is a string. The test fails if the line has none.
func (l line) text(t *testing.T, key string) string {
	t.Helper()
	s, ok := l[key].(string)
	if !ok {
		t.Fatalf("line %v: %s = %v, want a string", l, key, l[key])
	}
	return s
}

// start starts a node, which the test stops at its end at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, command(context.Background(), args...))
}

// startCommand starts a node whose command is ready.
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

// await returns the first line for which ok is true, which must come in time.
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
			t.Fatalf("the node ended while waiting for %s: %v", what, p.err)
		case <-deadline:
			t.Fatalf("no %s within %s", what, timeout)
		}
	}
}

// message is true for lines with a message, at or after a slot.
func message(msg string, slot uint64) func(line) bool {
	return func(l line) bool {
		at, ok := l["slot"].(float64)
		return l["msg"] == msg && ok && uint64(at) >= slot
	}
}

// stop ends the node as an operator does, and wants it to end well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		t.Fatal("the node is still there 5 s after SIGTERM")
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) || p.err != nil {
		t.Fatalf("exit after SIGTERM: %v, want code 0", p.err)
	}
}
