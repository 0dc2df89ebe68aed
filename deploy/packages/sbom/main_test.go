package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDescribe describes the program of this test.
func TestDescribe(t *testing.T) {
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := describe(file, "v1.2.3", time.Unix(1_000_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "SPDX-2.3" || got.Creation.Created != "2001-09-09T01:46:40Z" || !strings.HasPrefix(got.Namespace, "https://github.com/leanEthereum/leanspec-node/spdx/v1.2.3/") {
		t.Errorf("version, time and namespace = %s, %s, %s, want SPDX-2.3, the given time, and a namespace with v1.2.3", got.Version, got.Creation.Created, got.Namespace)
	}
	packages := make(map[string]pack)
	for _, p := range got.Packages {
		if _, double := packages[p.ID]; double || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.ID) {
			t.Errorf("identifier %q, want a valid one that occurs once", p.ID)
		}
		packages[p.ID] = p
	}
	for _, name := range []string{"github.com/leanEthereum/leanspec-node", "stdlib"} {
		found := 0
		for _, p := range packages {
			if p.Name == name {
				found++
			}
		}
		if found != 1 {
			t.Errorf("packages with the name %s = %d, want 1", name, found)
		}
	}
	if len(got.Relationships) != len(packages) || got.Relationships[0].Type != "DESCRIBES" {
		t.Errorf("relationships = %d, want %d, one for each package, and DESCRIBES first", len(got.Relationships), len(packages))
	}
	for _, r := range got.Relationships {
		if _, found := packages[r.To]; !found {
			t.Errorf("relationship to %s, want a package", r.To)
		}
	}
	if again, err := describe(file, "v1.2.3", time.Unix(1_000_000_000, 0)); err != nil || string(again) != string(raw) {
		t.Errorf("a second document differs, %v, want the same bytes", err)
	}
	if _, err := describe("main_test.go", "v1", time.Time{}); err == nil {
		t.Error("describe of a text file = nil, want an error")
	}
}
