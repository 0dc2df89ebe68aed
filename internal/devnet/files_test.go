package devnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// testFiles returns options for a small network in net.
func testFiles() FilesOptions {
	return FilesOptions{Dir: "net", Nodes: 2, Validators: 3, Scheme: xmss.Test, ActiveSlots: 32,
		GenesisTime: func() uint64 { return 1763712794 }}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkConfigError checks that an error has the type that the command expects.
func checkConfigError(t *testing.T, err error) {
	t.Helper()
	var known *config.Error
	if !errors.As(err, &known) {
		t.Errorf("error is a %T, want *config.Error: %v", err, err)
	}
}

// listTree returns all files and folders in root, with permissions: "-rw------- net/lean_spec_0.key".
func listTree(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all = append(all, fmt.Sprintf("%v %s", info.Mode(), path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(a[11:], b[11:]) })
	return all
}

func TestWriteFilesFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	files, err := WriteFiles(t.Context(), testFiles())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwx------ net",
		"-rw-r--r-- net/annotated_validators.yaml",
		"-rw-r--r-- net/config.yaml",
		"drwx------ net/hash-sig-keys",
		"-rw-r--r-- net/hash-sig-keys/validator-keys-manifest.yaml",
	}
	for i := range 3 {
		for _, role := range []string{"attester", "proposer"} {
			want = append(want,
				fmt.Sprintf("-rw-r--r-- net/hash-sig-keys/validator_%d_%s_key_pk.ssz", i, role),
				fmt.Sprintf("-rw------- net/hash-sig-keys/validator_%d_%s_key_sk.ssz", i, role))
		}
	}
	want = append(want,
		"-rw------- net/lean_spec_0.key",
		"-rw------- net/lean_spec_1.key",
		"-rw-r--r-- net/nodes.yaml",
		"-rw-r--r-- net/prometheus-rules.yml",
		"-rw-r--r-- net/prometheus.yml",
		"-rw------- net/validator-config.yaml",
		"-rw-r--r-- net/validators.yaml",
	)
	if got := listTree(t, "net"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(files.Paths); n != 22 || files.Paths[n-1] != filepath.Join("net", "config.yaml") {
		t.Errorf("Files has %d names and ends in %s, want 22 that end in net/config.yaml", n, files.Paths[n-1])
	}
}

// TestWriteFilesPrometheus checks that Prometheus reads prometheus.yml and its rules, and finds each node.
func TestWriteFilesPrometheus(t *testing.T) {
	t.Chdir(t.TempDir())
	options := testFiles()
	options.IP = netip.MustParseAddr("10.0.0.1")
	files, err := WriteFiles(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("net/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range files.Nodes {
		want := fmt.Sprintf("- targets: [\"10.0.0.1:%d\"]\n        labels: {instance: %s, network: devnet}\n", node.Metrics, node.Name)
		if !strings.Contains(string(text), want) {
			t.Errorf("prometheus.yml =\n%s\nwant in it\n%s", text, want)
		}
	}
	if _, err := exec.LookPath("promtool"); err != nil && os.Getenv("CI") == "" {
		t.Skip("promtool is not installed. It is in Debian's package prometheus.")
	}
	out, err := exec.Command("promtool", "check", "config", "net/prometheus.yml").CombinedOutput()
	if err != nil || !regexp.MustCompile(`[1-9]\d* rules found`).Match(out) {
		t.Errorf("promtool check config: error %v, output\n%s\nwant rules", err, out)
	}
}

func TestWriteFilesRoundTrip(t *testing.T) {
	for _, dialect := range []Dialect{LeanSpec, Quickstart} {
		for _, shuffle := range []Shuffle{RoundRobin, Contiguous} {
			t.Run(fmt.Sprintf("%s/%s", dialect, shuffle), func(t *testing.T) {
				t.Chdir(t.TempDir())
				options := testFiles()
				options.Nodes, options.Validators = 3, 5
				options.Dialect, options.Shuffle = dialect, shuffle
				options.IP = netip.MustParseAddr("10.0.0.1")
				files, err := WriteFiles(t.Context(), options)
				if err != nil {
					t.Fatal(err)
				}
				genesis, err := config.LoadGenesis("net/config.yaml")
				if err != nil {
					t.Fatal(err)
				}
				if genesis.GenesisTime != 1763712794 || files.GenesisTime != genesis.GenesisTime || len(genesis.Validators) != 5 {
					t.Errorf("genesis at %d (%d) with %d validators, want 1763712794 and 5", genesis.GenesisTime, files.GenesisTime, len(genesis.Validators))
				}
				shares := map[Shuffle][][]uint64{RoundRobin: {{0, 3}, {1, 4}, {2}}, Contiguous: {{0, 1}, {2, 3}, {4}}}[shuffle]
				var enrs []string
				for i, node := range files.Nodes {
					if !slices.Equal(node.Validators, shares[i]) {
						t.Errorf("%s has the validators %v, want %v", node.Name, node.Validators, shares[i])
					}
					for _, missing := range []string{"", "net/annotated_validators.yaml", "net/hash-sig-keys/validator-keys-manifest.yaml"} {
						if missing != "" && i == 0 {
							if err := os.Rename(missing, "spare"); err != nil {
								t.Fatal(err)
							}
						}
						keys, err := config.LoadValidatorKeys("net", node.Name, genesis, xmss.Test)
						if err != nil {
							t.Fatalf("without %q: %v", missing, err)
						}
						var got []uint64
						for _, k := range keys { // LoadValidatorKeys compares them with the genesis
							got = append(got, k.Index)
						}
						if !slices.Equal(got, node.Validators) {
							t.Errorf("%s has keys of validators %v, want %v", node.Name, got, node.Validators)
						}
						if err := errors.Join(config.CheckWindows(keys, 0), config.CheckWindows(keys, 31)); err != nil {
							t.Error(err)
						}
						if missing != "" && i == 0 {
							if err := os.Rename("spare", missing); err != nil {
								t.Fatal(err)
							}
						}
					}
					for _, k := range config.Roles {
						for _, index := range node.Validators {
							public, err := os.ReadFile("net/hash-sig-keys/" + KeyFileName(validatorName(index), k, false))
							if want := genesis.Validators[index].PublicKey(k); err != nil || string(public) != string(want[:]) {
								t.Errorf("the public key file of validator %d, %s: %v, or not the genesis's key", index, k, err)
							}
						}
					}
					key, err := config.LoadNodeKey(node.KeyPath)
					if err != nil || key.PeerID().String() != node.PeerID {
						t.Errorf("%s: peer id %v (%v), want %s", node.KeyPath, key, err, node.PeerID)
					}
					if record, err := enr.Parse(node.ENR); err != nil || !record.VerifySignature() {
						t.Errorf("%s: record %s: error %v, or a signature that does not verify", node.Name, node.ENR, err)
					}
					enrs = append(enrs, node.ENR)
				}

				// The two files that other programs read, with another way of reading YAML.
				var listed []string
				var setup struct {
					Shuffle string
					Config  struct {
						ActiveEpoch               int    `yaml:"activeEpoch"`
						KeyType                   string `yaml:"keyType"`
						AttestationCommitteeCount int    `yaml:"attestation_committee_count"`
					}
					Validators []struct {
						Name, Privkey string
						ENRFields     struct {
							IP   string
							QUIC int
						} `yaml:"enrFields"`
						MetricsPort  int  `yaml:"metricsPort"`
						APIPort      int  `yaml:"apiPort"`
						IsAggregator bool `yaml:"isAggregator"`
						Count        int
					}
				}
				for name, into := range map[string]any{"net/nodes.yaml": &listed, "net/validator-config.yaml": &setup} {
					data, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					if err := yaml.Unmarshal(data, into); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				if !slices.Equal(listed, enrs) {
					t.Errorf("nodes.yaml has %v, want %v", listed, enrs)
				}
				if setup.Shuffle != string(shuffle) || setup.Config.ActiveEpoch != 5 || setup.Config.KeyType != "hash-sig" || setup.Config.AttestationCommitteeCount != 1 || len(setup.Validators) != 3 {
					t.Errorf("validator-config.yaml is %+v", setup)
				}
				for i, v := range setup.Validators {
					key, err := os.ReadFile("net/" + v.Name + ".key")
					if err != nil || v.Privkey+"\n" != string(key) {
						t.Errorf("%s has another key than its file (error %v)", v.Name, err)
					}
					if v.ENRFields.IP != "10.0.0.1" || v.ENRFields.QUIC != 9001+i || v.APIPort != 5052+i || v.MetricsPort != 8008+i || v.IsAggregator != (i == 0) || v.Count != len(shares[i]) {
						t.Errorf("node %d is %+v", i, v)
					}
				}
			})
		}
	}
}

// TestWriteFilesDialects checks the field names of each dialect.
func TestWriteFilesDialects(t *testing.T) {
	for dialect, want := range map[Dialect]map[string]string{
		LeanSpec: {
			"net/config.yaml": "  - attestation_public_key: \"0x$A\"\n    proposal_public_key: \"0x$P\"\n",
			"net/hash-sig-keys/validator-keys-manifest.yaml": "  - index: 0\n    attestation_public_key_hex: \"0x$A\"\n    attestation_private_key_file: validator_0_attester_key_sk.ssz\n    proposal_public_key_hex: \"0x$P\"\n    proposal_private_key_file: validator_0_proposer_key_sk.ssz\n",
		},
		Quickstart: {
			"net/config.yaml": "  - attestation_pubkey: \"$A\"\n    proposal_pubkey: \"$P\"\n",
			"net/hash-sig-keys/validator-keys-manifest.yaml": "  - index: 0\n    attester_key_pubkey_hex: \"0x$A\"\n    attester_key_privkey_file: validator_0_attester_key_sk.ssz\n    proposer_key_pubkey_hex: \"0x$P\"\n    proposer_key_privkey_file: validator_0_proposer_key_sk.ssz\n",
		},
	} {
		t.Run(string(dialect), func(t *testing.T) {
			t.Chdir(t.TempDir())
			options := testFiles()
			options.Dialect = dialect
			if _, err := WriteFiles(t.Context(), options); err != nil {
				t.Fatal(err)
			}
			genesis, err := config.LoadGenesis("net/config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			v := genesis.Validators[0]
			fill := strings.NewReplacer("$A", fmt.Sprintf("%x", v.AttestationPublicKey), "$P", fmt.Sprintf("%x", v.ProposalPublicKey))
			want["net/annotated_validators.yaml"] = "lean_spec_0:\n  - index: 0\n    pubkey_hex: \"$A\"\n    privkey_file: validator_0_attester_key_sk.ssz\n  - index: 0\n    pubkey_hex: \"$P\"\n    privkey_file: validator_0_proposer_key_sk.ssz\n"
			want["net/validators.yaml"] = "lean_spec_0:\n  - 0\n  - 2\nlean_spec_1:\n  - 1\n"
			for name, text := range want {
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if text = fill.Replace(text); !strings.Contains(string(data), text) {
					t.Errorf("%s:\n%s\nwant in it:\n%s", name, data, text)
				}
			}
		})
	}
}

func TestWriteFilesMoreNodesThanValidators(t *testing.T) {
	for _, shuffle := range []Shuffle{RoundRobin, Contiguous} {
		t.Chdir(t.TempDir())
		options := testFiles()
		options.Nodes, options.Validators, options.Shuffle = 4, 2, shuffle
		files, err := WriteFiles(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		genesis, err := config.LoadGenesis("net/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for i, node := range files.Nodes {
			keys, err := config.LoadValidatorKeys("net", node.Name, genesis, xmss.Test)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 1, false: 0}[i < 2]; len(keys) != want {
				t.Errorf("%s, %s: %d validators, want %d", shuffle, node.Name, len(keys), want)
			}
		}
	}
}

func TestFilesOptionsValidate(t *testing.T) {
	for want, change := range map[string]func(*FilesOptions){
		"output folder: want a folder":                                                func(o *FilesOptions) { o.Dir = "" },
		"number of nodes: 0: want 1 to 1000":                                          func(o *FilesOptions) { o.Nodes = 0 },
		"number of nodes: 1001: want 1 to 1000":                                       func(o *FilesOptions) { o.Nodes = 1001 },
		"number of validators: 0: want 1 to 4096":                                     func(o *FilesOptions) { o.Validators = 0 },
		"number of validators: -1: want 1 to 4096":                                    func(o *FilesOptions) { o.Validators = -1 },
		"number of validators: 4097: want 1 to 4096":                                  func(o *FilesOptions) { o.Validators = 4097 },
		`dialect: "x": want leanspec or quickstart`:                                   func(o *FilesOptions) { o.Dialect = "x" },
		`shuffle: "x": want roundrobin or none`:                                       func(o *FilesOptions) { o.Shuffle = "x" },
		`IP address: "::1": want an IPv4 address`:                                     func(o *FilesOptions) { o.IP = netip.IPv6Loopback() },
		"number of active slots: 0: want 1 to 256, the lifetime of the test scheme":   func(o *FilesOptions) { o.ActiveSlots = 0 },
		"number of active slots: 257: want 1 to 256, the lifetime of the test scheme": func(o *FilesOptions) { o.ActiveSlots = 257 },
	} {
		options := testFiles()
		change(&options)
		t.Chdir(t.TempDir())
		_, err := WriteFiles(t.Context(), options)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		checkConfigError(t, err)
		if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
			t.Errorf("%s: something was written: %v, %v", want, entries, err)
		}
	}
}

func TestWriteFilesForce(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := WriteFiles(t.Context(), testFiles()); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for _, line := range listTree(t, "net") {
		name := line[11:]
		if data, err := os.ReadFile(name); err == nil {
			before[name] = string(data)
		}
	}
	if len(before) == 0 {
		t.Fatal("found no file of the network")
	}
	_, err := WriteFiles(t.Context(), testFiles())
	if want := "net/config.yaml: already exists"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: got %v, want %s", err, want)
	}
	for name, data := range before {
		if now, err := os.ReadFile(name); err != nil || string(now) != data {
			t.Errorf("%s was touched (error %v)", name, err)
		}
	}
	options := testFiles()
	options.Force, options.Validators = true, 2
	if _, err := WriteFiles(t.Context(), options); err != nil {
		t.Fatalf("with Force: %v", err)
	}
	for name, data := range before {
		now, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Force replaces the files that it writes; those of Prometheus have the same content. It does not remove the keys of a
		// third validator.
		if stale := strings.Contains(name, "validator_2") || strings.Contains(name, "prometheus"); stale != (string(now) == data) {
			t.Errorf("%s: the same as before: %t, want %t", name, !stale, stale)
		}
	}
	genesis, err := config.LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test); err != nil {
		t.Errorf("after Force: %v", err)
	}
}

func TestWriteFilesRefusesEachFile(t *testing.T) {
	for _, name := range []string{
		"config.yaml", "validators.yaml", "annotated_validators.yaml", "nodes.yaml", "validator-config.yaml", "prometheus.yml", "prometheus-rules.yml", "lean_spec_1.key",
		"hash-sig-keys/validator-keys-manifest.yaml", "hash-sig-keys/validator_0_attester_key_sk.ssz", "hash-sig-keys/anything",
	} {
		t.Chdir(t.TempDir())
		path := filepath.Join("net", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, path, "mine")
		_, err := WriteFiles(t.Context(), testFiles())
		if want := path + ": already exists"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v, want %s", err, want)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
			t.Errorf("%s was touched (error %v)", path, err)
		}
		if entries, err := os.ReadDir("net"); err != nil || len(entries) != 1 {
			t.Errorf("%s: net holds %v (error %v), want only what was there", name, entries, err)
		}
	}
}

func TestWriteFilesInTheWay(t *testing.T) {
	t.Chdir(t.TempDir())
	put(t, "net", "a file")
	options := testFiles()
	options.Force = true
	if _, err := WriteFiles(t.Context(), options); err == nil || err.Error() != "net: not a directory" {
		t.Errorf("a file for a folder: got %v, want net: not a directory", err)
	}
}

func TestWriteFilesKeepsExistingFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("net/hash-sig-keys", 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, "net/notes.txt", "mine")
	if _, err := WriteFiles(t.Context(), testFiles()); err != nil {
		t.Fatalf("with an empty folder of keys and another file: %v, want no error", err)
	}
	if data, err := os.ReadFile("net/notes.txt"); err != nil || string(data) != "mine" {
		t.Errorf("notes.txt was touched (error %v)", err)
	}
}

// TestWriteFilesCancel checks that an interrupt at any key leaves the folder unchanged.
func TestWriteFilesCancel(t *testing.T) {
	for _, at := range []int{0, 1, 3, 5, 6} {
		for _, existing := range []bool{false, true} {
			t.Chdir(t.TempDir())
			var before []string
			if existing {
				if _, err := WriteFiles(t.Context(), testFiles()); err != nil {
					t.Fatal(err)
				}
			}
			before = listTree(t, ".")
			ctx, cancel := context.WithCancel(t.Context())
			options := testFiles()
			options.Force = true
			options.Dir = map[bool]string{true: "net", false: "a/b/net"}[existing]
			options.Progress = func(p KeyProgress) {
				if p.Keys == at {
					cancel()
				}
			}
			_, err := WriteFiles(ctx, options)
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("canceled at key %d: got %v, want %v", at, err, context.Canceled)
			}
			if after := listTree(t, "."); !slices.Equal(before, after) {
				t.Errorf("canceled at key %d: left\n%s\nwant\n%s", at, strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
	}
}

// TestWriteFilesStaysHidden checks that no file has its final name while keys are made.
func TestWriteFilesStaysHidden(t *testing.T) {
	t.Chdir(t.TempDir())
	options := testFiles()
	options.GenesisTime = func() uint64 {
		entries, err := os.ReadDir("net")
		if err != nil || len(entries) != 1 || !strings.HasPrefix(entries[0].Name(), ".unfinished-") {
			t.Errorf("before the end net holds %v (error %v), want one hidden folder", entries, err)
		}
		if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the hidden folder has the mode %v (error %v), want 0700", info.Mode(), err)
		}
		return 5
	}
	if _, err := WriteFiles(t.Context(), options); err != nil {
		t.Fatal(err)
	}
}

// TestWriteFilesHalfCommit checks that config.yaml does not exist after a failure to move another file.
func TestWriteFilesHalfCommit(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := WriteFiles(t.Context(), testFiles()); err != nil {
		t.Fatal(err)
	}
	// A folder that is not empty cannot be replaced by a file.
	if err := os.Remove("net/nodes.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("net/nodes.yaml/x", 0o700); err != nil {
		t.Fatal(err)
	}
	options := testFiles()
	options.Force = true
	_, err := WriteFiles(t.Context(), options)
	if err == nil || !strings.HasPrefix(err.Error(), "net/nodes.yaml: ") {
		t.Errorf("got %v, want an error about net/nodes.yaml", err)
	}
	checkConfigError(t, err)
	if _, err := os.Stat("net/config.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("config.yaml is there although the network is not complete (error %v)", err)
	}
	if hidden, _ := filepath.Glob("net/.unfinished-*"); len(hidden) > 0 {
		t.Errorf("left behind: %v", hidden)
	}
}

func TestWriteFilesProgress(t *testing.T) {
	t.Chdir(t.TempDir())
	var complete []string
	options := testFiles()
	options.Validators = 2
	options.Progress = func(p KeyProgress) {
		if p.TotalKeys != 4 || p.Keys > 4 || p.Done > p.Total {
			t.Errorf("progress %+v", p)
		}
		if p.Complete {
			complete = append(complete, fmt.Sprintf("%d %s %s", p.Keys, p.Name, p.Role))
		}
	}
	if _, err := WriteFiles(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 validator_0 attestation", "2 validator_0 proposal", "3 validator_1 attestation", "4 validator_1 proposal"}
	if !slices.Equal(complete, want) {
		t.Errorf("complete keys were %q, want %q", complete, want)
	}
}

// TestWriteFilesFull checks that ActiveSlots is the real length of standard windows.
func TestWriteFilesFull(t *testing.T) {
	t.Chdir(t.TempDir())
	options := testFiles()
	options.Full, options.ActiveSlots = true, 1
	files, err := WriteFiles(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if files.ActiveSlots != 32 {
		t.Errorf("the keys can sign for %d slots, want 32: two bottom trees of the test scheme", files.ActiveSlots)
	}
	data, err := os.ReadFile("net/hash-sig-keys/validator-keys-manifest.yaml")
	if want := "log_num_active_epochs: 5\nnum_active_epochs: 32\n"; err != nil || !strings.Contains(string(data), want) {
		t.Errorf("the manifest (error %v) is\n%s\nwant in it\n%s", err, data, want)
	}
	genesis, err := config.LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.CheckWindows(keys, 31); err != nil {
		t.Error(err)
	}
}

func TestWriteKeyPair(t *testing.T) {
	t.Chdir(t.TempDir())
	options := KeyPairOptions{Dir: "a/keys", Name: "v7", Scheme: xmss.Test, ActivationSlot: 3, ActiveSlots: 20}
	pair, err := WriteKeyPair(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"drwx------ a", "drwx------ a/keys",
		"-rw-r--r-- a/keys/v7_attester_key_pk.ssz", "-rw------- a/keys/v7_attester_key_sk.ssz",
		"-rw-r--r-- a/keys/v7_proposer_key_pk.ssz", "-rw------- a/keys/v7_proposer_key_sk.ssz"}
	if got := listTree(t, "a"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if pair.FirstSlot != 3 || pair.LastSlot != 22 {
		t.Errorf("a short window is %d to %d, want 3 to 22", pair.FirstSlot, pair.LastSlot)
	}
	for _, role := range config.Roles {
		secret, err := os.ReadFile(filepath.Join("a/keys", KeyFileName("v7", role, true)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := xmss.Test.ParseSecretKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		public, err := os.ReadFile(filepath.Join("a/keys", KeyFileName("v7", role, false)))
		if want := pair.PublicKey(role); err != nil || key.PublicKey().Bytes() != want || string(public) != string(want[:]) {
			t.Errorf("the %s keys do not belong together (error %v)", role, err)
		}
	}
	if pair.AttestationPublicKey == pair.ProposalPublicKey {
		t.Error("both keys are the same")
	}

	_, err = WriteKeyPair(t.Context(), options)
	if want := "a/keys/v7_attester_key_sk.ssz: already exists"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: got %v, want %s", err, want)
	}
	options.Force = true
	again, err := WriteKeyPair(t.Context(), options)
	if err != nil || again.AttestationPublicKey == pair.AttestationPublicKey {
		t.Errorf("with Force: %v, want new keys", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	options.Dir = "b"
	options.Progress = func(p KeyProgress) {
		if p.Keys == 1 {
			cancel()
		}
	}
	if _, err := WriteKeyPair(ctx, options); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if _, err := os.Stat("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("canceled: the folder is there (error %v)", err)
	}
}

func TestWriteKeyPairFull(t *testing.T) {
	t.Chdir(t.TempDir())
	pair, err := WriteKeyPair(t.Context(), KeyPairOptions{Dir: "keys", Name: "v", Scheme: xmss.Test, ActivationSlot: 20, ActiveSlots: 1, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	// Bottom trees of the test scheme have 16 leaves; leanSpec's window is aligned to them and has at least two.
	if pair.FirstSlot != 16 || pair.LastSlot != 47 {
		t.Errorf("the window is %d to %d, want 16 to 47", pair.FirstSlot, pair.LastSlot)
	}
}

func TestKeyPairOptionsValidate(t *testing.T) {
	for want, change := range map[string]func(*KeyPairOptions){
		"output folder: want a folder":                                                                                  func(o *KeyPairOptions) { o.Dir = "" },
		`name of the keys: "": want a prefix for file names, without a folder`:                                          func(o *KeyPairOptions) { o.Name = "" },
		`name of the keys: "a/b": want a prefix for file names, without a folder`:                                       func(o *KeyPairOptions) { o.Name = "a/b" },
		`name of the keys: "..": want a prefix for file names, without a folder`:                                        func(o *KeyPairOptions) { o.Name = ".." },
		"activation slot: 256: want less than 256, the lifetime of the test scheme":                                     func(o *KeyPairOptions) { o.ActivationSlot = 256 },
		"number of active slots: 0: want 1 to 256, the lifetime of the test scheme from slot 0 on":                      func(o *KeyPairOptions) { o.ActiveSlots = 0 },
		"number of active slots: 18446744073709551615: want 1 to 156, the lifetime of the test scheme from slot 100 on": func(o *KeyPairOptions) { o.ActivationSlot, o.ActiveSlots = 100, ^uint64(0) },
	} {
		options := KeyPairOptions{Dir: filepath.Join(t.TempDir(), "keys"), Name: "v", Scheme: xmss.Test, ActiveSlots: 16}
		change(&options)
		_, err := WriteKeyPair(t.Context(), options)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		checkConfigError(t, err)
	}
}
