package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/logging"
)

// console has the outputs and the clock of a command, which tests replace.
type console struct {
	out io.Writer // results
	err io.Writer // progress and failures
	now func() time.Time
	// width returns the number of columns of the terminal behind err, or 0 if err is not a terminal.
	width func() int
}

// flushTimeout limits how long a command waits for the readers of stdout and stderr.
const flushTimeout = time.Second

// newConsole returns the console of the process. Writing to stderr never blocks a command. Writing
// to stdout blocks until its reader reads.
func newConsole() *console {
	return &console{
		out: os.Stdout,
		err: logging.NewSink(os.Stderr),
		now: time.Now,
		width: func() int {
			fd := int(os.Stderr.Fd())
			if !term.IsTerminal(fd) {
				return 0
			}
			if width, _, err := term.GetSize(fd); err == nil && width > 0 {
				return width
			}
			return 80
		},
	}
}

// flush waits until everything written to stderr has been output, so that later output on stdout
// follows it.
func (c *console) flush() {
	if sink, ok := c.err.(*logging.Sink); ok {
		sink.Flush(flushTimeout)
	}
}

// table returns a writer of aligned columns on stdout. Cells end with a tab.
func (c *console) table() *tabwriter.Writer { return tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0) }

// redrawEvery is the shortest time between two updates of the bar.
const redrawEvery = 100 * time.Millisecond

// keyProgress shows the progress of key generation: as a bar on a terminal, otherwise as one line
// for each key.
type keyProgress struct {
	console *console
	started time.Time

	mu    sync.Mutex
	drawn time.Time // when the bar was last drawn, or zero
}

func newKeyProgress(c *console) *keyProgress {
	return &keyProgress{console: c, started: c.now()}
}

// report shows a step of devnet.WriteFiles or devnet.WriteKeyPair. It is safe for concurrent use.
func (p *keyProgress) report(k devnet.KeyProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, width := p.console.now(), p.console.width()
	part := float64(k.Keys)
	if k.Total > 0 && !k.Complete {
		part += float64(min(k.Done, k.Total)) / float64(k.Total)
	}
	part /= float64(k.TotalKeys)
	left := p.left(now, part)
	switch {
	case width > 0:
		if k.Complete || p.drawn.IsZero() || now.Sub(p.drawn) >= redrawEvery {
			p.drawn = now
			fmt.Fprintf(p.console.err, "\r%s\x1b[K", bar(k, part, left, width-1))
		}
	case k.Complete:
		if left != "" {
			left = ", " + left
		}
		fmt.Fprintf(p.console.err, "key %d of %d: %s %s%s\n", k.Keys, k.TotalKeys, k.Name, k.Role, left)
	}
}

// finish ends the line of the bar. The caller calls it once, after the last report.
func (p *keyProgress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.drawn.IsZero() {
		fmt.Fprintln(p.console.err)
	}
	p.console.flush()
}

// left estimates the remaining time from the duration of the finished part of the work.
func (p *keyProgress) left(now time.Time, part float64) string {
	elapsed := now.Sub(p.started)
	// An estimate from less than a second would be unstable.
	if part <= 0 || part >= 1 || elapsed < time.Second {
		return ""
	}
	left := time.Duration(float64(elapsed) * (1 - part) / part)
	return "about " + left.Round(time.Second).String() + " left"
}

// bar returns a line of at most width columns.
func bar(k devnet.KeyProgress, part float64, left string, width int) string {
	const cells = 20
	filled := int(part * cells)
	line := fmt.Sprintf("keys [%s%s] %3d%%  %d of %d", strings.Repeat("#", filled), strings.Repeat("-", cells-filled), int(part*100), k.Keys, k.TotalKeys)
	for _, more := range []string{left, fmt.Sprintf("%s %s", k.Name, k.Role)} {
		if more != "" && len(line)+2+len(more) <= width {
			line += "  " + more
		}
	}
	return line[:min(len(line), max(width, 0))]
}
