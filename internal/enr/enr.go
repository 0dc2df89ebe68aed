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
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/crypto"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
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

// The entries of a record that go-ethereum does not define.
const (
	eth2Key         = "eth2"
	isAggregatorKey = "is_aggregator"
	publicKeyKey    = "secp256k1"
)

// Record is an immutable node record. An entry that has no accessor may have any form and stays as it was signed.
// An accessor returns its zero value for an entry that is absent or malformed.
//
// leanSpec: node/networking/enr/enr.py, ENR
type Record struct{ record gethenr.Record }

// Parse decodes the text form: "enr:" and URL-safe base64, with or without padding. It does not verify the signature.
//
// leanSpec: node/networking/enr/enr.py, ENR.from_string
func Parse(s string) (*Record, error) {
	text, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return nil, invalid("want the prefix %s", prefix)
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(gethenr.SizeLimit)+3 {
		return nil, invalid("want at most %d bytes", gethenr.SizeLimit)
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
	if len(b) > gethenr.SizeLimit {
		return nil, invalid("got %d bytes, want at most %d", len(b), gethenr.SizeLimit)
	}
	var r Record
	if err := rlp.DecodeBytes(b, &r.record); err != nil {
		return nil, invalid("want an RLP list of a signature, a sequence number, and keys in ascending order with their values")
	}
	if n := len(r.record.Signature()); n != signatureSize {
		return nil, invalid("got a signature of %d bytes, want %d", n, signatureSize)
	}
	for i, element := range r.elements() {
		// The first element is the sequence number; keys and values alternate after it.
		if key, ok := element.(string); i%2 == 1 && ok && !utf8.ValidString(key) {
			return nil, invalid("key is not UTF-8")
		}
	}
	return &r, nil
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
func Sign(key *ecdsa.PrivateKey, c Content) (*Record, error) {
	if !c.Addr.Addr().Is4() || c.Addr.Port() == 0 {
		return nil, fmt.Errorf("ENR: address: got %q, want an IPv4 address with a port", c.Addr)
	}
	// No fork is planned, so the version of the next one is 0 and its epoch is the farthest.
	eth2, err := binary.Append(nil, binary.LittleEndian, Eth2{ForkDigest: c.ForkDigest, NextForkEpoch: math.MaxUint64})
	if err != nil {
		return nil, err
	}
	var r Record
	r.record.SetSeq(c.Seq)
	r.record.Set(gethenr.IPv4Addr(c.Addr.Addr()))
	r.record.Set(gethenr.UDP(c.Addr.Port()))
	r.record.Set(gethenr.QUIC(c.Addr.Port()))
	r.record.Set(gethenr.WithEntry(eth2Key, eth2))
	if c.IsAggregator {
		r.record.Set(gethenr.WithEntry(isAggregatorKey, []byte{1}))
	}
	r.record.Set(gethenr.IDv4)
	r.record.Set(gethenr.WithEntry(publicKeyKey, crypto.CompressPubkey(&key.PublicKey)))

	signature, err := crypto.Sign(r.signedHash(), key)
	if err != nil {
		return nil, err
	}
	// The record holds r and s of the signature, without the recovery id after them.
	b, err := rlp.EncodeToBytes(append([]any{signature[:signatureSize]}, r.elements()...))
	if err != nil {
		return nil, err
	}
	return Decode(b)
}

// elements returns the signed part of the record: the sequence number, then each key with its value.
func (r *Record) elements() []any { return r.record.AppendElements(nil) }

// signedHash returns the hash that the signature covers. The encoding cannot fail: the elements are an integer, strings and RLP.
func (r *Record) signedHash() []byte {
	b, _ := rlp.EncodeToBytes(r.elements())
	return crypto.Keccak256(b)
}

// String returns the text form, without padding.
func (r *Record) String() string { return prefix + base64.RawURLEncoding.EncodeToString(r.RLP()) }

// RLP returns the encoding of the record. It cannot fail, because [Decode] and [Sign] return signed records only.
func (r *Record) RLP() []byte {
	b, _ := rlp.EncodeToBytes(&r.record)
	return b
}

// Seq returns the sequence number.
func (r *Record) Seq() uint64 { return r.record.Seq() }

// Signature returns the signature, of 64 bytes.
func (r *Record) Signature() []byte { return r.record.Signature() }

// Get returns the value of an entry, or nil if it is absent or not a byte string.
func (r *Record) Get(key string) (value []byte) {
	if r.record.Load(gethenr.WithEntry(key, &value)) != nil {
		return nil
	}
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
	return r.record.IdentityScheme() == string(gethenr.IDv4) && r.PublicKey() != nil
}

// VerifySignature reports whether the key in the record signed it.
//
// leanSpec: node/networking/enr/enr.py, verify_signature
func (r *Record) VerifySignature() bool {
	key := r.PublicKey()
	return key != nil && crypto.VerifySignature(key, r.signedHash(), r.Signature())
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
