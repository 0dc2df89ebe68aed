package config

import (
	"fmt"
	"strconv"
	"unicode"
)

// Nearest returns the known name with the smallest edit distance from name, ignoring case and invisible characters. It returns
// the first of several such names, and "" if known is empty.
func Nearest(name string, known []string) string {
	nearest, least := "", 0
	for i, candidate := range known {
		if d := editDistance(letters(name), letters(candidate)); i == 0 || d < least {
			nearest, least = candidate, d
		}
	}
	return nearest
}

// similar reports whether a name may be a misspelled known name.
func similar(name, known string) bool {
	return 3*editDistance(letters(name), letters(known)) <= len(known)
}

// DescribeUnknown returns an unknown name together with the nearest known name.
func DescribeUnknown(name string, known []string) string {
	return fmt.Sprintf("%s (nearest known name: %s)", shownName(name), Nearest(name, known))
}

// shownName returns a name in ASCII. It escapes other characters, which may be invisible or look like a letter.
func shownName(name string) string {
	more := ""
	if len(name) > longestName {
		name, more = name[:longestName], "…"
	}
	quoted := strconv.QuoteToASCII(name)
	return quoted[1:len(quoted)-1] + more
}

// longestName limits the part of a name that is compared and shown, in bytes. All known names are shorter.
const longestName = 64

// letters returns the visible characters of a name in lower case.
func letters(name string) []rune {
	if len(name) > longestName {
		name = name[:longestName]
	}
	var seen []rune
	for _, r := range name {
		if unicode.IsPrint(r) {
			seen = append(seen, unicode.ToLower(r))
		}
	}
	return seen
}

// editDistance returns the Levenshtein distance.
func editDistance(a, b []rune) int {
	row := make([]int, len(b)+1) // distance of a[:i] from each b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
