#!/usr/bin/env bash
# release.sh [IMAGE...]: make everything of one version in dist/release: the packaged
# charts, the kinds, the wheel, static binaries, SBOMs of the binary and of the wheel, and one archive of all
# that and of the images (all, or those named), which `elastichub mirror` pushes to a registry.
# ARCHITECTURES names those of the binaries and of the service's image, this machine's first. It needs no
# registry and pushes nothing. The version is the chart's; the tree should be at its tag.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
export ELASTICHUB_CACHE CGO_ENABLED=0 GOFLAGS=-trimpath
RELEASE=${RELEASE:-dist/release}
localcluster=${LOCALCLUSTER:-$ELASTICHUB_CACHE/bin/localcluster}
native=$(go env GOHOSTARCH)
case $native in
  amd64) foreign=arm64 ;;
  *) foreign=amd64 ;;
esac
read -ra architectures <<<"${ARCHITECTURES:-$native $foreign}"

version=$(sed -n 's/^version: //p' charts/elastichub/Chart.yaml)
in_python=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' python/elastichub/__init__.py)
for chart in elastichub demo; do
  if [ "$in_python" != "$version" ] || ! grep -qx "version: $version" "charts/$chart/Chart.yaml" || ! grep -qx "appVersion: $version" "charts/$chart/Chart.yaml"; then
    echo "release: charts/elastichub/Chart.yaml is $version, and charts/$chart/Chart.yaml, an appVersion or elastichub/__init__.py ($in_python) is not" >&2
    exit 1
  fi
done
if ! grep -q "^## $version\$" CHANGELOG.md; then
  echo "release: CHANGELOG.md has no section $version" >&2
  exit 1
fi

rm -rf "$RELEASE"
mkdir -p "$RELEASE"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=$work/elastichub-$version
mkdir -p "$all/crds"

others=()
for architecture in "${architectures[@]}"; do
  program=$all/elastichub-linux-$architecture
  GOOS=linux GOARCH=$architecture go build -ldflags "-s -w -X main.version=$version" -o "$program" ./cmd/elastichub
  [ "$architecture" = "$native" ] || others+=("$architecture=$program")
done
mkdir "$work/service"
cp "$all/elastichub-linux-$native" "$work/service/elastichub"

go build -o "$work/pack" ./release/pack
[ $# -gt 0 ] || set -- service notebook kernel hub directory
for name; do
  context=images/$name arguments=() programs=()
  case $name in
    # Nothing is run to build it, so that it can be had for other machines as well.
    service) context=$work/service arguments=(--build-arg BASE=localhost/elastichub/static:1) programs=("${others[@]}") ;;
    hub | notebook) context=. ;;
  esac
  tag=localhost/elastichub/$name:$version
  "$localcluster" build-image --tag "$tag" --file "images/$name/Dockerfile" "${arguments[@]}" "$context"
  "$localcluster" save-image --name "elastichub/$name:$version" "$tag" "$work/image.tar"
  mkdir "$work/image"
  tar -xf "$work/image.tar" -C "$work/image"
  "$work/pack" "$all/images" "elastichub/$name:$version" "$work/image" "${programs[@]}"
  rm -r "$work/image" "$work/image.tar"
done

assets=$("$localcluster" assets | tail -n 1)
"$assets/helm" package charts/elastichub charts/demo --destination "$all" >/dev/null
cp charts/demo/elastichub-values.yaml "$all/elastichub-demo-values.yaml"
cp charts/elastichub/crds/*.yaml "$all/crds/"

mapfile -t pinned <release/requirements.txt
tools=$(test/venv.sh release "${pinned[@]}" </dev/null)/bin
"$tools/python" -m build --wheel --no-isolation --outdir "$all" python >/dev/null

gomod=$(test/tool.sh github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0)
"$gomod" bin -json -output "$all/elastichub-$version.go.cdx.json" -version "v$version" "$all/elastichub-linux-$native" 2>"$work/log" || {
  cat "$work/log" >&2
  exit 1
}
python3 -m venv --without-pip "$work/wheel"
"$tools/pip" --quiet --disable-pip-version-check --python "$work/wheel/bin/python" install "$all"/*.whl
"$tools/cyclonedx-py" environment --output-file "$all/elastichub-$version.python.cdx.json" "$work/wheel/bin/python"

(cd "$all" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum -- >"$work/SHA256SUMS")
mv "$work/SHA256SUMS" "$all/"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
  -cf "$RELEASE/elastichub-$version.tar" "elastichub-$version"
# What is also wanted by itself lies beside the archive; images do not.
find "$all" -maxdepth 1 -type f ! -name SHA256SUMS -exec mv -t "$RELEASE" {} +
(cd "$RELEASE" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "release: $version is in $RELEASE"
