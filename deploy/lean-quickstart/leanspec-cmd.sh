#!/bin/bash
# Starts a leanspec-node in lean-quickstart: copy this file to its client-cmds/. spin-node.sh sources it for each node whose
# name begins with "leanspec_", with these variables set:
#   item configDir dataDir scriptDir privKeyPath quicPort metricsPort apiPort httpPort
#   isAggregator aggregateSubnetIds attestationCommitteeCount checkpoint_sync_url
# This file sets node_binary, node_docker and node_setup.

# shellcheck disable=SC2034,SC2154 # spin-node.sh sets and reads these variables

# leanspec_flags CONFIG DATA prints the flags for the binary and for the container, which differ only in the folders.
leanspec_flags() {
    local config=$1 data=$2 enr
    printf ' %s' --genesis "$config/config.yaml" --node-id "$item" \
        --node-key "$config/$privKeyPath" --data-dir "$data" --listen "/ip4/0.0.0.0/udp/$quicPort/quic-v1" \
        --http-address 0.0.0.0
    # A node without validators may be in neither of these files.
    if grep -qsE "^ *['\"]?$item['\"]?:" "$configDir/validators.yaml" "$configDir/annotated_validators.yaml"; then
        printf ' %s' --validator-keys "$config"
    fi
    if [ -n "${apiPort:-${httpPort:-}}" ]; then
        printf ' %s' --api-port "${apiPort:-$httpPort}"
    fi
    if [ "$isAggregator" == "true" ]; then
        printf ' %s' --is-aggregator
        # If there are several subnets, the aggregator aggregates all of them.
        if [[ "${aggregateSubnetIds:-}" == *,* ]]; then
            printf ' %s' --aggregate-subnet-ids "$aggregateSubnetIds"
        fi
    fi
    if [ -n "${attestationCommitteeCount:-}" ]; then
        printf ' %s' --attestation-committee-count "$attestationCommitteeCount"
    fi
    # nodes.yaml lists the ENRs of all nodes. The node skips its own.
    while read -r enr; do
        printf ' %s' --bootnode "$enr"
    done < <(sed -n 's/^ *- *"\{0,1\}\(enr:[^" ]*\).*/\1/p' "$configDir/nodes.yaml")
}

# A variable, not a flag, because the URL may contain a password and other users of the machine can see flags.
export LEANSPEC_CHECKPOINT_SYNC_URL="${checkpoint_sync_url:-}"

node_binary="$scriptDir/../leanspec-node/build/leanspec-node$(leanspec_flags "$configDir" "$dataDir/$item") --metrics-port $metricsPort"

# The container runs as the owner of the key files, because they are private. The metrics port is a variable, not a flag, so
# that the health check of the image finds it.
node_docker="--user $(id -u) -e LEANSPEC_METRICS_PORT=$metricsPort -e LEANSPEC_CHECKPOINT_SYNC_URL leanspec-node:latest$(leanspec_flags /config /data)"

# choose either binary or docker
node_setup="docker"
