package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

const recordPrefix = "enr:"

// Record is a node record (EIP-778) as it was signed. Entries whose keys have no accessor are kept as raw RLP, so a
// record may have entries of any form. An accessor returns its zero value for an entry that is absent or malformed.
//
// leanSpec: node/networking/enr/enr.py, ENR
type Record struct {
	Signature [64]byte
	Seq       uint64
	record    enr.Record
	rlp       []byte
}

// ParseRecord reads the text form, "enr:" and unpadded URL-safe base64.
//
// leanSpec: node/networking/enr/enr.py, ENR.from_string
func ParseRecord(s string) (*Record, error) {
	text, ok := strings.CutPrefix(s, recordPrefix)
	if !ok {
		return nil, invalid("ENR: want the prefix %s", recordPrefix)
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(enr.SizeLimit)+3 {
		return nil, invalid("ENR: more than %d bytes", enr.SizeLimit)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, invalid("ENR: not base64")
	}
	return DecodeRecord(b)
}

// DecodeRecord decodes exactly the bytes of a record's RLP.
//
// leanSpec: node/networking/enr/enr.py, ENR.from_rlp
func DecodeRecord(b []byte) (*Record, error) {
	if len(b) > enr.SizeLimit {
		return nil, invalid("ENR: %d bytes, at most %d are allowed", len(b), enr.SizeLimit)
	}
	r := &Record{rlp: bytes.Clone(b)}
	if err := rlp.DecodeBytes(b, &r.record); err != nil {
		return nil, invalid("ENR: want an RLP list of a signature, a sequence number, and keys in ascending order with their values")
	}
	signature := r.record.Signature()
	if len(signature) != len(r.Signature) {
		return nil, invalid("ENR: signature of %d bytes, want %d", len(signature), len(r.Signature))
	}
	copy(r.Signature[:], signature)
	r.Seq = r.record.Seq()
	for i, element := range r.record.AppendElements(nil) {
		// The sequence number, then a key and a value in turn.
		if key, ok := element.(string); i%2 == 1 && ok && !utf8.ValidString(key) {
			return nil, invalid("ENR: key is not UTF-8")
		}
	}
	return r, nil
}

// String returns the text form.
func (r *Record) String() string {
	return recordPrefix + base64.RawURLEncoding.EncodeToString(r.rlp)
}

// RLP returns the encoding.
func (r *Record) RLP() []byte { return bytes.Clone(r.rlp) }

// Get returns the value of an entry that is a string of bytes, or nil.
func (r *Record) Get(key string) (value []byte) {
	if r.record.Load(enr.WithEntry(key, &value)) != nil {
		return nil
	}
	return value
}

// Scheme returns the name of the identity scheme.
func (r *Record) Scheme() string { return string(r.Get("id")) }

// PublicKey returns the compressed secp256k1 key of 33 bytes, or nil.
func (r *Record) PublicKey() []byte {
	if key := r.Get("secp256k1"); len(key) == 33 {
		return key
	}
	return nil
}

// NodeID is the hash of the public key, or nil without a valid one.
//
// leanSpec: node/networking/enr/enr.py, compute_node_id
func (r *Record) NodeID() []byte {
	key, err := gethcrypto.DecompressPubkey(r.PublicKey())
	if err != nil {
		return nil
	}
	return gethcrypto.Keccak256(gethcrypto.FromECDSAPub(key)[1:])
}

// Valid reports whether the record has an identity of scheme v4. It does not
// check the signature.
//
// leanSpec: node/networking/enr/enr.py, is_valid
func (r *Record) Valid() bool { return r.Scheme() == "v4" && r.PublicKey() != nil }

// VerifySignature reports whether the record was signed by its own key.
//
// leanSpec: node/networking/enr/enr.py, verify_signature
func (r *Record) VerifySignature() bool {
	if r.PublicKey() == nil {
		return false
	}
	// The signature is over all entries, as they stand in the record.
	signed, err := rlp.EncodeToBytes(r.record.AppendElements(nil))
	if err != nil {
		return false
	}
	return gethcrypto.VerifySignature(r.PublicKey(), gethcrypto.Keccak256(signed), r.Signature[:])
}

// IP4 returns the IPv4 address.
func (r *Record) IP4() netip.Addr {
	if ip := r.Get("ip"); len(ip) == 4 {
		return netip.AddrFrom4([4]byte(ip))
	}
	return netip.Addr{}
}

// UDP and QUIC return ports; 0 stands for none.
func (r *Record) UDP() uint16  { return r.port("udp") }
func (r *Record) QUIC() uint16 { return r.port("quic") }

func (r *Record) port(key string) uint16 {
	b := r.Get(key)
	if len(b) > 2 {
		return 0
	}
	return binary.BigEndian.Uint16(append(make([]byte, 2-len(b)), b...))
}

// Multiaddr returns where to dial the node, or "" where the record does not say:
// at its QUIC port, and without one at its UDP port.
//
// leanSpec: node/networking/enr/enr.py, multiaddr
func (r *Record) Multiaddr() string {
	port := r.QUIC()
	if port == 0 {
		port = r.UDP()
	}
	if !r.IP4().IsValid() || port == 0 {
		return ""
	}
	return "/ip4/" + r.IP4().String() + "/udp/" + strconv.Itoa(int(port)) + "/quic-v1"
}

// Eth2 is the fork that a node is on.
//
// leanSpec: node/networking/enr/eth2.py, Eth2Data
type Eth2 struct {
	ForkDigest, NextForkVersion [4]byte
	NextForkEpoch               uint64
}

// Eth2 returns the eth2 entry, and whether there is one.
func (r *Record) Eth2() (e Eth2, ok bool) {
	b := r.Get("eth2")
	if len(b) < 16 {
		return e, false
	}
	copy(e.ForkDigest[:], b)
	copy(e.NextForkVersion[:], b[4:])
	e.NextForkEpoch = binary.LittleEndian.Uint64(b[8:])
	return e, true
}

// AttestationSubnets returns the subnets of the attnets entry in ascending order,
// and whether there is one.
func (r *Record) AttestationSubnets() (subnets []uint64, ok bool) {
	b := r.Get("attnets")
	if len(b) != 8 {
		return nil, false
	}
	for i := range uint64(64) {
		if b[i/8]>>(i%8)&1 == 1 {
			subnets = append(subnets, i)
		}
	}
	return subnets, true
}

// IsAggregator reports whether the node says that it aggregates.
func (r *Record) IsAggregator() bool { return bytes.Equal(r.Get("is_aggregator"), []byte{1}) }
