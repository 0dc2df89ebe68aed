package enr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

const secret = "bdf953adc161873ba026330c56450453f582e3c4ee6cb713644794bcfdd85fe5"

// example is the record of EIP-778.
const example = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8"

// clientRecord is a signed record whose client entry is a list (EIP-7636): the name and the version of a program.
const clientRecord = "enr:-Je4QAMK6ijW1nMvk_I5oH0t_LrFNLb5WSzQSLELEbtTR2TOKkW8FWhAqhg-wF14kv9B6_NhzFLsw0Sdy9OimwBDhZcBhmNsaWVudMuER2VhboUxLjAuMIJpZIJ2NIJpcIR_AAABiXNlY3AyNTZrMaECJlNtO_DG0j4ooLLjYKIsTbOc2plsxYxN3FekfHhAMYKDdWRwgphY"

// TestSign reads a record with go-ethereum's decoder, which shares no code with the accessors of this package.
func TestSign(t *testing.T) {
	key, err := crypto.HexToECDSA(secret)
	if err != nil {
		t.Fatal(err)
	}
	content := Content{Seq: 7, Addr: netip.MustParseAddrPort("10.1.2.3:9001"), ForkDigest: DefaultForkDigest, IsAggregator: true}
	r, err := Sign(key, content)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Sign(key, content); err != nil || again.String() != r.String() {
		t.Errorf("second signature = %v (error %v), want %v", again, err, r)
	}
	if !r.Valid() || !r.VerifySignature() {
		t.Errorf("valid = %t, signature verifies = %t; want true, true", r.Valid(), r.VerifySignature())
	}
	var (
		record             gethenr.Record
		ip                 gethenr.IPv4Addr
		udp                gethenr.UDP
		quic               gethenr.QUIC
		id                 gethenr.ID
		eth2, flag, public []byte
	)
	if err := rlp.DecodeBytes(r.RLP(), &record); err != nil {
		t.Fatal(err)
	}
	for _, entry := range []gethenr.Entry{&ip, &udp, &quic, &id,
		gethenr.WithEntry("eth2", &eth2), gethenr.WithEntry("is_aggregator", &flag), gethenr.WithEntry("secp256k1", &public)} {
		if err := record.Load(entry); err != nil {
			t.Errorf("entry %s: %v", entry.ENRKey(), err)
		}
	}
	if record.Seq() != 7 || netip.Addr(ip).String() != "10.1.2.3" || udp != 9001 || quic != 9001 || id != "v4" {
		t.Errorf("seq, ip, udp, quic, id = %d, %v, %d, %d, %s; want 7, 10.1.2.3, 9001, 9001, v4", record.Seq(), netip.Addr(ip), udp, quic, id)
	}
	if want, _ := hex.DecodeString("12345678" + "00000000" + "ffffffffffffffff"); !bytes.Equal(eth2, want) {
		t.Errorf("eth2 = %x, want %x", eth2, want)
	}
	if !bytes.Equal(flag, []byte{1}) {
		t.Errorf("is_aggregator = %x, want 01", flag)
	}
	if want := crypto.CompressPubkey(&key.PublicKey); !bytes.Equal(public, want) {
		t.Errorf("secp256k1 = %x, want %x", public, want)
	}

	content.IsAggregator = false
	if r, err = Sign(key, content); err != nil {
		t.Fatal(err)
	}
	if got := r.Get("is_aggregator"); got != nil {
		t.Errorf("is_aggregator of a node that does not aggregate = %x, want no entry", got)
	}
}

func TestSignErrors(t *testing.T) {
	key, err := crypto.HexToECDSA(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		addr netip.AddrPort
		want string
	}{
		"no address":  {netip.AddrPort{}, `ENR: address: got "invalid AddrPort", want an IPv4 address with a port`},
		"IPv6":        {netip.MustParseAddrPort("[::1]:1"), `ENR: address: got "[::1]:1", want an IPv4 address with a port`},
		"mapped IPv4": {netip.MustParseAddrPort("[::ffff:1.2.3.4]:1"), `ENR: address: got "[::ffff:1.2.3.4]:1", want an IPv4 address with a port`},
		"no port":     {netip.MustParseAddrPort("1.2.3.4:0"), `ENR: address: got "1.2.3.4:0", want an IPv4 address with a port`},
	} {
		if _, err := Sign(key, Content{Addr: test.addr}); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

func TestVerifySignature(t *testing.T) {
	for _, text := range []string{example, clientRecord} {
		r, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if !r.VerifySignature() {
			t.Errorf("signature of %s does not verify", r)
		}
		for _, change := range []struct{ from, to string }{{"v4", "v5"}, {"udp", "udq"}, {"1.0.0", "1.0.1"}} {
			forged := bytes.Replace(r.RLP(), []byte(change.from), []byte(change.to), 1)
			if bytes.Equal(forged, r.RLP()) {
				continue
			}
			if r, err := Decode(forged); err != nil || r.VerifySignature() {
				t.Errorf("record with %s changed to %s: error %v, signature verifies; want no error and a bad signature", change.from, change.to, err)
			}
		}
	}
}

// TestUnknownEntry checks that an entry of any form stays as it is.
func TestUnknownEntry(t *testing.T) {
	r, err := Parse(clientRecord)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String(); got != clientRecord {
		t.Errorf("text = %s, want %s", got, clientRecord)
	}
	if got, want := r.Multiaddr(), "/ip4/127.0.0.1/udp/39000/quic-v1"; got != want || !r.Valid() {
		t.Errorf("address = %s, valid = %t; want %s, true", got, r.Valid(), want)
	}
	if got := r.Get("client"); got != nil {
		t.Errorf("entry that is a list = %x, want nil", got)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"", "enr", "enr:", "enr:***", "ENR:" + example[4:], example[:len(example)-4], example + "AA", "enr:\n"} {
		if r, err := Parse(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, r, err, ErrInvalid)
		}
	}
}

func TestForkDigest(t *testing.T) {
	for name, want := range map[string][4]byte{
		"0a0b0c0d": {10, 11, 12, 13}, "12345678": DefaultForkDigest, "devnet0": DefaultForkDigest, "abcdefgh": DefaultForkDigest, "123456789": DefaultForkDigest,
	} {
		if got := ForkDigest(name); got != want {
			t.Errorf("ForkDigest(%q) = %x, want %x", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("enr:-Ia4QCqe1oTI3hKJukNRiknmVCjHYZaLdgZeUGjS0A3uF1CgbnlM-Meg6FrQL8WOH0pTY0OltuMufXVnqvcPu3Y7xh8Bh2F0dG5ldHOI__________-CaWSCdjSJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOA")
	f.Add("enr:-PK4QAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFh2F0dG5ldHOIgQAAAAAAAICEZXRoMpASNFZ4q83vAGQAAAAAAAAAgmlkgnY0gmlwhAoAAAGDaXA2kCABDbgAAAAAAAAAAAAAAAGNaXNfYWdncmVnYXRvcgGEcXVpY4IjKYVxdWljNoIjKolzZWNwMjU2azGhA8pjTK4NSay0Adikxrb-jFW3DRFb9AB2nMFADzJYzTE4iHN5bmNuZXRzCoN1ZHCCdl-EdWRwNoJ2YA")
	f.Add(clientRecord)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v does not wrap %v", err, ErrInvalid)
			}
			return
		}
		// No accessor panics.
		r.Valid()
		r.VerifySignature()
		r.Multiaddr()
		r.Eth2()
		r.IsAggregator()
		again, err := Parse(r.String())
		if err != nil || !bytes.Equal(again.RLP(), r.RLP()) {
			t.Errorf("%s becomes %v (error %v)", r, again, err)
		}
	})
}

func FuzzSign(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, uint64(1), uint16(9001), uint32(0x12345678), true)
	f.Add(make([]byte, 16), uint64(1<<64-1), uint16(1), uint32(0), false)
	f.Add([]byte{}, uint64(0), uint16(0), uint32(0), false)
	key, err := crypto.HexToECDSA(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address []byte, seq uint64, port uint16, digest uint32, aggregator bool) {
		ip, _ := netip.AddrFromSlice(address)
		content := Content{Seq: seq, Addr: netip.AddrPortFrom(ip, port), IsAggregator: aggregator,
			ForkDigest: [4]byte{byte(digest >> 24), byte(digest >> 16), byte(digest >> 8), byte(digest)}}
		r, err := Sign(key, content)
		if want := !ip.Is4() || port == 0; want != (err != nil) {
			t.Fatalf("Sign(%+v): error %v, want one: %t", content, err, want)
		}
		if err != nil {
			return
		}
		eth2, _ := r.Eth2()
		got := Content{r.Seq(), netip.AddrPortFrom(r.IP4(), r.Port("quic")), eth2.ForkDigest, r.IsAggregator()}
		if got != content || r.Port("udp") != port || !r.Valid() || !r.VerifySignature() {
			t.Errorf("record of %+v has %+v, UDP port %d, valid %t, signed %t", content, got, r.Port("udp"), r.Valid(), r.VerifySignature())
		}
	})
}
