// Command sbom prints the software bill of materials of a Go program, in SPDX 2.3 JSON: sbom FILE VERSION
//
// It lists the modules that the Go toolchain has recorded in the program, and the Go standard library. The time of the
// document is SOURCE_DATE_EPOCH, so the same program gives the same document.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// document is an SPDX document: https://spdx.github.io/spdx-spec/v2.3/
type document struct {
	Version     string `json:"spdxVersion"`
	DataLicense string `json:"dataLicense"`
	ID          string `json:"SPDXID"`
	Name        string `json:"name"`
	Namespace   string `json:"documentNamespace"`
	Creation    struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	} `json:"creationInfo"`
	Packages      []pack         `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type pack struct {
	ID               string      `json:"SPDXID"`
	Name             string      `json:"name"`
	Version          string      `json:"versionInfo"`
	Purpose          string      `json:"primaryPackagePurpose,omitempty"`
	DownloadLocation string      `json:"downloadLocation"`
	FilesAnalyzed    bool        `json:"filesAnalyzed"`
	License          string      `json:"licenseDeclared"`
	Concluded        string      `json:"licenseConcluded"`
	Copyright        string      `json:"copyrightText"`
	Checksums        []checksum  `json:"checksums,omitempty"`
	Comment          string      `json:"comment,omitempty"`
	References       []reference `json:"externalRefs"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom FILE VERSION")
		os.Exit(2)
	}
	epoch, _ := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	out, err := describe(os.Args[1], os.Args[2], time.Unix(epoch, 0))
	if err == nil {
		_, err = os.Stdout.Write(append(out, '\n'))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

// describe returns the document of the program in a file.
func describe(file, version string, created time.Time) ([]byte, error) {
	build, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	hash := hex.EncodeToString(sum[:])
	name := path.Base(build.Main.Path)
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name + "-" + version,
		Namespace: "https://" + build.Main.Path + "/spdx/" + version + "/" + hash,
	}
	d.Creation.Created = created.UTC().Format(time.RFC3339)
	d.Creation.Creators = []string{"Tool: " + name + "-sbom"}

	program := goPackage(&debug.Module{Path: build.Main.Path, Version: version})
	program.Purpose, program.License, program.Concluded = "APPLICATION", "MIT", "MIT"
	program.Checksums = []checksum{{"SHA256", hash}}
	d.Packages = append(d.Packages, program)
	d.Relationships = append(d.Relationships, relationship{d.ID, "DESCRIBES", program.ID})
	add := func(p pack) {
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, relationship{program.ID, "DEPENDS_ON", p.ID})
	}
	library := goPackage(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(build.GoVersion, "go")})
	library.DownloadLocation, library.License = "https://go.dev/dl/", "BSD-3-Clause"
	add(library)
	for _, dependency := range build.Deps {
		if dependency.Replace != nil {
			dependency = dependency.Replace
		}
		add(goPackage(dependency))
	}
	return json.MarshalIndent(d, "", "  ")
}

// notID matches the characters that an SPDX identifier cannot have.
var notID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func goPackage(m *debug.Module) pack {
	p := pack{
		ID: "SPDXRef-Package-" + notID.ReplaceAllString(m.Path+"-"+m.Version, "-"), Name: m.Path, Version: m.Version,
		DownloadLocation: "https://" + m.Path, License: "NOASSERTION", Concluded: "NOASSERTION", Copyright: "NOASSERTION",
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")}},
	}
	if m.Sum != "" {
		p.Comment = "Go checksum of the module: " + m.Sum
		p.DownloadLocation = "NOASSERTION" // the purl identifies the module, wherever it is downloaded from
	}
	return p
}
