package config

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// nodeKeySize is the size of a secp256k1 secret key in bytes.
const nodeKeySize = 32

// NodeKey is the identity of a node in the network: a secp256k1 key that determines the libp2p peer id and the record of the
// node. Printing it shows the peer id, never the secret.
//
// leanSpec: node/networking/transport/identity/keypair.py, IdentityKeypair
type NodeKey struct {
	ecdsa *ecdsa.PrivateKey
	priv  crypto.PrivKey
	id    peer.ID
}

// LoadNodeKey reads a <node>.key file: the 32 bytes of a secp256k1 secret key in hex, with or without 0x, with optional blanks
// and line breaks around it. Errors are of type [*Error] and do not show the contents of the file.
func LoadNodeKey(path string) (*NodeKey, error) {
	data, err := ReadText(path, maxNodeKeySize)
	if _, problem := decodeHex(path, nodeKeySize); problem == "" && errors.Is(err, fs.ErrNotExist) {
		// The path is a key itself, so the error must not show it.
		return nil, &Error{Setting: setting.NodeKey, Problem: "want the name of a file that holds the key, got a key"}
	}
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return parseNodeKey(path, data)
}

func parseNodeKey(path string, data []byte) (*NodeKey, error) {
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return nil, fileError(path, "empty file")
	}
	raw, problem := decodeHex(string(text), nodeKeySize)
	if problem != "" {
		return nil, fileError(path, "not a node key: %s", problem)
	}
	defer clear(raw)
	key, err := newNodeKey(raw)
	if err != nil {
		return nil, fileError(path, "not a node key: not a secp256k1 secret key (zero, or not below the order of the group)")
	}
	return key, nil
}

// GenerateNodeKey returns a new random identity.
func GenerateNodeKey() (*NodeKey, error) {
	secret, err := gethcrypto.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("generate a node key: %w", err)
	}
	raw := gethcrypto.FromECDSA(secret)
	defer clear(raw)
	return newNodeKey(raw)
}

// newNodeKey returns an error unless raw is a number from 1 to the order of the group minus 1.
func newNodeKey(raw []byte) (*NodeKey, error) {
	secret, err := gethcrypto.ToECDSA(raw)
	if err != nil {
		return nil, err
	}
	priv, err := crypto.UnmarshalSecp256k1PrivateKey(raw)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(priv)
	if err != nil {
		return nil, err
	}
	return &NodeKey{secret, priv, id}, nil
}

// ECDSA returns the key in the form of the standard library, for signing node records.
func (k *NodeKey) ECDSA() *ecdsa.PrivateKey { return k.ecdsa }

// PrivKey returns the key in the form of libp2p.
func (k *NodeKey) PrivKey() crypto.PrivKey { return k.priv }

// PeerID returns the libp2p peer id. Its text begins with 16Uiu2.
//
// leanSpec: node/networking/transport/peer_id.py, PeerId
func (k *NodeKey) PeerID() peer.ID { return k.id }

// Hex returns the secret in the form of the file: 64 hex digits without 0x.
func (k *NodeKey) Hex() string {
	raw := gethcrypto.FromECDSA(k.ecdsa)
	defer clear(raw)
	return hex.EncodeToString(raw)
}

// String returns the peer id.
func (k *NodeKey) String() string { return k.id.String() }

// GoString keeps the secret out of %#v.
func (k *NodeKey) GoString() string { return "config.NodeKey(" + k.id.String() + ")" }
