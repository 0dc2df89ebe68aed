package node

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLoadOrMakeKey checks that the first call makes a key, and later calls read it.
func TestLoadOrMakeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "node.key")
	made, err := LoadOrMakeKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrMakeKey(path)
	if err != nil || again.PeerID() != made.PeerID() {
		t.Errorf("second LoadOrMakeKey = %v, %v, want the first key, %v", again, err, made)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("Stat = %v, %v, want a file with mode 0600", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files in the folder = %d, want 1", len(entries))
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeKey(path); err == nil {
		t.Error("LoadOrMakeKey of an invalid file succeeded, want an error")
	}
}
