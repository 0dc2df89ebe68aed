#!/bin/bash
# Starts leanspec-node for the lean simulator of hive: API on 5052, QUIC on 9000, metrics on 8080. All other settings come
# from HIVE_ variables and from files that the simulator puts into the container before it starts.
set -euo pipefail

assets=${HIVE_LEAN_ASSETS:-/tmp/leanspec-node-runtime}

# devnet4 has another block format. Without a label, assume devnet5.
label=${HIVE_LEAN_DEVNET_LABEL:-devnet5}
if [ "$label" != devnet5 ]; then
    echo "HIVE_LEAN_DEVNET_LABEL: got $label, want devnet5" >&2
    exit 1
fi
if [ ! -f "$assets/config.yaml" ]; then
    echo "$assets/config.yaml: file not found; the simulator must make the files of this client" >&2
    exit 1
fi

# The variable of the simulator has precedence over its file.
key=$assets/node.key
if [ -n "${HIVE_CLIENT_PRIVATE_KEY:-}" ]; then
    key=/tmp/leanspec-node.key
    (umask 077 && echo "${HIVE_CLIENT_PRIVATE_KEY#0x}" >"$key")
fi

node=${HIVE_NODE_ID:-leanspec-node_0}
flags=(
    --genesis "$assets/config.yaml"
    --node-id "$node"
    --node-key "$key"
    --network-name "${HIVE_LEAN_FORK_DIGEST:-12345678}"
    --listen /ip4/0.0.0.0/udp/9000/quic-v1
    --http-address 0.0.0.0
    --admin-open
    --api-port 5052
    --metrics-port 8080
    --log-level debug
)
# A client without validators is in neither of these files.
if grep -qsE "^ *['\"]?$node['\"]?:" "$assets/validators.yaml" "$assets/annotated_validators.yaml"; then
    flags+=(--validator-keys "$assets")
fi
if [ "${HIVE_IS_AGGREGATOR:-0}" = 1 ]; then
    flags+=(--is-aggregator)
    if [ -n "${HIVE_AGGREGATE_SUBNET_IDS:-}" ]; then
        flags+=(--aggregate-subnet-ids "$HIVE_AGGREGATE_SUBNET_IDS")
    fi
fi
if [ -n "${HIVE_ATTESTATION_COMMITTEE_COUNT:-}" ]; then
    flags+=(--attestation-committee-count "$HIVE_ATTESTATION_COMMITTEE_COUNT")
fi
export LEANSPEC_CHECKPOINT_SYNC_URL="${HIVE_CHECKPOINT_SYNC_URL:-}"

# ENRs or multiaddrs, separated by commas, or "none".
bootnodes=${HIVE_BOOTNODES:-none}
if [ "$bootnodes" != none ]; then
    IFS=, read -r -a list <<<"$bootnodes"
    for bootnode in "${list[@]}"; do
        flags+=(--bootnode "$bootnode")
    done
fi

exec leanspec-node "${flags[@]}"
