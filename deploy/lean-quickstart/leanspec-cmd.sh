#!/bin/bash
# How lean-quickstart starts a leanspec-node: copy this file to its client-cmds/. It is sourced by spin-node.sh, for
# every node whose name begins with "leanspec_", with these variables set:
#   item configDir dataDir scriptDir privKeyPath quicPort metricsPort apiPort httpPort
#   isAggregator aggregateSubnetIds attestationCommitteeCount checkpoint_sync_url
# and it sets node_binary, node_docker and node_setup.

# shellcheck disable=SC2034,SC2154 # those variables are set and read by spin-node.sh

# The same flags for both, but for the folders.
leanspec_flags() {
    local config=$1 data=$2 enr
    printf ' %s' --genesis "$config/config.yaml" --node-id "$item" \
        --node-key "$config/$privKeyPath" --data-dir "$data" --listen "/ip4/0.0.0.0/udp/$quicPort/quic-v1"
    # A node without validators may be in neither of these files.
    if grep -qsE "^ *['\"]?$item['\"]?:" "$configDir/validators.yaml" "$configDir/annotated_validators.yaml"; then
        printf ' %s' --validator-keys "$config"
    fi
    if [ -n "${apiPort:-${httpPort:-}}" ]; then
        printf ' %s' --api-port "${apiPort:-$httpPort}"
    fi
    if [ "$isAggregator" == "true" ]; then
        printf ' %s' --is-aggregator
        # An aggregator hears all subnets, if there are several.
        if [[ "${aggregateSubnetIds:-}" == *,* ]]; then
            printf ' %s' --aggregate-subnet-ids "$aggregateSubnetIds"
        fi
    fi
    if [ -n "${attestationCommitteeCount:-}" ]; then
        printf ' %s' --attestation-committee-count "$attestationCommitteeCount"
    fi
    # nodes.yaml is a list of all nodes' records. The node's own is in it too, which it knows.
    while read -r enr; do
        printf ' %s' --bootnode "$enr"
    done < <(sed -n 's/^ *- *"\{0,1\}\(enr:[^" ]*\).*/\1/p' "$configDir/nodes.yaml")
}

# Not a flag: other users of the machine can see flags, and the URL may hold a password.
export LEANSPEC_CHECKPOINT_SYNC_URL="${checkpoint_sync_url:-}"

node_binary="$scriptDir/../leanspec-node/build/leanspec-node$(leanspec_flags "$configDir" "$dataDir/$item") --metrics-port $metricsPort"

# The user who owns the key files, which nobody else may read. The port of the metrics is not a flag, so that the health
# check of the image knows it.
node_docker="--user $(id -u) -e LEANSPEC_METRICS_PORT=$metricsPort -e LEANSPEC_CHECKPOINT_SYNC_URL leanspec-node:latest$(leanspec_flags /config /data)"

# choose either binary or docker
node_setup="docker"
