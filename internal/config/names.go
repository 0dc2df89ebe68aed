package config

import (
	"fmt"
	"strconv"
	"unicode"
)

// Nearest returns the known name that differs least from name: by the number of letters to insert, remove or
// replace, where case and characters that cannot be seen do not count. Of names that differ equally it returns the
// first, and "" if there are none.
func Nearest(name string, known []string) string {
	nearest, least := "", 0
	for i, candidate := range known {
		if d := editDistance(letters(name), letters(candidate)); i == 0 || d < least {
			nearest, least = candidate, d
		}
	}
	return nearest
}

// similar reports whether a name may be a known one that is misspelt.
func similar(name, known string) bool {
	return 3*editDistance(letters(name), letters(known)) <= len(known)
}

// DescribeUnknown shows a name that is not known beside the nearest one that is.
func DescribeUnknown(name string, known []string) string {
	return fmt.Sprintf("%s (nearest known name: %s)", shownName(name), Nearest(name, known))
}

// shownName shows a name in ASCII: characters that cannot be seen, or that look like a letter of ASCII, are escaped.
func shownName(name string) string {
	more := ""
	if len(name) > longestName {
		name, more = name[:longestName], "…"
	}
	quoted := strconv.QuoteToASCII(name)
	return quoted[1:len(quoted)-1] + more
}

// longestName bounds the names that are compared and shown, in bytes. All known names are shorter.
const longestName = 64

// letters returns the characters of a name that count for a comparison.
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

// editDistance is the Levenshtein distance.
func editDistance(a, b []rune) int {
	row := make([]int, len(b)+1) // distances of a[:i] from each b[:j]
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
