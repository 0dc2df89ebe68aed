package devnet

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// dialectNames are the names of fields that a dialect has of its own. Arrays are indexed by role.
type dialectNames struct {
	// genesisKey is the public key in config.yaml, and prefix the start of its value.
	genesisKey [len(config.Roles)]string
	prefix     string
	// publicKey and keyFile are the fields of the manifest.
	publicKey, keyFile [len(config.Roles)]string
}

var namesOf = map[Dialect]dialectNames{
	LeanSpec: {
		genesisKey: [...]string{"attestation_public_key", "proposal_public_key"},
		prefix:     "0x",
		publicKey:  [...]string{"attestation_public_key_hex", "proposal_public_key_hex"},
		keyFile:    [...]string{"attestation_private_key_file", "proposal_private_key_file"},
	},
	Quickstart: {
		genesisKey: [...]string{"attestation_pubkey", "proposal_pubkey"},
		publicKey:  [...]string{"attester_key_pubkey_hex", "proposer_key_pubkey_hex"},
		keyFile:    [...]string{"attester_key_privkey_file", "proposer_key_privkey_file"},
	},
}

// logCeil returns the base-2 logarithm of n, rounded up.
func logCeil(n uint64) int { return bits.Len64(n - 1) }

func renderGenesis(options *FilesOptions, genesisTime uint64, validators []config.GenesisValidator) string {
	names := namesOf[options.Dialect]
	var b strings.Builder
	fmt.Fprintf(&b, "# Start of slot 0, in Unix seconds.\nGENESIS_TIME: %d\n\n", genesisTime)
	b.WriteString("ATTESTATION_COMMITTEE_COUNT: 1\n")
	if options.Dialect == Quickstart {
		fmt.Fprintf(&b, "ACTIVE_EPOCH: %d\nVALIDATOR_COUNT: %d\n", logCeil(options.ActiveSlots), len(validators))
	}
	b.WriteString("\n# Public keys of the validators, in the order of their indices.\nGENESIS_VALIDATORS:\n")
	for i := range validators {
		for _, role := range config.Roles {
			key := validators[i].PublicKey(role)
			fmt.Fprintf(&b, "  %s %s: %q\n", [...]string{"-", " "}[role], names.genesisKey[role], names.prefix+hex.EncodeToString(key[:]))
		}
	}
	return b.String()
}

// renderByNode writes a mapping from node names to a list, with the entry of each validator.
func renderByNode(nodes []NodeFiles, entry func(b *strings.Builder, index uint64)) string {
	var b strings.Builder
	for _, node := range nodes {
		if len(node.Validators) == 0 {
			fmt.Fprintf(&b, "%s: []\n", node.Name)
			continue
		}
		fmt.Fprintf(&b, "%s:\n", node.Name)
		for _, index := range node.Validators {
			entry(&b, index)
		}
	}
	return b.String()
}

func renderAssignment(nodes []NodeFiles) string {
	return renderByNode(nodes, func(b *strings.Builder, index uint64) { fmt.Fprintf(b, "  - %d\n", index) })
}

func renderAnnotated(nodes []NodeFiles, validators []config.GenesisValidator) string {
	return renderByNode(nodes, func(b *strings.Builder, index uint64) {
		for _, role := range config.Roles {
			// In quotes, because YAML reads a key of decimal digits only as a number.
			fmt.Fprintf(b, "  - index: %d\n    pubkey_hex: \"%x\"\n    privkey_file: %s\n",
				index, validators[index].PublicKey(role), KeyFileName(validatorName(index), role, true))
		}
	})
}

func renderNodes(nodes []NodeFiles) string {
	var b strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&b, "- %s\n", node.ENR)
	}
	return b.String()
}

// renderSetup writes the input of lean-quickstart, so that its scripts can run the network too.
func renderSetup(options *FilesOptions, nodes []NodeFiles) string {
	var b strings.Builder
	fmt.Fprintf(&b, "shuffle: %s\ndeployment_mode: local\nconfig:\n", options.Shuffle)
	fmt.Fprintf(&b, "  activeEpoch: %d\n  keyType: \"hash-sig\"\n  attestation_committee_count: 1\nvalidators:\n", logCeil(options.ActiveSlots))
	for _, node := range nodes {
		fmt.Fprintf(&b, "  - name: %q\n    # /ip4/%s/udp/%d/quic-v1/p2p/%s\n", node.Name, node.IP, node.QUIC, node.PeerID)
		fmt.Fprintf(&b, "    privkey: %q\n    enrFields:\n      ip: %q\n      quic: %d\n", node.key.Hex(), node.IP, node.QUIC)
		fmt.Fprintf(&b, "    metricsPort: %d\n    apiPort: %d\n    isAggregator: %t\n    count: %d\n",
			node.Metrics, node.API, node.IsAggregator, len(node.Validators))
	}
	return b.String()
}

// renderPrometheus writes a configuration of Prometheus, which finds the rules relative to the configuration's folder.
func renderPrometheus(nodes []NodeFiles) string {
	var b strings.Builder
	b.WriteString("# Makes Prometheus scrape the nodes of this network, with the labels that the dashboards use.\n")
	b.WriteString("global:\n  scrape_interval: 5s\n  evaluation_interval: 5s\n\nrule_files:\n  - " + rulesFile + "\n\n")
	b.WriteString("scrape_configs:\n  - job_name: leanspec-node\n    static_configs:\n")
	for _, node := range nodes {
		fmt.Fprintf(&b, "      - targets: [%q]\n        labels: {instance: %s, network: devnet}\n", netip.AddrPortFrom(node.IP, node.Metrics), node.Name)
	}
	return b.String()
}

func renderManifest(options *FilesOptions, validators []config.GenesisValidator) string {
	names := namesOf[options.Dialect]
	var b strings.Builder
	fmt.Fprintf(&b, "key_scheme: %s\nhash_function: Poseidon\nencoding: TargetSum\n", options.Scheme.KeyScheme())
	fmt.Fprintf(&b, "lifetime: %d\nlog_num_active_epochs: %d\nnum_active_epochs: %d\nnum_validators: %d\nvalidators:\n",
		options.Scheme.Lifetime(), logCeil(options.ActiveSlots), options.ActiveSlots, len(validators))
	for i := range validators {
		fmt.Fprintf(&b, "  - index: %d\n", i)
		for _, role := range config.Roles {
			fmt.Fprintf(&b, "    %s: \"0x%x\"\n    %s: %s\n",
				names.publicKey[role], validators[i].PublicKey(role), names.keyFile[role], KeyFileName(validatorName(uint64(i)), role, true))
		}
	}
	return b.String()
}
