#!/usr/bin/env bash
# release.sh [IMAGE...]: make everything of one version in dist/release: images
# as OCI archives (all, or those named), the packaged chart, the wheel, SBOMs of
# the binary and of the wheel, checksums. It needs no registry and pushes nothing.
# The version is the chart's; the tree should be at its tag.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
export ELASTICHUB_CACHE CGO_ENABLED=0 GOFLAGS=-trimpath
RELEASE=${RELEASE:-dist/release}
localcluster=${LOCALCLUSTER:-$ELASTICHUB_CACHE/bin/localcluster}

version=$(sed -n 's/^version: //p' charts/elastichub/Chart.yaml)
in_python=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' python/elastichub/__init__.py)
if [ "$in_python" != "$version" ] || ! grep -qx "appVersion: $version" charts/elastichub/Chart.yaml; then
  echo "release: Chart.yaml is $version, its appVersion or elastichub/__init__.py ($in_python) is not" >&2
  exit 1
fi
if ! grep -q "^## $version\$" CHANGELOG.md; then
  echo "release: CHANGELOG.md has no section $version" >&2
  exit 1
fi

rm -rf "$RELEASE"
mkdir -p "$RELEASE"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

go build -ldflags "-s -w -X main.version=$version" -o "$work/elastichub" ./cmd/elastichub

[ $# -gt 0 ] || set -- service notebook kernel hub directory
for name; do
  context=images/$name arguments=()
  case $name in
    service) context=$work arguments=(--build-arg BASE=localhost/elastichub/static:1) ;;
    hub | notebook) context=. ;;
  esac
  tag=localhost/elastichub/$name:$version
  "$localcluster" build-image --tag "$tag" --file "images/$name/Dockerfile" "${arguments[@]}" "$context"
  "$localcluster" save-image --name "elastichub/$name:$version" "$tag" "$RELEASE/elastichub-$name-$version.oci.tar"
done

assets=$("$localcluster" assets | tail -n 1)
"$assets/helm" package charts/elastichub --destination "$RELEASE" >/dev/null

mapfile -t pinned <release/requirements.txt
tools=$(test/venv.sh release "${pinned[@]}" </dev/null)/bin
"$tools/python" -m build --wheel --no-isolation --outdir "$RELEASE" python >/dev/null

gomod=$(test/tool.sh github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0)
"$gomod" bin -json -output "$RELEASE/elastichub-$version.go.cdx.json" -version "v$version" "$work/elastichub" 2>"$work/log" || {
  cat "$work/log" >&2
  exit 1
}
python3 -m venv --without-pip "$work/wheel"
"$tools/pip" --quiet --disable-pip-version-check --python "$work/wheel/bin/python" install "$RELEASE"/*.whl
"$tools/cyclonedx-py" environment --output-file "$RELEASE/elastichub-$version.python.cdx.json" "$work/wheel/bin/python"

(cd "$RELEASE" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "release: $version is in $RELEASE"
