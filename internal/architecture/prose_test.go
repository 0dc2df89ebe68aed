package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// generated lists the files that TestProse skips: metrics.md is made of texts in the
// source, which are checked there, and this file quotes what it rejects.
var generated = []string{"docs/metrics.md", "internal/architecture/prose_test.go"}

// proseFile matches the paths of the files that TestProse checks.
var proseFile = regexp.MustCompile(`\.(go|md|yml|yaml|json|sh)$|(^|/)(Makefile|Dockerfile)$|^\.ci/`)

// proseRule is a pattern that the style guide rejects.
type proseRule struct {
	pattern *regexp.Regexp
	except  *regexp.Regexp // a match in which this is found is accepted
	instead string         // what to write
}

func rule(pattern, except, instead string) proseRule {
	r := proseRule{pattern: regexp.MustCompile(pattern), instead: instead}
	if except != "" {
		r.except = regexp.MustCompile(except)
	}
	return r
}

// proseRules holds patterns with few false positives. The first rule finds sentences whose
// subject is a clause, except for questions and labels.
var proseRules = []proseRule{
	rule(`(?:(?:^|[.!?;:|"] )(?:Who|What)|[;:] who) [^.!?;]*[?:]?`, `(?:\?|:"?)$|^What (to|if)\b`, `the subject: "a peer that …", "data that …"`),
	rule(`\b[Ww]hoever\b`, "", `the subject: "a client that …"`),
	rule(`^\w+(\.\w+)? (is|are) what `, "", `a doc comment that begins with the name and a verb or a noun: "names lists …", "limit is the number of …"`),
	rule(`(?:^|\w+ )(is|are|was|were|be) none\b`, `^[Tt]here `, `"is not a …"`),
	rule(`(?:^|\w+ )(is|are|was|were) no \w+\b`,
		`(?i)^there |no (longer|more|less|fewer|later|earlier|greater|larger|smaller|faster|slower|higher|lower|different|better|worse|one)$`, `"is not a …"`),
	rule(`\bfor ever\b`, "", `"forever", "permanently" or the bound`),
	rule(`\bfor good( \w+)?`, `for good reasons?$`, `"permanently"`),
	rule(`\b([Tt]old|[Tt]ells?|[Tt]elling)\b`, "", `"reports", "returns", "logs", "distinguishes"`),
	rule(`\b([Hh]ears?|[Hh]eard|[Hh]earing)\b`, "", `"receives"`),
	rule(`\b([Ss]peaks?|[Ss]poke|[Ss]peaking)\b`, "", `"reports", "names", "uses the protocol"`),
	rule(`\b[Ll]est\b`, "", `"so that … does not …"`),
	rule(`\b([Nn]obody|[Ee]verybody)\b`, "", `the subject: "no peer", "no goroutine", "every node"`),
	rule(`\banew\b`, "", `"again"`),
	rule(`\bin vain\b`, "", `"without success"`),
	rule(`\bthe matter of\b`, "", `the cause`),
	rule(`\blasts\b`, "", `"takes", or the time when it ends`),
	rule(`\bno more(?:[.,;:]|$)`, "", `"no longer"`),
	rule(`\bmend(s|ed|ing)?\b`, "", `"fix"`),
	rule(`\b[Uu]pon\b`, "", `"on"`),
	rule(`\b(mighty|mightier|whence|thereof|wherein|amongst|whilst)\b`, "", `a plain word`),
	rule(`\b(\w*[Oo]rganis\w*|[Bb]ehaviours?|misspelt|cancelled)\b`, "", `American spelling, as the Go documentation does`),
	rule(`^[A-Z]\w* holds that\b`, "", `"TestX checks that …"`),
}

// passage is a piece of prose: a comment, a string or a paragraph.
type passage struct {
	text  string // on one line
	at    []int  // where each of its lines starts in text
	lines []int  // and their numbers
}

func (p *passage) add(line int, text string) {
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return
	}
	if p.text != "" {
		p.text += " "
	}
	p.at, p.lines = append(p.at, len(p.text)), append(p.lines, line)
	p.text += text
}

// line returns the number of the line that holds an offset of the text.
func (p *passage) line(offset int) int {
	i, found := slices.BinarySearch(p.at, offset)
	if !found {
		i--
	}
	return p.lines[i]
}

var (
	markdownStart = regexp.MustCompile(`^\s*(#+ |[-*] |\d+\. |> ?|\|)`)
	commentStart  = regexp.MustCompile(`^(//|/\*) ?`)
	quoted        = regexp.MustCompile("`[^`]*`|\"[^\"]*\"")
)

// passages returns the prose of a file. Of Go, these are comments and strings.
// Code blocks are not prose.
func passages(name string, source []byte) (all []passage, err error) {
	if strings.HasSuffix(name, ".go") {
		return goPassages(name, source)
	}
	var p passage
	end := func() {
		if p.text != "" {
			all = append(all, p)
		}
		p = passage{}
	}
	markdown := strings.HasSuffix(name, ".md")
	code := false
	n := 0
	for text := range strings.Lines(string(source)) {
		n++
		if fence := strings.HasPrefix(strings.TrimSpace(text), "```"); fence || code {
			end()
			code = code != fence
			continue
		}
		start := markdownStart.FindString(text)
		if !markdown || start != "" || strings.TrimSpace(text) == "" {
			if !strings.HasPrefix(start, ">") || p.text == "" {
				end()
			}
		}
		p.add(n, strings.TrimLeft(strings.TrimPrefix(text, start), "# "))
	}
	end()
	return all, nil
}

func goPassages(name string, source []byte) (all []passage, err error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, group := range parsed.Comments {
		var p passage
		for _, c := range group.List {
			line := files.Position(c.Pos()).Line
			for i, text := range strings.Split(strings.TrimSuffix(c.Text, "*/"), "\n") {
				text = commentStart.ReplaceAllString(text, "")
				if strings.HasPrefix(text, "\t") && strings.HasPrefix(c.Text, "//") { // a code block
					text = ""
				}
				if strings.TrimSpace(text) == "" && p.text != "" {
					all = append(all, p)
					p = passage{}
				}
				p.add(line+i, text)
			}
		}
		if p.text != "" {
			all = append(all, p)
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, _ := strconv.Unquote(literal.Value) // the parser has accepted it
		line := files.Position(literal.Pos()).Line
		for i, t := range strings.Split(text, "\n") {
			if literal.Value[0] == '"' {
				i = 0
			}
			var p passage
			if p.add(line+i, t); p.text != "" {
				all = append(all, p)
			}
		}
		return true
	})
	return all, nil
}

// lint returns a line for each match of a rule in the prose of a file. In comments and
// Markdown it leaves out what stands in quotation marks or backticks.
func lint(name string, source []byte) (findings []string, err error) {
	all, err := passages(name, source)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		text := quoted.ReplaceAllStringFunc(p.text, func(s string) string { return `"` + strings.Repeat("x", len(s)-2) + `"` })
		for _, r := range proseRules {
			for _, m := range r.pattern.FindAllStringIndex(text, -1) {
				found := strings.TrimLeft(text[m[0]:m[1]], ".!?;:| ")
				if r.except != nil && r.except.MatchString(found) {
					continue
				}
				if words := strings.Fields(found); len(words) > 8 {
					found = strings.Join(words[:8], " ") + " …"
				}
				findings = append(findings, fmt.Sprintf("%s:%d: %q: write %s", name, p.line(m[1]-1), found, r.instead))
			}
		}
	}
	return findings, nil
}

// TestLint checks that the lint finds each turn of phrase with its line, and that it
// accepts correct sentences, quotations and code.
func TestLint(t *testing.T) {
	tests := []struct {
		name, source string
		want         []string // prefixes of the findings
	}{
		{"a.go", "package a\n\n// Add evicts: who floods it\n// drives out his own.\nvar A int\n", []string{`a.go:4: "who floods it drives out his own": write the subject`}},
		{"a.go", "package a\n\n// B is a block. What is\n// synced may be lost.\n", []string{`a.go:4: "What is synced may be lost"`}},
		{"a.go", "package a\n\n// limits are what a peer may ask for.\nvar limits int\n", []string{`a.go:3: "limits are what "`}},
		{"a.go", "package a\n\nvar b = \"this list is none\"\n\nvar c = `x\na peer is told`\n", []string{`a.go:3: "list is none"`, `a.go:6: "told"`}},
		{"a.go", "package a\n\n/* A node hears a peer,\nlest it wait for ever. */\n", []string{`a.go:3: "hears"`, `a.go:4: "lest"`, `a.go:4: "for ever"`}},
		{"a.md", "A reorganisation\nis normal.\n", []string{`a.md:1: "reorganisation"`}},
		{"a.md", "# Peers\n\n- nobody has a\n  block anew\n- a list is no map\n", []string{`a.md:3: "nobody"`, `a.md:4: "anew"`, `a.md:5: "list is no map"`}},
		{"a.yml", "- alert: A\n  summary: Who proposes is late.\n", []string{`a.yml:2: "Who proposes is late"`}},
		{"a.go", "package a\n\n// A peer that floods the queue evicts its own items; it says what was sent. \"Nobody\" and `told` are quoted.\n//\n//\tnobody told\n" +
			"//\n// There is no limit, there are none yet, and the slot is no longer used.\nvar a = \"who is told?\"[0:4]\n", []string{`a.go:8: "told"`}},
		{"a.md", "Who proposes? What to do, for good reasons:\n\n```\nnobody told\n```\n\nThe log says `told`.\n", nil},
	}
	for _, test := range tests {
		got, err := lint(test.name, []byte(test.source))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
			t.Errorf("%s\ngot  %q\nwant %q", test.source, got, test.want)
		}
	}
}

// TestProse checks comments, strings, Markdown and deployment files for turns of
// phrase that a reader who is not a native speaker has to puzzle over.
func TestProse(t *testing.T) {
	root := os.DirFS("../..")
	files := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "build" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !proseFile.MatchString(name) || slices.Contains(generated, name) {
			return nil
		}
		files++
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		findings, err := lint(name, source)
		for _, f := range findings {
			t.Error(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 300 {
		t.Errorf("%d files checked, want at least 300", files)
	}
}
