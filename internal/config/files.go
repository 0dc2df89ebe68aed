package config

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// maxYAMLSize is more than twice the largest manifest of a full registry.
	maxYAMLSize = 4 << 20
	// maxKeySize is more than twice the largest secret key of the production scheme: a top tree and two bottom
	// trees, each of 2^17 nodes of 32 bytes.
	maxKeySize = 32 << 20
	// maxNodeKeySize is the hex of 32 bytes with room for blanks.
	maxNodeKeySize = 256
)

// byteOrderMark is U+FEFF, which some editors write at the start of a text. Only one at the very start means nothing.
const byteOrderMark = "\ufeff"

// ReadText reads a text file of at most limit bytes, without the byte order mark that it may begin with. All text files
// are read by it. Errors are of type [*Error].
func ReadText(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	return bytes.TrimPrefix(data, []byte(byteOrderMark)), err
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, osError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, osError(path, err)
	}
	switch {
	case info.IsDir():
		return nil, fileError(path, "a folder, want a file")
	case info.Size() > limit:
		return nil, fileError(path, "want at most %d bytes, got %d", limit, info.Size())
	}
	// The size of a pipe is not known before it is read, and a file can grow.
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, osError(path, err)
	}
	if int64(len(data)) > limit {
		return nil, fileError(path, "want at most %d bytes, got more", limit)
	}
	return data, nil
}

// checkFolder makes sure that there is a folder at path.
func checkFolder(path string) error {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{File: cmp.Or(path, `""`), Problem: "no such folder", Err: err}
	case err != nil:
		return osError(path, err)
	case !info.IsDir():
		return fileError(path, "not a folder")
	}
	return nil
}

// exists reports whether there is anything at path.
func exists(path string) (bool, error) {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, osError(path, err)
	}
}

// stage gathers files in a hidden folder next to the place where they belong, and moves them there once all of
// them are complete. Until then a crash, a full disk or an interrupt leaves nothing under the final names.
type stage struct {
	dir   string   // where the files belong
	tmp   string   // where they are gathered
	made  []string // the folders that were made for dir, outermost first
	names []string // the files, relative to dir, in the order in which they were written
}

// newStage makes dir, private to its owner, if it is not there.
func newStage(dir string) (*stage, error) {
	s := &stage{dir: dir}
	for parent := filepath.Clean(dir); ; parent = filepath.Dir(parent) {
		there, err := exists(parent)
		if err != nil {
			return nil, err
		}
		if there {
			break
		}
		s.made = append([]string{parent}, s.made...)
	}
	for i, folder := range s.made {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			s.made = s.made[:i]
			s.discard()
			return nil, osError(folder, err)
		}
	}
	tmp, err := os.MkdirTemp(dir, ".unfinished-")
	if err != nil {
		s.discard()
		return nil, osError(dir, err)
	}
	s.tmp = tmp
	return s, nil
}

// write adds a file, with permissions that do not depend on the umask, and waits until it is on disk.
func (s *stage) write(name string, data []byte, perm fs.FileMode) (err error) {
	path := filepath.Join(s.tmp, name)
	final := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return osError(final, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return osError(final, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err != nil {
		return osError(final, err)
	}
	s.names = append(s.names, name)
	return nil
}

// commit moves the files to their places. The last one written is moved last, and removed first where an older
// one is there: whoever finds it can rely on the others.
func (s *stage) commit() error {
	last := filepath.Join(s.dir, s.names[len(s.names)-1])
	if err := os.Remove(last); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return osError(last, err)
	}
	folders := map[string]bool{s.dir: true}
	for i, name := range s.names {
		path := filepath.Join(s.dir, name)
		folder := filepath.Dir(path)
		if !folders[folder] {
			if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return osError(folder, err)
			}
			folders[folder] = true
		}
		if i == len(s.names)-1 {
			// Everything else must be on disk before the file that vouches for it.
			if err := syncFolders(folders); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(s.tmp, name), path); err != nil {
			return osError(path, err)
		}
	}
	if err := syncFolders(folders); err != nil {
		return err
	}
	s.made = nil // they hold what was asked for
	return nil
}

// discard removes what is left of the stage: everything that was not moved, and the folders made for it if
// they are empty. It is safe to call after commit.
func (s *stage) discard() {
	if s.tmp != "" {
		os.RemoveAll(s.tmp)
	}
	for i := len(s.made) - 1; i >= 0; i-- {
		os.Remove(s.made[i]) // fails, rightly, where something else is in it
	}
	s.made = nil
}

// syncFolders makes renames in the folders durable.
func syncFolders(folders map[string]bool) error {
	for folder := range folders {
		f, err := os.Open(folder)
		if err != nil {
			return osError(folder, err)
		}
		err = errors.Join(f.Sync(), f.Close())
		if err != nil {
			return osError(folder, err)
		}
	}
	return nil
}
