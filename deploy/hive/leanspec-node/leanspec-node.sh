#!/bin/bash
# Starts leanspec-node as the lean simulator of hive wants it: API on 5052, QUIC on 9000, metrics on 8080, and all else
# from HIVE_ variables and from the files that the simulator puts into the container before it starts.
set -euo pipefail

assets=${HIVE_LEAN_ASSETS:-/tmp/leanspec-node-runtime}

# devnet4 has another format of blocks. Without a label nothing else than ours can be meant.
label=${HIVE_LEAN_DEVNET_LABEL:-devnet5}
if [ "$label" != devnet5 ]; then
    echo "leanspec-node speaks devnet5, not $label" >&2
    exit 1
fi
if [ ! -f "$assets/config.yaml" ]; then
    echo "no config.yaml in $assets: the simulator has not made files for this client" >&2
    exit 1
fi

# The simulator's variable goes before its file.
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
    --api-port 5052
    --metrics-port 8080
    --log-level debug
)
# A client that the simulator gives no validators is in neither of these files.
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

# Records or multiaddrs with commas between them, or "none".
bootnodes=${HIVE_BOOTNODES:-none}
if [ "$bootnodes" != none ]; then
    IFS=, read -r -a list <<<"$bootnodes"
    for bootnode in "${list[@]}"; do
        flags+=(--bootnode "$bootnode")
    done
fi

exec leanspec-node "${flags[@]}"
