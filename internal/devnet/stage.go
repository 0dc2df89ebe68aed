package devnet

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// stage collects files in a hidden folder inside their target folder and moves them to their final names once all of them are
// complete. Until then, a crash, a full disk or an interrupt leaves no file under a final name.
type stage struct {
	dir   string   // target folder
	tmp   string   // hidden folder in it
	made  []string // folders that were created for dir, outermost first
	names []string // files relative to dir, in the order of writing
}

// newStage creates dir, private to its owner, if it does not exist.
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
			return nil, config.OSError(folder, err)
		}
	}
	tmp, err := os.MkdirTemp(dir, ".unfinished-")
	if err != nil {
		s.discard()
		return nil, config.OSError(dir, err)
	}
	s.tmp = tmp
	return s, nil
}

// write adds a file with permissions that do not depend on the umask, and syncs it.
func (s *stage) write(name string, data []byte, perm fs.FileMode) (err error) {
	path := filepath.Join(s.tmp, name)
	final := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return config.OSError(final, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return config.OSError(final, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err != nil {
		return config.OSError(final, err)
	}
	s.names = append(s.names, name)
	return nil
}

// commit moves the files to their final names and returns their paths. It moves the file that was written last after all others
// are on disk, and removes an older version of it first: if that file exists, the others are complete. It moves nothing if ctx
// has ended, or if check, which looks for files that others have written meanwhile, returns an error.
func (s *stage) commit(ctx context.Context, check func() error) (paths []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := check(); err != nil {
		return nil, err
	}
	for _, name := range s.names {
		paths = append(paths, filepath.Join(s.dir, name))
	}
	last := paths[len(paths)-1]
	if err := os.Remove(last); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, config.OSError(last, err)
	}
	folders := []string{s.dir}
	for i, path := range paths {
		folder := filepath.Dir(path)
		if !slices.Contains(folders, folder) {
			if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, config.OSError(folder, err)
			}
			folders = append(folders, folder)
		}
		if path == last {
			if err := syncFolders(folders); err != nil {
				return nil, err
			}
		}
		if err := os.Rename(filepath.Join(s.tmp, s.names[i]), path); err != nil {
			return nil, config.OSError(path, err)
		}
	}
	if err := syncFolders(folders); err != nil {
		return nil, err
	}
	s.made = nil // discard keeps them
	return paths, nil
}

// discard removes the files that were not moved, and the new folders if they are empty. It may be called after commit.
func (s *stage) discard() {
	if s.tmp != "" {
		os.RemoveAll(s.tmp)
	}
	for _, folder := range slices.Backward(s.made) {
		os.Remove(folder) // fails, as it should, if another process has put a file into it
	}
	s.made = nil
}

// syncFolders makes renames in the folders durable.
func syncFolders(folders []string) error {
	for _, folder := range folders {
		f, err := os.Open(folder)
		if err != nil {
			return config.OSError(folder, err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return config.OSError(folder, err)
		}
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
		return false, config.OSError(path, err)
	}
}
