package config

import (
	"io/fs"
	"os"
	"path/filepath"
)

// ExposedFiles are files of one folder that group or others can read.
type ExposedFiles struct {
	// File is the first of them and Mode its permissions.
	File string
	Mode fs.FileMode
	// Count is how many files of the folder group or others can read.
	Count int
}

// FindExposed returns the secret files that group or others can read, by folder, in the order of the paths. A file that
// cannot be looked at is left out: to read it fails as well.
func FindExposed(paths []string) []ExposedFiles {
	const othersRead = 0o044
	var found []ExposedFiles
	folders := make(map[string]int) // indices of found
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&othersRead == 0 {
			continue
		}
		folder := filepath.Dir(path)
		i, known := folders[folder]
		if !known {
			i = len(found)
			folders[folder] = i
			found = append(found, ExposedFiles{File: path, Mode: info.Mode().Perm()})
		}
		found[i].Count++
	}
	return found
}
