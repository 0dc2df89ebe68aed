package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/xmss"
)

func FuzzPeerNames(f *testing.F) {
	f.Add([]byte("validators:\n  - name: \"zeam_0\"\n    privkey: \"" + strings.Repeat("01", 32) + "\"\n    count: 1\n"))
	f.Add([]byte("validators: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parsePeerNames("validator-config.yaml", data)
		checkOneLine(t, err)
		for _, name := range names {
			if name == "" || len(name) > maxPeerName || err != nil {
				t.Errorf("name = %q, error %v; want a name of 1 to 64 bytes and no error", name, err)
			}
		}
	})
}

func FuzzAssignment(f *testing.F) {
	f.Add([]byte("lean_spec_0:\n  - 0\n  - 2\nlean_spec_1: [1]\nlean_spec_2:\n"))
	f.Add([]byte("validators:\n  a: [18446744073709551615]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		assigned, err := parseAssignment("validators.yaml", data)
		checkOneLine(t, err)
		if err != nil {
			return
		}
		for i := range assigned.nodes {
			node := &assigned.nodes[i]
			err := assigned.check(node, 8)
			checkOneLine(t, err)
			if err != nil {
				continue
			}
			for j, index := range node.validators {
				if index >= 8 || slices.Contains(node.validators[:j], index) {
					t.Errorf("check accepted the validators %v, want each below 8 and once", node.validators)
				}
			}
		}
	})
}

// fuzzGenesis has two validators with the keys 1 to 4.
var fuzzGenesis = &Genesis{Path: "config.yaml", Validators: []GenesisValidator{
	{AttestationPublicKey: fakeKey(1), ProposalPublicKey: fakeKey(2)},
	{AttestationPublicKey: fakeKey(3), ProposalPublicKey: fakeKey(4)},
}}

func FuzzAnnotation(f *testing.F) {
	f.Add([]byte("n:\n  - index: 0\n    pubkey_hex: " + fakeHex(1) + "\n    privkey_file: a\n  - index: 0\n    pubkey_hex: \"0x" + fakeHex(2) + "\"\n    privkey_file: b\nm: []\n"))
	f.Add([]byte("n: [{index: 1, attestation_pubkey_hex: " + fakeHex(3) + ", proposal_pubkey_hex: " + fakeHex(4) + ", attestation_sk_file: a, proposal_sk_file: b}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		annotated, err := parseAnnotation("annotated_validators.yaml", data)
		checkOneLine(t, err)
		if err != nil {
			return
		}
		for _, node := range annotated.nodes {
			entries, err := annotated.entries(node.name, fuzzGenesis)
			checkOneLine(t, err)
			if err != nil {
				continue
			}
			for _, index := range node.validators {
				for _, role := range Roles {
					if entries[index].keys[role].file == "" {
						t.Errorf("entries accepted validator %d without its %s key", index, role)
					}
				}
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("key_scheme: SIGTopLevelTargetSumLifetime32Dim64Base8\nvalidators:\n  - index: 0\n    attestation_public_key_hex: \"0x" + fakeHex(1) +
		"\"\n    attestation_private_key_file: a\n    proposal_public_key_hex: \"0x" + fakeHex(2) + "\"\n    proposal_private_key_file: b\n"))
	f.Add([]byte("validators: [{index: 1, attester_key_pubkey_hex: " + fakeHex(3) + ", attester_key_privkey_file: a, proposer_key_pubkey_hex: " + fakeHex(4) +
		", proposer_key_privkey_file: b}]"))
	f.Add([]byte("key_scheme: Lifetime99999999999999999999\nvalidators: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest("manifest.yaml", data)
		checkOneLine(t, err)
		if err != nil {
			return
		}
		checkOneLine(t, m.checkScheme(xmss.Test))
		for index, entry := range m.entries {
			if entry.index != index || entry.keys[Attestation].file == "" || entry.keys[Proposal].file == "" {
				t.Errorf("parseManifest accepted entry %d as %+v, want both keys", index, entry)
			}
		}
	})
}
