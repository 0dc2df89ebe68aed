package main

import (
	"strings"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

func TestProgressOnTerminal(t *testing.T) {
	c := newTestConsole(80)
	p := newKeyProgress(&c.console)
	step := func(keys int, done uint64, complete bool) {
		p.report(devnet.KeyProgress{Keys: keys, TotalKeys: 4, Name: "validator_1", Role: config.Proposal, Complete: complete, Done: done, Total: 10})
	}
	step(0, 0, false)
	c.clock = c.clock.Add(redrawEvery - 1)
	step(0, 3, false) // not drawn: too soon
	c.clock = c.clock.Add(1)
	step(0, 4, false)
	step(1, 0, true) // always drawn
	c.clock = c.clock.Add(10*time.Second - redrawEvery)
	step(2, 0, true)
	step(4, 0, true)
	p.finish()
	const clear = "\x1b[K"
	want := strings.Join([]string{"",
		"keys [--------------------]   0%  0 of 4  validator_1 proposal" + clear,
		"keys [##------------------]  10%  0 of 4  validator_1 proposal" + clear,
		"keys [#####---------------]  25%  1 of 4  validator_1 proposal" + clear,
		"keys [##########----------]  50%  2 of 4  about 10s left  validator_1 proposal" + clear,
		"keys [####################] 100%  4 of 4  validator_1 proposal" + clear + "\n",
	}, "\r")
	if got := c.err.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestProgressElsewhere(t *testing.T) {
	c := newTestConsole(0)
	p := newKeyProgress(&c.console)
	for keys := range 3 {
		p.report(devnet.KeyProgress{Keys: keys, TotalKeys: 3, Name: "validator_1", Role: config.Attestation, Done: 5, Total: 10})
		c.clock = c.clock.Add(40 * time.Second)
		p.report(devnet.KeyProgress{Keys: keys + 1, TotalKeys: 3, Name: "validator_1", Role: config.Attestation, Complete: true})
	}
	p.finish()
	const want = "key 1 of 3: validator_1 attestation, about 1m20s left\n" +
		"key 2 of 3: validator_1 attestation, about 40s left\n" +
		"key 3 of 3: validator_1 attestation\n"
	if got := c.err.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBarWidth checks that the bar fits into one line of any terminal.
func TestBarWidth(t *testing.T) {
	for width := range 100 {
		for _, k := range []devnet.KeyProgress{{TotalKeys: 1}, {Keys: 8191, TotalKeys: 8192, Name: strings.Repeat("v", 50), Total: 1, Done: 7}} {
			c := newTestConsole(width)
			p := newKeyProgress(&c.console)
			c.clock = c.clock.Add(time.Hour)
			p.report(k)
			line := strings.TrimSuffix(strings.TrimPrefix(c.err.String(), "\r"), "\x1b[K")
			if len(line) > max(width-1, 0) {
				t.Errorf("width %d: bar of %d columns, want at most %d: %q", width, len(line), max(width-1, 0), line)
			}
		}
	}
}

func TestUnknownCommand(t *testing.T) {
	checkFailure(t, t.Context(), 2, "\"dance\": no such command; want one of run, devnet, genesis, keygen, keys, db, health, version, completion, man; see leanspec-node --help", "dance")
}
