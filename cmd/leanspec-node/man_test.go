package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestManPage checks that the page has every visible command and flag, and that groff formats it
// without a warning.
func TestManPage(t *testing.T) {
	model, flags := newModel(t)
	page := manPage(model, flags, "v1.2-3")
	for _, want := range []string{`"leanspec\-node v1.2\-3"`, ".SS leanspec\\-node keys status\n", `\fB\-v\fR, \fB\-\-verbose\fR` + "\n", `\fB\-\-genesis\fR \fIFILE\fR` + "\n", "$LEANSPEC_GENESIS"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	for _, leaf := range model.Leaves(true) {
		section := page
		if leaf != model.DefaultCmd {
			_, section, _ = strings.Cut(page, ".SS "+roff(leaf.FullPath())+"\n")
			section, _, _ = strings.Cut(section, ".SS ")
		}
		for _, flag := range leaf.Flags {
			if !strings.Contains(section, `\fB\-\-`+roff(flag.Name)+`\fR`) {
				t.Errorf("%s: the page has no --%s", leaf.FullPath(), flag.Name)
			}
		}
	}
	if err := kong.Visit(model.Node, func(visited kong.Visitable, next kong.Next) error {
		if node, ok := visited.(*kong.Node); ok && node.Hidden && strings.Contains(page, ".SS "+roff(node.FullPath())) {
			t.Errorf("the page has the hidden command %s", node.FullPath())
		}
		return next(nil)
	}); err != nil {
		t.Fatal(err)
	}

	if _, err := exec.LookPath("groff"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no groff")
	}
	// The macros of groff 1.22 give the warning about an-div for every page.
	format := func(page string) (text, warnings string) {
		cmd := exec.Command("groff", "-man", "-ww", "-Tascii", "-P-cbou")
		var out, problems bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(page), &out, &problems
		if err := cmd.Run(); err != nil {
			t.Errorf("groff: %v", err)
		}
		return out.String(), strings.ReplaceAll(problems.String(), "troff: automatically ending diversion 'an-div' on exit\n", "")
	}
	text, warnings := format(page)
	if warnings != "" {
		t.Errorf("groff warns: %s", warnings)
	}
	for _, want := range []string{"  leanspec-node genesis     make the files", "  -v, --verbose\n", "EXIT STATUS\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the formatted page has no %q:\n%s", want, text)
		}
	}
	if _, warnings := format(page + ".XX\n"); warnings == "" {
		t.Error("groff does not warn about an unknown request, want a warning")
	}
}

func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"a-b":                    `a\-b`,
		`.x \n`:                  `\&.x \en`,
		"'x":                     `\&'x`,
		"a\n\n  b\n  .c\n\nd":    "a\n.PP\n.PP\n.nf\n  b\n  .c\n.fi\n.PP\nd",
		"a:\n  b":                "a:\n.PP\n.nf\n  b\n.fi",
		"two lines\nof one text": "two lines\nof one text",
	} {
		if got := roffText(text); got != want {
			t.Errorf("roffText(%q) = %q, want %q", text, got, want)
		}
	}
}
