// Package enr decodes, verifies and signs Ethereum node records (EIP-778, identity scheme v4) in the form of leanSpec.
//
// A record comes from a peer or an operator, so it is decoded strictly: its size is bounded, the encoding must be canonical,
// and every decoding error wraps [ErrInvalid].
//
// leanSpec: node/networking/enr
package enr

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"
)

// ErrInvalid is wrapped by the errors of [Parse] and [Decode].
var ErrInvalid = errors.New("invalid ENR")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

const (
	prefix        = "enr:"
	signatureSize = 64
	publicKeySize = 33 // compressed secp256k1
)

// sizeLimit is the largest size of a record, in bytes.
const sizeLimit = 300

// scheme is the identity scheme of the records, in the entry id.
const scheme = "v4"

// The entries of a record with their own accessors.
const (
	eth2Key         = "eth2"
	isAggregatorKey = "is_aggregator"
	publicKeyKey    = "secp256k1"
)

// Record is an immutable node record. An entry that has no accessor may have any form and stays as it was signed.
// An accessor returns its zero value for an entry that is absent or malformed.
//
// leanSpec: node/networking/enr/enr.py, ENR
type Record struct {
	signature []byte
	signed    []byte // RLP of the sequence number, then of each key and its value
	seq       uint64
	entries   map[string][]byte // RLP of the values
}

// Parse decodes the text form: "enr:" and URL-safe base64, with or without padding. It does not verify the signature.
//
// leanSpec: node/networking/enr/enr.py, ENR.from_string
func Parse(s string) (*Record, error) {
	text, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return nil, invalid("want the prefix %s", prefix)
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(sizeLimit)+3 {
		return nil, invalid("want at most %d bytes", sizeLimit)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, invalid("not base64")
	}
	return Decode(b)
}

// Decode decodes the RLP of a record, which must fill b. It does not verify the signature.
//
// leanSpec: node/networking/enr/enr.py, ENR.from_rlp
func Decode(b []byte) (*Record, error) {
	if len(b) > sizeLimit {
		return nil, invalid("got %d bytes, want at most %d", len(b), sizeLimit)
	}
	r := &Record{entries: make(map[string][]byte)}
	kind, items, rest, err := splitItem(bytes.Clone(b))
	if err != nil || kind != rlpList || len(rest) > 0 || !r.decode(items) {
		return nil, invalid("want an RLP list of a signature, a sequence number, and keys in ascending order with their values")
	}
	if n := len(r.signature); n != signatureSize {
		return nil, invalid("got a signature of %d bytes, want %d", n, signatureSize)
	}
	for key := range r.entries {
		if !utf8.ValidString(key) {
			return nil, invalid("key is not UTF-8")
		}
	}
	return r, nil
}

// decode decodes the items of a record, and reports whether they are valid.
func (r *Record) decode(items []byte) bool {
	var seq []byte
	var err error
	if r.signature, r.signed, err = splitString(items); err != nil {
		return false
	}
	seq, items, err = splitString(r.signed)
	if err != nil || len(seq) > 8 || len(seq) > 0 && seq[0] == 0 {
		return false
	}
	for _, b := range seq {
		r.seq = r.seq<<8 | uint64(b)
	}
	for last := ""; len(items) > 0; {
		key, value, err := splitString(items)
		if err != nil || len(r.entries) > 0 && string(key) <= last {
			return false
		}
		if _, _, items, err = splitItem(value); err != nil {
			return false
		}
		last = string(key)
		r.entries[last] = value[:len(value)-len(items)]
	}
	return true
}

// Content is the information that a node publishes in its record.
type Content struct {
	// Seq is the version of the record. A later record of the same node must have a larger one.
	Seq uint64
	// Addr is the IPv4 address and the UDP port of the node's QUIC listener. The port goes into both port entries, quic
	// and udp.
	Addr netip.AddrPort
	// ForkDigest identifies the network. See [ForkDigest].
	ForkDigest [4]byte
	// IsAggregator announces that the node aggregates votes.
	IsAggregator bool
}

// Sign returns the record of the node whose identity is key. It returns an error if the address is not IPv4 or the port is 0.
// The result is deterministic.
//
// leanSpec: node/networking/enr/enr.py, ENR
func Sign(key *secp256k1.PrivateKey, c Content) (*Record, error) {
	if !c.Addr.Addr().Is4() || c.Addr.Port() == 0 {
		return nil, fmt.Errorf("ENR: address: got %q, want an IPv4 address with a port", c.Addr)
	}
	// No fork is planned, so the version of the next one is 0 and its epoch is the farthest.
	eth2, err := binary.Append(nil, binary.LittleEndian, Eth2{ForkDigest: c.ForkDigest, NextForkEpoch: math.MaxUint64})
	if err != nil {
		return nil, err
	}
	ip, port := c.Addr.Addr().As4(), number(uint64(c.Addr.Port()))
	signed := appendItem(nil, rlpString, number(c.Seq))
	for _, entry := range []struct {
		key   string
		value []byte
	}{
		{eth2Key, eth2}, {"id", []byte(scheme)}, {"ip", ip[:]}, {isAggregatorKey, []byte{1}},
		{"quic", port}, {publicKeyKey, key.PubKey().SerializeCompressed()}, {"udp", port},
	} {
		if entry.key != isAggregatorKey || c.IsAggregator {
			signed = appendItem(appendItem(signed, rlpString, []byte(entry.key)), rlpString, entry.value)
		}
	}
	// The record holds r and s of the signature, without the recovery code before them.
	signature := ecdsa.SignCompact(key, hash(signed), false)[1:]
	return Decode((&Record{signature: signature, signed: signed}).RLP())
}

// hash returns the hash that the signature covers.
func hash(signed []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(appendItem(nil, rlpList, signed))
	return h.Sum(nil)
}

// String returns the text form, without padding.
func (r *Record) String() string { return prefix + base64.RawURLEncoding.EncodeToString(r.RLP()) }

// RLP returns the encoding of the record.
func (r *Record) RLP() []byte {
	return appendItem(nil, rlpList, append(appendItem(nil, rlpString, r.signature), r.signed...))
}

// Seq returns the sequence number.
func (r *Record) Seq() uint64 { return r.seq }

// Signature returns the signature, of 64 bytes.
func (r *Record) Signature() []byte { return r.signature }

// Get returns the value of an entry, or nil if it is absent or not a byte string.
func (r *Record) Get(key string) (value []byte) {
	value, _, _ = splitString(r.entries[key])
	return value
}

// PublicKey returns the compressed secp256k1 key of 33 bytes, or nil.
func (r *Record) PublicKey() []byte {
	if key := r.Get(publicKeyKey); len(key) == publicKeySize {
		return key
	}
	return nil
}

// Valid reports whether the record has an identity of scheme v4. It does not verify the signature.
//
// leanSpec: node/networking/enr/enr.py, is_valid
func (r *Record) Valid() bool {
	return string(r.Get("id")) == scheme && r.PublicKey() != nil
}

// VerifySignature reports whether the key in the record signed it.
//
// leanSpec: node/networking/enr/enr.py, verify_signature
func (r *Record) VerifySignature() bool {
	key, err := secp256k1.ParsePubKey(r.PublicKey())
	var sigR, sigS secp256k1.ModNScalar
	if err != nil || sigR.SetByteSlice(r.signature[:32]) || sigS.SetByteSlice(r.signature[32:]) {
		return false
	}
	// Of the two signatures with the same r, only the one with the smaller s is valid.
	return !sigS.IsOverHalfOrder() && ecdsa.NewSignature(&sigR, &sigS).Verify(hash(r.signed), key)
}

// IP4 returns the IPv4 address.
func (r *Record) IP4() netip.Addr {
	if ip := r.Get("ip"); len(ip) == 4 {
		return netip.AddrFrom4([4]byte(ip))
	}
	return netip.Addr{}
}

// Port returns the port of the entry "quic" or "udp", and 0 if there is none. Like leanSpec, it accepts leading zeros.
func (r *Record) Port(key string) uint16 {
	b := r.Get(key)
	if len(b) > 2 {
		return 0
	}
	return binary.BigEndian.Uint16(append(make([]byte, 2-len(b)), b...))
}

// Multiaddr returns the address to dial: the QUIC port if there is one, otherwise the UDP port. It returns "" for a record
// without an address.
//
// leanSpec: node/networking/enr/enr.py, multiaddr
func (r *Record) Multiaddr() string {
	port := cmp.Or(r.Port("quic"), r.Port("udp"))
	if !r.IP4().IsValid() || port == 0 {
		return ""
	}
	return "/ip4/" + r.IP4().String() + "/udp/" + strconv.Itoa(int(port)) + "/quic-v1"
}

// Eth2 is the eth2 entry: the fork of a node's network. The epoch is little-endian.
//
// leanSpec: node/networking/enr/eth2.py, Eth2Data
type Eth2 struct {
	ForkDigest, NextForkVersion [4]byte
	NextForkEpoch               uint64
}

// Eth2 returns the eth2 entry, and whether there is one.
func (r *Record) Eth2() (e Eth2, ok bool) {
	_, err := binary.Decode(r.Get(eth2Key), binary.LittleEndian, &e)
	return e, err == nil
}

// IsAggregator reports whether the node announces that it aggregates votes.
func (r *Record) IsAggregator() bool { return bytes.Equal(r.Get(isAggregatorKey), []byte{1}) }

// DefaultForkDigest is the fork digest of the default network name, 12345678.
//
// leanSpec: spec/forks/lstar/spec.py, LstarSpec.GOSSIP_DIGEST
var DefaultForkDigest = [4]byte{0x12, 0x34, 0x56, 0x78}

// ForkDigest returns the fork digest for a network name: the four bytes of a name that is eight hexadecimal digits, and
// [DefaultForkDigest] for any other name.
func ForkDigest(networkName string) (digest [4]byte) {
	v, err := strconv.ParseUint(networkName, 16, 32)
	if err != nil || len(networkName) != 8 {
		return DefaultForkDigest
	}
	binary.BigEndian.PutUint32(digest[:], uint32(v))
	return digest
}
