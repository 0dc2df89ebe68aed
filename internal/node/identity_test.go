package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoadOrMakeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "node.key")
	made, err := LoadOrMakeKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrMakeKey(path)
	if err != nil || again.PeerID() != made.PeerID() {
		t.Errorf("second time: %v %v, want the key of the first, %v", again, err, made)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: want a file of mode 0600", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files in the folder, want the key alone", len(entries))
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeKey(path); err == nil {
		t.Error("a broken key was accepted, or replaced")
	}
}
