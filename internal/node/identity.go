package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// LoadOrMakeKey reads the node key from a file. If the file does not exist, it makes a new random
// key and writes it durably, with mode 0600. Errors are of type [*config.Error].
func LoadOrMakeKey(path string) (*config.NodeKey, error) {
	key, err := config.LoadNodeKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = config.GenerateNodeKey(); err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, config.OSError(dir, err)
	}
	// A link to a complete file leaves no partial key at path, and does not replace a key that
	// another process makes at the same time.
	file, err := os.CreateTemp(dir, ".node.key-*") // mode 0600
	if err != nil {
		return nil, config.OSError(path, err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(key.Hex() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, config.OSError(path, err)
	}
	switch err := os.Link(file.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return config.LoadNodeKey(path)
	case err != nil:
		return nil, config.OSError(path, err)
	}
	// The node will publish its peer id, so the file and its folder must survive a power cut.
	if err := errors.Join(syncFolder(dir), syncFolder(filepath.Dir(dir))); err != nil {
		return nil, config.OSError(path, err)
	}
	return key, nil
}

// syncFolder makes the entries of a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
