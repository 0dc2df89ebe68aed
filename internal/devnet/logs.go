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
	// logEndLines is how many lines of a log a report has.
	logEndLines = 12
	// logEndBytes is how much of a log is searched for them: the stacks of a panic can be long.
	logEndBytes = 1 << 20
	// lineWidth is how many characters of a line are shown.
	lineWidth = 240
)

// logEnd returns what tells most of a log that begins at an offset of a file: the beginning of a crash's stacks,
// or the last lines.
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

// excerpt chooses lines of a log.
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
		first = max(0, i-2) // with what came just before
	}
	lines = lines[first:min(len(lines), first+logEndLines)]
	for i := range lines {
		lines[i] = readable(lines[i])
	}
	return lines
}

// readable turns a line of a log into text: "03:04:05.678 warn chain: block refused reason=... slot=3".
// What is not such a line stays as it is.
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

// logLine reads a line of a log, an object with a message.
func logLine(line string) (fields map[string]json.RawMessage, ok bool) {
	if json.Unmarshal([]byte(line), &fields) != nil {
		return nil, false
	}
	_, ok = fields["msg"]
	return fields, ok
}

// plain is a JSON value as text, strings without quotes.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// clip makes a line fit to be shown.
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

// LogErrors counts the error lines of the node's log, of all of its runs, and returns the first few in a form for
// reading. Lines that are none of the logger's count too: nothing but a crash writes them.
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
		// The last line of a node that runs may be half written.
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
