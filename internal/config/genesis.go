package config

import (
	"fmt"
	"slices"
)

// LatestGenesisTime is the last second of the year 9999, in Unix seconds. A later time is a mistake: most often it is in
// milliseconds.
const LatestGenesisTime = 253402300799

// maxUnknownKeys limits the number of unknown keys that are listed.
const maxUnknownKeys = 8

// Genesis is the data that all nodes of a network must share: the start of slot 0 and the validators.
//
// leanSpec: node/genesis.py, GenesisConfig
type Genesis struct {
	// Path is the path of the file, as given.
	Path string
	// GenesisTime is the start of slot 0 in Unix seconds.
	GenesisTime uint64
	// Validators are the validators at slot 0, in the order of their indices.
	Validators []GenesisValidator
	// AttestationCommitteeCount is the number of attestation subnets. The default is 1.
	AttestationCommitteeCount uint64
	// UnknownKeys are the top-level keys that neither this node nor another client reads, each with the nearest key that this
	// node reads. They have no effect and may be misspelled.
	UnknownKeys []string
}

// The top-level keys that this node reads, and those that only other clients read. The latter do not include keys that change the
// rules of the chain, such as the length of a slot, so that they are reported as unknown.
var (
	genesisKeys      = []string{"GENESIS_TIME", "ATTESTATION_COMMITTEE_COUNT", "GENESIS_VALIDATORS"}
	otherGenesisKeys = []string{"ACTIVE_EPOCH", "VALIDATOR_COUNT", "LOG_INV_RATE"}
)

// GenesisValidator has the two XMSS public keys of a validator, SSZ encoded.
type GenesisValidator struct {
	AttestationPublicKey [PublicKeySize]byte
	ProposalPublicKey    [PublicKeySize]byte
}

// PublicKey returns the validator's key for a role.
func (v *GenesisValidator) PublicKey(role Role) [PublicKeySize]byte {
	if role == Proposal {
		return v.ProposalPublicKey
	}
	return v.AttestationPublicKey
}

// LoadGenesis reads and checks a network's config.yaml:
//
//	GENESIS_TIME: 1763712794
//	GENESIS_VALIDATORS:
//	  - attestation_public_key: "0x4b3c…"   # or attestation_pubkey
//	    proposal_public_key: "0x8df3…"      # or proposal_pubkey
//	ATTESTATION_COMMITTEE_COUNT: 1          # optional
//
// Keys are 104 hex digits with or without 0x, quoted or not. Other top-level keys are ignored, and listed as UnknownKeys unless
// another client reads them. A key that appears twice in the registry, in any roles, is an error: a signature of one role or
// validator would be valid for another.
//
// Errors are of type [*Error].
//
// leanSpec: node/genesis.py, GenesisConfig.from_yaml_file
func LoadGenesis(path string) (*Genesis, error) {
	data, err := ReadText(path, maxYAMLSize)
	if err != nil {
		return nil, err
	}
	return parseGenesis(path, data)
}

func parseGenesis(path string, data []byte) (*Genesis, error) {
	root, err := parseMapping(path, data)
	if err != nil {
		return nil, err
	}
	genesis := &Genesis{Path: path, AttestationCommitteeCount: 1}
	for _, key := range []string{"GENESIS_TIME", "GENESIS_VALIDATORS"} {
		if !root.has(key) {
			return nil, root.missing(key)
		}
	}
	for _, field := range root.fields {
		switch field.key {
		case "GENESIS_TIME":
			if genesis.GenesisTime, err = field.value.integer(); err != nil {
				return nil, err
			}
			if genesis.GenesisTime > LatestGenesisTime {
				return nil, field.value.errorf("want Unix seconds, got a time after the year 9999")
			}
		case "ATTESTATION_COMMITTEE_COUNT":
			count, err := field.value.integer()
			if err != nil {
				return nil, err
			}
			if count < 1 || count > RegistryLimit {
				return nil, field.value.errorf("want 1 to %d", RegistryLimit)
			}
			genesis.AttestationCommitteeCount = count
		case "GENESIS_VALIDATORS":
			if genesis.Validators, err = parseGenesisValidators(field.value); err != nil {
				return nil, err
			}
		default:
			if !slices.Contains(otherGenesisKeys, field.key) && len(genesis.UnknownKeys) < maxUnknownKeys {
				genesis.UnknownKeys = append(genesis.UnknownKeys, DescribeUnknown(field.key, genesisKeys))
			}
		}
	}
	return genesis, nil
}

func parseGenesisValidators(node yamlNode) ([]GenesisValidator, error) {
	if node.isNull() {
		return nil, node.errorf("want at least one validator")
	}
	items, err := node.list()
	switch {
	case err != nil:
		return nil, err
	case len(items) == 0:
		return nil, &Error{File: node.file, Field: node.field, Problem: "want at least one validator, got none"}
	case len(items) > RegistryLimit:
		return nil, &Error{File: node.file, Field: node.field, Problem: fmt.Sprintf("want at most %d validators, got %d", RegistryLimit, len(items))}
	}
	validators := make([]GenesisValidator, len(items))
	usedAt := make(map[[PublicKeySize]byte]string, 2*len(items))
	for i, item := range items {
		keys, err := parseGenesisValidator(item)
		if err != nil {
			return nil, err
		}
		for role, key := range keys {
			value, err := key.publicKey()
			if err != nil {
				return nil, err
			}
			if first, used := usedAt[value]; used {
				return nil, key.errorf("the same public key as %s", first)
			}
			usedAt[value] = key.field
			if Role(role) == Attestation {
				validators[i].AttestationPublicKey = value
			} else {
				validators[i].ProposalPublicKey = value
			}
		}
	}
	return validators, nil
}

// genesisKeyFields are the names of the public keys in GENESIS_VALIDATORS: of leanSpec, and of lean-quickstart.
var genesisKeyFields = [len(Roles)][]string{
	Attestation: {"attestation_public_key", "attestation_pubkey"},
	Proposal:    {"proposal_public_key", "proposal_pubkey"},
}

// parseGenesisValidator finds the two keys of an entry, in either dialect. Like leanSpec, it returns an error for unknown fields:
// ignoring one could give a validator that differs from the intended one.
func parseGenesisValidator(item yamlNode) (keys [len(Roles)]yamlNode, err error) {
	entry, err := item.mapping()
	if err != nil {
		return keys, err
	}
	for _, field := range entry.fields {
		if !slices.Contains(slices.Concat(genesisKeyFields[:]...), field.key) {
			return keys, &Error{File: item.file, Field: field.value.field, Problem: "unknown field of a validator"}
		}
	}
	for _, role := range Roles {
		if keys[role], err = entry.get(genesisKeyFields[role]...); err != nil {
			return keys, err
		}
	}
	return keys, nil
}
