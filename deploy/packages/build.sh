#!/usr/bin/env bash
# Builds the packages for Debian and the archives into build/packages, with SBOMs and checksums: make packages
#
# VERSION, ARCHS and GO come from the Makefile. BINARY is a ready binary, if there is one architecture. The same commit gives
# the same bytes: SOURCE_DATE_EPOCH, the time in all packages, is by default that of the commit.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$PWD/build/packages
case $VERSION in
  v[0-9]*) ;;
  *) VERSION=v0.0.0-$VERSION ;; # a version of Debian begins with a digit
esac
export VERSION SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
rm -rf "$out"
mkdir -p "$out"

# nfpm is not in go.mod, because the node does not depend on its modules. Versions from 2.46 on need modules outside GitHub
# that the module proxy does not serve.
GOBIN=$out/bin $GO install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
$GO build -o "$out/bin/sbom" ./deploy/packages/sbom

# The host's binary makes the manual page and the completion scripts of all architectures.
if [ -z "${BINARY:-}" ]; then
  make -s image-binary OUT="$out/bin/leanspec-node" GOARCH="$($GO env GOHOSTARCH)" GOOS="$($GO env GOHOSTOS)"
else
  cp "$BINARY" "$out/bin/leanspec-node"
fi

# shellcheck disable=SC2153 # of the Makefile
for ARCH in $ARCHS; do
  name=leanspec-node-$VERSION-linux-$ARCH
  FILES=$out/$name
  export ARCH FILES
  mkdir -p "$FILES/completion"
  if [ -n "${BINARY:-}" ]; then
    cp "$BINARY" "$FILES/leanspec-node"
  else
    make -s image-binary OUT="$FILES/leanspec-node" GOOS=linux GOARCH="$ARCH"
  fi
  cp LICENSE README.md deploy/packages/leanspec-node.{service,default} "$FILES"
  "$out/bin/leanspec-node" man | gzip -9n >"$FILES/leanspec-node.1.gz"
  for shell in bash zsh fish; do
    "$out/bin/leanspec-node" completion $shell >"$FILES/completion/leanspec-node.$shell"
  done
  "$out/bin/sbom" "$FILES/leanspec-node" "$VERSION" >"$FILES/leanspec-node.spdx.json"
  chmod -R u=rwX,go=rX "$FILES"
  find "$FILES" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
  "$out/bin/nfpm" package -f deploy/packages/nfpm.yaml -p deb -t "$out" >/dev/null
  tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -c "$name" | gzip -n >"$out/$name.tar.gz"
  mv "$FILES/leanspec-node.spdx.json" "$out/$name.spdx.json"
  rm -r "$FILES"
done
rm -r "${out:?}/bin"
(cd "$out" && sha256sum -- * >SHA256SUMS && ls -l)
