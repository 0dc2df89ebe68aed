package config

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// ENROptions are what a node record says beside the node's identity.
type ENROptions struct {
	// Seq is the version of the record; a later record of the same node has a larger one. 0 means 1.
	Seq uint64
	// IP is the IPv4 address at which peers reach the node.
	IP netip.Addr
	// UDP and QUIC are ports, not 0. leanSpec dials the QUIC port, and the UDP port of records without one.
	UDP, QUIC uint16
	// ForkDigest is the network's fork, the first 4 bytes of the eth2 entry.
	ForkDigest [4]byte
	// IsAggregator says that the node aggregates attestations.
	IsAggregator bool
}

// DefaultForkDigest is the digest of the network "12345678", the default network name.
//
// leanSpec: spec/forks/lstar/spec.py, LstarSpec.GOSSIP_DIGEST.
var DefaultForkDigest = [4]byte{0x12, 0x34, 0x56, 0x78}

// ENR is the node's signed record in its text form, "enr:" and base64 (EIP-778, identity scheme v4). It has the
// entries id, secp256k1, ip, udp, quic and eth2, and is_aggregator where set.
//
// leanSpec: node/networking/enr/enr.py, ENR.
func (k *NodeKey) ENR(options ENROptions) (string, error) {
	if !options.IP.Is4() {
		return "", &Error{Field: "ip", Value: quote(options.IP.String()), Problem: "want an IPv4 address"}
	}
	if options.UDP == 0 || options.QUIC == 0 {
		return "", &Error{Field: "udp and quic", Problem: "want ports from 1 to 65535"}
	}
	// eth2 is the fork digest, the next fork's version and the next fork's epoch (uint64, little-endian). No
	// fork is planned: the version stays 0 and the epoch is the farthest one.
	//
	// leanSpec: node/networking/enr/eth2.py, Eth2Data, FAR_FUTURE_EPOCH.
	var eth2 [16]byte
	copy(eth2[:4], options.ForkDigest[:])
	binary.LittleEndian.PutUint64(eth2[8:], math.MaxUint64)

	var record enr.Record
	record.SetSeq(max(options.Seq, 1))
	record.Set(enr.IPv4Addr(options.IP))
	record.Set(enr.UDP(options.UDP))
	record.Set(enr.QUIC(options.QUIC))
	record.Set(enr.WithEntry("eth2", eth2[:]))
	if options.IsAggregator {
		record.Set(enr.WithEntry("is_aggregator", []byte{1}))
	}
	record.Set(enr.IDv4)
	record.Set(enr.WithEntry("secp256k1", gethcrypto.CompressPubkey(&k.ecdsa.PublicKey)))

	content, err := rlp.EncodeToBytes(record.AppendElements(nil))
	if err != nil {
		return "", err
	}
	signature, err := gethcrypto.Sign(gethcrypto.Keccak256(content), k.ecdsa)
	if err != nil {
		return "", err
	}
	// The record holds r and s, not the recovery id that follows them.
	if err := record.SetSig(identityV4{}, signature[:64]); err != nil {
		return "", err
	}
	encoded, err := rlp.EncodeToBytes(&record)
	if err != nil {
		return "", err
	}
	return "enr:" + base64.RawURLEncoding.EncodeToString(encoded), nil
}

// identityV4 is the identity scheme "v4" of EIP-778. go-ethereum's own stands in a package that brings a
// database with it.
type identityV4 struct{}

var errSignature = errors.New("the signature is not the key's")

// Verify implements [enr.IdentityScheme].
func (identityV4) Verify(record *enr.Record, signature []byte) error {
	var compressed []byte
	if err := record.Load(enr.WithEntry("secp256k1", &compressed)); err != nil {
		return err
	}
	content, err := rlp.EncodeToBytes(record.AppendElements(nil))
	if err != nil {
		return err
	}
	if !gethcrypto.VerifySignature(compressed, gethcrypto.Keccak256(content), signature) {
		return errSignature
	}
	return nil
}

// NodeAddr implements [enr.IdentityScheme]: the node id, or nil if the record has no valid key.
func (identityV4) NodeAddr(record *enr.Record) []byte {
	var compressed []byte
	if err := record.Load(enr.WithEntry("secp256k1", &compressed)); err != nil {
		return nil
	}
	public, err := gethcrypto.DecompressPubkey(compressed)
	if err != nil {
		return nil
	}
	return gethcrypto.Keccak256(gethcrypto.FromECDSAPub(public)[1:])
}
