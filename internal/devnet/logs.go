package devnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	// logEndLines is the number of log lines in a report.
	logEndLines = 12
	// logEndBytes is the size of the end of the log that is searched for them. The stacks of a panic can be long.
	logEndBytes = 1 << 20
	// lineWidth is the largest number of characters of a line.
	lineWidth = 240
)

// logEnd returns the most useful lines of a log file from an offset on: the start of a crash's stacks, or the last lines.
func logEnd(path string, from int64) []string {
	f, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-logEndBytes)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, logEndBytes))
	if err != nil {
		return []string{err.Error()}
	}
	return excerpt(data)
}

// excerpt selects lines of a log.
func excerpt(log []byte) []string {
	var lines []string
	for line := range bytes.Lines(log) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	first := max(0, len(lines)-logEndLines)
	if i := slices.IndexFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "SIG")
	}); i >= 0 {
		first = max(0, i-2) // with the lines before the crash
	}
	lines = lines[first:min(len(lines), first+logEndLines)]
	for i := range lines {
		lines[i] = readable(lines[i])
	}
	return lines
}

// readable converts a line of a JSON log to text, such as "03:04:05.678 warn chain: block rejected reason=... slot=3". It does not
// change other lines.
func readable(line string) string {
	fields, ok := logLine(line)
	if !ok {
		return clip(line)
	}
	take := func(key string) string {
		value, ok := fields[key]
		delete(fields, key)
		if !ok {
			return ""
		}
		return plain(value)
	}
	at := take("time")
	if _, clock, ok := strings.Cut(at, "T"); ok {
		at = strings.TrimSuffix(clock, "Z")
	}
	words := []string{at, take("level")}
	if component := take("component"); component != "" {
		words = append(words, component+":")
	}
	words = append(words, take("msg"))
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := plain(fields[key])
		if strings.ContainsAny(value, " =\"") {
			value = strconv.Quote(value)
		}
		words = append(words, key+"="+value)
	}
	return clip(strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
}

// logLine parses a line of a log, which is an object with a message.
func logLine(line string) (fields map[string]json.RawMessage, ok bool) {
	if json.Unmarshal([]byte(line), &fields) != nil {
		return nil, false
	}
	_, ok = fields["msg"]
	return fields, ok
}

// plain returns a JSON value as text, a string without quotes.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// clip shortens a line to lineWidth and replaces control characters.
func clip(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, line)
	if runes := []rune(line); len(runes) > lineWidth {
		return string(runes[:lineWidth-1]) + "…"
	}
	return line
}

// LogErrors returns the number of error lines in the node's log, of all its processes, and the first three as text. Lines that are
// not from the logger count too, because only a crash writes them.
func (n *Node) LogErrors() (count int, first []string, err error) {
	f, err := os.Open(n.LogPath())
	if os.IsNotExist(err) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	reader := bufio.NewReader(f)
	for {
		line, err := reader.ReadString('\n')
		// The last line of a running node may be incomplete.
		if line = strings.TrimSpace(line); line != "" && err == nil {
			fields, ok := logLine(line)
			if !ok || strings.EqualFold(plain(fields["level"]), "error") {
				if count++; len(first) < 3 {
					first = append(first, readable(line))
				}
			}
		}
		if err == io.EOF {
			return count, first, nil
		}
		if err != nil {
			return count, first, fmt.Errorf("%s: %w", n.LogPath(), err)
		}
	}
}
