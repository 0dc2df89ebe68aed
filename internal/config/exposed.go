package config

import (
	"io/fs"
	"os"
	"path/filepath"
)

// ExposedFiles describes the files of one folder that the group or others can read.
type ExposedFiles struct {
	// File is the first of these files and Mode its permissions.
	File string
	Mode fs.FileMode
	// Count is the number of these files.
	Count int
}

// FindExposed returns the secret files that the group or others can read, by folder, in the order of the paths. It skips files
// that it cannot access: reading them fails too. It also skips files that only root and the group can read, if root owns them
// and this process is not root. Kubernetes gives a secret to a process that is not root only in this form, with an fsGroup, and
// nothing but root could change it.
func FindExposed(paths []string) []ExposedFiles {
	var found []ExposedFiles
	folders := make(map[string]int) // indices in found
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !exposed(info.Mode().Perm(), isRoots(info) && os.Geteuid() != 0) {
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

// exposed reports whether a file with these permissions is exposed. grouped is set if the process can read it only as a member
// of its group.
func exposed(mode fs.FileMode, grouped bool) bool {
	if grouped {
		return mode&0o004 != 0
	}
	return mode&0o044 != 0
}
