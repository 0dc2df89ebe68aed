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
	"github.com/ethereum/go-ethereum/rlp"
)

// maxRecordSize bounds the RLP of a node record, in bytes (EIP-778).
const maxRecordSize = 300

const recordPrefix = "enr:"

// Record is a node record (EIP-778) as it was signed. The zero value of what an
// accessor returns stands for an entry that is absent or malformed.
//
// leanSpec: node/networking/enr/enr.py, ENR
type Record struct {
	Signature [64]byte
	Seq       uint64
	entries   map[string][]byte
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
	if len(text) > base64.RawURLEncoding.EncodedLen(maxRecordSize)+3 {
		return nil, invalid("ENR: more than %d bytes", maxRecordSize)
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
	if len(b) > maxRecordSize {
		return nil, invalid("ENR: %d bytes, at most %d are allowed", len(b), maxRecordSize)
	}
	var items [][]byte
	if err := rlp.DecodeBytes(b, &items); err != nil {
		return nil, invalid("ENR: %v", err)
	}
	if len(items) < 2 || len(items)%2 != 0 {
		return nil, invalid("ENR: %d elements, want a signature, a sequence number and pairs", len(items))
	}
	r := &Record{entries: make(map[string][]byte), rlp: bytes.Clone(b)}
	if len(items[0]) != len(r.Signature) {
		return nil, invalid("ENR: signature of %d bytes, want %d", len(items[0]), len(r.Signature))
	}
	copy(r.Signature[:], items[0])
	seq := items[1]
	if len(seq) > 8 || len(seq) > 0 && seq[0] == 0 {
		return nil, invalid("ENR: sequence number is not a minimal uint64")
	}
	r.Seq = bigEndian(seq)
	previous := ""
	for i := 2; i < len(items); i += 2 {
		key := string(items[i])
		if !utf8.ValidString(key) {
			return nil, invalid("ENR: key is not UTF-8")
		}
		if i > 2 && key <= previous {
			return nil, invalid("ENR: keys are not in ascending order")
		}
		r.entries[key], previous = items[i+1], key
	}
	return r, nil
}

func bigEndian(b []byte) uint64 {
	var buf [8]byte
	copy(buf[8-len(b):], b)
	return binary.BigEndian.Uint64(buf[:])
}

// String returns the text form.
func (r *Record) String() string {
	return recordPrefix + base64.RawURLEncoding.EncodeToString(r.rlp)
}

// RLP returns the encoding.
func (r *Record) RLP() []byte { return bytes.Clone(r.rlp) }

// Get returns the value of an entry, or nil.
func (r *Record) Get(key string) []byte { return r.entries[key] }

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
	// What is signed is the record without the signature: the same list with a
	// header of its own.
	content, _, err := rlp.SplitList(r.rlp)
	if err != nil {
		return false
	}
	_, _, rest, err := rlp.Split(content)
	if err != nil {
		return false
	}
	signed, err := rlp.EncodeToBytes(rawList(rest))
	if err != nil {
		return false
	}
	return gethcrypto.VerifySignature(r.PublicKey(), gethcrypto.Keccak256(signed), r.Signature[:])
}

// rawList splits the content of an RLP list into its elements.
func rawList(content []byte) (elements []rlp.RawValue) {
	for len(content) > 0 {
		_, _, rest, err := rlp.Split(content)
		if err != nil {
			return nil
		}
		elements = append(elements, content[:len(content)-len(rest)])
		content = rest
	}
	return elements
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
	if b := r.Get(key); len(b) <= 2 {
		return uint16(bigEndian(b))
	}
	return 0
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
