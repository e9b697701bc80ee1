#!/usr/bin/env bash
# A release with the service's image alone, for this machine alone (`release_test.sh all`: all images, and
# for other machines, too): what is in it, that the checksums fit, and that what docs/air-gap.md
# says brings it to a registry.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
export RELEASE=$work/release
registry=
# shellcheck disable=SC2329 # by the trap below
finish() {
  [ -z "$registry" ] || kill "$registry"
  rm -rf "$work"
}
trap finish EXIT
images="service notebook kernel hub directory"
if [ "${1:-}" = all ]; then
  release/release.sh
else
  images=service
  ARCHITECTURES=$(go env GOHOSTARCH) release/release.sh service
fi
version=$(sed -n 's/^version: //p' charts/elastichub/Chart.yaml)
mkdir "$work/home"
# shellcheck source=release/mirror.sh
. release/mirror.sh
start_registry "$work/registry"
(cd "$RELEASE" && sha256sum --check --quiet SHA256SUMS)
mirrored=$(HOME=$work/home mirror_release "$RELEASE/elastichub-$version.tar" "127.0.0.1:$port/mirrored/elastichub")
for image in $images; do
  "$crane" validate --remote "127.0.0.1:$port/mirrored/elastichub/$image:$version" >/dev/null
done

cd "$mirrored"
tar -xzOf "elastichub-$version.tgz" elastichub/Chart.yaml | grep -x "version: $version" >/dev/null
tar -xzOf "elastichub-demo-$version.tgz" elastichub-demo/Chart.yaml | grep -x "version: $version" >/dev/null
python3 -m zipfile -l "elastichub-$version-py3-none-any.whl" | grep elastichub/spawner.py >/dev/null
grep -q github.com/gin-gonic/gin "elastichub-$version.go.cdx.json"
grep -q tornado "elastichub-$version.python.cdx.json"
[ -s crds/kubeflow.tkestack.io_jupyterkernels.yaml ]
"./elastichub-linux-$(go env GOHOSTARCH)" version | grep -F "elastichub $version " >/dev/null
if [ "${1:-}" = all ]; then
  for architecture in amd64 arm64; do
    "$crane" export --platform "linux/$architecture" "127.0.0.1:$port/mirrored/elastichub/service:$version" - |
      tar -xO elastichub | cmp - "elastichub-linux-$architecture"
  done
fi
echo "release: as it should be"
