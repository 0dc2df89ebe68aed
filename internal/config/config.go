// Package config reads, checks and writes the files of a lean network: the genesis, the assignment of
// validators to nodes, the manifest of their keys, the XMSS key files and the nodes' identity keys.
//
// Two dialects of these files are in use, leanSpec's own and that of lean-quickstart and the other clients.
// Both are read; [WriteDevnet] writes either. See [LoadGenesis] and [LoadValidatorKeys] for the forms.
//
// Everything read here was written by people or by other programs, so it is checked completely before any of
// it is used: sizes are bounded, nothing is guessed, and each failure is an [Error] of one line that names the
// file, the field and the value.
package config

import (
	"strconv"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// RegistryLimit is the largest number of validators that a genesis may have.
const RegistryLimit = lstar.ValidatorRegistryLimit

// PublicKeySize is the length of an XMSS public key in bytes, in every scheme.
const PublicKeySize = xmss.PublicKeySize

// The names that the files of a network have in its folder.
const (
	genesisFile   = "config.yaml"
	assignedFile  = "validators.yaml"
	annotatedFile = "annotated_validators.yaml"
	nodesFile     = "nodes.yaml"
	setupFile     = "validator-config.yaml"
	keysDir       = "hash-sig-keys"
	manifestFile  = "validator-keys-manifest.yaml"
)

// Role is what a validator signs with a key. Each validator has one key for each role, so that it can sign an
// attestation and a block in one slot without using a one-time key twice.
type Role int

// The two roles.
const (
	Attestation Role = iota
	Proposal
)

var roles = [...]Role{Attestation, Proposal}

// String is the role in leanSpec's words: "attestation" or "proposal".
func (r Role) String() string {
	switch r {
	case Attestation:
		return "attestation"
	case Proposal:
		return "proposal"
	default:
		return "role " + strconv.Itoa(int(r))
	}
}

// KeyFileName is the name of the file that holds a key of the validator called name, for example
// "validator_0": the names of lean-quickstart's key generator, from which the other clients read the role.
func KeyFileName(name string, role Role, secret bool) string {
	s := name + "_attester_key"
	if role == Proposal {
		s = name + "_proposer_key"
	}
	if secret {
		return s + "_sk.ssz"
	}
	return s + "_pk.ssz"
}

// Schemes are the XMSS schemes that keys can have, in the order in which a user is told of them.
func Schemes() []*xmss.Scheme { return []*xmss.Scheme{xmss.Prod, xmss.Test} }
