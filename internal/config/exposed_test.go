package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFindExposed(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "link")
	target := file("target/key", 0o640)
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	paths := []string{
		file("a/0", 0o600), file("a/1", 0o400), file("a/2", 0o440), file("a/3", 0o644), file("a/4", 0o604),
		file("b/0", 0o700), filepath.Join(dir, "absent"), file("c/0", 0o644), link,
	}
	want := []ExposedFiles{{paths[2], 0o440, 3}, {paths[7], 0o644, 1}, {link, 0o640, 1}}
	if got := FindExposed(paths); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestExposedToGroup covers the files of a Kubernetes secret with an fsGroup, which a test cannot create without root.
func TestExposedToGroup(t *testing.T) {
	for _, test := range []struct {
		mode    fs.FileMode
		grouped bool
		want    bool
	}{
		{0o440, true, false}, {0o640, true, false}, {0o444, true, true}, {0o404, true, true},
		{0o440, false, true}, {0o404, false, true}, {0o600, false, false}, {0o711, false, false},
	} {
		if got := exposed(test.mode, test.grouped); got != test.want {
			t.Errorf("exposed(%04o, %t) = %t, want %t", test.mode, test.grouped, got, test.want)
		}
	}
}
