package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// ValidatorKeys are the secret keys of a validator that this node runs.
//
// leanSpec: node/validator/registry.py, ValidatorEntry
type ValidatorKeys struct {
	// Index is the index of the validator in the registry.
	Index uint64
	// Attestation and Proposal are the keys. Their public keys are those of the genesis.
	Attestation, Proposal *xmss.SecretKey
	// AttestationPath and ProposalPath are the files of the keys.
	AttestationPath, ProposalPath string
}

// LoadValidatorKeys reads the keys of a node's validators from the folder dir, in the order of their assignment. It returns no
// keys for a node that the files list without validators, and an error with the listed names for a node that they do not list,
// because most often its name is misspelled. Errors are of type [*Error].
//
// The folder has one of two layouts, or both:
//
//  1. leanSpec's: validators.yaml assigns validators to nodes, and hash-sig-keys/validator-keys-manifest.yaml names their key
//     files. It is used if both files exist.
//  2. annotated_validators.yaml, which does both. It is used otherwise.
//
// If both layouts exist, they must assign the same validators to the node. If they differed, another node could run the same keys
// according to the other file, and two signatures for one slot reveal a key.
//
// Key files are relative to hash-sig-keys unless their path is absolute. Each key is compared with the genesis.
//
// leanSpec: node/validator/registry.py, ValidatorRegistry.from_keys_directory. leanSpec skips an assigned validator that is
// missing in the manifest. Here it is an error, because its duties would be missed silently.
func LoadValidatorKeys(dir, nodeID string, genesis *Genesis, scheme *xmss.Scheme) ([]ValidatorKeys, error) {
	node, entries, err := findKeys(dir, nodeID, genesis, scheme)
	if err != nil || node == nil {
		return nil, err
	}
	keys := make([]ValidatorKeys, 0, len(node.validators))
	for _, index := range node.validators {
		loaded, err := loadKeys(dir, entries[index], genesis, scheme)
		if err != nil {
			return nil, err
		}
		keys = append(keys, loaded)
	}
	return keys, nil
}

// NodeNames returns the names of the nodes that the files in dir list, in the order of the files. The files are those of
// [LoadValidatorKeys]. Errors are of type [*Error].
func NodeNames(dir string) ([]string, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	var (
		names   []string
		found   bool
		missing error // of the first file
	)
	for _, name := range []string{AssignmentFile, AnnotatedFile} {
		path := filepath.Join(dir, name)
		data, err := ReadText(path, maxYAMLSize)
		if errors.Is(err, fs.ErrNotExist) {
			missing = cmp.Or(missing, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		nodes, err := parseNodes(path, data)
		if err != nil {
			return nil, err
		}
		found = true
		for _, node := range nodes {
			if !slices.Contains(names, node.key) {
				names = append(names, node.key)
			}
		}
	}
	if !found {
		return nil, missing
	}
	return names, nil
}

// findKeys reads the assignment of the node and the places of its keys. It returns nil for a node without validators, and
// otherwise entries that include all of its validators.
func findKeys(dir, nodeID string, genesis *Genesis, scheme *xmss.Scheme) (*assignedNode, map[uint64]keyEntry, error) {
	if err := checkFolder(dir); err != nil {
		return nil, nil, err
	}
	assignedPath := filepath.Join(dir, AssignmentFile)
	annotatedPath := filepath.Join(dir, AnnotatedFile)
	manifestPath := filepath.Join(dir, KeysDir, ManifestFile)

	manifestData, noManifest := ReadText(manifestPath, maxYAMLSize)
	assignedData, noAssigned := ReadText(assignedPath, maxYAMLSize)
	annotatedData, noAnnotated := ReadText(annotatedPath, maxYAMLSize)
	for _, err := range []error{noManifest, noAssigned, noAnnotated} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}

	var (
		annotated *annotation
		assigned  *assignment
		err       error
	)
	if noAnnotated == nil {
		if annotated, err = parseAnnotation(annotatedPath, annotatedData); err != nil {
			return nil, nil, err
		}
	}
	hasManifest := noManifest == nil && noAssigned == nil
	switch {
	case hasManifest:
		if assigned, err = parseAssignment(assignedPath, assignedData); err == nil && annotated != nil {
			err = sameValidators(nodeID, assigned, &annotated.assignment)
		}
	case annotated != nil:
		assigned = &annotated.assignment
	case noManifest != nil && noAssigned != nil:
		err = &Error{File: dir, Err: noAssigned,
			Problem: "has neither " + AssignmentFile + " with " + filepath.Join(KeysDir, ManifestFile) + " nor " + AnnotatedFile}
	default:
		err = cmp.Or(noManifest, noAssigned)
	}
	if err != nil {
		return nil, nil, err
	}
	node := assigned.of(nodeID)
	if node == nil && (annotated == nil || annotated.of(nodeID) == nil) {
		return nil, nil, assigned.unknown(nodeID)
	}
	if node == nil || len(node.validators) == 0 {
		return nil, nil, nil
	}
	if err := assigned.check(node, len(genesis.Validators)); err != nil {
		return nil, nil, err
	}
	if !hasManifest {
		entries, err := annotated.entries(nodeID, genesis)
		return node, entries, err
	}
	m, err := parseManifest(manifestPath, manifestData)
	if err == nil {
		err = m.checkScheme(scheme)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, index := range node.validators {
		entry, found := m.entries[index]
		if !found {
			return nil, nil, fileError(manifestPath, "no keys for validator %d, which %s assigns to %s", index, assignedPath, node.field)
		}
		for _, role := range Roles {
			ref := entry.keys[role]
			if ref.public != genesis.Validators[index].PublicKey(role) {
				return nil, nil, ref.publicAt.errorf("not the %s key of validator %d in %s%s", role, index, genesis.Path, genesis.whose(ref.public))
			}
		}
	}
	return node, m.entries, nil
}

// sameValidators returns an error unless two files assign the same validators to a node, in any order.
func sameValidators(nodeID string, assigned, annotated *assignment) error {
	of := func(a *assignment) []uint64 {
		if node := a.of(nodeID); node != nil {
			return slices.Sorted(slices.Values(node.validators))
		}
		return nil
	}
	mine, theirs := of(assigned), of(annotated)
	// assignment.check reports a validator that is listed twice.
	if slices.Equal(slices.Compact(mine), slices.Compact(theirs)) {
		return nil
	}
	field := yamlNode{}.child(nodeID).field
	return &Error{File: annotated.file, Field: field,
		Problem: fmt.Sprintf("assigns validators %s, but %s assigns %s", indexList(theirs), assigned.file, indexList(mine))}
}

// indexList formats validator indices, at most the first 8.
func indexList(indices []uint64) string {
	const shown = 8
	if len(indices) > shown {
		return fmt.Sprintf("%v and %d more", indices[:shown], len(indices)-shown)
	}
	return fmt.Sprintf("%v", indices)
}

// loadKeys reads the two secret keys of a validator and compares them with the genesis.
func loadKeys(dir string, entry keyEntry, genesis *Genesis, scheme *xmss.Scheme) (ValidatorKeys, error) {
	var (
		keys  [len(Roles)]*xmss.SecretKey
		paths [len(Roles)]string
	)
	for _, role := range Roles {
		path := entry.keys[role].file
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, KeysDir, path)
		}
		paths[role] = path
	}
	if paths[Attestation] == paths[Proposal] {
		return ValidatorKeys{}, fileError(paths[Proposal], "named for both keys of validator %d, want two files", entry.index)
	}
	for _, role := range Roles {
		key, err := loadSecretKey(paths[role], scheme)
		if err != nil {
			return ValidatorKeys{}, err
		}
		public := key.PublicKey().Bytes()
		if role == Proposal && public == keys[Attestation].PublicKey().Bytes() {
			return ValidatorKeys{}, fileError(paths[role], "the same key as in %s, want two keys for validator %d", paths[Attestation], entry.index)
		}
		if public != genesis.Validators[entry.index].PublicKey(role) {
			return ValidatorKeys{}, fileError(paths[role], "not the %s key of validator %d in %s%s", role, entry.index, genesis.Path, genesis.whose(public))
		}
		keys[role] = key
	}
	return ValidatorKeys{
		Index:           entry.index,
		Attestation:     keys[Attestation],
		Proposal:        keys[Proposal],
		AttestationPath: paths[Attestation],
		ProposalPath:    paths[Proposal],
	}, nil
}

func loadSecretKey(path string, scheme *xmss.Scheme) (*xmss.SecretKey, error) {
	data, err := readFile(path, maxKeySize)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	if len(data) == 0 {
		return nil, fileError(path, "empty file")
	}
	key, err := scheme.ParseSecretKey(data)
	if err == nil {
		return key, nil
	}
	failure := &Error{File: path, Problem: fmt.Sprintf("not a secret key of the %s scheme: %s", scheme, xmssReason(err)), Err: err}
	for _, other := range Schemes() {
		if _, err := other.ParseSecretKey(data); err == nil {
			failure.Problem = fmt.Sprintf("a secret key of the %s scheme, but this node runs the %s scheme", other, scheme)
			failure.proposeScheme(other)
		}
	}
	return nil, failure
}

// whose describes the owner of a public key, for the end of an error about a misplaced key.
func (g *Genesis) whose(public [PublicKeySize]byte) string {
	for i := range g.Validators {
		for _, role := range Roles {
			if g.Validators[i].PublicKey(role) == public {
				return fmt.Sprintf("; it is the %s key of validator %d", role, i)
			}
		}
	}
	return ""
}

// CheckWindows returns an error unless every key can sign for the current slot. Each key has a fixed window of slots. The error
// is of type [*Error] and names the file and the window.
func CheckWindows(keys []ValidatorKeys, currentSlot uint64) error {
	for i := range keys {
		for _, key := range []struct {
			secret *xmss.SecretKey
			path   string
		}{{keys[i].Attestation, keys[i].AttestationPath}, {keys[i].Proposal, keys[i].ProposalPath}} {
			start, end := key.secret.ActivationInterval()
			if currentSlot < start || currentSlot >= end {
				return fileError(key.path, "signs for slots %d to %d only, and the current slot is %d", start, end-1, currentSlot)
			}
		}
	}
	return nil
}
