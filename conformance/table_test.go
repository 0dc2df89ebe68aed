package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// tally holds the numbers of vectors of a kind, by result.
type tally struct {
	passed, failed, skipped int
	reasons                 []string
}

// results maps kinds to tallies. Subtests do not run concurrently.
var results = make(map[string]*tally)

func count(kind string) *tally {
	if results[kind] == nil {
		results[kind] = new(tally)
	}
	return results[kind]
}

// why adds a reason to the row of a kind.
func (c *tally) why(reason string) {
	if !slices.Contains(c.reasons, reason) {
		c.reasons = append(c.reasons, reason)
	}
}

// subtest runs a vector and counts its result.
func subtest(t *testing.T, kind, name string, run func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() {
			switch c := count(kind); {
			case t.Failed():
				c.failed++
			case t.Skipped():
				c.skipped++
			default:
				c.passed++
			}
		})
		run(t)
	})
}

// skip skips a vector that does not apply, and adds the reason to the table.
func skip(t *testing.T, kind, why string) {
	t.Helper()
	count(kind).why(why)
	t.Skip(why)
}

// table returns the results, with a row for each kind.
func table() string {
	var b strings.Builder
	row := func(kind string, c tally, why string) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-34s %6d %6d %7d  %s", kind, c.passed, c.failed, c.skipped, why), " "))
	}
	fmt.Fprintf(&b, "\n%-34s %6s %6s %7s  %s\n", "kind", "passed", "failed", "skipped", "why")
	var sum tally
	for _, kind := range slices.Sorted(maps.Keys(results)) {
		c := results[kind]
		row(kind, *c, strings.Join(c.reasons, "; "))
		sum.passed, sum.failed, sum.skipped = sum.passed+c.passed, sum.failed+c.failed, sum.skipped+c.skipped
	}
	row("all", sum, "")
	return b.String()
}
