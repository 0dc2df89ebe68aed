package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// The identities of lean-quickstart's local devnet, whose peer ids are written beside them there.
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
		t.Errorf("a large file: got %v", err)
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

// decodeENR is an independent reading of a record, which also checks its signature.
func decodeENR(t testing.TB, text string) *enr.Record {
	t.Helper()
	body, found := strings.CutPrefix(text, "enr:")
	if !found {
		t.Fatalf("%q does not begin with enr:", text)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(raw) > enr.SizeLimit {
		t.Fatalf("record has %d bytes, want at most %d", len(raw), enr.SizeLimit)
	}
	var record enr.Record
	if err := rlp.DecodeBytes(raw, &record); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if err := record.VerifySignature(identityV4{}); err != nil {
		t.Fatalf("%q: signature: %v", text, err)
	}
	return &record
}

func TestENR(t *testing.T) {
	key, err := parseNodeKey("a.key", []byte(knownIdentities[0].secret))
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.ENR(ENROptions{IP: netip.MustParseAddr("10.1.2.3"), UDP: 9001, QUIC: 9002, ForkDigest: DefaultForkDigest, IsAggregator: true})
	if err != nil {
		t.Fatal(err)
	}
	again, err := key.ENR(ENROptions{IP: netip.MustParseAddr("10.1.2.3"), UDP: 9001, QUIC: 9002, ForkDigest: DefaultForkDigest, IsAggregator: true})
	if err != nil || again != text {
		t.Errorf("the same record is signed differently each time")
	}
	record := decodeENR(t, text)
	var (
		ip         enr.IPv4Addr
		udp        enr.UDP
		quic       enr.QUIC
		id         enr.ID
		eth2, flag []byte
		public     []byte
	)
	for _, entry := range []enr.Entry{&ip, &udp, &quic, &id, enr.WithEntry("eth2", &eth2), enr.WithEntry("is_aggregator", &flag), enr.WithEntry("secp256k1", &public)} {
		if err := record.Load(entry); err != nil {
			t.Fatalf("entry %s: %v", entry.ENRKey(), err)
		}
	}
	if record.Seq() != 1 || netip.Addr(ip).String() != "10.1.2.3" || udp != 9001 || quic != 9002 || id != "v4" {
		t.Errorf("seq %d, ip %v, udp %d, quic %d, id %s; want 1, 10.1.2.3, 9001, 9002, v4", record.Seq(), netip.Addr(ip), udp, quic, id)
	}
	if want, _ := hex.DecodeString("12345678" + "00000000" + "ffffffffffffffff"); !bytes.Equal(eth2, want) {
		t.Errorf("eth2 is %x, want %x", eth2, want)
	}
	if !bytes.Equal(flag, []byte{1}) {
		t.Errorf("is_aggregator is %x, want 01", flag)
	}
	if raw, err := key.PrivKey().GetPublic().Raw(); err != nil || !bytes.Equal(raw, public) {
		t.Errorf("secp256k1 is %x, want the node's public key %x", public, raw)
	}

	text, err = key.ENR(ENROptions{Seq: 7, IP: netip.MustParseAddr("10.1.2.3"), UDP: 1, QUIC: math.MaxUint16})
	if err != nil {
		t.Fatal(err)
	}
	record = decodeENR(t, text)
	if record.Seq() != 7 {
		t.Errorf("seq is %d, want 7", record.Seq())
	}
	if err := record.Load(enr.WithEntry("is_aggregator", &flag)); !enr.IsNotFound(err) {
		t.Errorf("a node that is no aggregator has the entry is_aggregator (error %v)", err)
	}
}

func TestENRErrors(t *testing.T) {
	key, err := GenerateNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options ENROptions
		want    string
	}{
		"no ip":     {ENROptions{UDP: 1, QUIC: 1}, `ip: "invalid IP": want an IPv4 address`},
		"ip6":       {ENROptions{IP: netip.MustParseAddr("::1"), UDP: 1, QUIC: 1}, `ip: "::1": want an IPv4 address`},
		"mapped ip": {ENROptions{IP: netip.MustParseAddr("::ffff:1.2.3.4"), UDP: 1, QUIC: 1}, `ip: "::ffff:1.2.3.4": want an IPv4 address`},
		"no udp":    {ENROptions{IP: netip.MustParseAddr("1.2.3.4"), QUIC: 1}, `udp and quic: want ports from 1 to 65535`},
		"no quic":   {ENROptions{IP: netip.MustParseAddr("1.2.3.4"), UDP: 1}, `udp and quic: want ports from 1 to 65535`},
	} {
		_, err := key.ENR(test.options)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

// The example of EIP-778.
func TestIdentityV4(t *testing.T) {
	record := decodeENR(t, "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8")
	const want = "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
	if got := hex.EncodeToString(identityV4{}.NodeAddr(record)); got != want {
		t.Errorf("node id is %s, want %s", got, want)
	}
	forged := *record
	forged.SetSeq(record.Seq() + 1)
	if err := (identityV4{}).Verify(&forged, record.Signature()); !errors.Is(err, errSignature) {
		t.Errorf("a changed record: got %v, want %v", err, errSignature)
	}
	if err := (identityV4{}).Verify(&enr.Record{}, make([]byte, 64)); err == nil {
		t.Error("a record without a key verifies")
	}
	if id := (identityV4{}).NodeAddr(&enr.Record{}); id != nil {
		t.Errorf("a record without a key has the node id %x", id)
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
			t.Errorf("a key that was accepted does not survive being written: %v", err)
		}
	})
}

func FuzzENR(f *testing.F) {
	f.Add([]byte(knownIdentities[0].secret), []byte{127, 0, 0, 1}, uint64(1), uint16(9001), uint16(9001), uint32(0x78563412), true)
	f.Add([]byte(knownIdentities[1].secret), make([]byte, 16), uint64(math.MaxUint64), uint16(1), uint16(math.MaxUint16), uint32(0), false)
	f.Fuzz(func(t *testing.T, secret, address []byte, seq uint64, udp, quic uint16, digest uint32, aggregator bool) {
		key, err := parseNodeKey("a.key", secret)
		if err != nil {
			return
		}
		ip, _ := netip.AddrFromSlice(address)
		options := ENROptions{Seq: seq, IP: ip, UDP: udp, QUIC: quic, IsAggregator: aggregator,
			ForkDigest: [4]byte{byte(digest), byte(digest >> 8), byte(digest >> 16), byte(digest >> 24)}}
		text, err := key.ENR(options)
		if wantError := !ip.Is4() || udp == 0 || quic == 0; wantError != (err != nil) {
			t.Fatalf("ENR(%+v): error %v", options, err)
		}
		if err != nil {
			checkOneLine(t, err)
			return
		}
		record := decodeENR(t, text)
		if record.Seq() != max(seq, 1) {
			t.Errorf("seq is %d, want %d", record.Seq(), max(seq, 1))
		}
	})
}

func TestLoadOrMakeNodeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "node.key")
	made, err := LoadOrMakeNodeKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrMakeNodeKey(path)
	if err != nil || again.PeerID() != made.PeerID() {
		t.Errorf("second time: %v %v, want the key of the first, %v", again, err, made)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: want a file of mode 0600", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files in the folder, want the key alone", len(entries))
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeNodeKey(path); err == nil {
		t.Error("a broken key was accepted, or replaced")
	}
}

// A key in a wrong place is not shown.
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
