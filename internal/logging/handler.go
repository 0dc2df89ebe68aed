package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	timeFormat       = "2006-01-02T15:04:05.000Z07:00" // RFC 3339 with milliseconds; times are UTC
	maxValue         = 4096                            // limit of one value in bytes; errors can quote data of peers
	defaultComponent = "node"                          // of a logger without one
)

// lineHandler writes one line for each record, as text or as a flat JSON object. Groups become
// dotted prefixes of keys. If a key occurs twice, the last value counts. No message, key or value
// can end the line or send a control character to a terminal.
type lineHandler struct {
	w       io.Writer
	mu      *sync.Mutex // keeps lines whole; all handlers derived from one share it
	control *Control
	level   slog.Leveler // of the component
	asJSON  bool
	color   bool
	prefix  string
	fields  []field
}

// field is a key of a line and its value, which is resolved and not a group.
type field struct {
	key   string
	value slog.Value
}

func newLineHandler(w io.Writer, control *Control, asJSON, color bool) *lineHandler {
	return &lineHandler{
		w: w, mu: new(sync.Mutex), control: control, level: control.level(defaultComponent), asJSON: asJSON, color: color && !asJSON,
	}
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = slices.Clip(slices.Clone(h.fields))
	for _, a := range attrs {
		with.fields = appendField(with.fields, h.prefix, a)
		if a.Key == keyComponent && h.prefix == "" {
			with.level = h.control.level(a.Value.String())
		}
	}
	return &with
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.prefix += name + "."
	return &with
}

var linePool = sync.Pool{New: func() any { return new(line) }}

// line holds the buffers of one call of Handle.
type line struct {
	fields []field
	buf    []byte
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	l := linePool.Get().(*line)
	defer func() {
		clear(l.fields) // releases the values
		if cap(l.buf) <= 16<<10 {
			linePool.Put(l)
		}
	}()
	l.fields = append(l.fields[:0], h.fields...)
	r.Attrs(func(a slog.Attr) bool {
		l.fields = appendField(l.fields, h.prefix, a)
		return true
	})
	component := defaultComponent
	if i := slices.IndexFunc(l.fields, func(f field) bool { return f.key == keyComponent }); i >= 0 {
		component = plainString(l.fields[i].value)
		l.fields = slices.Delete(l.fields, i, i+1)
	}
	if h.asJSON {
		l.buf = appendJSONLine(l.buf[:0], r, component, l.fields)
	} else {
		l.buf = appendTextLine(l.buf[:0], r, component, l.fields, h.color)
	}
	h.control.lines[levelIndex(r.Level)].Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(l.buf)
	return err
}

// appendField appends an attribute, or the members of a group. It replaces an earlier value of the
// same key.
func appendField(fields []field, prefix string, a slog.Attr) []field {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return fields
	}
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			fields = appendField(fields, prefix, member)
		}
		return fields
	}
	key := prefix + a.Key
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey:
		key += "_" // the handler writes these three itself
	}
	for i := range fields {
		if fields[i].key == key {
			fields[i].value = a.Value
			return fields
		}
	}
	return append(fields, field{key, a.Value})
}

// appendJSONLine appends {"time":…,"level":…,"msg":…,"component":…, fields} and a newline.
func appendJSONLine(b []byte, r slog.Record, component string, fields []field) []byte {
	b = append(b, '{')
	if !r.Time.IsZero() {
		b = append(b, `"time":"`...)
		b = r.Time.UTC().AppendFormat(b, timeFormat)
		b = append(b, `",`...)
	}
	b = append(b, `"level":"`...)
	b = append(b, levelName(r.Level)...)
	b = append(b, `","msg":`...)
	b = appendJSONString(b, r.Message)
	b = append(b, `,"component":`...)
	b = appendJSONString(b, component)
	for _, f := range fields {
		b = append(b, ',')
		b = appendJSONString(b, f.key)
		b = append(b, ':')
		b = appendJSONValue(b, f.value)
	}
	return append(b, "}\n"...)
}

func appendJSONValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindFloat64:
		if f := v.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
	case slog.KindAny:
		switch value := v.Any().(type) {
		case error, fmt.Stringer:
		default:
			// Lists and structs become JSON if they can.
			if encoded, err := json.Marshal(value); err == nil && len(encoded) <= maxValue {
				return append(b, encoded...)
			}
		}
	}
	return appendJSONString(b, plainString(v))
}

// appendJSONString appends s as a JSON string. Almost all strings need no escapes, which is the
// fast path.
func appendJSONString(b []byte, s string) []byte {
	s = shorten(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			encoded := new(bytes.Buffer)
			encoder := json.NewEncoder(encoded)
			encoder.SetEscapeHTML(false)
			_ = encoder.Encode(s) // never fails for a string; invalid UTF-8 is replaced
			return append(b, bytes.TrimSuffix(encoded.Bytes(), []byte("\n"))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Colors of text lines.
const (
	colorReset  = "\x1b[0m"
	colorFaint  = "\x1b[2m"
	colorRed    = "\x1b[31m"
	colorGreen  = "\x1b[32m"
	colorYellow = "\x1b[33m"
	colorCyan   = "\x1b[36m"
)

// Widths to which text lines pad the component and the message.
const (
	componentWidth = 9
	messageWidth   = 24
)

// appendTextLine appends
//
//	2026-06-26T03:00:00.123Z INF chain     block imported           slot=12 epoch=4
func appendTextLine(b []byte, r slog.Record, component string, fields []field, color bool) []byte {
	paint := func(b []byte, code string) []byte {
		if color {
			b = append(b, code...)
		}
		return b
	}
	if !r.Time.IsZero() {
		b = paint(b, colorFaint)
		b = r.Time.UTC().AppendFormat(b, timeFormat)
		b = paint(b, colorReset)
		b = append(b, ' ')
	}
	short, code := "DBG", colorFaint
	switch levelName(r.Level) {
	case "info":
		short, code = "INF", colorGreen
	case "warn":
		short, code = "WRN", colorYellow
	case "error":
		short, code = "ERR", colorRed
	}
	b = paint(b, code)
	b = append(b, short...)
	b = paint(b, colorReset)
	b = append(b, ' ')
	b = paint(b, colorCyan)
	b = appendPadded(b, quoteUnless(component, isBareRune), componentWidth)
	b = paint(b, colorReset)
	b = append(b, ' ')
	b = appendPadded(b, quoteUnless(r.Message, isMessageRune), messageWidth)
	for _, f := range fields {
		b = append(b, ' ')
		b = paint(b, colorFaint)
		b = append(b, quoteUnless(f.key, isBareRune)...)
		b = append(b, '=')
		b = paint(b, colorReset)
		b = append(b, quoteUnless(textString(f.value), isBareRune)...)
	}
	return append(bytes.TrimRight(b, " "), '\n')
}

func appendPadded(b []byte, s string, width int) []byte {
	b = append(b, s...)
	for n := utf8.RuneCountInString(s); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

// quoteUnless returns s if bare accepts all its runes, otherwise s as a Go string literal, which
// has no control characters.
func quoteUnless(s string, bare func(rune) bool) string {
	s = shorten(s)
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !bare(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// isBareRune reports whether r may be in an unquoted key or value: it is printable and not part of
// the syntax.
func isBareRune(r rune) bool {
	return r != ' ' && r != '=' && r != '"' && r != '\\' && strconv.IsPrint(r)
}

// isMessageRune reports whether r may be in an unquoted message, which may contain spaces.
func isMessageRune(r rune) bool { return r == ' ' || isBareRune(r) }

// textString formats a value as plainString does, but shortens roots.
func textString(v slog.Value) string {
	if v.Kind() == slog.KindAny {
		if root, ok := v.Any().(hexRoot); ok {
			return root.short()
		}
	}
	return plainString(v)
}

// plainString formats a value of any kind. If a method of the value panics, fmt returns a text that
// says so.
func plainString(v slog.Value) string {
	switch v.Kind() {
	case slog.KindString:
		return v.String()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return fmt.Sprint(err)
		}
		return fmt.Sprintf("%+v", v.Any())
	default:
		return v.String()
	}
}

// shorten limits a string to maxValue bytes, and appends the number of bytes that it cut off.
func shorten(s string) string {
	if len(s) <= maxValue {
		return s
	}
	end := maxValue
	for end > maxValue-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + fmt.Sprintf("...(%d bytes more)", len(s)-end)
}
