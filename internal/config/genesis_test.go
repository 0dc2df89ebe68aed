package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"unicode"
)

// fakeKey returns a well-formed public key that is different for each n.
func fakeKey(n int) (key [PublicKeySize]byte) {
	for i := 0; i < PublicKeySize; i += 4 {
		binary.LittleEndian.PutUint32(key[i:], uint32(1000*n+i+1))
	}
	return key
}

func fakeHex(n int) string { return fmt.Sprintf("%x", fakeKey(n)) }

// checkOneLine checks that an error is an *Error and one printable line of moderate length.
func checkOneLine(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var known *Error
	if !errors.As(err, &known) {
		t.Errorf("error is a %T, want *Error: %v", err, err)
	}
	text := err.Error()
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("error is not one printable line: %q", text)
	}
	if len(text) > 2400 {
		t.Errorf("error has %d bytes, want at most 2400: %.200q…", len(text), text)
	}
}

func TestParseGenesis(t *testing.T) {
	want := &Genesis{Path: "config.yaml", GenesisTime: 1763712794, AttestationCommitteeCount: 1, Validators: []GenesisValidator{
		{AttestationPublicKey: fakeKey(1), ProposalPublicKey: fakeKey(2)},
		{AttestationPublicKey: fakeKey(3), ProposalPublicKey: fakeKey(4)},
	}}
	digits := strings.Repeat("01000000", PublicKeySize/4) // a key of decimal digits only
	exponent := "12345e67" + strings.Repeat("01000000", PublicKeySize/4-1)
	tests := map[string]struct {
		text   string
		change func(*Genesis)
	}{
		"leanSpec, quoted": {text: `
GENESIS_TIME: 1763712794
GENESIS_VALIDATORS:
  - attestation_public_key: "0x` + fakeHex(1) + `"
    proposal_public_key: '0x` + fakeHex(2) + `'
  - attestation_public_key: "0x` + fakeHex(3) + `"
    proposal_public_key: "0x` + strings.ToUpper(fakeHex(4)) + `"
`},
		"leanSpec, numbers to YAML": {text: `
GENESIS_TIME: 1763712794
GENESIS_VALIDATORS:
  - attestation_public_key: 0x` + fakeHex(1) + `
    proposal_public_key: 0x` + fakeHex(2) + `
  - attestation_public_key: 0x` + fakeHex(3) + `
    proposal_public_key: 0x` + fakeHex(4) + `
`},
		"quickstart": {text: `
# Genesis Settings
GENESIS_TIME: 1763712794

# Chain Settings
ATTESTATION_COMMITTEE_COUNT: 1

# Key Settings
ACTIVE_EPOCH: 18

# Validator Settings
VALIDATOR_COUNT: 2

GENESIS_VALIDATORS:
  - attestation_pubkey: "` + fakeHex(1) + `"
    proposal_pubkey: "` + fakeHex(2) + `"
  - attestation_pubkey: "` + fakeHex(3) + `"
    proposal_pubkey: "` + fakeHex(4) + `"
`},
		"quickstart, numbers to YAML, keys in the other order": {text: `
GENESIS_VALIDATORS:
- proposal_pubkey: ` + exponent + `
  attestation_pubkey: ` + digits + `
- {attestation_pubkey: ` + fakeHex(3) + `, proposal_public_key: ` + fakeHex(4) + `}
GENESIS_TIME: 1763712794
`, change: func(g *Genesis) {
			g.Validators[0].AttestationPublicKey = mustHex(digits)
			g.Validators[0].ProposalPublicKey = mustHex(exponent)
		}},
		"JSON": {text: `{"GENESIS_TIME": 1763712794, "GENESIS_VALIDATORS": [
  {"attestation_public_key": "` + fakeHex(1) + `", "proposal_public_key": "` + fakeHex(2) + `"},
  {"attestation_public_key": "` + fakeHex(3) + `", "proposal_public_key": "` + fakeHex(4) + `"}]}`},
		"committees": {text: "ATTESTATION_COMMITTEE_COUNT: 4\nGENESIS_TIME: 1763712794\n" + fakeRegistry(2),
			change: func(g *Genesis) { g.AttestationCommitteeCount = 4 }},
		"genesis at the epoch": {text: "GENESIS_TIME: 0\n" + fakeRegistry(2), change: func(g *Genesis) { g.GenesisTime = 0 }},
		"CRLF":                 {text: strings.ReplaceAll("GENESIS_TIME: 1763712794\n"+fakeRegistry(2), "\n", "\r\n")},
		"document marker":      {text: "---\nGENESIS_TIME: 1763712794\n" + fakeRegistry(2) + "...\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			expected := *want
			expected.Validators = append([]GenesisValidator(nil), want.Validators...)
			if test.change != nil {
				test.change(&expected)
			}
			got, err := parseGenesis("config.yaml", []byte(test.text))
			if err != nil {
				t.Fatalf("parseGenesis: %v", err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", &expected) {
				t.Errorf("got  %+v\nwant %+v", got, &expected)
			}
		})
	}
}

func mustHex(s string) (key [PublicKeySize]byte) {
	raw, problem := decodeHex(s, PublicKeySize)
	if problem != "" {
		panic(problem)
	}
	copy(key[:], raw)
	return key
}

// fakeRegistry returns a GENESIS_VALIDATORS of n validators with the keys 1 to 2n.
func fakeRegistry(n int) string {
	var b strings.Builder
	b.WriteString("GENESIS_VALIDATORS:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - attestation_public_key: \"0x%s\"\n    proposal_public_key: \"0x%s\"\n", fakeHex(2*i+1), fakeHex(2*i+2))
	}
	return b.String()
}

func TestParseGenesisFull(t *testing.T) {
	genesis, err := parseGenesis("config.yaml", []byte("GENESIS_TIME: 1\n"+fakeRegistry(RegistryLimit)))
	if err != nil {
		t.Fatalf("parseGenesis of a full registry: %v", err)
	}
	if len(genesis.Validators) != RegistryLimit || genesis.Validators[RegistryLimit-1].ProposalPublicKey != fakeKey(2*RegistryLimit) {
		t.Errorf("got %d validators, want %d with different keys", len(genesis.Validators), RegistryLimit)
	}
}

func TestParseGenesisErrors(t *testing.T) {
	const begin = "GENESIS_TIME: 1763712794\n"
	one := func(attestation, proposal string) string {
		return begin + "GENESIS_VALIDATORS:\n  - attestation_pubkey: " + attestation + "\n    proposal_pubkey: " + proposal + "\n"
	}
	a, b := fakeHex(1), fakeHex(2)
	tests := map[string]struct{ text, want string }{
		"empty file":         {"", `net/config.yaml: empty file`},
		"only comments":      {"# nothing\n\n", `net/config.yaml: empty file`},
		"only a marker":      {"---\n", `net/config.yaml: empty file`},
		"null":               {"~\n", `net/config.yaml: empty file`},
		"open bracket":       {"GENESIS_TIME: [1\n", `net/config.yaml: not a YAML file: line 1: brackets that do not match`},
		"nested colon":       {"a: b: c\n", `net/config.yaml: not a YAML file: line 1: a second colon, or the next line is indented too far`},
		"open quote":         {"GENESIS_TIME: \"1\n", `net/config.yaml: not a YAML file: line 1: a quote without its end`},
		"tab":                {"a:\n\tb: 1\n", `net/config.yaml: not a YAML file: line 2: begins with a tab; indent with spaces`},
		"bad indentation":    {"a: 1\n  b: 2\n", `net/config.yaml: not a YAML file: line 1: a second colon, or the next line is indented too far`},
		"no colon":           {"GENESIS_TIME: 1\nb\n", `net/config.yaml: not a YAML file: line 2: not a key with a value here; look at the indentation and the colons`},
		"bracket in braces":  {"a: {b: [}\n", `net/config.yaml: not a YAML file: line 1: braces that do not match`},
		"open brace":         {"a: {b: 1\n", `net/config.yaml: not a YAML file: line 1: braces that do not match`},
		"not UTF-8":          {"\xff\xfe\x00", `net/config.yaml: not a YAML file: not UTF-8 text`},
		"text":               {"hello\n", `net/config.yaml: a single value: want a mapping`},
		"list":               {"- 1\n- 2\n", `net/config.yaml: a list: want a mapping`},
		"two documents":      {begin + "---\n" + begin, `net/config.yaml: want one YAML document, found another from line 3`},
		"tag":                {"GENESIS_TIME: !!int 5\n", `net/config.yaml: unsupported YAML: line 1: tags are not supported`},
		"alias":              {"a: &x 5\nGENESIS_TIME: *x\n", `net/config.yaml: unsupported YAML: line 1: anchors, aliases and merge keys are not supported`},
		"merge":              {"<<: {a: 1}\n", `net/config.yaml: unsupported YAML: line 1: anchors, aliases and merge keys are not supported`},
		"complex key":        {"? a\n: b\n", `net/config.yaml: unsupported YAML: line 1: "? " keys are not supported`},
		"directive":          {"%YAML 1.2\n---\n" + begin, `net/config.yaml: unsupported YAML: line 1: directives are not supported`},
		"deep brackets":      {"a: " + strings.Repeat("[", 100000), `net/config.yaml: unsupported YAML: line 1: nested too deeply`},
		"deep list":          {strings.Repeat("- ", 100000), `net/config.yaml: unsupported YAML: line 1: nested too deeply`},
		"deep indent":        {"a:\n" + strings.Repeat(" ", 200) + "b: 1\n", `net/config.yaml: unsupported YAML: line 2: indented by more than 128`},
		"no time":            {fakeRegistry(1), `net/config.yaml: GENESIS_TIME: missing`},
		"no validators":      {begin, `net/config.yaml: GENESIS_VALIDATORS: missing`},
		"time twice":         {begin + begin + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: given twice`},
		"ignored key twice":  {begin + "X: 1\nX: 2\n" + fakeRegistry(1), `net/config.yaml: X: given twice`},
		"time null":          {"GENESIS_TIME:\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: nothing: want a whole number, 0 or more`},
		"time negative":      {"GENESIS_TIME: -5\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "-5": want a whole number, 0 or more`},
		"time signed":        {"GENESIS_TIME: +5\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "+5": want a whole number, 0 or more`},
		"time fraction":      {"GENESIS_TIME: 1.5\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "1.5": want a whole number, 0 or more`},
		"time text":          {"GENESIS_TIME: soon\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "soon": want a whole number, 0 or more`},
		"time quoted":        {"GENESIS_TIME: \"5\"\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "5": want a whole number, 0 or more`},
		"time octal":         {"GENESIS_TIME: 017\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "017": want a whole number, 0 or more`},
		"time hex":           {"GENESIS_TIME: 0x10\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "0x10": want a whole number, 0 or more`},
		"time underscore":    {"GENESIS_TIME: 1_000\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "1_000": want a whole number, 0 or more`},
		"time list":          {"GENESIS_TIME: [1]\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: a list: want a whole number, 0 or more`},
		"time too large":     {"GENESIS_TIME: 18446744073709551616\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "18446744073709551616": want a whole number, 0 or more`},
		"time milliseconds":  {"GENESIS_TIME: 1763712794000\n" + fakeRegistry(1), `net/config.yaml: GENESIS_TIME: "1763712794000": want Unix seconds, got a time after the year 9999`},
		"committees zero":    {begin + "ATTESTATION_COMMITTEE_COUNT: 0\n" + fakeRegistry(1), `net/config.yaml: ATTESTATION_COMMITTEE_COUNT: "0": want 1 to 4096`},
		"committees many":    {begin + "ATTESTATION_COMMITTEE_COUNT: 4097\n" + fakeRegistry(1), `net/config.yaml: ATTESTATION_COMMITTEE_COUNT: "4097": want 1 to 4096`},
		"committees text":    {begin + "ATTESTATION_COMMITTEE_COUNT: two\n" + fakeRegistry(1), `net/config.yaml: ATTESTATION_COMMITTEE_COUNT: "two": want a whole number, 0 or more`},
		"registry empty":     {begin + "GENESIS_VALIDATORS: []\n", `net/config.yaml: GENESIS_VALIDATORS: want at least one validator, got none`},
		"registry null":      {begin + "GENESIS_VALIDATORS:\n", `net/config.yaml: GENESIS_VALIDATORS: nothing: want at least one validator`},
		"registry mapping":   {begin + "GENESIS_VALIDATORS: {a: 1}\n", `net/config.yaml: GENESIS_VALIDATORS: a mapping: want a list`},
		"registry too large": {begin + "GENESIS_VALIDATORS: [" + strings.Repeat("1,", 4097) + "]\n", `net/config.yaml: GENESIS_VALIDATORS: want at most 4096 validators, got 4097`},
		"old single key":     {begin + "GENESIS_VALIDATORS:\n  - \"" + a + "\"\n", `net/config.yaml: GENESIS_VALIDATORS[0]: "e9030000ed03…": want a mapping`},
		"no attestation key": {begin + "GENESIS_VALIDATORS: [{proposal_pubkey: " + b + "}]\n", `net/config.yaml: GENESIS_VALIDATORS[0].attestation_public_key: missing`},
		"no proposal key":    {begin + fakeRegistry(1) + "  - attestation_public_key: " + fakeHex(3) + "\n", `net/config.yaml: GENESIS_VALIDATORS[1].proposal_public_key: missing`},
		"key in two names":   {begin + "GENESIS_VALIDATORS: [{attestation_pubkey: " + a + ", proposal_pubkey: " + b + ", proposal_public_key: " + b + "}]\n", `net/config.yaml: GENESIS_VALIDATORS[0].proposal_public_key: the same as GENESIS_VALIDATORS[0].proposal_pubkey: want one of them`},
		"unknown field":      {begin + "GENESIS_VALIDATORS: [{atestation_pubkey: " + a + "}]\n", `net/config.yaml: GENESIS_VALIDATORS[0].atestation_pubkey: unknown field of a validator`},
		"unprintable field":  {begin + "GENESIS_VALIDATORS: [{\"a\\nb\": 1}]\n", `net/config.yaml: GENESIS_VALIDATORS[0]."a\nb": unknown field of a validator`},
		"key too short":      {one(`"0x`+a[:102]+`"`, b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "0xe9030000ed…": want 52 bytes of hex, got 51`},
		"key too long":       {one(a, b+"00"), `net/config.yaml: GENESIS_VALIDATORS[0].proposal_pubkey: "d1070000d507…": want 52 bytes of hex, got 53`},
		"key odd":            {one(a[:103], b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "e9030000ed03…": want 52 bytes of hex, got an odd number of digits (103)`},
		"key empty":          {one(`""`, b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "": want 52 bytes of hex, got 0`},
		"key null":           {one("", b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: nothing: want 52 bytes of hex`},
		"key not hex":        {one("zz"+a[2:], b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "zz030000ed03…": want 52 bytes of hex, got text that is not hex`},
		"key control chars":  {one(`"\e[2J\n"`, b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "\x1b[2J\n": want 52 bytes of hex, got text that is not hex`},
		"key list":           {one("[1]", b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: a list: want 52 bytes of hex`},
		"key block text":     {one("|\n      "+a, b), `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: a block of text: want 52 bytes of hex`},
		"one key, two roles": {one(a, "0x"+a), `net/config.yaml: GENESIS_VALIDATORS[0].proposal_pubkey: "0xe9030000ed…": the same public key as GENESIS_VALIDATORS[0].attestation_pubkey`},
		"one key, two validators": {begin + fakeRegistry(2) + "  - attestation_pubkey: " + fakeHex(5) + "\n    proposal_pubkey: " + fakeHex(3) + "\n",
			`net/config.yaml: GENESIS_VALIDATORS[2].proposal_pubkey: "b90b0000bd0b…": the same public key as GENESIS_VALIDATORS[1].attestation_public_key`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			genesis, err := parseGenesis("net/config.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("parseGenesis(%.200q) = %+v, want the error %s", test.text, genesis, test.want)
			}
			checkOneLine(t, err)
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

// TestParseGenesisNonCanonicalKey checks a key with field elements above the modulus, which would be a second encoding of a key.
func TestParseGenesisNonCanonicalKey(t *testing.T) {
	text := "GENESIS_TIME: 1\nGENESIS_VALIDATORS:\n  - attestation_pubkey: " + strings.Repeat("ff", PublicKeySize) + "\n    proposal_pubkey: " + fakeHex(1) + "\n"
	_, err := parseGenesis("net/config.yaml", []byte(text))
	const want = `net/config.yaml: GENESIS_VALIDATORS[0].attestation_pubkey: "ffffffffffff…": not an XMSS public key: `
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
	checkOneLine(t, err)
}

func TestLoadGenesisFile(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.yaml", "GENESIS_TIME: 7\n"+fakeRegistry(1))
	write("large.yaml", strings.Repeat("#", maxYAMLSize+1))
	genesis, err := LoadGenesis("config.yaml")
	if err != nil || genesis.Path != "config.yaml" || genesis.GenesisTime != 7 || len(genesis.Validators) != 1 {
		t.Errorf("LoadGenesis = %+v, %v; want the file's genesis", genesis, err)
	}
	for _, test := range []struct {
		path, want string
		is         error
	}{
		{"no/such.yaml", "no/such.yaml: file not found", fs.ErrNotExist},
		{".", ".: a folder, want a file", nil},
		{"large.yaml", "large.yaml: want at most 4194304 bytes, got 4194305", nil},
		{"config.yaml/x", "config.yaml/x: not a directory", nil},
		{"new\nline", `new\nline: file not found`, fs.ErrNotExist},
	} {
		_, err := LoadGenesis(test.path)
		if err == nil || err.Error() != test.want {
			t.Errorf("LoadGenesis(%q): got %v, want %s", test.path, err, test.want)
		}
		if test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("LoadGenesis(%q): %v is not %v", test.path, err, test.is)
		}
		checkOneLine(t, err)
	}
}

func FuzzGenesis(f *testing.F) {
	f.Add([]byte("GENESIS_TIME: 1763712794\nATTESTATION_COMMITTEE_COUNT: 2\n" + fakeRegistry(2)))
	f.Add([]byte("{\"GENESIS_TIME\": 1, \"GENESIS_VALIDATORS\": [{attestation_pubkey: 0x" + fakeHex(1) + ", proposal_pubkey: " + fakeHex(2) + "}]}"))
	f.Add([]byte("a: |\n  b\n? c\n: &d [e, *d]\n--- !!map\n<<: {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		genesis, err := parseGenesis("config.yaml", data)
		checkOneLine(t, err)
		if err != nil {
			return
		}
		seen := make(map[[PublicKeySize]byte]bool)
		for i := range genesis.Validators {
			for _, role := range Roles {
				key := genesis.Validators[i].PublicKey(role)
				if seen[key] {
					t.Errorf("parseGenesis accepted the public key %x twice", key)
				}
				seen[key] = true
			}
		}
		if n := len(genesis.Validators); n < 1 || n > RegistryLimit || genesis.AttestationCommitteeCount < 1 {
			t.Errorf("parseGenesis accepted %d validators and %d committees", n, genesis.AttestationCommitteeCount)
		}
	})
}

// TestByteOrderMark checks that every reader skips a byte order mark at the start of a file.
func TestByteOrderMark(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const mark = "\ufeff"
	write("config.yaml", mark+"ATTESTATION_COMMITTEE_COUNT: 4\nGENESIS_TIME: 7\n"+fakeRegistry(1))
	genesis, err := LoadGenesis("config.yaml")
	if err != nil || genesis.AttestationCommitteeCount != 4 || genesis.UnknownKeys != nil {
		t.Errorf("LoadGenesis = %+v, %v; want 4 committees", genesis, err)
	}
	write("start.yaml", mark+"---\nGENESIS_TIME: 7\n"+fakeRegistry(1))
	if genesis, err := LoadGenesis("start.yaml"); err != nil || genesis.GenesisTime != 7 {
		t.Errorf("LoadGenesis = %+v, %v; want the genesis time 7", genesis, err)
	}
	write("validators.yaml", mark+"lean_spec_0: [0]\n")
	if names, err := NodeNames("."); err != nil || len(names) != 1 || names[0] != "lean_spec_0" {
		t.Errorf("NodeNames = %q, %v; want lean_spec_0", names, err)
	}
	key, err := GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	write("node.key", mark+key.Hex()+"\r\n")
	if got, err := LoadNodeKey("node.key"); err != nil || got.PeerID() != key.PeerID() {
		t.Errorf("LoadNodeKey = %v, %v; want %v", got, err, key)
	}
	write(SetupFile, mark+"validators:\n  - name: a\n    privkey: "+key.Hex()+"\n")
	if names, err := LoadPeerNames("."); err != nil || names[key.PeerID()] != "a" {
		t.Errorf("LoadPeerNames = %v, %v; want the name a", names, err)
	}
	// A second mark is text.
	write("twice.key", mark+mark+key.Hex())
	if _, err := LoadNodeKey("twice.key"); err == nil {
		t.Error("a key after two byte order marks is accepted")
	}
}

// TestUnknownKeys checks that keys without effect are reported, with their invisible characters escaped.
func TestUnknownKeys(t *testing.T) {
	const rest = "GENESIS_TIME: 7\nACTIVE_EPOCH: 18\nVALIDATOR_COUNT: 1\nLOG_INV_RATE: 1\n"
	for key, want := range map[string]string{
		"ATTESTATION_COMMITTEE_COUNT":       "",
		"ATTESTATION_COMITTEE_COUNT":        "ATTESTATION_COMITTEE_COUNT (nearest known name: ATTESTATION_COMMITTEE_COUNT)",
		"attestation-committee-count":       "attestation-committee-count (nearest known name: ATTESTATION_COMMITTEE_COUNT)",
		"ATTESTATION_COMMITTEE_COUNT\u200b": `ATTESTATION_COMMITTEE_COUNT\u200b (nearest known name: ATTESTATION_COMMITTEE_COUNT)`,
		"\u00a0ATTESTATION_COMMITTEE_COUNT": `\u00a0ATTESTATION_COMMITTEE_COUNT (nearest known name: ATTESTATION_COMMITTEE_COUNT)`,
		"\ufeffATTESTATION_COMMITTEE_COUNT": `\ufeffATTESTATION_COMMITTEE_COUNT (nearest known name: ATTESTATION_COMMITTEE_COUNT)`,
		"АTTESTATION_COMMITTEE_COUNT":       `\u0410TTESTATION_COMMITTEE_COUNT (nearest known name: ATTESTATION_COMMITTEE_COUNT)`,
		"TIME":                              "TIME (nearest known name: GENESIS_TIME)",
	} {
		genesis, err := parseGenesis("config.yaml", []byte(rest+key+": 4\n"+fakeRegistry(1)))
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		if got := strings.Join(genesis.UnknownKeys, ", "); got != want {
			t.Errorf("%q: unknown keys = %s, want %s", key, got, want)
		}
	}
	_, err := parseGenesis("config.yaml", []byte("\u200bGENESIS_TIME: 7\n"+fakeRegistry(1)))
	const want = `config.yaml: GENESIS_TIME: missing; the file has \u200bGENESIS_TIME`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	long, err := parseGenesis("config.yaml", []byte(rest+fakeRegistry(1)+strings.Repeat("x", 5000)+": 1\n"))
	if err != nil || len(long.UnknownKeys) != 1 || len(long.UnknownKeys[0]) > 150 {
		t.Errorf("a key of 5000 bytes: got %v, error %v; want a short one", long, err)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"LEANSPEC_API_PORT", "LEANSPEC_BOOTNODE", "LEANSPEC_LISTEN", "LEANSPEC_LOG_LEVEL"}
	for name, want := range map[string]string{
		"LEANSPEC_BOOTNODES": "LEANSPEC_BOOTNODE", "LEANSPEC_LOGLEVEL": "LEANSPEC_LOG_LEVEL",
		"LEANSPEC_APIPORT": "LEANSPEC_API_PORT", "": "LEANSPEC_LISTEN",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %s, want %s", name, got, want)
		}
	}
	if got := Nearest("x", nil); got != "" {
		t.Errorf(`Nearest without known names = %q, want ""`, got)
	}
}
