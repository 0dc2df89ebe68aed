package config

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
)

const (
	// maxYAMLSize is more than twice the size of the largest manifest, that of a full registry.
	maxYAMLSize = 4 << 20
	// maxKeySize is more than twice the size of the largest secret key: that of the production scheme has one top tree and
	// two bottom trees, each of 2^17 nodes of 32 bytes.
	maxKeySize = 32 << 20
	// maxNodeKeySize is the size of 32 bytes in hex, with room for blanks.
	maxNodeKeySize = 256
)

// byteOrderMark is U+FEFF. Some editors write it at the start of a text, where it has no meaning.
const byteOrderMark = "\ufeff"

// ReadText reads a text file of at most limit bytes and removes a byte order mark at its start. Errors are of type [*Error].
func ReadText(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	return bytes.TrimPrefix(data, []byte(byteOrderMark)), err
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, OSError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, OSError(path, err)
	}
	switch {
	case info.IsDir():
		return nil, fileError(path, "a folder, want a file")
	case info.Size() > limit:
		return nil, fileError(path, "want at most %d bytes, got %d", limit, info.Size())
	}
	// A pipe has no size, and a file can grow.
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, OSError(path, err)
	}
	if int64(len(data)) > limit {
		return nil, fileError(path, "want at most %d bytes, got more", limit)
	}
	return data, nil
}

// checkFolder returns an error unless path is a folder.
func checkFolder(path string) error {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{File: cmp.Or(path, `""`), Problem: "no such folder", Err: err}
	case err != nil:
		return OSError(path, err)
	case !info.IsDir():
		return fileError(path, "not a folder")
	}
	return nil
}
