package guard

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// testTransfer returns a transfer with a record of each kind.
func testTransfer() *Transfer {
	return &Transfer{GenesisTime: 1_763_712_794, Scheme: "test", Keys: []TransferKey{
		{0, config.Attestation, PublicKey{1}, Record{Signed, 7, [32]byte{2}}},
		{0, config.Proposal, PublicKey{2}, Record{Closed, 8, [32]byte{}}},
		{3, config.Attestation, PublicKey{3}, Record{}},
	}}
}

func TestTransfer(t *testing.T) {
	want := testTransfer()
	data := want.Encode()
	got, err := ParseTransfer("f", data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseTransfer = %+v, %v\nwant %+v\ndata %s", got, err, want, data)
	}
}

func TestTransferErrors(t *testing.T) {
	key := hexOf(make([]byte, len(PublicKey{})))
	for _, tt := range []struct{ old, new, want string }{
		{`{`, ``, `f: "string": want an object`},
		{`"version": 1`, `"version": 2`, "f: version: 2: want 1"},
		{`"version": 1,`, ``, "f: version: missing"},
		{`"version": 1`, `"version": "1"`, `f: version: "string": want a whole number`},
		{`"version": 1`, `"version": -1`, `f: version: "number -1": want a whole number`},
		{`signature records`, `x`, `f: format: "leanspec-node x": want "leanspec-node signature records"`},
		{`"genesis_time": 1763712794,`, ``, "f: genesis_time: missing"},
		{`"scheme": "test",`, ``, "f: scheme: missing"},
		{`"scheme"`, `"schema"`, `f: unknown field "schema"`},
		{`"validator": 3,`, ``, "f: keys[2].validator: missing"},
		{`"role": "proposal"`, `"role": "x"`, `f: keys[1].role: "x": want attestation or proposal`},
		{`0x02` + strings.Repeat("0", 102), key[:20], `f: keys[1].public_key: "0x000000000000000000": want 0x and 104 hex digits`},
		{`0x02` + strings.Repeat("0", 102), "0xzz" + key[4:], `f: keys[1].public_key: "0xzz00000000000000000000…": want 0x and 104 hex digits`},
		{`0x02` + strings.Repeat("0", 102), "0x01" + key[4:], `f: keys[1].public_key: "0x0100000000000000000000…": the same as keys[0].public_key`},
		{`0x02` + strings.Repeat("0", 62), "", `f: keys[0].message: "": want 0x and 64 hex digits`},
		{`"slot": 7,`, ``, "f: keys[0].slot: missing, but there is a message"},
		{`"slot": 7`, `"slot": 1e30`, `f: keys.slot: "number 1e30": want a whole number`},
		{"  ]\n}\n", "]}{}", "f: want one JSON object and nothing after it"},
		{"  ]\n}\n", "", "f: not JSON: the file ends too early"},
	} {
		text := string(testTransfer().Encode())
		changed := strings.Replace(text, tt.old, tt.new, 1)
		// Prefer a whole value to a part of one, because a message may begin like a key.
		if i := strings.Index(text, `"`+tt.old+`"`); i >= 0 {
			changed = text[:i+1] + tt.new + text[i+1+len(tt.old):]
		}
		if changed == text {
			t.Fatalf("%q not found in\n%s", tt.old, text)
		}
		_, err := ParseTransfer("f", []byte(changed))
		var failure *config.Error
		if !errors.As(err, &failure) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q instead of %q: ParseTransfer =\n%v, want\n%s", tt.new, tt.old, err, tt.want)
		}
	}
}

// FuzzTransfer checks that a file is refused with an error of one line, or is the same after Encode
// and ParseTransfer.
func FuzzTransfer(f *testing.F) {
	f.Add(testTransfer().Encode())
	f.Add([]byte(`{"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseTransfer("f", data)
		if err != nil {
			var failure *config.Error
			if !errors.As(err, &failure) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("ParseTransfer = %q, want a config.Error of one line", err)
			}
			return
		}
		again, err := ParseTransfer("f", got.Encode())
		if err != nil || !reflect.DeepEqual(got, again) || !bytes.Equal(got.Encode(), again.Encode()) {
			t.Errorf("after Encode and ParseTransfer = %+v, %v, want %+v", again, err, got)
		}
	})
}
