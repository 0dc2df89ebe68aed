package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

const testPeer = peer.ID("peer")

var errTest = errors.New("broken")

// parseLines parses one JSON object per line. The test fails on a repeated key, which
// json.Unmarshal accepts.
func parseLines(t *testing.T, out []byte) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range bytes.Lines(out) {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatalf("line is not JSON: %v: %q", err, text)
		}
		decoder, keys := json.NewDecoder(bytes.NewReader(text)), 0
		for depth := 0; ; {
			token, err := decoder.Token()
			if err == io.EOF {
				break
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			default:
				if depth == 1 {
					keys++
				}
			}
		}
		if nested := countNested(line); keys != 2*len(line)-nested {
			t.Fatalf("line has a repeated key: %q", text)
		}
		lines = append(lines, line)
	}
	return lines
}

func countNested(line map[string]any) (n int) {
	for _, v := range line {
		switch v.(type) {
		case map[string]any, []any:
			n++
		}
	}
	return n
}

func TestJSONLine(t *testing.T) {
	// In the bubble, time starts at midnight of 2000-01-01 UTC.
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(3*time.Hour + 123456*time.Microsecond)
		var out bytes.Buffer
		log, _ := New(Options{Format: FormatJSON, Level: slog.LevelDebug, Writer: &out})
		log = Component(log, "chain")
		root := [32]byte{0xab, 31: 0xcd}
		log.LogAttrs(context.Background(), slog.LevelWarn, "block rejected",
			Slot(lstar.Slot(13)), Peer(testPeer), Root(root), Validator(lstar.ValidatorIndex(7)), Reason("WRONG_PROPOSER"),
			Duration(1500*time.Microsecond), Err(errors.New("slot 13: wrong proposer")))
		want := `{"time":"2000-01-01T03:00:00.123Z","level":"warn","msg":"block rejected","component":"chain",` +
			`"slot":13,"epoch":4,"peer_id":"` + testPeer.String() + `",` +
			`"root":"0xab000000000000000000000000000000000000000000000000000000000000cd",` +
			`"validator":7,"reason":"WRONG_PROPOSER","duration_ms":1.5,"error":"slot 13: wrong proposer"}` + "\n"
		if out.String() != want {
			t.Errorf("line\n %swant\n %s", out.String(), want)
		}
	})
}

func TestTextLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, _ := New(Options{Writer: &out})
		Component(log, "chain").LogAttrs(context.Background(), slog.LevelInfo, "block imported",
			Slot(lstar.Slot(13)), Peer(""), Root([32]byte{0xab, 31: 0xcd}), Err(errors.New("two words")), Err(nil))
		log.Warn("x")
		want := `2000-01-01T00:00:00.000Z INF chain     block imported           slot=13 epoch=4 ` +
			`root=0xab000000..000000cd error="two words"` + "\n" +
			`2000-01-01T00:00:00.000Z WRN node      x` + "\n"
		if out.String() != want {
			t.Errorf("lines\n%swant\n%s", out.String(), want)
		}
	})
}

func TestEventLinesHaveTheirFields(t *testing.T) {
	common := []string{"time", "level", "msg", "component"}
	tests := []struct {
		name  string
		event events.Event
		want  []string
	}{
		{"block imported", events.BlockImported{Peer: "p"}, []string{
			"slot", "epoch", "validator", "root", "parent_root", "attestations", "participants", "own", "peer_id", "duration_ms",
			"wait_ms", "signature_verification_ms", "state_transition_ms", "fork_choice_ms", "save_ms",
		}},
		{"own block imported", events.BlockImported{Own: true}, []string{
			"slot", "epoch", "validator", "root", "parent_root", "attestations", "participants", "own", "duration_ms",
			"wait_ms", "signature_verification_ms", "state_transition_ms", "fork_choice_ms", "save_ms",
		}},
		{"block rejected", events.BlockRejected{Peer: "p", Reason: "r", Err: errTest}, []string{
			"slot", "epoch", "root", "peer_id", "reason", "error", "advice",
		}},
		{"slot", events.SlotSummary{}, []string{
			"slot", "epoch", "head_slot", "justified_slot", "finalized_slot", "finality_lag", "safe_target_slot", "root", "peers", "votes", "block_seen", "synced",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			log, _ := New(Options{Format: FormatJSON, Level: slog.LevelDebug, Writer: &out})
			Events(log)(test.event)
			lines := parseLines(t, out.Bytes())
			if len(lines) != 1 {
				t.Fatalf("%d lines, want 1", len(lines))
			}
			got := slices.Sorted(maps.Keys(lines[0]))
			want := slices.Sorted(slices.Values(append(slices.Clone(common), test.want...)))
			if !slices.Equal(got, want) {
				t.Errorf("keys\n %v\nwant\n %v", got, want)
			}
		})
	}

	var out bytes.Buffer
	log, _ := New(Options{Format: FormatJSON, Level: slog.LevelDebug, Writer: &out})
	Events(log)(events.AttestationAccepted{Slot: 7, Validator: 3, Peer: "p", Duration: time.Second})
	line := parseLines(t, out.Bytes())[0]
	for key, want := range map[string]any{
		"level": "debug", "component": "chain", "slot": 7.0, "epoch": 2.0, "validator": 3.0, "peer_id": peer.ID("p").String(), "duration_ms": 1000.0,
	} {
		if line[key] != want {
			t.Errorf("vote line: %s = %v, want %v", key, line[key], want)
		}
	}
}

// TestHandlerContract runs slog's tests for handlers.
func TestHandlerContract(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return newLimitHandler(newLineHandler(&out, newControl(LevelSpec{Level: slog.LevelDebug}), true, false))
	}, func(t *testing.T) map[string]any {
		line := parseLines(t, out.Bytes())[0]
		nested := map[string]any{}
		for key, value := range line {
			parts := strings.Split(key, ".")
			at := nested
			for _, part := range parts[:len(parts)-1] {
				if at[part] == nil {
					at[part] = map[string]any{}
				}
				at = at[part].(map[string]any)
			}
			at[parts[len(parts)-1]] = value
		}
		return nested
	})
}

type panics struct{}

func (*panics) Error() string { panic("no text") }

func TestJSONValues(t *testing.T) {
	tests := []struct {
		value any
		want  any
	}{
		{"plain", "plain"},
		{"<a> & \"b\"\n\x00\x1b[31m", "<a> & \"b\"\n\x00\x1b[31m"},
		{"\xff", "\ufffd"},
		{int64(-1), -1.0},
		{uint64(3), 3.0},
		{true, true},
		{1.25, 1.25},
		{math.Inf(1), "+Inf"},
		{time.Second, "1s"},
		{time.Date(2026, 6, 26, 5, 0, 0, 0, time.FixedZone("", 7200)), "2026-06-26T03:00:00Z"},
		{nil, nil},
		{[]string{"a", "b"}, []any{"a", "b"}},
		{struct{ A int }{1}, map[string]any{"A": 1.0}},
		{func() {}, nil}, // cannot be encoded as JSON, and prints as an address
		{(*panics)(nil), nil},
		{fmt.Errorf("outer: %w", io.EOF), "outer: EOF"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		log, _ := New(Options{Format: FormatJSON, Writer: &out})
		log.Info("m", "v", test.value)
		got := parseLines(t, out.Bytes())[0]["v"]
		if test.want == nil && test.value != nil {
			if _, ok := got.(string); !ok {
				t.Errorf("%T is written as %v, want a string", test.value, got)
			}
			continue
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%#v is written as %v, want %v", test.value, got, test.want)
		}
	}
}

func TestKeysAreNotDoubled(t *testing.T) {
	var out bytes.Buffer
	log, _ := New(Options{Format: FormatJSON, Writer: &out})
	log = Component(Component(log, "chain").With("slot", 1), "sync")
	log.Info("m", "slot", 2, "msg", "theirs", "level", 9, "time", "noon")
	line := parseLines(t, out.Bytes())[0]
	for key, want := range map[string]any{
		"component": "sync", "slot": 2.0, "msg": "m", "msg_": "theirs", "level": "info", "level_": 9.0, "time_": "noon",
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
}

// checkLine checks that a record is one line, that JSON is valid, and that text has no control
// characters.
func checkLine(t *testing.T, msg, key, value string) {
	t.Helper()
	for _, format := range []string{FormatJSON, FormatText} {
		var out bytes.Buffer
		log, _ := New(Options{Format: format, Writer: &out})
		Component(log, value).LogAttrs(context.Background(), slog.LevelWarn, msg,
			slog.String(key, value), Peer(peer.ID(value[:min(len(value), 64)])), Reason(value), Err(errors.New(value)), slog.Any("list", []string{value}))
		line := out.String()
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("%s: %q as value gives %d lines, want 1: %q", format, value, strings.Count(line, "\n"), line)
		}
		if format == FormatJSON {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %q", line)
			}
			continue
		}
		if !utf8.ValidString(line) {
			t.Errorf("text line is not UTF-8: %q", line)
		}
		for _, r := range strings.TrimSuffix(line, "\n") {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("text line contains the control character %U: %q", r, line)
			}
		}
	}
}

func TestLogInjection(t *testing.T) {
	for _, evil := range []string{
		"a\nb", "a\r\nb", "\x1b[2J", "\x00", "\x7f", "\u009b31m", "\u202e", "\u2028", "\xff\xfe", `"`, `\`, "a=b c=d", "",
		"x\n" + `{"level":"error","msg":"forged"}`,
		"x\n2026-06-26T03:00:00.000Z ERR chain forged",
		strings.Repeat("é", 10_000), strings.Repeat("\n", 10_000),
	} {
		checkLine(t, evil, evil, evil)
		checkLine(t, "m", "k", evil)
	}
	var out bytes.Buffer
	log, _ := New(Options{Writer: &out})
	log.Info("m", "reason", "ok root=0xff")
	if want := `reason="ok root=0xff"`; !strings.Contains(out.String(), want) {
		t.Errorf("a value with spaces can forge fields: %q, want %s", out.String(), want)
	}
	out.Reset()
	log.Info("m", "error", strings.Repeat("x", 1<<20))
	if out.Len() > 2*maxValue {
		t.Errorf("a value of 1 MiB makes a line of %d bytes, want it shortened", out.Len())
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add("m", "k", "v")
	f.Add("a\nb", "k\x1b", "\xff\u202e")
	f.Fuzz(func(t *testing.T, msg, key, value string) { checkLine(t, msg, key, value) })
}

func TestLevels(t *testing.T) {
	for text, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError, "INFO": slog.LevelInfo,
	} {
		if got, err := ParseLevel(text); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "warning", "trace", "info+1"} {
		if got, err := ParseLevel(text); err == nil {
			t.Errorf("ParseLevel(%q) = %v, want an error", text, got)
		}
	}

	var out bytes.Buffer
	log, control := New(Options{Format: FormatJSON, Level: slog.LevelWarn, Writer: &out})
	log.Info("hidden")
	if _, _, err := control.SetLogLevel("debug"); err != nil {
		t.Fatal(err)
	}
	log.Debug("shown")
	log.Log(context.Background(), slog.LevelInfo+2, "between")
	lines := parseLines(t, out.Bytes())
	if len(lines) != 2 || lines[0]["msg"] != "shown" || lines[1]["level"] != "info" {
		t.Errorf("lines %v, want shown, and between at info", lines)
	}
}

func TestColors(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if colorful(file) || colorful(new(bytes.Buffer)) {
		t.Error("colors for a writer that is not a terminal, want no colors")
	}
	var out bytes.Buffer
	slog.New(newLineHandler(&out, newControl(LevelSpec{}), false, true)).Error("m", "k", "v")
	if !strings.Contains(out.String(), colorRed+"ERR"+colorReset) {
		t.Errorf("the level is not red with colors: %q", out.String())
	}
	out.Reset()
	slog.New(newLineHandler(&out, newControl(LevelSpec{}), true, true)).Error("m")
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colors in JSON: %q", out.String())
	}
}

// limited passes records through a limitHandler and returns the lines that it writes.
type limited struct {
	t       *testing.T
	handler slog.Handler
	out     bytes.Buffer
	start   time.Time
}

func newLimited(t *testing.T) *limited {
	l := &limited{t: t, start: time.Date(2026, 6, 26, 3, 0, 0, 0, time.UTC)}
	l.handler = newLimitHandler(newLineHandler(&l.out, newControl(LevelSpec{}), true, false))
	return l
}

func (l *limited) log(after time.Duration, level slog.Level, msg string, attrs ...slog.Attr) {
	l.t.Helper()
	r := slog.NewRecord(l.start.Add(after), level, msg, 0)
	r.AddAttrs(attrs...)
	if err := l.handler.Handle(context.Background(), r); err != nil {
		l.t.Fatal(err)
	}
}

func (l *limited) lines() []map[string]any {
	l.t.Helper()
	lines := parseLines(l.t, l.out.Bytes())
	l.out.Reset()
	return lines
}

// TestHeldBackLinesHaveALevel checks that a line that was held back is not written after its level
// was disabled.
func TestHeldBackLinesHaveALevel(t *testing.T) {
	var out bytes.Buffer
	log, control := New(Options{Format: FormatJSON, Writer: &out})
	start := time.Date(2026, 6, 26, 3, 0, 0, 0, time.UTC)
	write := func(at time.Time, level slog.Level, msg string) {
		if err := log.Handler().Handle(t.Context(), slog.NewRecord(at, level, msg, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for range limitBurst + 1 {
		write(start, slog.LevelWarn, "again")
	}
	if _, _, err := control.SetLogLevel("error"); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	write(start.Add(limitWindow), slog.LevelError, "other")
	if lines := parseLines(t, out.Bytes()); len(lines) != 1 || lines[0]["msg"] != "other" {
		t.Errorf("lines at level error = %v, want only the error", lines)
	}
}

func TestRepeatedWarningsAreLimited(t *testing.T) {
	l := newLimited(t)
	for i := range 100 {
		l.log(time.Duration(i)*time.Millisecond, slog.LevelWarn, "block rejected", Reason("A"), Slot(uint64(i)))
	}
	if got := len(l.lines()); got != limitBurst {
		t.Fatalf("%d of 100 warnings passed, want %d", got, limitBurst)
	}

	// Lines with another reason or level are other kinds, and lines at info are not limited.
	l.log(time.Second, slog.LevelWarn, "block rejected", Reason("B"))
	l.log(time.Second, slog.LevelError, "block rejected", Reason("A"))
	for range 100 {
		l.log(time.Second, slog.LevelInfo, "slot")
	}
	if got, want := len(l.lines()), 102; got != want {
		t.Fatalf("%d other lines passed, want all %d", got, want)
	}

	// Any line after the window releases the latest of those held back, with their count.
	l.log(limitWindow, slog.LevelInfo, "slot")
	lines := l.lines()
	if len(lines) != 2 {
		t.Fatalf("%d lines after the window, want the summary and the line itself: %v", len(lines), lines)
	}
	if lines[0]["msg"] != "block rejected" || lines[0]["suppressed"] != float64(100-limitBurst) || lines[0]["slot"] != 99.0 {
		t.Errorf("summary %v, want block rejected of slot 99 with suppressed=%d", lines[0], 100-limitBurst)
	}
	if lines[0]["time"] != "2026-06-26T03:01:00.000Z" {
		t.Errorf("time of the summary = %v, want the time at which it is written", lines[0]["time"])
	}

	// While the kind continues, one line follows per window.
	for i := range 3 {
		l.log(limitWindow+time.Duration(i+1)*time.Second, slog.LevelWarn, "block rejected", Reason("A"))
	}
	if lines := l.lines(); len(lines) != 0 {
		t.Errorf("lines in the next window = %v, want none", lines)
	}
	l.log(2*limitWindow, slog.LevelInfo, "slot")
	if lines := l.lines(); len(lines) != 2 || lines[0]["suppressed"] != 3.0 {
		t.Errorf("lines after the next window = %v, want a summary of 3", lines)
	}

	// After a window without it, its limit starts again.
	l.log(3*limitWindow, slog.LevelInfo, "slot")
	l.lines()
	l.log(3*limitWindow+time.Second, slog.LevelWarn, "block rejected", Reason("A"))
	if lines := l.lines(); len(lines) != 1 || lines[0]["suppressed"] != nil {
		t.Errorf("lines after a window without it = %v, want the warning", lines)
	}
}

// TestWhatIsLimited checks the limits with faults in every slot, and with peers that connect and
// disconnect.
func TestWhatIsLimited(t *testing.T) {
	const slots = 150 // ten minutes
	for name, test := range map[string]struct {
		level  slog.Level
		attrs  []slog.Attr
		lines  int // of the 150
		counts int // how many of them with suppressed
	}{
		"an error in every slot":         {slog.LevelError, []slog.Attr{Validator(lstar.ValidatorIndex(1))}, limitBurst + 9, 9},
		"a warning in every slot":        {slog.LevelWarn, nil, limitBurst + 9, 9},
		"the line of the slot":           {slog.LevelInfo, nil, slots, 0},
		"a peer that comes every slot":   {slog.LevelInfo, []slog.Attr{Peer("p")}, slots, 0},
		"debug, whatever there is to it": {slog.LevelDebug, []slog.Attr{Peer("p")}, slots, 0},
	} {
		l := newLimited(t)
		for i := range slots {
			l.log(time.Duration(i)*4*time.Second, test.level, "m", append([]slog.Attr{Slot(uint64(i))}, test.attrs...)...)
		}
		lines, counts := l.lines(), 0
		for _, line := range lines {
			if line["suppressed"] != nil {
				counts++
			}
		}
		if len(lines) != test.lines || counts != test.counts {
			t.Errorf("%s: %d lines, %d of them with suppressed, want %d and %d", name, len(lines), counts, test.lines, test.counts)
		}
	}

	// The limit is the same for many peers and for one that reconnects.
	for _, peers := range []int{1, 1000} {
		l := newLimited(t)
		for i := range 1000 {
			l.log(time.Duration(i)*time.Millisecond, slog.LevelInfo, "peer connected", Peer(peer.ID(fmt.Sprint(i%peers))))
		}
		if got := len(l.lines()); got != limitPeerBurst {
			t.Errorf("%d of 1000 connections of %d peers passed, want %d", got, peers, limitPeerBurst)
		}
	}
}

func TestLimitIsBounded(t *testing.T) {
	l := newLimited(t)
	limits := l.handler.(*limitHandler).limits
	for i := range 10 * limitKinds {
		l.log(time.Millisecond, slog.LevelWarn, fmt.Sprint("message ", i))
	}
	if got := len(limits.kinds); got > limitKinds+len(levels) {
		t.Errorf("%d kinds are kept, want at most %d", got, limitKinds+len(levels))
	}
	if got, want := len(l.lines()), limitKinds+limitBurst; got != want {
		t.Errorf("%d lines passed, want %d: one of each kind with a count, and a burst of all others", got, want)
	}
	l.log(time.Hour, slog.LevelInfo, "slot")
	l.log(2*time.Hour, slog.LevelInfo, "slot")
	if got := len(limits.kinds); got != 0 {
		t.Errorf("%d kinds are kept after their windows, want 0", got)
	}
}

func TestLimitKnowsComponents(t *testing.T) {
	var out bytes.Buffer
	log, _ := New(Options{Format: FormatJSON, Writer: &out})
	for range 2 * limitBurst {
		Component(log, "chain").Warn("m")
		Component(log, "p2p").Warn("m")
	}
	if got := len(parseLines(t, out.Bytes())); got != 2*limitBurst {
		t.Errorf("%d lines of two components, want %d of each", got, limitBurst)
	}
}
