package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// knownIdentities are the node keys of lean-quickstart's local devnet, with the peer ids that it gives for them.
var knownIdentities = []struct{ secret, peerID string }{
	{"bdf953adc161873ba026330c56450453f582e3c4ee6cb713644794bcfdd85fe5", "16Uiu2HAkvi2sxT75Bpq1c7yV2FjnSQJJ432d6jeshbmfdJss1i6f"},
	{"af27950128b49cda7e7bc9fcb7b0270f7a3945aa7543326f3bfdbd57d2a97a32", "16Uiu2HAmPQhkD6Zg5Co2ee8ShshkiY4tDePKFARPpCS2oKSLj1E1"},
	{"299550529a79bc2dce003747c52fb0639465c893e00b0440ac66144d625e066a", "16Uiu2HAmPV5jU62WtmDkCEmfq1jzbBDkGbHNsDN78gJyvmv2TuC5"},
}

func TestParseNodeKey(t *testing.T) {
	for _, known := range knownIdentities {
		for _, text := range []string{known.secret, known.secret + "\n", "0x" + known.secret, " \t" + known.secret + "\r\n\n", strings.ToUpper(known.secret)} {
			key, err := parseNodeKey("a.key", []byte(text))
			if err != nil {
				t.Errorf("parseNodeKey: %v", err)
				continue
			}
			if got := key.PeerID().String(); got != known.peerID {
				t.Errorf("peer id is %s, want %s", got, known.peerID)
			}
			if got := key.Hex(); got != known.secret {
				t.Errorf("Hex is not the secret that was read")
			}
			if id, err := key.PrivKey().Raw(); err != nil || hex.EncodeToString(id) != known.secret {
				t.Errorf("PrivKey is not the secret that was read (error %v)", err)
			}
		}
	}
}

func TestParseNodeKeyErrors(t *testing.T) {
	secret := knownIdentities[0].secret
	const order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	for name, test := range map[string]struct{ text, want string }{
		"empty":       {"", "net/a.key: empty file"},
		"blank":       {" \n", "net/a.key: empty file"},
		"too short":   {secret[:62], "net/a.key: not a node key: want 32 bytes of hex, got 31"},
		"too long":    {secret + "00", "net/a.key: not a node key: want 32 bytes of hex, got 33"},
		"odd":         {secret[:63], "net/a.key: not a node key: want 32 bytes of hex, got an odd number of digits (63)"},
		"not hex":     {secret[:62] + "zz", "net/a.key: not a node key: want 32 bytes of hex, got text that is not hex"},
		"blank in it": {secret[:32] + "\n" + secret[32:], "net/a.key: not a node key: want 32 bytes of hex, got text that is not hex"},
		"binary":      {"\x00\xff", "net/a.key: not a node key: want 32 bytes of hex, got text that is not hex"},
		"zero":        {strings.Repeat("0", 64), "net/a.key: not a node key: not a secp256k1 secret key (zero, or not below the order of the group)"},
		"the order":   {order, "net/a.key: not a node key: not a secp256k1 secret key (zero, or not below the order of the group)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseNodeKey("net/a.key", []byte(test.text))
			if err == nil || err.Error() != test.want {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
			checkOneLine(t, err)
			if strings.Contains(err.Error(), secret[:4]) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestLoadNodeKey(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := LoadNodeKey("a.key"); err == nil || err.Error() != "a.key: file not found" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v, want a.key: file not found", err)
	}
	key, err := GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("a.key", []byte(key.Hex()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := LoadNodeKey("a.key")
	if err != nil || again.PeerID() != key.PeerID() {
		t.Errorf("LoadNodeKey = %v, %v; want %v", again, err, key)
	}
	if other, err := GenerateNodeKey(); err != nil || other.PeerID() == key.PeerID() {
		t.Errorf("GenerateNodeKey made the same key twice, or failed: %v", err)
	}
	if err := os.WriteFile("a.key", bytes.Repeat([]byte("0"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadNodeKey("a.key"); err == nil || err.Error() != "a.key: want at most 256 bytes, got 1000" {
		t.Errorf("error for a file of 1000 bytes = %v, want its size and the limit", err)
	}
}

func TestNodeKeyPrintsNoSecret(t *testing.T) {
	key, err := parseNodeKey("a.key", []byte(knownIdentities[0].secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text := fmt.Sprintf(verb, key)
		if !strings.Contains(text, knownIdentities[0].peerID) {
			t.Errorf("%s prints %s, want the peer id", verb, text)
		}
		if strings.Contains(text, "bdf953") {
			t.Errorf("%s prints the secret", verb)
		}
	}
}

func FuzzNodeKey(f *testing.F) {
	f.Add([]byte(knownIdentities[0].secret))
	f.Add([]byte("0x" + knownIdentities[1].secret + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := parseNodeKey("a.key", data)
		checkOneLine(t, err)
		if err != nil {
			return
		}
		again, err := parseNodeKey("a.key", []byte(key.Hex()))
		if err != nil || again.PeerID() != key.PeerID() {
			t.Errorf("parseNodeKey of the written key: peer id %v, error %v; want %v", again, err, key)
		}
	})
}

// TestMisplacedNodeKeyIsNotShown checks that an error does not show a key that is in the place of a path or a file.
func TestMisplacedNodeKeyIsNotShown(t *testing.T) {
	t.Chdir(t.TempDir())
	key, err := GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("node.key", []byte(key.Hex()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for place, load := range map[string]func() error{
		"as a genesis":         func() error { _, err := LoadGenesis("node.key"); return err },
		"as the name of a key": func() error { _, err := LoadNodeKey(key.Hex()); return err },
		"with 0x":              func() error { _, err := LoadNodeKey("0x" + key.Hex()); return err },
	} {
		if err := load(); err == nil || strings.Contains(err.Error(), key.Hex()[:8]) {
			t.Errorf("%s: got %v, want an error without the key", place, err)
		}
	}
}
