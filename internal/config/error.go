package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// Error is a failure that an operator can fix. Its text is a single line without control characters, whatever the files contain,
// and never shows a secret:
//
//	net/config.yaml: GENESIS_VALIDATORS[3].proposal_public_key: "0x12345678ab…": want 52 bytes of hex, got 51
type Error struct {
	File    string       // path, as given; empty if the failure is in a setting
	Setting setting.Name // setting that is wrong; empty if the failure is in a file
	Field   string       // place in the file, such as GENESIS_VALIDATORS[3]; empty for the file as a whole
	Value   string       // value found there, shortened and quoted by [Quote]; may be empty
	Problem string       // what is wrong, and the expected value
	Fix     setting.Name // setting that Problem proposes to change, by this name; may be empty
	Err     error        // cause, for errors.Is and errors.As; may be nil
}

// Error implements error.
func (e *Error) Error() string {
	parts := make([]string, 0, 5)
	for _, part := range []string{e.File, string(e.Setting), e.Field, e.Value, e.Problem} {
		if part != "" {
			parts = append(parts, oneLine(part))
		}
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FixedBy returns the setting that the error proposes to change, or "".
func (e *Error) FixedBy() setting.Name { return e.Fix }

// fileError returns an error about a file as a whole.
func fileError(file, format string, args ...any) *Error {
	return &Error{File: file, Problem: fmt.Sprintf(format, args...)}
}

// OSError returns the error of a failed operation on a file. It wraps err, and leaves out of its text what repeats the path.
func OSError(file string, err error) *Error {
	problem := err.Error()
	var pathError *fs.PathError
	var linkError *os.LinkError
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.As(err, &pathError) && pathError.Op == "mkdir":
		problem = "cannot create the folder"
	case errors.Is(err, fs.ErrNotExist):
		problem = "file not found"
	case errors.Is(err, fs.ErrExist):
		problem = "already exists"
	case errors.Is(err, fs.ErrPermission):
		problem = "permission denied"
	case errors.As(err, &pathError):
		problem = pathError.Err.Error()
	case errors.As(err, &linkError):
		problem = linkError.Err.Error()
	}
	return &Error{File: cmp.Or(file, `""`), Problem: problem, Err: err}
}

// Quote returns a value for an error: in quotes, without control characters, and shortened so that the line stays readable even
// if the value is a whole key.
func Quote(s string) string {
	const shown, longest = 12, 24
	// Cutting by bytes first limits the work for a value of megabytes.
	if len(s) > longest*utf8.UTFMax {
		s = s[:longest*utf8.UTFMax]
	}
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:shown]) + "…"
	}
	return strconv.Quote(s)
}

// oneLine escapes text unless it is printable and a single line.
func oneLine(s string) string {
	const longest = 512
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
