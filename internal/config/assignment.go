package config

import (
	"fmt"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// assignment is a validators.yaml, which assigns validators to nodes:
//
//	lean_spec_0:
//	  - 0
//	  - 2
//	lean_spec_1: [1]
//
// Like lean-quickstart's scripts, it may have a single top-level key "validators" around all nodes.
type assignment struct {
	file  string
	nodes []assignedNode // in the order of the file
}

type assignedNode struct {
	name       string
	field      string // place of the entry
	validators []uint64
}

// of returns the entry of a node, or nil.
func (a *assignment) of(node string) *assignedNode {
	for i := range a.nodes {
		if a.nodes[i].name == node {
			return &a.nodes[i]
		}
	}
	return nil
}

// unknown returns the error for a node that the file does not list.
func (a *assignment) unknown(node string) *Error {
	const shown = 16
	listed := "no nodes"
	names := make([]string, len(a.nodes))
	for i, other := range a.nodes {
		names[i] = yamlNode{}.child(other.name).field
	}
	if len(names) > 0 {
		listed = strings.Join(names[:min(shown, len(names))], ", ")
	}
	if more := len(names) - shown; more > 0 {
		listed += fmt.Sprintf(" and %d more; the nearest is %s", more, Nearest(node, names))
	}
	return &Error{Setting: setting.NodeID, Value: Quote(node), Fix: setting.ValidatorKeys,
		Problem: fmt.Sprintf("not in %s, which lists %s; a node without validators needs no %s", a.file, listed, setting.ValidatorKeys)}
}

// check returns an error unless each validator of a node is listed once, is in the registry, and is assigned to no other node.
// Two nodes with the same key would sign two messages for one slot, which reveals the key.
func (a *assignment) check(node *assignedNode, registrySize int) error {
	mine := make(map[uint64]bool, len(node.validators))
	for _, index := range node.validators {
		failure := Error{File: a.file, Field: node.field, Value: fmt.Sprintf("validator %d", index)}
		switch {
		case mine[index]:
			failure.Problem = "listed twice"
		case index >= uint64(registrySize):
			failure.Problem = fmt.Sprintf("not in the genesis, which has %d validators", registrySize)
		default:
			mine[index] = true
			continue
		}
		return &failure
	}
	for i := range a.nodes {
		other := &a.nodes[i]
		if other == node {
			continue
		}
		for _, index := range other.validators {
			if mine[index] {
				return &Error{File: a.file, Field: node.field, Value: fmt.Sprintf("validator %d", index), Problem: "also assigned to " + other.field}
			}
		}
	}
	return nil
}

func parseAssignment(path string, data []byte) (*assignment, error) {
	assigned := &assignment{file: path}
	fields, err := parseNodes(path, data)
	if err != nil {
		return nil, err
	}
	for _, field := range fields {
		node := assignedNode{name: field.key, field: field.value.field}
		items, err := field.value.listOrNothing()
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			index, err := item.integer()
			if err != nil {
				return nil, err
			}
			node.validators = append(node.validators, index)
		}
		assigned.nodes = append(assigned.nodes, node)
	}
	return assigned, nil
}

// parseNodes parses a mapping from node names. An empty file has no nodes.
func parseNodes(path string, data []byte) ([]yamlField, error) {
	root, err := parseYAML(path, data)
	if err != nil || root.isNull() {
		return nil, err
	}
	nodes, err := root.mapping()
	if err == nil && len(nodes.fields) == 1 && nodes.fields[0].key == "validators" && nodes.fields[0].value.isMapping() {
		nodes, err = nodes.fields[0].value.mapping()
	}
	return nodes.fields, err
}
