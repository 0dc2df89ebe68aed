package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// keyEntry has the places of a validator's two secret keys, and the public keys that they must have.
type keyEntry struct {
	index uint64
	field string // place in the file
	keys  [len(Roles)]keyReference
}

// keyReference is one key of an entry. The zero value stands for a key that the file does not name.
type keyReference struct {
	file      string              // path of the secret key, relative to the folder of keys
	fileField string              // place of that path
	public    [PublicKeySize]byte // public key in the file
	publicAt  yamlNode            // place of the public key
}

// The names of the fields of an entry: of leanSpec, of lean-quickstart's key generator, and of gean.
var (
	publicKeyFields = [len(Roles)][]string{
		Attestation: {"attestation_public_key_hex", "attester_key_pubkey_hex", "attestation_pubkey_hex"},
		Proposal:    {"proposal_public_key_hex", "proposer_key_pubkey_hex", "proposal_pubkey_hex"},
	}
	keyFileFields = [len(Roles)][]string{
		Attestation: {"attestation_private_key_file", "attester_key_privkey_file", "attestation_sk_file"},
		Proposal:    {"proposal_private_key_file", "proposer_key_privkey_file", "proposal_sk_file"},
	}
)

// manifest is a validator-keys-manifest.yaml.
//
// leanSpec: node/validator/registry.py, ValidatorManifest
type manifest struct {
	file    string
	scheme  yamlNode // key_scheme; may be missing
	entries map[uint64]keyEntry
}

// parseManifest reads a manifest in either dialect:
//
//	key_scheme: SIGTopLevelTargetSumLifetime32Dim64Base8
//	validators:
//	  - index: 0
//	    attestation_public_key_hex: "0x4b3c…"         # or attester_key_pubkey_hex
//	    attestation_private_key_file: validator_0.ssz # or attester_key_privkey_file
//	    proposal_public_key_hex: "0x8df3…"            # or proposer_key_pubkey_hex
//	    proposal_private_key_file: validator_1.ssz    # or proposer_key_privkey_file
//
// It ignores the other fields, which repeat what the key files contain.
func parseManifest(path string, data []byte) (*manifest, error) {
	root, err := parseMapping(path, data)
	if err != nil {
		return nil, err
	}
	m := &manifest{file: path, entries: make(map[uint64]keyEntry)}
	if root.has("key_scheme") {
		m.scheme, _ = root.get("key_scheme")
		if _, err := m.scheme.text(); err != nil {
			return nil, err
		}
	}
	validators, err := root.get("validators")
	if err != nil {
		return nil, err
	}
	items, err := validators.listOrNothing()
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		fields, err := item.mapping()
		if err != nil {
			return nil, err
		}
		entry, err := parseKeyEntry(fields)
		if err != nil {
			return nil, err
		}
		if first, twice := m.entries[entry.index]; twice {
			return nil, &Error{File: path, Field: entry.field, Value: fmt.Sprintf("validator %d", entry.index), Problem: "also at " + first.field}
		}
		m.entries[entry.index] = entry
	}
	return m, nil
}

var lifetimeInName = regexp.MustCompile(`Lifetime(\d+)`)

// checkScheme returns an error if the manifest is of another scheme. Key generators have different names for the same scheme, so
// it compares only the lifetime in the name, such as Lifetime32 for the production scheme. It accepts a name without a lifetime.
func (m *manifest) checkScheme(scheme *xmss.Scheme) error {
	if m.scheme.ast == nil {
		return nil
	}
	name, err := m.scheme.text()
	if err != nil {
		return err
	}
	match := lifetimeInName.FindStringSubmatch(name)
	if match == nil {
		return nil
	}
	logLifetime, err := strconv.Atoi(match[1])
	if err != nil || logLifetime == scheme.LogLifetime() {
		return nil
	}
	failure := m.scheme.errorf("keys for 2^%d slots, but this node runs the %s scheme, whose keys are for 2^%d slots", logLifetime, scheme, scheme.LogLifetime())
	failure.Value = oneLine(name) // not shortened, because the lifetime is near the end
	for _, other := range Schemes() {
		if other.LogLifetime() == logLifetime {
			failure.proposeScheme(other)
		}
	}
	return failure
}

// proposeScheme adds to an error that a node with the keys of a scheme must run that scheme.
func (e *Error) proposeScheme(scheme *xmss.Scheme) {
	e.Problem += fmt.Sprintf("; set the %s to %s", setting.Scheme, scheme)
	e.Fix = setting.Scheme
}

// parseKeyEntry reads an entry that names both keys of a validator.
func parseKeyEntry(fields yamlMapping) (entry keyEntry, err error) {
	entry.field = fields.node.field
	if entry.index, err = fields.index(); err != nil {
		return entry, err
	}
	for _, role := range Roles {
		public, err := fields.get(publicKeyFields[role]...)
		if err != nil {
			return entry, err
		}
		file, err := fields.get(keyFileFields[role]...)
		if err != nil {
			return entry, err
		}
		if entry.keys[role], err = parseKeyReference(public, file); err != nil {
			return entry, err
		}
	}
	return entry, nil
}

func parseKeyReference(public, file yamlNode) (ref keyReference, err error) {
	ref.publicAt, ref.fileField = public, file.field
	if ref.public, err = public.publicKey(); err != nil {
		return ref, err
	}
	ref.file, err = file.fileName()
	return ref, err
}

// annotation is an annotated_validators.yaml, which assigns validators with their keys to nodes:
//
//	lean_spec_0:
//	  - index: 0
//	    pubkey_hex: 4b3c…
//	    privkey_file: validator_0_attester_key_sk.ssz
//	  - index: 0
//	    pubkey_hex: 8df3…
//	    privkey_file: validator_0_proposer_key_sk.ssz
//
// A validator has two entries, one for each key, or one entry with both keys in the form of the manifest.
type annotation struct {
	assignment
	rows map[string][]annotationRow // by node name
}

// annotationRow is an entry whose keys are not parsed yet. Only those of one node are needed.
type annotationRow struct {
	index  uint64
	fields yamlMapping
}

func parseAnnotation(path string, data []byte) (*annotation, error) {
	nodes, err := parseNodes(path, data)
	if err != nil {
		return nil, err
	}
	a := &annotation{assignment{file: path}, make(map[string][]annotationRow)}
	for _, node := range nodes {
		assigned := assignedNode{name: node.key, field: node.value.field}
		items, err := node.value.listOrNothing()
		if err != nil {
			return nil, err
		}
		listed := make(map[uint64]bool)
		for _, item := range items {
			fields, err := item.mapping()
			if err != nil {
				return nil, err
			}
			index, err := fields.index()
			if err != nil {
				return nil, err
			}
			if !listed[index] {
				listed[index] = true
				assigned.validators = append(assigned.validators, index)
			}
			a.rows[node.key] = append(a.rows[node.key], annotationRow{index, fields})
		}
		a.nodes = append(a.nodes, assigned)
	}
	return a, nil
}

// entries returns the keys of a node's validators. The role of an entry with a single key follows from its public key in the
// genesis, because file names are only a convention.
func (a *annotation) entries(node string, genesis *Genesis) (map[uint64]keyEntry, error) {
	entries := make(map[uint64]keyEntry)
	for _, row := range a.rows[node] {
		found, err := parseAnnotationRow(row, genesis)
		if err != nil {
			return nil, err
		}
		entry, more := entries[row.index]
		if !more {
			entry = keyEntry{index: row.index, field: row.fields.node.field}
		}
		for _, role := range Roles {
			ref := found[role]
			if ref.file == "" {
				continue
			}
			if entry.keys[role].file != "" {
				return nil, &Error{File: a.file, Field: ref.fileField, Value: Quote(ref.file),
					Problem: fmt.Sprintf("validator %d has its %s key at %s already", row.index, role, entry.keys[role].fileField)}
			}
			entry.keys[role] = ref
		}
		entries[row.index] = entry
	}
	for _, row := range a.rows[node] {
		for _, role := range Roles {
			if entries[row.index].keys[role].file == "" {
				return nil, &Error{File: a.file, Field: entries[row.index].field, Value: fmt.Sprintf("validator %d", row.index),
					Problem: fmt.Sprintf("its %s key is missing: want one entry for each of its two keys", role)}
			}
		}
	}
	return entries, nil
}

// parseAnnotationRow returns the keys that an entry names, one or both.
func parseAnnotationRow(row annotationRow, genesis *Genesis) (keys [len(Roles)]keyReference, err error) {
	if !row.fields.has("privkey_file") && slices.ContainsFunc(keyFileFields[Attestation], row.fields.has) {
		entry, err := parseKeyEntry(row.fields)
		return entry.keys, err
	}
	file, err := row.fields.get("privkey_file")
	if err != nil {
		return keys, err
	}
	public, err := row.fields.get("pubkey_hex")
	if err != nil {
		return keys, err
	}
	ref, err := parseKeyReference(public, file)
	if err != nil {
		return keys, err
	}
	for _, role := range Roles {
		if row.index < uint64(len(genesis.Validators)) && genesis.Validators[row.index].PublicKey(role) == ref.public {
			keys[role] = ref
			return keys, nil
		}
	}
	return keys, public.errorf("not a key of validator %d in %s%s", row.index, genesis.Path, genesis.whose(ref.public))
}

// index returns the validator index of an entry.
func (m yamlMapping) index() (uint64, error) {
	value, err := m.get("index")
	if err != nil {
		return 0, err
	}
	return value.integer()
}
