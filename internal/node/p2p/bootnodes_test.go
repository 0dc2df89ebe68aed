package p2p

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/leanEthereum/leanspec-node/internal/enr"
)

type bootnodeCase struct{ text, addr, problem string }

// bootnodes returns bootnodes with the expected results of parsing.
func bootnodes(t testing.TB) map[string]bootnodeCase {
	t.Helper()
	key := newNodeKey(t)
	signed, err := enr.Sign(key.ECDSA(), enr.Content{Addr: netip.MustParseAddrPort("192.0.2.1:9001")})
	if err != nil {
		t.Fatal(err)
	}
	record := signed.String()
	// edit removes entries of the record without signing it again.
	edit := func(drop ...string) string {
		items := [][]byte{signed.Signature(), {}}
		for _, name := range []string{"eth2", "id", "ip", "quic", "secp256k1", "udp"} {
			if !strings.Contains(strings.Join(drop, " "), name) {
				items = append(items, []byte(name), signed.Get(name))
			}
		}
		b, err := rlp.EncodeToBytes(items)
		if err != nil {
			t.Fatal(err)
		}
		return "enr:" + base64.RawURLEncoding.EncodeToString(b)
	}
	const id = "16Uiu2HAkvi2sxT75Bpq1c7yV2FjnSQJJ432d6jeshbmfdJss1i6f"
	return map[string]bootnodeCase{
		"ENR":                     {record, "/ip4/192.0.2.1/udp/9001/quic-v1", ""},
		"ENR with an order mark":  {"\ufeff" + record, "/ip4/192.0.2.1/udp/9001/quic-v1", ""},
		"multiaddr":               {"/ip4/192.0.2.1/udp/9001/quic-v1/p2p/" + id, "/ip4/192.0.2.1/udp/9001/quic-v1", ""},
		"multiaddr without id":    {"/ip4/192.0.2.1/udp/9001/quic-v1", "/ip4/192.0.2.1/udp/9001/quic-v1", ""},
		"multiaddr with a name":   {"/dns4/node-0/udp/9001/quic-v1", "/dns4/node-0/udp/9001/quic-v1", ""},
		"empty":                   {"", "", "want a multiaddr or an ENR"},
		"host and port":           {"localhost:9001", "", "want a multiaddr or an ENR"},
		"TCP":                     {"/ip4/192.0.2.1/tcp/9001", "", "want a QUIC address"},
		"UDP without QUIC":        {"/ip4/192.0.2.1/udp/9001", "", "want a QUIC address"},
		"only an id":              {"/p2p/" + id, "", "want a QUIC address"},
		"bad id":                  {"/ip4/192.0.2.1/udp/9001/quic-v1/p2p/xyz", "", "want a multiaddr or an ENR"},
		"empty ENR":               {"enr:", "", "invalid ENR"},
		"ENR, not base64":         {"enr:***", "", "not base64"},
		"ENR, cut":                {record[:len(record)-4], "", "invalid ENR"},
		"ENR without key":         {edit("secp256k1"), "", "ENR structurally invalid"},
		"ENR without scheme":      {edit("id"), "", "ENR structurally invalid"},
		"ENR, changed":            {edit("eth2"), "", "ENR signature verification failed"},
		"ENR, unsigned, nowhere":  {edit("ip"), "", "ENR signature verification failed"},
		"ENR with a line break\n": {"enr:\n\x1b[31m", "", "not base64"},
	}
}

func TestParseBootnode(t *testing.T) {
	for name, test := range bootnodes(t) {
		t.Run(name, func(t *testing.T) {
			b, err := ParseBootnode(test.text)
			if test.problem == "" {
				if err != nil || b.Addr.String() != test.addr {
					t.Errorf("got %v, error %v; want %s", b.Addr, err, test.addr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Fatalf("error is %v, want %q", err, test.problem)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") || !strings.HasPrefix(err.Error(), "bootnode: ") {
				t.Errorf("error %q: want one line that names the setting", err)
			}
		})
	}
	t.Run("ENR without address", func(t *testing.T) {
		// A record without an IP address, with a valid signature, from leanSpec's vectors.
		const text = "enr:-Iu4QH9jczrZFmQYFzYOnzvoHr0x_oqo6uiVwYyfW4JqmzieRFUycscJpHoQoAudebpIM0ty96ktM0ZdV0Cb_Xc_oD4BhGV0aDKQEjRWeAAAAAD__________4JpZIJ2NIlzZWNwMjU2azGhA8pjTK4NSay0Adikxrb-jFW3DRFb9AB2nMFADzJYzTE4"
		if _, err := ParseBootnode(text); err == nil || !strings.Contains(err.Error(), "ENR has no UDP connection info") {
			t.Errorf("got error %v, want an error about UDP connection info", err)
		}
	})
}
