#!/usr/bin/env bash
# images.sh build: build the demo's images. images.sh load: load them into the
# local cluster. A tag is the hash of what the image is built from: what did not
# change is not rebuilt, and what did is rolled out.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=charts/demo/tags.sh
. charts/demo/tags.sh

build() {
  local name context arguments
  for name in $IMAGES; do
    context=images/$name arguments=()
    case $name in
      service) context=dist arguments=(--build-arg BASE=localhost/elastichub/static:1) ;;
      hub | notebook) context=. ;;
    esac
    "$BIN/localcluster" build-image --tag "$(image "$name")" --file "images/$name/Dockerfile" "${arguments[@]}" "$context"
  done
}

load() {
  # shellcheck disable=SC2046
  "$BIN/localcluster" load-image $(for name in $IMAGES; do image "$name"; done)
}

case ${1:-} in
  build | load) "$1" ;;
  *) echo "images.sh takes build or load" >&2 && exit 2 ;;
esac
