// Package config reads and checks the files of operators: the genesis, the assignment of validators to nodes, the manifest of
// their keys, the XMSS key files and the node keys.
//
// The files exist in two dialects: leanSpec's, and that of lean-quickstart and the other clients. The package reads both. See
// [LoadGenesis] and [LoadValidatorKeys] for their forms. Package devnet writes such files.
//
// People and other programs write these files, so they are checked completely before any of their contents is used: sizes are
// bounded and nothing is guessed. Each failure is an [Error]: one line that names the file, the field and the value.
package config

import (
	"strconv"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// RegistryLimit is the largest number of validators in a genesis.
const RegistryLimit = lstar.ValidatorRegistryLimit

// PublicKeySize is the size of an XMSS public key in bytes, in every scheme.
const PublicKeySize = xmss.PublicKeySize

// The names of the files in the folder of a network.
const (
	GenesisFile    = "config.yaml"
	AssignmentFile = "validators.yaml"
	AnnotatedFile  = "annotated_validators.yaml"
	NodesFile      = "nodes.yaml"
	SetupFile      = "validator-config.yaml"
	KeysDir        = "hash-sig-keys"
	ManifestFile   = "validator-keys-manifest.yaml" // in KeysDir
)

// Role is the kind of message that a key signs. A validator has one key for each role, so that it can sign an attestation and a
// block in the same slot without using a one-time key twice.
type Role int

// The two roles.
const (
	Attestation Role = iota
	Proposal
)

// Roles are all roles, in the order of their values.
var Roles = [...]Role{Attestation, Proposal}

// String returns "attestation" or "proposal", as leanSpec names the roles.
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

// Schemes returns the XMSS schemes that keys can have, the default first.
func Schemes() []*xmss.Scheme { return []*xmss.Scheme{xmss.Prod, xmss.Test} }
