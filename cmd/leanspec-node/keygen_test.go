package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestKeygen(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newTestConsole(0)
	if code := run(t.Context(), &c.console, strings.Fields("keygen --scheme test --activation-slot 100 --active-slots 20 --name validator_7 --out keys")); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, c.err.String())
	}
	public := make(map[string]string)
	for _, role := range []string{"attester", "proposer"} {
		data, err := os.ReadFile("keys/validator_7_" + role + "_key_pk.ssz")
		if err != nil {
			t.Fatal(err)
		}
		public[role] = fmt.Sprintf("%x", data)
	}
	want := `attestation_public_key  0x` + public["attester"] + `
proposal_public_key     0x` + public["proposer"] + `
slots                   100 to 119
files                   keys/validator_7_attester_key_sk.ssz
                        keys/validator_7_attester_key_pk.ssz
                        keys/validator_7_proposer_key_sk.ssz
                        keys/validator_7_proposer_key_pk.ssz
`
	if c.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", c.out.String(), want)
	}
	checkFailure(t, t.Context(), 2, "keys/validator_7_attester_key_sk.ssz: already exists; --force replaces it",
		strings.Fields("keygen --scheme test --name validator_7 --out keys")...)
	for _, flags := range []string{"--name validator_7 --force", "--activation-slot 250", "--name full --full --active-slots 1"} {
		c = newTestConsole(0)
		if code := run(t.Context(), &c.console, strings.Fields("keygen --scheme test --out keys "+flags)); code != 0 {
			t.Errorf("%s: exit code %d, want 0: %s", flags, code, c.err.String())
		}
	}
}

func TestKeygenUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, flags := range map[string]string{
		"missing --out DIR; see leanspec-node keygen --help":                                   "",
		`--scheme: "x": want prod or test`:                                                     "--out k --scheme x",
		`--name: "a/b": want a prefix for file names, without a folder`:                        "--out k --name a/b",
		"--activation-slot: 256: want less than 256, the lifetime of the test scheme":          "--out k --scheme test --activation-slot 256",
		"--active-slots: 0: want 1 to 256, the lifetime of the test scheme from slot 0 on":     "--out k --scheme test --active-slots 0",
		"--active-slots: 200: want 1 to 156, the lifetime of the test scheme from slot 100 on": "--out k --scheme test --activation-slot 100 --active-slots 200",
		`--activation-slot: "-1": want a whole number, 0 or more`:                              "--out k --activation-slot=-1",
	} {
		checkFailure(t, t.Context(), 2, want, append([]string{"keygen"}, strings.Fields(flags)...)...)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("folder = %v (error %v), want it empty", entries, err)
	}
}
