#!/usr/bin/env bash
# Installs the package in a container of Debian, runs the node as the unit does, and removes the package: test.sh FILE
# The container has no systemd, so this script follows the unit. .ci/docker runs it.
set -euo pipefail
fail() { echo "packages: FAILED: $*" >&2; exit 1; }

dpkg -i "$1" >/dev/null
# Debian's image for containers leaves out the files of /usr/share/doc.
changed=$(dpkg -V leanspec-node | grep -v ' /usr/share/doc/' || true)
[ -z "$changed" ] || fail "dpkg -V: $changed"
bash -c '. /usr/share/bash-completion/completions/leanspec-node && complete -p leanspec-node' >/dev/null || fail "the completion of bash does not load"
for file in /usr/share/man/man1/leanspec-node.1.gz /usr/share/zsh/vendor-completions/_leanspec-node \
  /usr/share/fish/vendor_completions.d/leanspec-node.fish; do
  [ -s $file ] || fail "$file is missing"
done

# A service without a genesis ends with exit code 2, after which systemd does not start it again.
unit=/usr/lib/systemd/system/leanspec-node.service
setting() { sed -n "s/^$1=//p" $unit; }
data=/var/lib/$(setting StateDirectory)
user=61184 # a number of DynamicUser
# start runs the commands of the unit with its environment and a user without privileges.
start() {
  local before command environment
  before=$(setting ExecStartPre) command=$(setting ExecStart)
  mapfile -t environment < <(setting Environment; grep -v -e '^#' -e '^$' "$(setting EnvironmentFile)")
  ${before#+}
  # shellcheck disable=SC2086 # a command line
  exec env -i "${environment[@]}" setpriv --reuid $user --regid $user --clear-groups --no-new-privs --bounding-set=-all $command
}
install -d -m "$(setting StateDirectoryMode)" -o $user -g $user "$data"
code=0
(start) 2>/tmp/log || code=$?
{ [ $code = "$(setting RestartPreventExitStatus)" ] && grep -q '^leanspec-node: /etc/leanspec-node/config.yaml: file not found' /tmp/log; } ||
  fail "exit code $code without a genesis: $(cat /tmp/log)"

leanspec-node genesis --nodes 1 --validators 2 --scheme test --out "$data/keys" >/tmp/log 2>&1 || fail "genesis: $(cat /tmp/log)"
cp "$data/keys/config.yaml" /etc/leanspec-node/
sed -i -e 's/^#\(LEANSPEC_\(VALIDATOR_KEYS\|NODE_ID\|IS_AGGREGATOR\)=\)/\1/' /etc/default/leanspec-node
echo LEANSPEC_SCHEME=test >>/etc/default/leanspec-node
(start) >/tmp/log 2>&1 &
node=$!
for _ in $(seq 60); do
  leanspec-node health >/tmp/health 2>&1 && break
  kill -0 $node 2>/dev/null || fail "the node ended: $(cat /tmp/log)"
  sleep 0.5
done
grep -q ok /tmp/health || fail "health: $(cat /tmp/health /tmp/log)"
kill $node
wait $node || fail "exit code $? after SIGTERM: $(cat /tmp/log)"
! grep -e ' ERR ' -e ' WRN ' /tmp/log || fail "the log has warnings"
leanspec-node db inspect "$data" >/tmp/inspection 2>&1 || fail "db inspect: $(cat /tmp/inspection)"

dpkg -P leanspec-node >/dev/null 2>&1
[ ! -e /usr/bin/leanspec-node ] || fail "the program is still installed"
[ -d "$data/guard" ] || fail "dpkg -P has removed the signing records"
