package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// yamlNode is a value in a YAML file together with its place, so that an error can name both.
//
// The files are read from their syntax tree instead of being decoded into Go values, because the tree has the text of a scalar as
// it is in the file. YAML would decode a public key of the form 0x…, without quotes, as a number.
type yamlNode struct {
	file  string
	field string   // place in the file; empty at the top
	ast   ast.Node // nil in an empty file
}

// yamlField is an entry of a mapping.
type yamlField struct {
	key   string
	value yamlNode
}

// yamlMapping has the entries of a mapping in the order of the file.
type yamlMapping struct {
	node   yamlNode
	fields []yamlField
}

// Limits on the syntax, far above what the files need. The parser is recursive, and a stack overflow ends a Go program.
const (
	maxFlowDepth    = 32  // brackets inside brackets
	maxIndent       = 128 // spaces at the start of a line
	maxEntryMarkers = 8   // "- - -" on a line
)

// parseYAML parses at most one YAML document. It accepts only the part of YAML that these files use: mappings, lists and scalars,
// without tags, anchors, aliases or keys that are not scalars.
func parseYAML(file string, data []byte) (yamlNode, error) {
	root := yamlNode{file: file}
	if !utf8.Valid(data) {
		return root, fileError(file, "not a YAML file: not UTF-8 text")
	}
	text := string(data)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if len(line)-len(strings.TrimLeft(line, " ")) > maxIndent {
			return root, fileError(file, "unsupported YAML: line %d: indented by more than %d", i+1, maxIndent)
		}
	}
	tokens := lexer.Tokenize(text)
	if err := checkTokens(file, tokens); err != nil {
		return root, err
	}
	// mapping reports duplicate keys, by name.
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return root, syntaxError(file, lines, err)
	}
	for _, document := range tree.Docs {
		if document.Body == nil {
			continue
		}
		if root.ast != nil {
			return root, fileError(file, "want one YAML document, found another from line %d", line(document.Body))
		}
		root.ast = document.Body
	}
	return root, nil
}

// parseMapping parses a file that must be a mapping.
func parseMapping(file string, data []byte) (yamlMapping, error) {
	root, err := parseYAML(file, data)
	switch {
	case err != nil:
		return yamlMapping{}, err
	case root.isNull():
		return yamlMapping{}, fileError(file, "empty file")
	}
	return root.mapping()
}

// checkTokens returns an error for syntax that these files do not use, before the parser builds a tree.
func checkTokens(file string, tokens token.Tokens) error {
	depth, markers, markersLine := 0, 0, 0
	for _, t := range tokens {
		at := 0
		if t.Position != nil {
			at = t.Position.Line
		}
		refuse := func(what string) error {
			return fileError(file, "unsupported YAML: line %d: %s", at, what)
		}
		switch t.Type {
		case token.TagType:
			return refuse("tags are not supported")
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return refuse("anchors, aliases and merge keys are not supported")
		case token.MappingKeyType:
			return refuse(`"? " keys are not supported`)
		case token.DirectiveType:
			return refuse("directives are not supported")
		case token.MappingStartType, token.SequenceStartType:
			if depth++; depth > maxFlowDepth {
				return refuse("nested too deeply")
			}
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			if at != markersLine {
				markers, markersLine = 0, at
			}
			if markers++; markers > maxEntryMarkers {
				return refuse("nested too deeply")
			}
		}
	}
	return nil
}

// syntaxError describes in one line where the parser failed and what to look for there. The parser's own message is about its
// grammar, and has several lines.
func syntaxError(file string, lines []string, err error) error {
	var described yaml.Error
	if !errors.As(err, &described) {
		return fileError(file, "not a YAML file")
	}
	place := ""
	if t := described.GetToken(); t != nil && t.Position != nil {
		place = fmt.Sprintf("line %d: ", t.Position.Line)
		if n := t.Position.Line; n >= 1 && n <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[n-1], " "), "\t") {
			return fileError(file, "not a YAML file: %sbegins with a tab; indent with spaces", place)
		}
	}
	message := described.GetMessage()
	for _, known := range []struct{ part, problem string }{
		{"quoted text", "a quote without its end"},
		{"']'", "brackets that do not match"},
		{"'}'", "braces that do not match"},
		{"mapping value is not allowed", "a second colon, or the next line is indented too far"},
		{"document separator", "text after the separator of documents"},
	} {
		if strings.Contains(message, known.part) {
			return fileError(file, "not a YAML file: %s%s", place, known.problem)
		}
	}
	return fileError(file, "not a YAML file: %snot a key with a value here; look at the indentation and the colons", place)
}

// line returns the number of the line on which a node starts, 0 if unknown.
func line(node ast.Node) int {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// errorf returns an error at this node that shows its value.
func (n yamlNode) errorf(format string, args ...any) *Error {
	return &Error{File: n.file, Field: n.field, Value: n.shown(), Problem: fmt.Sprintf(format, args...)}
}

// shown returns the value of a scalar for an error, and the kind of any other node. It does not show a file that consists of one
// scalar, because that may be a key file.
func (n yamlNode) shown() string {
	if _, scalar := n.ast.(ast.ScalarNode); scalar && n.field == "" && !n.isNull() {
		return "a single value"
	}
	switch v := n.ast.(type) {
	case nil:
		return "nothing"
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.LiteralNode:
		return "a block of text"
	case ast.ScalarNode:
		if t := v.GetToken(); t != nil {
			return Quote(t.Value)
		}
	}
	return ""
}

// child returns the place of a key in a mapping. It quotes a key that would make the place hard to read.
func (n yamlNode) child(key string) yamlNode {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	}
	if key == "" || len(key) > 64 || strings.IndexFunc(key, func(r rune) bool { return !plain(r) }) >= 0 {
		key = Quote(key)
	}
	if n.field != "" {
		key = n.field + "." + key
	}
	return yamlNode{file: n.file, field: key}
}

// isNull reports whether there is no value, as in an empty file or for a key without a value.
func (n yamlNode) isNull() bool {
	if n.ast == nil {
		return true
	}
	_, null := n.ast.(*ast.NullNode)
	return null
}

// isMapping reports whether the value is a mapping.
func (n yamlNode) isMapping() bool {
	switch n.ast.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// mapping returns the value as a mapping. A duplicate key is an error, because programs differ in which one they use.
func (n yamlNode) mapping() (yamlMapping, error) {
	m := yamlMapping{node: n}
	var entries []*ast.MappingValueNode
	switch v := n.ast.(type) {
	case *ast.MappingNode:
		entries = v.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{v}
	default:
		return m, n.errorf("want a mapping")
	}
	seen := make(map[string]bool, len(entries))
	for _, entry := range entries {
		if entry.Key == nil || entry.Key.GetToken() == nil {
			return m, n.errorf("a key is not a plain word")
		}
		key := entry.Key.GetToken().Value
		value := n.child(key)
		value.ast = entry.Value
		if seen[key] {
			return m, &Error{File: n.file, Field: value.field, Problem: "given twice"}
		}
		seen[key] = true
		m.fields = append(m.fields, yamlField{key, value})
	}
	return m, nil
}

// has reports whether the mapping has a key.
func (m yamlMapping) has(key string) bool {
	return slices.ContainsFunc(m.fields, func(f yamlField) bool { return f.key == key })
}

// get returns the value of the field that has one of several names, which are those of the dialects. A field under two of these
// names is an error.
func (m yamlMapping) get(names ...string) (yamlNode, error) {
	var found []yamlNode
	for _, f := range m.fields {
		if slices.Contains(names, f.key) {
			found = append(found, f.value)
		}
	}
	switch len(found) {
	case 0:
		return yamlNode{}, m.missing(names[0])
	case 1:
		return found[0], nil
	default:
		return yamlNode{}, &Error{File: m.node.file, Field: found[1].field, Problem: "the same as " + found[0].field + ": want one of them"}
	}
}

// missing returns the error for a missing key. It names a similar key of the mapping, if there is one.
func (m yamlMapping) missing(key string) *Error {
	failure := &Error{File: m.node.file, Field: m.node.child(key).field, Problem: "missing"}
	for _, field := range m.fields {
		if similar(field.key, key) {
			failure.Problem += "; the file has " + shownName(field.key)
			break
		}
	}
	return failure
}

// list returns the entries of a list.
func (n yamlNode) list() ([]yamlNode, error) {
	sequence, ok := n.ast.(*ast.SequenceNode)
	if !ok {
		return nil, n.errorf("want a list")
	}
	items := make([]yamlNode, len(sequence.Values))
	for i, value := range sequence.Values {
		items[i] = yamlNode{file: n.file, field: n.field + "[" + strconv.Itoa(i) + "]", ast: value}
	}
	return items, nil
}

// text returns a scalar as it is in the file, regardless of its YAML type.
func (n yamlNode) text() (string, error) {
	switch v := n.ast.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		if t := v.GetToken(); t != nil {
			return t.Value, nil
		}
	}
	return "", n.errorf("want a plain value on one line")
}

// fileName returns a scalar that is the name of a file.
func (n yamlNode) fileName() (string, error) {
	name, err := n.text()
	if err != nil {
		return "", err
	}
	if name == "" || strings.ContainsRune(name, 0) {
		return "", n.errorf("want the name of a file")
	}
	return name, nil
}

// integer returns a whole number in decimal digits. Quoted text and YAML's other notations (0x10, 0o17, 017, 1_000) are errors,
// because programs read them differently.
func (n yamlNode) integer() (uint64, error) {
	const wanted = "want a whole number, 0 or more"
	if _, ok := n.ast.(*ast.IntegerNode); !ok {
		return 0, n.errorf(wanted)
	}
	text, err := n.text()
	if err != nil {
		return 0, err
	}
	// Only the notation that Go would write is accepted.
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(value, 10) != text {
		return 0, n.errorf(wanted)
	}
	return value, nil
}

// publicKey returns an XMSS public key: 104 hex digits, with or without 0x, quoted or not.
func (n yamlNode) publicKey() ([PublicKeySize]byte, error) {
	var key [PublicKeySize]byte
	text, err := n.text()
	if err != nil {
		return key, n.errorf("want %d bytes of hex", PublicKeySize)
	}
	raw, problem := decodeHex(text, PublicKeySize)
	if problem != "" {
		return key, n.errorf("%s", problem)
	}
	if _, err := xmss.ParsePublicKey(raw); err != nil {
		return key, n.errorf("not an XMSS public key: %s", xmssReason(err))
	}
	copy(key[:], raw)
	return key, nil
}

// xmssReason returns the text of an error of package xmss without its prefix.
func xmssReason(err error) string { return strings.TrimPrefix(err.Error(), "xmss: ") }

// decodeHex decodes exactly size bytes, with or without 0x in front. The problem does not contain any of the text, which may be a
// secret.
func decodeHex(text string, size int) (raw []byte, problem string) {
	digits := strings.TrimPrefix(text, "0x")
	raw, err := hex.DecodeString(digits)
	switch {
	case errors.Is(err, hex.ErrLength):
		return nil, fmt.Sprintf("want %d bytes of hex, got an odd number of digits (%d)", size, len(digits))
	case err != nil:
		return nil, fmt.Sprintf("want %d bytes of hex, got text that is not hex", size)
	case len(raw) != size:
		return nil, fmt.Sprintf("want %d bytes of hex, got %d", size, len(raw))
	}
	return raw, ""
}

// listOrNothing returns the entries of a list, and none if there is no value.
func (n yamlNode) listOrNothing() ([]yamlNode, error) {
	if n.isNull() {
		return nil, nil
	}
	return n.list()
}
