package config

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxPeerNames and maxPeerName limit the number and the size, in bytes, of the names that a file can add to metrics.
const (
	maxPeerNames = 256
	maxPeerName  = 64
)

// LoadPeerNames returns the names of a network's nodes by their peer ids, from validator-config.yaml in a folder. It returns
// no names and no error if the file does not exist. Errors are of type [*Error] and never show a secret key.
func LoadPeerNames(folder string) (map[peer.ID]string, error) {
	path := filepath.Join(folder, SetupFile)
	data, err := ReadText(path, maxYAMLSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer clear(data)
	names, err := parsePeerNames(path, data)
	var failure *Error
	if errors.As(err, &failure) {
		failure.Value = "" // any value in the file may be a key in the wrong place
	}
	return names, err
}

func parsePeerNames(path string, data []byte) (map[peer.ID]string, error) {
	root, err := parseYAML(path, data)
	if err != nil || root.isNull() {
		return nil, err
	}
	fields, err := root.mapping()
	if err != nil {
		return nil, err
	}
	validators, err := fields.get("validators")
	if err != nil {
		return nil, err
	}
	items, err := validators.listOrNothing()
	if err != nil {
		return nil, err
	}
	if len(items) > maxPeerNames {
		return nil, validators.errorf("want at most %d nodes, got %d", maxPeerNames, len(items))
	}
	names := make(map[peer.ID]string, len(items))
	for _, item := range items {
		entry, err := item.mapping()
		if err != nil {
			return nil, err
		}
		nameNode, err := entry.get("name")
		if err != nil {
			return nil, err
		}
		name, err := nameNode.text()
		if err != nil {
			return nil, err
		}
		if name == "" || len(name) > maxPeerName {
			return nil, nameNode.errorf("want a name of 1 to %d bytes", maxPeerName)
		}
		keyNode, err := entry.get("privkey")
		if err != nil {
			return nil, err
		}
		text, err := keyNode.text()
		if err != nil {
			return nil, &Error{File: path, Field: keyNode.field, Problem: "want a node key in hex"}
		}
		key, err := parseNodeKey(path, []byte(text))
		if err != nil {
			return nil, &Error{File: path, Field: keyNode.field, Problem: "not a node key: want 32 bytes in hex"}
		}
		names[key.PeerID()] = name
	}
	return names, nil
}
