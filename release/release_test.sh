#!/usr/bin/env bash
# A release with the service's image alone: what is in it, and that the checksums fit.
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASE=$(mktemp -d)
export RELEASE
trap 'rm -rf "$RELEASE"' EXIT
release/release.sh service
version=$(sed -n 's/^version: //p' charts/elastichub/Chart.yaml)
cd "$RELEASE"
sha256sum --check --quiet SHA256SUMS
[ "$(wc -l <SHA256SUMS)" = 5 ]
tar -xOf "elastichub-service-$version.oci.tar" index.json | grep "elastichub/service:$version" >/dev/null
tar -xzOf "elastichub-$version.tgz" elastichub/Chart.yaml | grep -x "version: $version" >/dev/null
python3 -m zipfile -l "elastichub-$version-py3-none-any.whl" | grep elastichub/spawner.py >/dev/null
grep -q github.com/gin-gonic/gin "elastichub-$version.go.cdx.json"
grep -q tornado "elastichub-$version.python.cdx.json"
echo "release: as it should be"
