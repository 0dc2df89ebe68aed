package config

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// nodeKeySize is the length of a secp256k1 secret key in bytes.
const nodeKeySize = 32

// NodeKey is the identity of a node on the network: a secp256k1 key from which the libp2p peer id and the
// ENR's node id both follow. Printing it shows the peer id, never the secret.
//
// leanSpec: node/networking/transport/identity/keypair.py, IdentityKeypair.
type NodeKey struct {
	ecdsa *ecdsa.PrivateKey
	priv  crypto.PrivKey
	id    peer.ID
}

// LoadNodeKey reads a <node>.key file: the 32 bytes of a secp256k1 secret key in hex, with or without 0x, and
// blanks or a line break around it. Errors are of type [*Error] and do not show what is in the file.
func LoadNodeKey(path string) (*NodeKey, error) {
	data, err := ReadText(path, maxNodeKeySize)
	if _, problem := decodeHex(path, nodeKeySize); problem == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Field: "node key", Problem: "want the name of a file that holds the key, got a key"} // a secret
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

// LoadOrMakeNodeKey reads a <node>.key file, and makes it, with a new random identity, where it is not there.
func LoadOrMakeNodeKey(path string) (*NodeKey, error) {
	key, err := LoadNodeKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = GenerateNodeKey(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, osError(filepath.Dir(path), err)
	}
	// Written aside and linked into place: never half a key, and never over one that was made at the same time.
	file, err := os.CreateTemp(filepath.Dir(path), ".node.key-*") // 0600
	if err != nil {
		return nil, osError(path, err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(key.Hex() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, osError(path, err)
	}
	switch err := os.Link(file.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return LoadNodeKey(path)
	case err != nil:
		return nil, osError(path, err)
	}
	// The peer id is about to be shown: its file survives a power cut, and so does the folder.
	dir := filepath.Dir(path)
	if err := errors.Join(syncFolder(dir), syncFolder(filepath.Dir(dir))); err != nil {
		return nil, osError(path, err)
	}
	return key, nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// GenerateNodeKey makes a new random identity.
func GenerateNodeKey() (*NodeKey, error) {
	secret, err := gethcrypto.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("generate a node key: %w", err)
	}
	raw := gethcrypto.FromECDSA(secret)
	defer clear(raw)
	return newNodeKey(raw)
}

// newNodeKey checks that raw is a number from 1 to the group's order less 1.
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

// PrivKey is the key in libp2p's form.
func (k *NodeKey) PrivKey() crypto.PrivKey { return k.priv }

// PeerID is the libp2p peer id; its text begins with 16Uiu2.
//
// leanSpec: node/networking/transport/peer_id.py, PeerId.
func (k *NodeKey) PeerID() peer.ID { return k.id }

// Hex is the secret, as it stands in the file: 64 hex digits without 0x.
func (k *NodeKey) Hex() string {
	raw := gethcrypto.FromECDSA(k.ecdsa)
	defer clear(raw)
	return hex.EncodeToString(raw)
}

// String is the peer id.
func (k *NodeKey) String() string { return k.id.String() }

// GoString keeps the secret out of %#v.
func (k *NodeKey) GoString() string { return "config.NodeKey(" + k.id.String() + ")" }
