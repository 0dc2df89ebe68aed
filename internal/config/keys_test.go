package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/leanEthereum/leanspec-node/internal/config" // package devnet imports it, so these tests cannot be in it
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	netManifest  = "net/hash-sig-keys/validator-keys-manifest.yaml"
	netAnnotated = "net/annotated_validators.yaml"
	netAssigned  = "net/validators.yaml"
	netKeys      = "net/hash-sig-keys/"
)

// writeNet writes a network of 2 nodes and 3 validators to net, in a new working folder: lean_spec_0 runs the
// validators 0 and 2, lean_spec_1 runs 1.
func writeNet(t *testing.T, dialect devnet.Dialect) *Genesis {
	t.Helper()
	t.Chdir(t.TempDir())
	_, err := devnet.WriteFiles(t.Context(), devnet.FilesOptions{
		Dir: "net", Nodes: 2, Validators: 3, Scheme: xmss.Test, ActiveSlots: 32, Dialect: dialect,
		GenesisTime: func() uint64 { return 1763712794 },
	})
	if err != nil {
		t.Fatalf("WriteFiles: %v", err)
	}
	genesis, err := LoadGenesis("net/config.yaml")
	if err != nil {
		t.Fatalf("LoadGenesis: %v", err)
	}
	return genesis
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// edit replaces the first occurrence of a text in a file.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s does not hold %q:\n%s", path, old, data)
	}
	put(t, path, strings.Replace(string(data), old, new, 1))
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	put(t, to, string(data))
}

// checkKeys checks that keys belong to the given validators of a genesis.
func checkKeys(t *testing.T, genesis *Genesis, keys []ValidatorKeys, want ...uint64) {
	t.Helper()
	var got []uint64
	for _, k := range keys {
		got = append(got, k.Index)
		public := genesis.Validators[k.Index]
		if k.Attestation.PublicKey().Bytes() != public.AttestationPublicKey || k.Proposal.PublicKey().Bytes() != public.ProposalPublicKey {
			t.Errorf("the keys of validator %d are not those of the genesis", k.Index)
		}
		for role, path := range map[Role]string{Attestation: k.AttestationPath, Proposal: k.ProposalPath} {
			if want := netKeys + devnet.KeyFileName(fmt.Sprintf("validator_%d", k.Index), role, true); path != want {
				t.Errorf("the %s key of validator %d came from %s, want %s", role, k.Index, path, want)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("keys of the validators %v, want %v", got, want)
	}
}

func TestLoadValidatorKeys(t *testing.T) {
	wrap := func(t *testing.T) {
		put(t, netAssigned, "validators:\n  lean_spec_0: [0, 2]\n  lean_spec_1: [1]\n")
	}
	gean := func(t *testing.T) {
		remove(t, netManifest)
		genesis, err := LoadGenesis("net/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for node, indices := range [][]int{{0, 2}, {1}} {
			fmt.Fprintf(&b, "lean_spec_%d:\n", node)
			for _, i := range indices {
				fmt.Fprintf(&b, "  - index: %d\n    attestation_pubkey_hex: %x\n    proposal_pubkey_hex: 0x%x\n    attestation_sk_file: %s\n    proposal_sk_file: %s\n",
					i, genesis.Validators[i].AttestationPublicKey, genesis.Validators[i].ProposalPublicKey,
					devnet.KeyFileName(fmt.Sprintf("validator_%d", i), Attestation, true), devnet.KeyFileName(fmt.Sprintf("validator_%d", i), Proposal, true))
			}
		}
		put(t, netAnnotated, b.String())
	}
	for name, change := range map[string]func(*testing.T){
		"as written":              func(*testing.T) {},
		"manifest only":           func(t *testing.T) { remove(t, netAnnotated) },
		"annotated, no manifest":  func(t *testing.T) { remove(t, netManifest) },
		"annotated, no validator": func(t *testing.T) { remove(t, netAssigned) },
		"annotated only":          func(t *testing.T) { remove(t, netAssigned); remove(t, netManifest) },
		"wrapped":                 wrap,
		"one entry, two keys":     gean,
	} {
		for _, dialect := range []devnet.Dialect{devnet.LeanSpec, devnet.Quickstart} {
			t.Run(fmt.Sprintf("%s/%s", dialect, name), func(t *testing.T) {
				genesis := writeNet(t, dialect)
				change(t)
				for _, node := range []string{"lean_spec_2", "", "lean_spec_1\u200b"} {
					_, err := LoadValidatorKeys("net", node, genesis, xmss.Test)
					if want := "lists lean_spec_0, lean_spec_1;"; err == nil || !strings.HasPrefix(err.Error(), "node id: "+Quote(node)) || !strings.Contains(err.Error(), want) {
						t.Errorf("node %q: got %v, want an error about the node id that says %s", node, err, want)
					}
				}
				for node, want := range map[string][]uint64{"lean_spec_0": {0, 2}, "lean_spec_1": {1}} {
					keys, err := LoadValidatorKeys("net", node, genesis, xmss.Test)
					if err != nil {
						t.Errorf("node %q: %v", node, err)
						continue
					}
					checkKeys(t, genesis, keys, want...)
				}
			})
		}
	}
}

func TestLoadValidatorKeysOrderAndPlaces(t *testing.T) {
	genesis := writeNet(t, devnet.LeanSpec)
	put(t, netAssigned, "lean_spec_0: [2, 0]\nlean_spec_1:\nlean_spec_3: []\n")
	remove(t, netAnnotated)
	absolute, err := filepath.Abs(netKeys + "validator_0_attester_key_sk.ssz")
	if err != nil {
		t.Fatal(err)
	}
	edit(t, netManifest, ": validator_0_attester_key_sk.ssz", ": "+absolute)
	edit(t, netManifest, ": validator_0_proposer_key_sk.ssz", ": elsewhere/../validator_0_proposer_key_sk.ssz")
	keys, err := LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
	if err != nil {
		t.Fatal(err)
	}
	// The order matters: leanSpec uses the first validator as the identity of the store.
	if len(keys) != 2 || keys[0].Index != 2 || keys[1].Index != 0 {
		t.Errorf("keys are not in the order of the assignment: %+v", keys)
	}
	if keys[1].AttestationPath != absolute {
		t.Errorf("the key came from %s, want %s", keys[1].AttestationPath, absolute)
	}
	for _, node := range []string{"lean_spec_1", "lean_spec_3"} {
		if keys, err := LoadValidatorKeys("net", node, genesis, xmss.Test); err != nil || keys != nil {
			t.Errorf("%s, which is listed without validators: %v, %v; want no keys and no error", node, keys, err)
		}
	}
	for text, want := range map[string]string{
		"": `node id: "lean_spec_0": not in net/validators.yaml, which lists no nodes; a node without validators needs no validator keys folder`,
		"\u200blean_spec_0: [0]": `node id: "lean_spec_0": not in net/validators.yaml, which lists "\u200blean_spec_0"; ` +
			"a node without validators needs no validator keys folder",
	} {
		put(t, netAssigned, text)
		if keys, err := LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, error %v; want %s", text, keys, err, want)
		}
	}
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("node_%d: []\n", i)
	}
	put(t, netAssigned, many)
	if _, err := LoadValidatorKeys("net", "Node-77", genesis, xmss.Test); err == nil || !strings.Contains(err.Error(), "node_15 and 84 more; the nearest is node_77; ") {
		t.Errorf("100 nodes: got %v, want 16 names and the nearest", err)
	}
}

func TestLoadValidatorKeysErrors(t *testing.T) {
	const (
		a0 = netKeys + "validator_0_attester_key_sk.ssz"
		p0 = netKeys + "validator_0_proposer_key_sk.ssz"
		a1 = netKeys + "validator_1_attester_key_sk.ssz"
		a2 = netKeys + "validator_2_attester_key_sk.ssz"
	)
	// Most cases have only one of the two layouts.
	manifestOnly := func(change func(*testing.T, *Genesis)) func(*testing.T, *Genesis) {
		return func(t *testing.T, g *Genesis) { remove(t, netAnnotated); change(t, g) }
	}
	annotatedOnly := func(change func(*testing.T, *Genesis)) func(*testing.T, *Genesis) {
		return func(t *testing.T, g *Genesis) { remove(t, netManifest); change(t, g) }
	}
	assign := func(text string) func(*testing.T, *Genesis) {
		return manifestOnly(func(t *testing.T, _ *Genesis) { put(t, netAssigned, text) })
	}
	manifestEdit := func(old, new string) func(*testing.T, *Genesis) {
		return manifestOnly(func(t *testing.T, _ *Genesis) { edit(t, netManifest, old, new) })
	}
	annotatedEdit := func(old, new string) func(*testing.T, *Genesis) {
		return annotatedOnly(func(t *testing.T, _ *Genesis) { edit(t, netAnnotated, old, new) })
	}
	key := func(g *Genesis, index int, role Role) string {
		public := g.Validators[index].PublicKey(role)
		return fmt.Sprintf("%x", public)
	}
	short := func(g *Genesis, index int, role Role) string { return key(g, index, role)[:10] }
	tests := map[string]struct {
		change func(*testing.T, *Genesis)
		want   string // $A0, $P0 and so on stand for the first digits of public keys
	}{
		"no files": {func(t *testing.T, _ *Genesis) { remove(t, netManifest); remove(t, netAnnotated) }, netManifest + ": file not found"},
		"no validators.yaml": {func(t *testing.T, _ *Genesis) { remove(t, netAssigned); remove(t, netAnnotated) },
			netAssigned + ": file not found"},
		"not YAML":                   {assign("a: b: c\n"), netAssigned + ": not a YAML file: line 1: a second colon, or the next line is indented too far"},
		"not a mapping":              {assign("- 1\n"), netAssigned + ": a list: want a mapping"},
		"not a list":                 {assign("lean_spec_0: 5\n"), netAssigned + `: lean_spec_0: "5": want a list`},
		"not a number":               {assign("lean_spec_0: [0, x]\n"), netAssigned + `: lean_spec_0[1]: "x": want a whole number, 0 or more`},
		"negative":                   {assign("lean_spec_0: [-1]\n"), netAssigned + `: lean_spec_0[0]: "-1": want a whole number, 0 or more`},
		"node twice":                 {assign("lean_spec_0: [0]\nlean_spec_0: [1]\n"), netAssigned + `: lean_spec_0: given twice`},
		"listed twice":               {assign("lean_spec_0: [0, 2, 0]\n"), netAssigned + `: lean_spec_0: validator 0: listed twice`},
		"also assigned":              {assign("lean_spec_0: [0, 2]\nlean_spec_1: [1, 2]\n"), netAssigned + `: lean_spec_0: validator 2: also assigned to lean_spec_1`},
		"out of range":               {assign("lean_spec_0: [3]\n"), netAssigned + `: lean_spec_0: validator 3: not in the genesis, which has 3 validators`},
		"far out of range":           {assign("lean_spec_0: [18446744073709551615]\n"), netAssigned + `: lean_spec_0: validator 18446744073709551615: not in the genesis, which has 3 validators`},
		"another list of nodes":      {assign("validators:\n  lean_spec_0: x\n"), netAssigned + `: validators.lean_spec_0: "x": want a list`},
		"manifest empty":             {manifestOnly(func(t *testing.T, _ *Genesis) { put(t, netManifest, "") }), netManifest + ": empty file"},
		"manifest without list":      {manifestOnly(func(t *testing.T, _ *Genesis) { put(t, netManifest, "key_scheme: x\n") }), netManifest + ": validators: missing"},
		"manifest too large":         {manifestOnly(func(t *testing.T, _ *Genesis) { put(t, netManifest, strings.Repeat("#", MaxYAMLSize+1)) }), netManifest + ": want at most 4194304 bytes, got 4194305"},
		"manifest has not index":     {manifestEdit("- index: 2", "- index: 7"), netManifest + `: no keys for validator 2, which net/validators.yaml assigns to lean_spec_0`},
		"manifest has index twice":   {manifestEdit("- index: 1", "- index: 0"), netManifest + `: validators[1]: validator 0: also at validators[0]`},
		"entry without index":        {manifestEdit("- index: 1\n   ", "-"), netManifest + `: validators[1].index: missing`},
		"entry without public key":   {manifestEdit("attestation_public_key_hex", "public_key_hex"), netManifest + `: validators[0].attestation_public_key_hex: missing`},
		"entry without file":         {manifestEdit("proposal_private_key_file", "private_key_file"), netManifest + `: validators[0].proposal_private_key_file: missing`},
		"entry with two dialects":    {manifestEdit("- index: 0", "- index: 0\n    attester_key_privkey_file: x"), netManifest + `: validators[0].attestation_private_key_file: the same as validators[0].attester_key_privkey_file: want one of them`},
		"entry with no file name":    {manifestEdit(": validator_0_attester_key_sk.ssz", `: ""`), netManifest + `: validators[0].attestation_private_key_file: "": want the name of a file`},
		"another scheme":             {manifestEdit(xmss.Test.KeyScheme(), "SIGTopLevelTargetSumLifetime32Dim64Base8"), netManifest + `: key_scheme: SIGTopLevelTargetSumLifetime32Dim64Base8: keys for 2^32 slots, but this node runs the test scheme, whose keys are for 2^8 slots; set the scheme to prod`},
		"another scheme, other name": {manifestEdit(xmss.Test.KeyScheme(), "SchemeAbortingTargetSumLifetime32Dim46Base8"), netManifest + `: key_scheme: SchemeAbortingTargetSumLifetime32Dim46Base8: keys for 2^32 slots, but this node runs the test scheme, whose keys are for 2^8 slots; set the scheme to prod`},
		"scheme is a list":           {manifestEdit(xmss.Test.KeyScheme(), "[]"), netManifest + `: key_scheme: a list: want a plain value on one line`},
		"manifest of another genesis": {manifestOnly(func(t *testing.T, g *Genesis) {
			edit(t, netManifest, key(g, 0, Proposal), FakeHex(9))
		}), netManifest + `: validators[0].proposal_public_key_hex: "0x29230000` + `2d…": not the proposal key of validator 0 in net/config.yaml`},
		"manifest with swapped keys": {manifestOnly(func(t *testing.T, g *Genesis) {
			edit(t, netManifest, key(g, 0, Attestation), key(g, 2, Proposal))
		}), netManifest + `: validators[0].attestation_public_key_hex: "0x$P2…": not the attestation key of validator 0 in net/config.yaml; it is the proposal key of validator 2`},
		"key file missing": {manifestOnly(func(t *testing.T, _ *Genesis) { remove(t, a0) }), a0 + ": file not found"},
		"key file empty":   {manifestOnly(func(t *testing.T, _ *Genesis) { put(t, a0, "") }), a0 + ": empty file"},
		"key file too large": {manifestOnly(func(t *testing.T, _ *Genesis) {
			if err := os.Truncate(a0, MaxKeySize+1); err != nil {
				t.Fatal(err)
			}
		}), a0 + ": want at most 33554432 bytes, got 33554433"},
		"key file is a folder": {manifestOnly(func(t *testing.T, _ *Genesis) {
			remove(t, a0)
			if err := os.Mkdir(a0, 0o700); err != nil {
				t.Fatal(err)
			}
		}), a0 + ": a folder, want a file"},
		"one file for both": {manifestEdit(": validator_0_proposer_key_sk.ssz", ": ./validator_0_attester_key_sk.ssz"), a0 + ": named for both keys of validator 0, want two files"},
		"same key in both":  {manifestOnly(func(t *testing.T, _ *Genesis) { copyFile(t, a0, p0) }), p0 + ": the same key as in " + a0 + ", want two keys for validator 0"},
		"key of another":    {manifestOnly(func(t *testing.T, _ *Genesis) { copyFile(t, a1, a0) }), a0 + ": not the attestation key of validator 0 in net/config.yaml; it is the attestation key of validator 1"},
		"keys swapped": {manifestOnly(func(t *testing.T, _ *Genesis) {
			copyFile(t, a0, "spare")
			copyFile(t, p0, a0)
			copyFile(t, "spare", p0)
		}), a0 + ": not the attestation key of validator 0 in net/config.yaml; it is the proposal key of validator 0"},
		"layouts differ": {func(t *testing.T, _ *Genesis) { put(t, netAssigned, "lean_spec_0: [0, 1]\n") },
			netAnnotated + ": lean_spec_0: assigns validators [0 2], but net/validators.yaml assigns [0 1]"},
		"layouts differ, one empty": {func(t *testing.T, _ *Genesis) { put(t, netAssigned, "") },
			netAnnotated + ": lean_spec_0: assigns validators [0 2], but net/validators.yaml assigns []"},
		"annotated not YAML":          {func(t *testing.T, _ *Genesis) { put(t, netAnnotated, "[") }, netAnnotated + ": not a YAML file: line 1: brackets that do not match"},
		"annotated without index":     {annotatedEdit("- index: 0\n   ", "-"), netAnnotated + ": lean_spec_0[0].index: missing"},
		"annotated without key":       {annotatedEdit("pubkey_hex", "public_key"), netAnnotated + ": lean_spec_0[0].pubkey_hex: missing"},
		"annotated without file":      {annotatedEdit("privkey_file", "file"), netAnnotated + ": lean_spec_0[0].privkey_file: missing"},
		"annotated is not a list":     {annotatedOnly(func(t *testing.T, _ *Genesis) { put(t, netAnnotated, "lean_spec_0: {}\n") }), netAnnotated + ": lean_spec_0: a mapping: want a list"},
		"annotated entry is a number": {annotatedOnly(func(t *testing.T, _ *Genesis) { put(t, netAnnotated, "lean_spec_0: [0]\n") }), netAnnotated + `: lean_spec_0[0]: "0": want a mapping`},
		"annotated old single key": {annotatedOnly(func(t *testing.T, g *Genesis) {
			put(t, netAnnotated, "lean_spec_0:\n  - index: 0\n    pubkey_hex: "+key(g, 0, Attestation)+"\n    privkey_file: validator_0_sk.ssz\n")
		}), netAnnotated + ": lean_spec_0[0]: validator 0: its proposal key is missing: want one entry for each of its two keys"},
		"annotated one role twice": {annotatedOnly(func(t *testing.T, g *Genesis) {
			edit(t, netAnnotated, key(g, 0, Proposal), key(g, 0, Attestation))
		}), netAnnotated + `: lean_spec_0[1].privkey_file: "validator_0_…": validator 0 has its attestation key at lean_spec_0[0].privkey_file already`},
		"annotated key of another": {annotatedOnly(func(t *testing.T, g *Genesis) {
			edit(t, netAnnotated, key(g, 0, Proposal), key(g, 1, Proposal))
		}), netAnnotated + `: lean_spec_0[1].pubkey_hex: "$P1$$…": not a key of validator 0 in net/config.yaml; it is the proposal key of validator 1`},
		"annotated unknown key": {annotatedOnly(func(t *testing.T, g *Genesis) {
			edit(t, netAnnotated, key(g, 0, Proposal), FakeHex(9))
		}), netAnnotated + `: lean_spec_0[1].pubkey_hex: "292300002d23…": not a key of validator 0 in net/config.yaml`},
		"annotated out of range": {annotatedOnly(func(t *testing.T, _ *Genesis) {
			edit(t, netAnnotated, "- index: 2", "- index: 4096")
		}), netAnnotated + `: lean_spec_0: validator 4096: not in the genesis, which has 3 validators`},
		"annotated also assigned": {annotatedOnly(func(t *testing.T, _ *Genesis) {
			edit(t, netAnnotated, "- index: 1", "- index: 2")
		}), netAnnotated + `: lean_spec_0: validator 2: also assigned to lean_spec_1`},
		"annotated key file missing": {annotatedOnly(func(t *testing.T, _ *Genesis) { remove(t, a2) }), a2 + ": file not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			genesis := writeNet(t, devnet.LeanSpec)
			test.change(t, genesis)
			want := test.want
			for i := range genesis.Validators {
				want = strings.ReplaceAll(want, fmt.Sprintf("$P%d$$", i), key(genesis, i, Proposal)[:12])
				want = strings.ReplaceAll(want, fmt.Sprintf("$P%d", i), short(genesis, i, Proposal))
			}
			keys, err := LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
			if err == nil {
				t.Fatalf("got the keys of %d validators, want: %s", len(keys), want)
			}
			CheckOneLine(t, err)
			if err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

// TestLoadValidatorKeysCorruptKey checks that the error names the file and shows no secret. Package xmss tests the parser.
func TestLoadValidatorKeysCorruptKey(t *testing.T) {
	const file = netKeys + "validator_0_attester_key_sk.ssz"
	genesis := writeNet(t, devnet.LeanSpec)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"short":      good[:len(good)-1],
		"long":       append(slices.Clone(good), 0),
		"one byte":   {0},
		"text":       []byte("not a key"),
		"all ones":   bytes.Repeat([]byte{0xff}, len(good)),
		"other size": good[:len(good)/2],
	} {
		put(t, file, string(data))
		_, err := LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Test)
		if want := file + ": not a secret key of the test scheme: "; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s…", name, err, want)
			continue
		}
		CheckOneLine(t, err)
		if secret := fmt.Sprintf("%x", good[:8]); strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows bytes of the secret: %v", name, err)
		}
	}
	put(t, file, string(good))
	// The genesis is not read again. Without a manifest, only the key files show the scheme.
	remove(t, "net/config.yaml")
	if err := os.Rename(netManifest, "spare"); err != nil {
		t.Fatal(err)
	}
	_, err = LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Prod)
	if want := file + ": a secret key of the test scheme, but this node runs the prod scheme; set the scheme to test"; err == nil || err.Error() != want {
		t.Errorf("the keys of another scheme: got %v, want %s", err, want)
	}
	if err := os.Rename("spare", netManifest); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadValidatorKeys("net", "lean_spec_0", genesis, xmss.Prod); err == nil || !strings.HasPrefix(err.Error(), netManifest+": key_scheme: ") {
		t.Errorf("the keys of another scheme: got %v, want an error about key_scheme", err)
	}
}

func TestLoadValidatorKeysMissingIs(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := LoadValidatorKeys("nowhere", "lean_spec_0", &Genesis{}, xmss.Test)
	if want := "nowhere: no such folder"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCheckWindows(t *testing.T) {
	t.Chdir(t.TempDir())
	pair, err := devnet.WriteKeyPair(t.Context(), devnet.KeyPairOptions{Dir: "keys", Name: "v", Scheme: xmss.Test, ActivationSlot: 16, ActiveSlots: 32})
	if err != nil {
		t.Fatal(err)
	}
	keys := ValidatorKeys{Index: 3, AttestationPath: "keys/v_attester_key_sk.ssz", ProposalPath: "keys/v_proposer_key_sk.ssz"}
	if keys.Attestation, err = LoadSecretKey(keys.AttestationPath, xmss.Test); err != nil {
		t.Fatal(err)
	}
	if keys.Proposal, err = LoadSecretKey(keys.ProposalPath, xmss.Test); err != nil {
		t.Fatal(err)
	}
	if pair.FirstSlot > 16 || pair.LastSlot < 47 {
		t.Fatalf("window is %d to %d, want at least 16 to 47", pair.FirstSlot, pair.LastSlot)
	}
	first, last := pair.FirstSlot, pair.LastSlot
	for slot, ok := range map[uint64]bool{first: true, last: true, first - 1: false, last + 1: false, ^uint64(0): false} {
		err := CheckWindows([]ValidatorKeys{keys}, slot)
		want := fmt.Sprintf("keys/v_attester_key_sk.ssz: signs for slots %d to %d only, and the current slot is %d", first, last, slot)
		switch {
		case ok && err != nil:
			t.Errorf("slot %d: %v", slot, err)
		case !ok && (err == nil || err.Error() != want):
			t.Errorf("slot %d: got %v, want %s", slot, err, want)
		}
		CheckOneLine(t, err)
	}
	if err := CheckWindows(nil, 0); err != nil {
		t.Errorf("no keys: %v", err)
	}
}

func TestPeerNames(t *testing.T) {
	t.Chdir(t.TempDir())
	if names, err := LoadPeerNames("net"); err != nil || names != nil {
		t.Errorf("without a file: %v, %v, want none", names, err)
	}
	writeNet(t, devnet.LeanSpec)
	names, err := LoadPeerNames("net")
	if err != nil || len(names) != 2 {
		t.Errorf("names = %v, error %v; want two names", names, err)
	}
	for _, name := range []string{"lean_spec_0", "lean_spec_1"} {
		key, err := LoadNodeKey("net/" + name + ".key")
		if err != nil {
			t.Fatal(err)
		}
		if got := names[key.PeerID()]; got != name {
			t.Errorf("name of peer %s = %q, want %q", key, got, name)
		}
	}
	misplaced := strings.Repeat("cd", 32)
	if err := os.WriteFile("net/validator-config.yaml", []byte("validators:\n  - "+misplaced+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPeerNames("net"); err == nil || strings.Contains(err.Error(), misplaced[:6]) {
		t.Errorf("a key in the wrong place: %v, want an error without it", err)
	}
	secret := strings.Repeat("ab", 40)
	for text, want := range map[string]string{
		"validators:\n  - name: a\n":                              "validators[0].privkey",
		"validators:\n  - privkey: \"" + secret + "\"\n":          "validators[0].name",
		"validators:\n  - name: a\n    privkey: " + secret + "\n": "validators[0].privkey",
		"nodes: []\n":     "validators",
		"validators: 3\n": "validators",
	} {
		names, err := ParsePeerNames("validator-config.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: names %v, error %v; want an error that names %s and no secret", text, names, err, want)
		}
	}
}
