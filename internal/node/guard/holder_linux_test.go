package guard

import "testing"

func TestFindHolder(t *testing.T) {
	const line = "1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF\n"
	for name, tt := range map[string]struct {
		locks string
		want  int
	}{
		"found":                    {"1: POSIX  ADVISORY  WRITE 9 fe:01:5678 0 EOF\n" + line, 1234},
		"another inode":            {"1: FLOCK  ADVISORY  WRITE 1234 fe:01:15678 0 EOF\n", 0},
		"another device too":       {line + "2: FLOCK  ADVISORY  WRITE 77 fe:02:5678 0 EOF\n", 0},
		"of another pid namespace": {"1: FLOCK  ADVISORY  WRITE 0 fe:01:5678 0 EOF\n", 0},
		"those who wait":           {line + "1: -> FLOCK  ADVISORY  WRITE 99 fe:01:5678 0 EOF\n", 1234},
		"nonsense":                 {"1: FLOCK\n\nx", 0},
	} {
		if got := findHolder(tt.locks, "5678"); got != tt.want {
			t.Errorf("%s: pid %d, want %d", name, got, tt.want)
		}
	}
}
