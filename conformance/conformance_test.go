package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	defaultVectors = "../../shared/vectors/lstar-43246bd6"
	defaultKeys    = "../../shared/keys/test_scheme"
)

// vector is a case of a vector file.
type vector struct {
	name string
	kind string // fixtureFormat
	json any
}

// envelope holds the fields that vectors of all kinds have.
//
// leanSpec: test_fixtures/base.py, BaseConsensusFixture
type envelope struct {
	Network         string
	LeanEnv         string
	ProofSetting    int
	RejectionReason *lstar.RejectionReason
	Info            struct {
		Hash, Comment, Description, FixtureFormat, KeySetDigest string
		TestID                                                  string `json:"testId"`
	} `json:"_info"`
}

// fixture is the content of a vector, read from its JSON. run checks it.
type fixture interface {
	run(t *testing.T, env *environment)
}

// fixtures maps each kind of vectors that applies to a function that makes its fixture.
var fixtures = map[string]func() fixture{
	"ssz_test":                  func() fixture { return new(sszFixture) },
	"state_transition_test":     func() fixture { return new(stateTransitionFixture) },
	"fork_choice_test":          func() fixture { return new(forkChoiceFixture) },
	"justifiability_test":       func() fixture { return new(justifiabilityFixture) },
	"slot_clock_test":           func() fixture { return new(slotClockFixture) },
	"poseidon_permutation_test": func() fixture { return new(poseidonFixture) },
	"sync_test":                 func() fixture { return new(syncFixture) },
	"api_endpoint_test":         func() fixture { return new(apiEndpointFixture) },
	"networking_codec_test":     func() fixture { return new(networkingCodecFixture) },
}

const proverMissing = "needs the leanVM prover, which is not built in"

// skippedKinds maps each kind of vectors that does not apply to the reason.
var skippedKinds = map[string]string{
	"gossipsub_handler_test":            "tests internals of a gossipsub router, which is go-libp2p-pubsub's",
	"verify_signatures_test":            proverMissing,
	"verify_single_message_proofs_test": proverMissing,
	"verify_multi_message_proofs_test":  proverMissing,
	"reaggregation_test":                proverMissing,
}

// environment holds the configuration of a vector.
type environment struct {
	read   reader
	scheme *xmss.Scheme
	rules  lstar.Rules
}

// schemes maps leanEnv to the signature scheme.
var schemes = map[string]*xmss.Scheme{"test": xmss.Test, "prod": xmss.Prod}

func TestMain(m *testing.M) {
	code := m.Run()
	if len(results) > 0 {
		fmt.Print(table())
	}
	os.Exit(code)
}

func TestVectors(t *testing.T) {
	folder := vectorsFolder()
	vectors, err := loadVectors(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		missing(t, "no vectors in %s: set LEANSPEC_VECTORS to the folder that contains consensus/. "+
			"`uv run fill --fork=Lstar` in leanSpec makes it.", filepath.Join(folder, "consensus"))
	}
	byKind := make(map[string][]vector)
	for _, v := range vectors {
		byKind[v.kind] = append(byKind[v.kind], v)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		t.Run(kind, func(t *testing.T) {
			for _, v := range byKind[kind] {
				subtest(t, kind, v.name, func(t *testing.T) { runVector(t, v, lstar.PinnedRules) })
			}
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(fixtures)) {
		wantRun(t, kind)
	}
}

// wantRun fails a test under CI if no vector of a kind ran. It does nothing if the flag
// -run selects vectors.
func wantRun(t *testing.T, kind string) {
	t.Helper()
	if c := count(kind); c.passed+c.failed == 0 && flag.Lookup("test.run").Value.String() == "" {
		c.why("no vector ran")
		if os.Getenv("CI") != "" {
			t.Errorf("%s: no vector in %s ran (%d skipped), want at least one", kind, vectorsFolder(), c.skipped)
		}
	}
}

func runVector(t *testing.T, v vector, rules lstar.Rules) {
	if why, ok := skippedKinds[v.kind]; ok {
		skip(t, v.kind, why)
	}
	newFixture, ok := fixtures[v.kind]
	if !ok {
		t.Fatalf("kind %s is neither implemented nor listed in skippedKinds", v.kind)
	}
	head, _ := v.json.(map[string]any)
	if network := head["network"]; network != "Lstar" {
		skip(t, v.kind, fmt.Sprintf("for fork %v, want Lstar", network))
	}
	if setting := head["proofSetting"]; setting != json.Number("0") {
		skip(t, v.kind, fmt.Sprintf("proofSetting %v: %s", setting, proverMissing))
	}
	scheme, ok := schemes[fmt.Sprint(head["leanEnv"])]
	if !ok {
		t.Fatalf("leanEnv = %v, want test or prod", head["leanEnv"])
	}
	env := &environment{read: reader{scheme}, scheme: scheme, rules: rules}
	f := newFixture()
	if err := env.read.into(f, v.json); err != nil {
		t.Fatalf("read the vector: %v", err)
	}
	f.run(t, env)
}

func vectorsFolder() string {
	if folder := os.Getenv("LEANSPEC_VECTORS"); folder != "" {
		return folder
	}
	return filepath.FromSlash(defaultVectors)
}

// beside returns a path relative to the vectors if it exists, and otherwise fallback.
func beside(relative, fallback string) string {
	path := filepath.Join(vectorsFolder(), filepath.FromSlash(relative))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return filepath.FromSlash(fallback)
}

// loadVectors returns the vectors below a folder in the order of their file names. It
// returns no vectors if the folder does not exist.
func loadVectors(folder string) ([]vector, error) {
	var vectors []vector
	err := filepath.WalkDir(filepath.Join(folder, "consensus"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() || filepath.Ext(path) != ".json":
			return nil
		}
		file, err := loadJSON(path)
		if err != nil {
			return err
		}
		cases, ok := file.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: want an object of vectors", path)
		}
		for _, id := range slices.Sorted(maps.Keys(cases)) {
			v, _ := cases[id].(map[string]any)
			info, _ := v["_info"].(map[string]any)
			kind, ok := info["fixtureFormat"].(string)
			if !ok {
				return fmt.Errorf("%s: %s: no _info.fixtureFormat", path, id)
			}
			vectors = append(vectors, vector{name: caseName(id), kind: kind, json: v})
		}
		return nil
	})
	return vectors, err
}

// caseName returns "test_x/test_y[fork_Lstar-a]" for the id
// "tests/…/test_x.py::test_y[fork_Lstar-a][fork_Lstar-kind]".
func caseName(id string) string {
	name := id[strings.LastIndexByte(id, '/')+1:]
	if i := strings.LastIndexByte(name, '['); i > 0 && strings.Count(name, "[") > 1 {
		name = name[:i]
	}
	return strings.ReplaceAll(name, ".py::", "/")
}

func loadJSON(path string) (any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// missing skips a test whose files do not exist. Under CI it fails the test.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	fmt.Printf("SKIPPED: "+format+"\n", args...)
	t.Skipf(format, args...)
}

// checkRejection checks that an error is a rejection with the given reason, or nil if the
// reason is nil. It reports the result.
func checkRejection(t *testing.T, err error, want *lstar.RejectionReason) bool {
	t.Helper()
	var rejection *lstar.Rejection
	switch {
	case err == nil && want == nil:
		return true
	case err == nil:
		t.Errorf("error = nil, want rejection %s", *want)
	case want == nil:
		t.Errorf("error = %v, want nil", err)
	case !errors.As(err, &rejection) || rejection.Reason != *want:
		t.Errorf("error = %v, want rejection %s", err, *want)
	default:
		return true
	}
	return false
}

// checkEqual compares the texts of two values.
func checkEqual(t *testing.T, name string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", name, g, w)
	}
}
